#include "merge/package.h"

#include "base/companion.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/plugin.h"
#include "model/model.h"
#include "tensor/source.h"

#include <mergecraft/version.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPY_BLOCK = 1 << 20 };

/* ---- configuration ----------------------------------------------------------------------------- */

/* The float dtype that most of the output's bytes have; false if it has no floats. */
static bool main_dtype(const mc_plan *plan, mc_dtype *dtype)
{
    int64_t bytes[MC_DTYPE_COUNT] = {0}, most = 0;
    for (size_t i = 0; i < plan->outputs.count; i++) {
        const mc_source *const source = plan->outputs.rows[i].source;
        if (mc_dtype_kind_of(source->dtype) == MC_KIND_FLOAT)
            bytes[source->dtype] += source->bytes;
    }
    for (int i = 0; i < MC_DTYPE_COUNT; i++)
        if (bytes[i] > most) {
            most = bytes[i];
            *dtype = (mc_dtype)i;
        }
    return most > 0;
}

/* The key has had two names; a file that has neither gets the one that all versions of transformers read. */
static json_t *set_dtype(json_t *config, mc_dtype dtype)
{
    const bool modern = json_object_get(config, "dtype"),
               old = json_object_get(config, "torch_dtype");
    if (modern)
        config = mc_json_put(config, "dtype", json_string(mc_dtype_torch_name(dtype)));
    if (old || !modern)
        config = mc_json_put(config, "torch_dtype", json_string(mc_dtype_torch_name(dtype)));
    return config;
}

static mc_status write_json(mc_folder *folder, const char *name, const json_t *value,
                            mc_error *error)
{
    char *const text = json_dumps(value, JSON_INDENT(2) | mc_json_shortest(value));
    if (!text)
        return mc_fail_memory(error);
    mc_text line = {0};
    mc_text_add(&line, "%s\n", text);
    free(text);
    const mc_status status = line.failed
                                 ? mc_fail_memory(error)
                                 : mc_folder_write(folder, name, line.data, line.length, error);
    mc_text_free(&line);
    return status;
}

static mc_status write_config(const mc_plan *plan, mc_folder *folder, mc_error *error)
{
    mc_dtype dtype;
    const json_t *const from = mc_plan_last(plan)->config;
    if (!from)
        return MC_OK;
    json_t *config = json_deep_copy(from);
    if (config && main_dtype(plan, &dtype))
        config = set_dtype(config, dtype);
    if (!config)
        return mc_fail_memory(error);
    const mc_status status = write_json(folder, "config.json", config, error);
    json_decref(config);
    return status;
}

/* ---- tokenizer ---------------------------------------------------------------------------------- */

static mc_status copy_blocks(mc_file *from, int to, const char *name, char *block, mc_error *error)
{
    const int64_t size = mc_file_size(from);
    for (int64_t at = 0; at < size;) {
        const size_t n = size - at < COPY_BLOCK ? (size_t)(size - at) : COPY_BLOCK;
        MC_TRY(mc_file_read(from, at, block, n, error));
        MC_TRY(mc_write_all(to, name, block, n, at, error));
        at += (int64_t)n;
    }
    return MC_OK;
}

static mc_status copy_to(mc_folder *folder, mc_file *from, const char *name, mc_error *error)
{
    char *const block = mc_alloc(COPY_BLOCK);
    const int to = block ? mc_folder_create(folder, name) : -1;
    mc_status status = !block   ? mc_fail_memory(error)
                       : to < 0 ? mc_fail_errno(error, name, "cannot make the file")
                                : copy_blocks(from, to, name, block, error);
    if (status == MC_OK && folder->sync && mc_system->fsync(to) != 0)
        status = mc_fail_errno(error, name, "cannot bring it to the disk");
    if (to >= 0 && mc_system->close(to) != 0 && status == MC_OK)
        status = mc_fail_errno(error, name, "cannot close it");
    mc_free(block);
    return status;
}

static mc_status copy_file(mc_folder *folder, const char *path, const char *name, mc_error *error)
{
    mc_file *from = NULL;
    MC_TRY(mc_file_open(path, &from, error));
    const mc_status status = copy_to(folder, from, name, error);
    mc_file_unref(from);
    return status;
}

