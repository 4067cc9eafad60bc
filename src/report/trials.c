#include "report/trials.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define JOURNAL_LIMIT (INT64_C(256) << 20)

double mc_member_number(const json_t *object, const char *name)
{
    const json_t *const value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *member_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static bool is_type(const json_t *line, const char *type)
{
    const char *const found = member_text(line, "type");
    return found && strcmp(found, type) == 0;
}

bool mc_trial_counts(const mc_trial *trial)
{
    return isfinite(trial->score) && !trial->stopped && !trial->failure;
}

bool mc_trials_better(const mc_trials *trials, double a, double b)
{
    return trials->minimize ? a < b : a > b;
}

void mc_trials_free(mc_trials *trials)
{
    for (size_t i = 0; i < trials->count; i++)
        mc_free(trials->items[i].values);
    mc_free(trials->items);
    mc_free(trials->dimensions);
    json_decref(trials->lines);
    *trials = (mc_trials){0};
}

/* ---- lines ----------------------------------------------------------------------------------- */

static mc_status add_line(mc_trials *t, const char *text, size_t length, size_t number,
                          mc_error *error)
{
    json_t *line = NULL;
    const mc_status status = mc_json_parse(text, length, &line, error);
    if (status == MC_FORMAT || (status == MC_OK && !json_is_object(line))) {
        json_decref(line);
        return mc_fail(error, MC_FORMAT, "line %zu: expected a JSON object", number);
    }
    if (status == MC_OK && json_array_append_new(t->lines, line) != 0)
        return mc_fail_memory(error);
    return status;
}

static mc_status split_lines(mc_trials *t, const char *text, size_t size, mc_error *error)
{
    size_t number = 1;
    for (const char *at = text, *end; (end = memchr(at, '\n', size - (size_t)(at - text)));
         at = end + 1)
        MC_TRY(add_line(t, at, (size_t)(end - at), number++, error));
    return MC_OK;
}

/* ---- the space ------------------------------------------------------------------------------- */

static mc_status read_dimension(const json_t *entry, mc_dimension *out, mc_error *error)
{
    const json_t *const choices = json_object_get(entry, "choices");
    *out = (mc_dimension){.name = member_text(entry, "name"),
                          .log = json_is_true(json_object_get(entry, "log")),
                          .choices = json_is_array(choices) ? choices : NULL,
                          .low = mc_member_number(entry, "low"),
                          .high = mc_member_number(entry, "high")};
    if (out->choices) {
        out->low = 0;
        out->high = (double)json_array_size(choices) - 1;
        out->log = false;
    }
    const bool usable = out->name && isfinite(out->low) && isfinite(out->high) &&
                        out->low <= out->high && (!out->log || out->low > 0);
    return usable ? MC_OK
                  : mc_fail(error, MC_FORMAT,
                            "line 1: expected a name, and a range or choices, for each dimension "
                            "of 'space'");
}

static mc_status read_header(mc_trials *t, mc_error *error)
{
    t->header = json_array_get(t->lines, 0);
    if (!is_type(t->header, "search"))
        return mc_fail(error, MC_FORMAT,
                       "line 1: expected the journal of a search, with \"type\": \"search\"");
    const json_t *const version = json_object_get(t->header, "version");
    if (version && json_integer_value(version) != 1)
        return mc_fail(error, MC_FORMAT,
                       "line 1: expected version 1 of a journal, found one of another version");
    const char *const direction = member_text(t->header, "direction");
    const json_t *const space = json_object_get(t->header, "space");
    t->minimize = direction && strcmp(direction, "minimize") == 0;
    const size_t count = json_array_size(space);
    t->dimensions = mc_alloc_zero(count, sizeof *t->dimensions);
    if (!t->dimensions)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        MC_TRY(read_dimension(json_array_get(space, i), &t->dimensions[i], error));
    t->dimension_count = count;
    return MC_OK;
}

/* ---- trials ---------------------------------------------------------------------------------- */

/* The number, or the index of the choice. */
static double read_value(const mc_dimension *dimension, const json_t *value)
{
    if (!dimension->choices)
        return json_is_number(value) ? json_number_value(value) : NAN;
    for (size_t i = 0; i < json_array_size(dimension->choices); i++)
        if (json_equal(json_array_get(dimension->choices, i), value))
            return (double)i;
    return NAN;
}

static mc_status read_trial(mc_trials *t, const json_t *line, mc_error *error)
{
    if (!MC_GROW(t->items, t->count, t->capacity))
        return mc_fail_memory(error);
    const json_t *const scores = json_object_get(line, "scores");
    const json_t *const chosen = json_object_get(line, "parameters");
    mc_trial *const trial = &t->items[t->count];
    *trial = (mc_trial){.number = json_integer_value(json_object_get(line, "trial")),
                        .same_as = json_integer_value(json_object_get(line, "same_as")),
                        .score = mc_member_number(line, "score"),
                        .seconds = mc_member_number(line, "seconds"),
                        .standard_error = NAN,
                        .stopped = json_is_true(json_object_get(line, "stopped")),
                        .failure = member_text(line, "error"),
                        .values = mc_alloc(t->dimension_count * sizeof *trial->values),
                        .line = line};
    if (!trial->values)
        return mc_fail_memory(error);
    for (size_t i = 0; i < t->dimension_count; i++)
        trial->values[i] = read_value(&t->dimensions[i],
                                      json_object_get(chosen, t->dimensions[i].name));
    if (json_array_size(scores) == 1)
        trial->standard_error = mc_member_number(json_array_get(scores, 0), "standard_error");
    t->count++;
    return MC_OK;
}

/* The trial of the result; of a search that is not finished, the best so far. */
static void find_best(mc_trials *t)
{
    const double wanted = mc_member_number(t->result, "trial");
    t->best = t->count;
    for (size_t i = 0; i < t->count; i++) {
        if (isfinite(wanted) && (double)t->items[i].number == wanted) {
            t->best = i;
            return;
        }
        if (mc_trial_counts(&t->items[i]) &&
            (t->best == t->count ||
             mc_trials_better(t, t->items[i].score, t->items[t->best].score)))
            t->best = i;
    }
}

static mc_status read_lines(mc_trials *t, mc_error *error)
{
    MC_TRY(read_header(t, error));
    for (size_t i = 1; i < json_array_size(t->lines); i++) {
        const json_t *const line = json_array_get(t->lines, i);
        if (is_type(line, "trial"))
            MC_TRY(read_trial(t, line, error));
        if (is_type(line, "result"))
            t->result = line;
    }
    find_best(t);
    return MC_OK;
}

mc_status mc_trials_read(const char *path, mc_trials *out, mc_error *error)
{
    mc_trials trials = {.lines = json_array()};
    char *text = NULL;
    size_t size = 0;
    mc_status status = trials.lines ? mc_file_load(path, JOURNAL_LIMIT, &text, &size, error)
                                    : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_in_file(error, path, split_lines(&trials, text, size, error));
    if (status == MC_OK)
        status = mc_in_file(error, path, read_lines(&trials, error));
    mc_free(text);
    if (status != MC_OK)
        mc_trials_free(&trials);
    else
        *out = trials;
    return status;
}
