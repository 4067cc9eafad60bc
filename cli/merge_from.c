/* mergecraft merge --from: the settings of an earlier merge, from its mergecraft.json. */
#include "merge.h"
#include "output.h"
#include "record.h"

#include <mergecraft/plugin.h>
#include <mergecraft/version.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading -------------------------------------------------------------------------------- */

static mc_status fail_record(const merge_settings *settings, const char *what, mc_error *error)
{
    mc_fail(error, MC_FORMAT, "%s", what);
    snprintf(error->file, sizeof error->file, "%s", settings->from);
    return MC_FORMAT;
}

/* ---- from the record to arguments ----------------------------------------------------------- */

/* Takes over the text: the lists of settings borrow. */
static const char *own(merge_settings *settings, char *text)
{
    merge_append(&settings->owned, text);
    return text;
}

static void add_models(const json_t *models, merge_settings *settings, text_list *list)
{
    size_t i;
    const json_t *model;
    json_array_foreach(models, i, model) merge_append(list, own(settings, record_model(model)));
}

static void add_params(const json_t *record, merge_settings *settings)
{
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(record, "parameters"), name, value)
    {
        /* 17 digits give back the same double, and so the same bits of the result. */
        char *const text = json_is_string(value)
                               ? format_text("%s", json_string_value(value))
                               : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        merge_append(&settings->params,
                     own(settings, format_text("%s=%s", name, text ? text : "")));
        free(text);
    }
}

static void add_texts(const json_t *record, const char *key, text_list *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(record, key), i, item)
        merge_append(list, json_string_value(item) ? json_string_value(item) : "");
}

/* "NAME=MODEL,MODEL". */
static void add_lists(const json_t *record, merge_settings *settings)
{
    const char *name;
    json_t *models;
    json_object_foreach(json_object_get(record, "sides"), name, models)
    {
        char *list = format_text("%s=", name);
        size_t i;
        const json_t *model;
        json_array_foreach(models, i, model)
        {
            char *const one = record_model(model);
            char *const longer = format_text("%s%s%s", list, i ? "," : "", one);
            free(one);
            free(list);
            list = longer;
        }
        merge_append(&settings->sides, own(settings, list));
    }
}

static void take_numbers(const json_t *record, merge_settings *settings)
{
    /* Seeds above 2^63 − 1 are texts: JSON integers are signed here. */
    const json_t *const seed = json_object_get(record, "seed");
    settings->seed = json_is_string(seed) ? strtoull(json_string_value(seed), NULL, 10)
                                          : (uint64_t)json_integer_value(seed);
    settings->shard_size = json_integer_value(json_object_get(record, "shard_size"));
}

/* Dtypes are recorded as torch calls them. */
static const char *short_dtype(const char *name)
{
    static const char *const names[][2] = {
        {"float32", "f32"}, {"float16", "f16"}, {"bfloat16", "bf16"}};
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], name) == 0)
            return names[i][1];
    return name;
}

/*
 * "FAMILY:NAME", or the file of the method with ":NAME". Its text is in the record, but code is run
 * only from a file that the user has: a record may come from anybody.
 */
static mc_status method_argument(const json_t *record, const merge_settings *settings, char **out,
                                 mc_error *error)
{
    const char *const family = json_string_value(json_object_get(record, "family"));
    const char *const method = json_string_value(json_object_get(record, "method"));
    const json_t *const source = json_object_get(record, "source");
    const char *const file = json_string_value(json_object_get(source, "file"));
    if (json_object_get(record, "decompress"))
        return fail_record(settings,
                           "expected a merge, found the model of one task: repeat it with "
                           "'mergecraft decompress'",
                           error);
    if (!family || !method)
        return fail_record(settings, "expected a method, found none", error);
    if (!file) {
        *out = format_text("%s:%s", family, method);
        return MC_OK;
    }
    /* A file has a hash; without one, the source is a Python function. */
    if (!json_is_string(json_object_get(source, "hash")))
        return fail_record(settings, "the method is a function of a program: run that program",
                           error);
    if (access(file, R_OK) == 0) {
        *out = format_text("%s:%s", file, method);
        return MC_OK;
    }
    mc_fail(error, MC_NOT_FOUND,
            "the file of the method '%s' is missing; its text is 'source' in %s", method,
            settings->from);
    snprintf(error->file, sizeof error->file, "%s", file);
    return MC_NOT_FOUND;
}

/* ---- what is not taken from the record ------------------------------------------------------ */

static mc_status check_given(const merge_settings *settings, const text_list *operands,
                             mc_error *error)
{
    /*
     * Any of these would make another merge than the one that is recorded. Options for output,
     * memory and threads do not change the result and are allowed.
     */
    const char *const given = settings->base                ? "base"
                              : settings->params.count      ? "param"
                              : settings->passthrough.count ? "passthrough"
                              : settings->exclude.count     ? "exclude"
                              : settings->keep              ? "keep-head"
                              : settings->then.count        ? "then"
                              : settings->matrices.count    ? "matrices"
                              : settings->sides.count       ? "side"
                              : settings->tokenizer         ? "tokenizer"
                              : settings->tokens.count      ? "token"
                              : settings->pad_vocabulary    ? "pad-vocab"
                              : settings->chat_template     ? "chat-template"
                              : settings->dtype             ? "dtype"
                              : settings->shard_size        ? "shard-size"
                              : settings->seed              ? "seed"
                                                            : NULL;
    if (operands->count > 0)
        return mc_fail(error, MC_USAGE, "expected no arguments with --from, found '%s'",
                       operands->items[0]);
    return given ? mc_fail(error, MC_USAGE, "--%s does not apply with --from, which records it",
                           given)
                 : MC_OK;
}