static mc_status copy_companions(const mc_plan *plan, mc_folder *folder, mc_error *error)
{
    const char *const from = mc_model_folder(mc_plan_last(plan));
    if (!from)
        return MC_OK;
    DIR *const entries = mc_list_folder(from);
    if (!entries)
        return mc_fail_errno(error, from, "cannot list the folder");
    mc_status status = MC_OK;
    const char *name = NULL;
    while (status == MC_OK && (name = mc_next_entry(entries))) {
        if (!mc_is_companion(name))
            continue;
        char *const path = mc_format("%s/%s", from, name);
        status = path ? copy_file(folder, path, name, error) : mc_fail_memory(error);
        mc_free(path);
    }
    if (status == MC_OK && errno != 0)
        status = mc_fail_errno(error, from, "cannot list the folder");
    closedir(entries);
    return status;
}

/* ---- model card --------------------------------------------------------------------------------- */

/* What it is on the Hub; of a path only the last part, which says enough and tells nothing about somebody's disk. */
static const char *public_name(const mc_model *model)
{
    const char *const name = mc_model_name(model), *const last = strrchr(name, '/');
    if (mc_model_repository(model))
        return mc_model_repository(model);
    return !last || !last[1] ? name : last + 1;
}

static void add_model(mc_text *card, const mc_model *model, const char *role)
{
    mc_text_add(card, "| `%s` | %s", public_name(model), role);
    if (mc_model_commit(model))
        mc_text_add(card, ", commit %s", mc_model_commit(model));
    mc_text_add(card, " |\n");
}

/* As a double-quoted YAML scalar, which JSON's strings are. */
static void add_quoted(mc_text *text, const char *value)
{
    json_t *const string = json_stringn_nocheck(value, strlen(value));
    char *const quoted = string ? json_dumps(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
    mc_text_add(text, "%s", quoted ? quoted : "");
    text->failed = text->failed || !quoted;
    free(quoted);
    json_decref(string);
}

static void add_front_matter(mc_text *card, const mc_plan *plan)
{
    mc_text_add(card, "---\nbase_model:\n");
    const size_t named = plan->model_count + (plan->base != NULL);
    for (size_t i = 0; i < named; i++) {
        mc_text_add(card, "- ");
        add_quoted(card, public_name(plan->models[i]));
        mc_text_add(card, "\n");
    }
    mc_text_add(card, "library_name: transformers\ntags:\n- merge\n- mergecraft\n---\n");
}

static void add_parameters(mc_text *card, const mc_plan *plan)
{
    json_error_t ignored;
    json_t *const parameters = json_loads(plan->parameters, 0, &ignored);
    card->failed = card->failed || !parameters;
    const char *name;
    json_t *value;
    if (json_object_size(parameters) > 0)
        mc_text_add(card, "\n| parameter | value |\n|---|---|\n");
    json_object_foreach(parameters, name, value)
    {
        char *const text = json_dumps(value, JSON_ENCODE_ANY | mc_json_shortest(value));
        mc_text_add(card, "| %s | %s |\n", name, text ? text : "");
        card->failed = card->failed || !text;
        free(text);
    }
    json_decref(parameters);
}

static void add_card(mc_text *card, const mc_plan *plan, const char *title)
{
    add_front_matter(card, plan);
    mc_text_add(card, "\n# %s\n\nMerged with mergecraft %s by the method `%s`", title, mc_version(),
                plan->method->name);
    if (plan->method->help)
        mc_text_add(card, " (%s)", plan->method->help);
    mc_text_add(card, ".\n\n| model | |\n|---|---|\n");
    for (size_t i = 0; i < plan->model_count; i++)
        add_model(card, plan->models[i], "merged");
    if (plan->base)
        add_model(card, plan->base, "base");
    add_parameters(card, plan);
    if (plan->method->paper)
        mc_text_add(card, "\nThe method: %s\n", plan->method->paper);
    mc_text_add(card, "\n`mergecraft.json` has what is needed to do it again.\n");
}

static mc_status write_card(const mc_plan *plan, mc_folder *folder, mc_error *error)
{
    mc_text card = {0};
    const char *const slash = strrchr(folder->target, '/');
    add_card(&card, plan, slash ? slash + 1 : folder->target);
    const mc_status status = card.failed ? mc_fail_memory(error)
                                         : mc_folder_write(folder, "README.md", card.data,
                                                           card.length, error);
    mc_text_free(&card);
    return status;
}

/* ---- provenance --------------------------------------------------------------------------------- */

/* Text that may be no UTF-8, such as a path: what JSON cannot hold becomes "?". */
static json_t *text_json(const char *text)
{
    json_t *const plain = json_string(text);
    if (plain)
        return plain;
    char *const copy = mc_strdup(text);
    for (char *c = copy; c && *c; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    json_t *const replaced = copy ? json_string(copy) : NULL;
    mc_free(copy);
    return replaced;
}

static json_t *model_json(const mc_model *model)
{
    json_t *files = json_array();
    for (size_t i = 0; i < mc_model_file_count(model); i++) {
        const char *const path = mc_model_file(model, i), *const slash = strrchr(path, '/');
        const mc_file_identity identity = mc_file_identity_of(model->checkpoint.files[i]);
        files = mc_json_append(files,
                               json_pack("{s:o, s:I}", "name", text_json(slash ? slash + 1 : path),
                                         "bytes", (json_int_t)identity.size));
    }
    json_t *const object = json_pack("{s:o, s:s, s:o}", "name", text_json(mc_model_name(model)),
                                     "format", mc_model_format(model), "files", files);
    if (object && mc_model_commit(model)) {
        json_object_set_new(object, "repository", text_json(mc_model_repository(model)));
        json_object_set_new(object, "commit", text_json(mc_model_commit(model)));
    }
    return object;
}

static json_t *models_json(const mc_model *const *models, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        list = mc_json_append(list, model_json(models[i]));
    return list;
}

static json_t *lists_json(const mc_plan *plan)
{
    json_t *lists = json_object();
    const mc_model **at = plan->models + plan->model_count + (plan->base != NULL);
    for (size_t k = 0; k < plan->list_count; k++, at += plan->model_count)
        lists = mc_json_put(lists, plan->list_names[k], models_json(at, plan->model_count));
    return lists;
}

/* Where the method came from, if it is not the library's own: the whole text, since nobody else has it. */
static json_t *source_json(const mc_plan *plan)
{
    const char *path = NULL;
    uint64_t hash = 0;
    if (plan->method_origin)
        return json_pack("{s:o, s:o}", "file", text_json(plan->method_origin), "text",
                         plan->method_text ? text_json(plan->method_text) : json_null());
    if (!mc_plugin_origin(plan->method, &path, &hash))
        return json_null();
    char digits[17];
    snprintf(digits, sizeof digits, "%016" PRIx64, hash);
    const char *const text = mc_plugin_text(plan->method);
    return json_pack("{s:o, s:s, s:o}", "file", text_json(path), "hash", digits, "text",
                     text ? text_json(text) : json_null());
}

static json_t *report_json(const mc_report *report)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < mc_report_count(report); i++)
        lines = mc_json_append(lines, text_json(mc_report_line(report, i)));
    return lines;
}

