#include "merge/folder_differences.h"

#include "base/companion.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/notes.h"
#include "base/text.h"
#include "merge/report.h"
#include "model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* BLOCK: bytes of files that are compared at a time. VALUE_SHOWN: bytes of a value. */
enum { BLOCK = 1 << 16, VALUE_SHOWN = 60 };

/* ---- config.json ----------------------------------------------------------------------------- */

/* Bytes of a value that are shown: a character is not cut in two. */
static int shown_of(const char *json)
{
    size_t size = strlen(json);
    if (size <= VALUE_SHOWN)
        return (int)size;
    size = VALUE_SHOWN;
    while (size > 0 && ((unsigned char)json[size] & 0xc0) == 0x80)
        size--;
    return (int)size;
}

static void add_value(mc_text *text, const json_t *value, const char *name)
{
    char *const json = value ? mc_json_write(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    text->failed = text->failed || (value && !json);
    if (json)
        mc_text_add(text, "%.*s%s in %s", shown_of(json), json,
                    strlen(json) > VALUE_SHOWN ? "…" : "", name);
    else
        mc_text_add(text, "missing in %s", name);
    mc_free(json);
}

static mc_status report_key(const char *key, const json_t *mine, const json_t *theirs,
                            const mc_model *model, const mc_model *other, mc_report *report,
                            mc_error *error)
{
    mc_text text = {0};
    mc_text_add(&text, "config.json: '%s' is ", key);
    add_value(&text, mine, mc_model_name(model));
    mc_text_add(&text, ", ");
    add_value(&text, theirs, mc_model_name(other));
    const mc_status status = text.failed ? mc_fail_memory(error)
                                         : mc_report_add(report, error, "%s", text.data);
    mc_text_free(&text);
    return status;
}

static mc_status compare_configs(const mc_model *model, const mc_model *other, mc_report *report,
                                 mc_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(model->config, key, value)
    {
        const json_t *const theirs = json_object_get(other->config, key);
        if (!theirs || !json_equal(value, theirs))
            MC_TRY(report_key(key, value, theirs, model, other, report, error));
    }
    json_object_foreach(other->config, key, value) if (!json_object_get(model->config, key))
        MC_TRY(report_key(key, NULL, value, model, other, report, error));
    return MC_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the companion files of a folder, sorted: a folder has no order. */
static mc_status list_companions(const char *folder, mc_notes *names, mc_error *error)
{
    DIR *const entries = mc_list_folder(folder);
    if (!entries)
        return mc_fail_errno(error, folder, "cannot list the folder");
    mc_status status = MC_OK;
    const char *name;
    while (status == MC_OK && (name = mc_next_entry(entries)))
        if (mc_is_companion(name))
            status = mc_notes_add(names, error, "%s", name);
    if (status == MC_OK && errno)
        status = mc_fail_errno(error, folder, "cannot list the folder");
    closedir(entries);
    if (status == MC_OK && names->count > 1)
        qsort(names->lines, names->count, sizeof *names->lines, compare_lines);
    return status;
}

static mc_status same_bytes(const mc_file *a, const mc_file *b, bool *same, mc_error *error)
{
    char *const blocks = mc_alloc((size_t)2 * BLOCK);
    mc_status status = blocks ? MC_OK : mc_fail_memory(error);
    *same = mc_file_size(a) == mc_file_size(b);
    for (int64_t at = 0; status == MC_OK && *same && at < mc_file_size(a); at += BLOCK) {
        const int64_t left = mc_file_size(a) - at;
        const size_t size = left < BLOCK ? (size_t)left : BLOCK;
        status = mc_file_read(a, at, blocks, size, error);
        if (status == MC_OK)
            status = mc_file_read(b, at, blocks + BLOCK, size, error);
        *same = status == MC_OK && memcmp(blocks, blocks + BLOCK, size) == 0;
    }
    mc_free(blocks);
    return status;
}

/* Opens FOLDER/NAME; *out stays NULL if it does not exist. */
static mc_status open_companion(const mc_model *model, const char *name, mc_file **out,
                                mc_error *error)
{
    char *const path = mc_format("%s/%s", mc_model_folder(model), name);
    const mc_status status = path ? mc_file_open(path, out, error) : mc_fail_memory(error);
    mc_free(path);
    return status == MC_NOT_FOUND ? MC_OK : status;
}

static mc_status compare_file(const mc_model *model, const mc_model *other, const char *name,
                              mc_report *report, mc_error *error)
{
    mc_file *mine = NULL, *theirs = NULL;
    bool same = true;
    mc_status status = open_companion(model, name, &mine, error);
    if (status == MC_OK)
        status = open_companion(other, name, &theirs, error);
    if (status == MC_OK && (!mine || !theirs))
        status = mc_report_add(report, error, "%s is only in %s", name,
                               mc_model_name(mine ? model : other));
    else if (status == MC_OK)
        status = same_bytes(mine, theirs, &same, error);
    if (status == MC_OK && !same)
        status = mc_report_add(report, error, "%s of %s differs from that of %s", name,
                               mc_model_name(model), mc_model_name(other));
    mc_file_unref(mine);
    mc_file_unref(theirs);
    return status;
}

static mc_status compare_files(const mc_model *model, const mc_model *other, const mc_notes *mine,
                               const mc_notes *theirs, mc_report *report, mc_error *error)
{
    for (size_t i = 0; i < mine->count; i++)
        MC_TRY(compare_file(model, other, mine->lines[i], report, error));
    for (size_t i = 0; i < theirs->count; i++)
        if (mine->count == 0 || !bsearch(&theirs->lines[i], mine->lines, mine->count,
                                         sizeof *mine->lines, compare_lines))
            MC_TRY(compare_file(model, other, theirs->lines[i], report, error));
    return MC_OK;
}

mc_status mc_report_folder_differences(const mc_model *model, const mc_model *other,
                                       mc_report *report, mc_error *error)
{
    const char *const folder = mc_model_folder(model), *const other_folder = mc_model_folder(other);
    mc_notes mine = {0}, theirs = {0};
    MC_TRY(compare_configs(model, other, report, error));
    if (!folder || !other_folder)
        return MC_OK;
    mc_status status = list_companions(folder, &mine, error);
    if (status == MC_OK)
        status = list_companions(other_folder, &theirs, error);
    if (status == MC_OK)
        status = compare_files(model, other, &mine, &theirs, report, error);
    mc_notes_free(&mine);
    mc_notes_free(&theirs);
    return status;
}
