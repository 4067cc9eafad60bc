#include "bench/journal.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_JOURNAL = 1 << 28 };

/* ---- points --------------------------------------------------------------------------------- */

mc_status mc_bench_point_new(const mc_suite *suite, mc_bench_point *out, mc_error *error)
{
    *out = (mc_bench_point){.scores = mc_alloc_zero(suite->task_count, sizeof *out->scores),
                            .warnings = json_array()};
    return out->scores && out->warnings ? MC_OK : mc_fail_memory(error);
}

void mc_bench_point_free(mc_bench_point *point)
{
    mc_free(point->scores);
    mc_free(point->parameters);
    json_decref(point->warnings);
    *point = (mc_bench_point){0};
}

/* JSON has no NaN: null stands for it. */
static json_t *number_json(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

static double number_of(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* ---- reading -------------------------------------------------------------------------------- */

/*
 * Skips lines that are not JSON: a crash may have cut one short. Of several lines with one key the
 * last counts.
 */
static void remember(mc_bench_journal *journal, const char *line, size_t size)
{
    json_t *object = NULL;
    mc_error ignored = MC_ERROR_NONE;
    if (mc_json_parse(line, size, &object, &ignored) != MC_OK)
        return;
    const char *const key = json_string_value(json_object_get(object, "key"));
    if (key)
        json_object_set(journal->known, key, object);
    json_decref(object);
}

static mc_status read_lines(mc_bench_journal *journal, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    const mc_status status = mc_file_load(journal->path, LARGEST_JOURNAL, &text, &size, error);
    if (status == MC_NOT_FOUND)
        return MC_OK;
    MC_TRY(status);
    for (size_t at = 0; at < size;) {
        const char *const end = memchr(text + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - text) - at : size - at;
        remember(journal, text + at, length);
        at += length + 1;
    }
    mc_free(text);
    return MC_OK;
}

mc_status mc_bench_journal_open(const char *folder, mc_bench_journal *out, mc_error *error)
{
    *out = (mc_bench_journal){.known = json_object()};
    if (!out->known)
        return mc_fail_memory(error);
    if (!folder)
        return MC_OK;
    if (mc_system->mkdir(folder, 0777) != 0 && errno != EEXIST)
        return mc_fail_at(error, MC_IO, folder, NULL, -1, "cannot create the folder: %s",
                          strerror(errno));
    out->path = mc_format("%s/results.jsonl", folder);
    return out->path ? read_lines(out, error) : mc_fail_memory(error);
}

void mc_bench_journal_close(mc_bench_journal *journal)
{
    json_decref(journal->known);
    mc_free(journal->path);
    *journal = (mc_bench_journal){0};
}

static bool fill_scores(const json_t *scores, const mc_suite *suite, mc_bench_point *out)
{
    for (size_t t = 0; t < suite->task_count; t++) {
        const json_t *const one = json_object_get(scores, suite->tasks[t].name);
        /* A line of a suite with other tasks. */
        if (!json_is_object(one))
            return false;
        out->scores[t] = (mc_part_score){number_of(json_object_get(one, "validation")),
                                         number_of(json_object_get(one, "score")),
                                         number_of(json_object_get(one, "standard_error"))};
    }
    return true;
}

static bool fill_warnings(json_t *warnings, mc_bench_point *out)
{
    size_t i;
    const json_t *value;
    if (!json_is_array(warnings))
        return false;
    json_array_foreach(warnings, i, value)
    {
        if (!json_is_string(json_object_get(value, "parameters")) ||
            !json_is_string(json_object_get(value, "text")))
            return false;
    }
    json_decref(out->warnings);
    out->warnings = json_incref(warnings);
    return true;
}

bool mc_bench_journal_find(const mc_bench_journal *journal, uint64_t key, const mc_suite *suite,
                           mc_bench_point *out)
{
    char digits[17];
    snprintf(digits, sizeof digits, "%016" PRIx64, key);
    const json_t *const line = json_object_get(journal->known, digits);
    if (!line || !fill_scores(json_object_get(line, "scores"), suite, out) ||
        !fill_warnings(json_object_get(line, "warnings"), out))
        return false;
    out->seconds = number_of(json_object_get(line, "seconds"));
    const json_t *const parameters = json_object_get(line, "parameters");
    char *const text = parameters ? json_dumps(parameters, mc_json_shortest(parameters)) : NULL;
    out->parameters = text ? mc_strdup(text) : NULL;
    free(text); /* jansson's */
    return out->parameters != NULL;
}

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *line_json(uint64_t key, const char *method, const char *seed, const mc_suite *suite,
                         const mc_bench_point *point)
{
    char digits[17];
    json_error_t ignored;
    json_t *scores = json_object();
    snprintf(digits, sizeof digits, "%016" PRIx64, key);
    for (size_t t = 0; t < suite->task_count; t++) {
        const mc_part_score *const s = &point->scores[t];
        scores = mc_json_put(scores, suite->tasks[t].name,
                             json_pack("{s:o, s:o, s:o}", "validation", number_json(s->validation),
                                       "score", number_json(s->rest), "standard_error",
                                       number_json(s->error)));
    }
    json_t *line = mc_json_put(json_object(), "key", json_string(digits));
    line = mc_json_put(line, "method", mc_json_text(method));
    line = mc_json_put(line, "seed", mc_json_text(seed));
    line = mc_json_put(line, "parameters", json_loads(point->parameters, 0, &ignored));
    line = mc_json_put(line, "seconds", number_json(point->seconds));
    line = mc_json_put(line, "scores", scores);
    return mc_json_put(line, "warnings", json_incref(point->warnings));
}

static mc_status append(const char *path, const char *text, size_t size, mc_error *error)
{
    const int fd = mc_system->open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return mc_fail_at(error, MC_IO, path, NULL, -1, "cannot open: %s", strerror(errno));
    struct stat status;
    mc_status result = MC_IO;
    if (mc_system->fstat(fd, &status) != 0)
        mc_fail_at(error, MC_IO, path, NULL, -1, "cannot read its size: %s", strerror(errno));
    else
        result = mc_write_all(fd, path, text, size, (int64_t)status.st_size, error);
    if (result == MC_OK && mc_system->fsync(fd) != 0)
        result = mc_fail_at(error, MC_IO, path, NULL, -1, "cannot flush it to disk: %s",
                            strerror(errno));
    mc_system->close(fd);
    return result;
}

mc_status mc_bench_journal_add(mc_bench_journal *journal, uint64_t key, const char *method,
                               const char *seed, const mc_suite *suite, const mc_bench_point *point,
                               mc_error *error)
{
    if (!journal->path)
        return MC_OK;
    json_t *const line = line_json(key, method, seed, suite, point);
    char *const text = line ? json_dumps(line, JSON_COMPACT | mc_json_shortest(line)) : NULL;
    /*
     * Begins with a line feed, so that a line that a crash cut short does not spoil this one. Empty
     * lines are skipped like any that is not JSON.
     */
    char *const whole = text ? mc_format("\n%s\n", text) : NULL;
    const mc_status status = whole ? append(journal->path, whole, strlen(whole), error)
                                   : mc_fail_memory(error);
    mc_free(whole);
    free(text); /* jansson's */
    json_decref(line);
    return status;
}