static json_t *passthrough_json(const mc_plan *plan)
{
    json_t *patterns = json_array();
    for (size_t i = 0; i < plan->passthrough_count; i++)
        patterns = mc_json_append(patterns, text_json(plan->passthrough[i]));
    return patterns;
}

static json_t *provenance_json(const mc_plan *plan)
{
    json_error_t ignored;
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:b, s:I, s:o}", "mergecraft",
        mc_version(), "family", plan->method->family ? plan->method->family : "mergecraft",
        "method", plan->method->name, "source", source_json(plan), "parameters",
        json_loads(plan->parameters, 0, &ignored), "models",
        models_json(plan->models, plan->model_count), "base",
        plan->base ? model_json(plan->base) : json_null(), "lists", lists_json(plan), "passthrough",
        passthrough_json(plan), "seed", (json_int_t)plan->outputs.seed, "dtype",
        plan->convert ? json_string(mc_dtype_torch_name(plan->dtype)) : json_null(), "strict",
        plan->strict, "tensors", (json_int_t)plan->outputs.count, "report",
        report_json(plan->report));
}

static mc_status write_provenance(const mc_plan *plan, mc_folder *folder, mc_error *error)
{
    json_t *const provenance = provenance_json(plan);
    if (!provenance)
        return mc_fail_memory(error);
    const mc_status status = write_json(folder, "mergecraft.json", provenance, error);
    json_decref(provenance);
    return status;
}

mc_status mc_package_write(const mc_plan *plan, mc_folder *folder, mc_error *error)
{
    MC_TRY(write_config(plan, folder, error));
    MC_TRY(copy_companions(plan, folder, error));
    MC_TRY(write_card(plan, folder, error));
    return write_provenance(plan, folder, error);
}
