/* Comparing a result with the checksums in its mergecraft.json. */
#include "base/checksum.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "merge/estimate.h"
#include "merge/report.h"

#include <mergecraft/merge.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define RECORD_LIMIT (INT64_C(64) << 20)

typedef struct verification {
    const char *folder;
    const json_t *files;
    const mc_run_options *options;
    mc_verify_result *out;
    mc_report *report;
    int64_t total;
} verification;

/*
 * Whether a name stays inside the folder. mergecraft.json is input like any other: it must not make
 * us read files elsewhere.
 */
static bool is_inside(const char *name)
{
    if (!name || !*name || *name == '/')
        return false;
    for (const char *part = name; *part; part += strcspn(part, "/"), part += *part == '/')
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || !part[2]))
            return false;
    return true;
}

static mc_status add_damage(verification *v, mc_error *error, const char *name, const char *what)
{
    v->out->damaged++;
    return mc_report_add(v->report, error, "%s: %s", name, what);
}

static mc_status compare(verification *v, const json_t *file, int64_t size, uint64_t value,
                         mc_error *error)
{
    const char *const name = json_string_value(json_object_get(file, "name"));
    const char *const digits = json_string_value(json_object_get(file, "xxh64"));
    const int64_t expected = json_integer_value(json_object_get(file, "bytes"));
    char what[160], found[MC_CHECKSUM_TEXT];
    mc_checksum_text(value, found);
    if (size != expected)
        snprintf(what, sizeof what, "expected %" PRId64 " bytes, found %" PRId64, expected, size);
    else if (!digits || strcmp(digits, found) != 0)
        snprintf(what, sizeof what, "expected the checksum %.20s, found %s",
                 digits ? digits : "(none)", found);
    else
        return MC_OK;
    return add_damage(v, error, name, what);
}

static mc_status check_file(verification *v, const json_t *file, mc_error *error)
{
    const char *const name = json_string_value(json_object_get(file, "name"));
    int64_t size = 0;
    uint64_t value = 0;
    if (!is_inside(name))
        return mc_fail(error, MC_FORMAT,
                       "mergecraft.json: expected the name of a file in the folder, "
                       "found '%s'",
                       name ? name : "(none)");
    char *const path = mc_format("%s/%s", v->folder, name);
    if (!path)
        return mc_fail_memory(error);
    const int fd = mc_system->open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    mc_status status = MC_OK;
    /* A missing file is a finding; one that cannot be opened is an error. */
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        status = add_damage(v, error, name, "is missing");
    else if (fd < 0)
        status = mc_fail_errno(error, path, "cannot open it");
    else
        status = mc_checksum_file(fd, path, v->options->cancel, &size, &value, error);
    if (status == MC_OK && fd >= 0)
        status = compare(v, file, size, value, error);
    if (fd >= 0)
        mc_system->close(fd);
    mc_free(path);
    v->out->files++;
    v->out->bytes += size;
    return status;
}

static mc_status check_files(verification *v, mc_error *error)
{
    size_t i;
    const json_t *file;
    const double start = mc_seconds();
    for (i = 0; i < json_array_size(v->files); i++)
        v->total += json_integer_value(json_object_get(json_array_get(v->files, i), "bytes"));
    json_array_foreach(v->files, i, file)
    {
        MC_TRY(check_file(v, file, error));
        const double seconds = mc_seconds() - start;
        const mc_progress progress = {
            .bytes_done = v->out->bytes,
            .bytes_total = v->total,
            .bytes_read = v->out->bytes,
            .seconds = seconds,
            .seconds_left = mc_estimate_even((double)v->out->bytes, (double)v->total, seconds)};
        if (v->options->progress)
            v->options->progress(&progress, v->options->user);
    }
    return MC_OK;
}

/* Fails if any file differs; the report has all differences. */
static mc_status conclude(const verification *v, mc_error *error)
{
    if (v->out->damaged == 0)
        return MC_OK;
    return mc_fail_at(error, MC_CHANGED, v->folder, NULL, -1,
                      "%zu of %zu files differ from what mergecraft.json records", v->out->damaged,
                      v->out->files);
}

mc_status mc_verify(const char *folder, const mc_run_options *options, mc_report *report,
                    mc_verify_result *out, mc_error *error)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    json_t *record = NULL;
    *out = (mc_verify_result){0};
    char *const path = mc_format("%s/mergecraft.json", folder);
    if (!path)
        return mc_fail_memory(error);
    mc_status status = mc_in_file(error, path, mc_json_load(path, RECORD_LIMIT, &record, error));
    verification v = {.folder = folder,
                      .files = json_object_get(record, "files"),
                      .options = options ? options : &standard,
                      .out = out,
                      .report = report};
    if (status == MC_OK && !json_is_array(v.files))
        status = mc_fail_at(error, MC_UNSUPPORTED, path, NULL, -1,
                            "expected a list of files with checksums, found none");
    if (status == MC_OK)
        status = check_files(&v, error);
    if (status == MC_OK)
        status = conclude(&v, error);
    json_decref(record);
    mc_free(path);
    return status;
}