static void warn_of_version(const json_t *record, const merge_settings *settings)
{
    const char *const version = json_string_value(json_object_get(record, "mergecraft"));
    if (settings->common.quiet || (version && strcmp(version, mc_version()) == 0))
        return;
    char *const text = format_text("%s was written by mergecraft %s, this is %s: the bytes may "
                                   "differ",
                                   settings->from, version ? version : "(unknown)", mc_version());
    say("warning", text);
    free(text);
}

/* Sets operands in the order of a merge's: a name, the model, the donor. */
static mc_status take_transplant(const json_t *record, merge_settings *settings,
                                 text_list *operands, mc_error *error)
{
    const json_t *const transplant = json_object_get(record, "transplant");
    const json_t *const donor = json_object_get(record, "donor");
    settings->transplant = json_string_value(json_object_get(transplant, "method"));
    settings->neighbours = json_integer_value(json_object_get(transplant, "neighbours"));
    if (!settings->transplant || !json_is_object(donor) ||
        json_array_size(json_object_get(record, "models")) != 1)
        return fail_record(settings,
                           "expected a model, a donor and a method of the transplant, found none",
                           error);
    merge_append(operands, "transplant");
    add_models(json_object_get(record, "models"), settings, operands);
    merge_append(operands, own(settings, record_model(donor)));
    settings->shard_size = json_integer_value(json_object_get(record, "shard_size"));
    return MC_OK;
}

/* Texts of the record are borrowed: it is released after the merge. */
static mc_status take_record(const json_t *record, merge_settings *settings, text_list *operands,
                             mc_error *error)
{
    char *method = NULL;
    if (json_is_string(json_object_get(record, "recipe")))
        return fail_record(settings, "a merge by a recipe: save the text of 'recipe' and merge it",
                           error);
    if (json_object_get(record, "transplant"))
        return take_transplant(record, settings, operands, error);
    const mc_status status = method_argument(record, settings, &method, error);
    if (status != MC_OK)
        return status;
    merge_append(operands, own(settings, method));
    add_models(json_object_get(record, "models"), settings, operands);
    add_params(record, settings);
    add_texts(record, "passthrough", &settings->passthrough);
    add_texts(record, "exclude", &settings->exclude);
    add_texts(record, "then", &settings->then);
    add_texts(record, "matrices", &settings->matrices);
    add_lists(record, settings);
    take_numbers(record, settings);
    const json_t *const base = json_object_get(record, "base");
    settings->base = json_is_object(base) ? own(settings, record_model(base)) : NULL;
    settings->keep = json_string_value(json_object_get(record, "keep"));
    const json_t *const tokenizer = json_object_get(record, "tokenizer");
    const json_int_t padding = json_integer_value(json_object_get(tokenizer, "pad_vocabulary"));
    settings->tokenizer = json_string_value(json_object_get(tokenizer, "source"));
    settings->chat_template = json_string_value(json_object_get(tokenizer, "chat_template"));
    settings->pad_vocabulary = padding > 0 ? (uint64_t)padding : 0;
    add_texts(tokenizer, "tokens", &settings->tokens);
    settings->dtype = short_dtype(json_string_value(json_object_get(record, "dtype")));
    /* The patterns were accepted when the merge was recorded. */
    settings->allow_unused = true;
    return MC_OK;
}

mc_status merge_take_record(merge_settings *settings, text_list *operands, json_t **record,
                            mc_error *error)
{
    mc_status status = check_given(settings, operands, error);
    if (status == MC_OK)
        status = record_load(settings->from, record, error);
    if (status != MC_OK)
        return status;
    warn_of_version(*record, settings);
    return take_record(*record, settings, operands, error);
}

/* ---- afterwards ----------------------------------------------------------------------------- */

static const json_t *find_file(const json_t *record, const char *name)
{
    size_t i;
    const json_t *file;
    json_array_foreach(json_object_get(record, "files"), i, file)
    {
        const char *const other = json_string_value(json_object_get(file, "name"));
        if (other && strcmp(other, name) == 0)
            return file;
    }
    return NULL;
}

/* Weights only: the model card names the folder. */
static mc_status compare_weights(const merge_settings *settings, const json_t *before,
                                 const json_t *after, mc_error *error)
{
    size_t i;
    const json_t *file;
    json_array_foreach(json_object_get(before, "files"), i, file)
    {
        const char *const name = json_string_value(json_object_get(file, "name"));
        const size_t length = name ? strlen(name) : 0;
        if (length < 12 || strcmp(name + length - 12, ".safetensors") != 0)
            continue;
        const json_t *const found = find_file(after, name);
        if (found && json_equal(json_object_get(file, "xxh64"), json_object_get(found, "xxh64")))
            continue;
        mc_fail(error, MC_CHANGED,
                "differs from what %s records: an input, the method or the library has changed",
                settings->from);
        snprintf(error->file, sizeof error->file, "%s/%s", settings->output, name);
        return MC_CHANGED;
    }
    return MC_OK;
}

mc_status merge_compare_record(const merge_settings *settings, const json_t *record,
                               mc_error *error)
{
    char *const path = format_text("%s/mergecraft.json", settings->output);
    json_t *const after = json_load_file(path, 0, NULL);
    const mc_status status = after ? compare_weights(settings, record, after, error)
                                   : fail_record(settings, "cannot read the new record", error);
    json_decref(after);
    free(path);
    return status;
}

void merge_free_record(merge_settings *settings, json_t *record)
{
    for (size_t i = 0; i < settings->owned.count; i++)
        free((char *)(uintptr_t)settings->owned.items[i]);
    free(settings->owned.items);
    json_decref(record);
}
