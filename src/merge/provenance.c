#include "merge/provenance.h"

#include "base/checksum.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "merge/plugin.h"
#include "merge/report.h"
#include "merge/save.h"
#include "model/model.h"

#include <mergecraft/version.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *model_json(const mc_model *model)
{
    json_t *files = json_array();
    for (size_t i = 0; i < mc_model_file_count(model); i++) {
        const char *const path = mc_model_file(model, i), *const slash = strrchr(path, '/');
        const mc_file_identity identity = mc_file_identity_of(model->checkpoint.files[i]);
        files = mc_json_append(files, json_pack("{s:o, s:I}", "name",
                                                mc_json_text(slash ? slash + 1 : path), "bytes",
                                                (json_int_t)identity.size));
    }
    json_t *const object = json_pack("{s:o, s:s, s:o}", "name", mc_json_text(mc_model_name(model)),
                                     "format", mc_model_format(model), "files", files);
    if (object && mc_model_commit(model)) {
        json_object_set_new(object, "repository", mc_json_text(mc_model_repository(model)));
        json_object_set_new(object, "commit", mc_json_text(mc_model_commit(model)));
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

static json_t *sides_json(const mc_plan *plan)
{
    json_t *sides = json_object();
    const mc_model **at = plan->models + plan->model_count + (plan->base != NULL);
    for (size_t k = 0; k < plan->side_count; k++, at += plan->model_count)
        sides = mc_json_put(sides, plan->side_names[k], models_json(at, plan->model_count));
    return sides;
}

/*
 * Where the method came from, if it is not the library's own: with its whole text, since no one
 * else has it.
 */
static json_t *source_json(const mc_plan *plan)
{
    const char *path = NULL;
    uint64_t hash = 0;
    if (plan->method_origin)
        return json_pack("{s:o, s:o}", "file", mc_json_text(plan->method_origin), "text",
                         plan->method_text ? mc_json_text(plan->method_text) : json_null());
    if (!mc_plugin_origin(plan->method, &path, &hash))
        return json_null();
    char digits[17];
    snprintf(digits, sizeof digits, "%016" PRIx64, hash);
    const char *const text = mc_plugin_text(plan->method);
    return json_pack("{s:o, s:s, s:o}", "file", mc_json_text(path), "hash", digits, "text",
                     text ? mc_json_text(text) : json_null());
}

static json_t *report_json(const mc_report *report)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < mc_report_count(report); i++)
        lines = mc_json_append(lines, mc_json_text(mc_report_line(report, i)));
    return lines;
}

static json_t *texts_json(char *const *texts, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        list = mc_json_append(list, mc_json_text(texts[i]));
    return list;
}

/* A seed above 2^63 − 1 is written as text: integers of the JSON library are signed. */
static json_t *seed_json(uint64_t seed)
{
    char digits[24];
    if (seed <= INT64_MAX)
        return json_integer((json_int_t)seed);
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    return json_string(digits);
}

/* For a plan of one method: what it was called with. */
static json_t *add_method(json_t *object, const mc_plan *plan)
{
    json_error_t ignored;
    const mc_method *const method = plan->method;
    json_t *then = json_array();
    object = mc_json_put(object, "family",
                         json_string(method->family ? method->family : "mergecraft"));
    object = mc_json_put(object, "method", json_string(method->name));
    object = mc_json_put(object, "source", source_json(plan));
    object = mc_json_put(object, "parameters", json_loads(plan->parameters, 0, &ignored));
    object = mc_json_put(object, "passthrough",
                         texts_json(plan->passthrough, plan->passthrough_count));
    for (size_t i = 0; i < plan->then_count; i++)
        then = mc_json_append(then, json_string(plan->then[i]->name));
    object = mc_json_put(object, "then", then);
    object = mc_json_put(object, "matrices", texts_json(plan->matrices, plan->matrix_count));
    if (plan->tokenizer)
        object = mc_json_put(object, "tokenizer", json_loads(plan->tokenizer, 0, &ignored));
    if (plan->exclude_count > 0) {
        object = mc_json_put(object, "exclude", texts_json(plan->exclude, plan->exclude_count));
        object = mc_json_put(object, "keep", mc_json_text(mc_model_name(mc_plan_donor(plan))));
    }
    return object;
}

/* Names of the tensors that were not merged but made by this action. */
static json_t *names_json(const mc_plan *plan, mc_action action)
{
    json_t *names = json_array();
    for (size_t i = 0; i < plan->outputs.count; i++)
        if (plan->outputs.rows[i].action == action)
            names = mc_json_append(names, mc_json_text(plan->outputs.rows[i].name));
    return names;
}

static json_t *add_transplant(json_t *object, const mc_plan *plan)
{
    json_error_t ignored;
    object = mc_json_put(object, "transplant", json_loads(plan->transplant, 0, &ignored));
    return mc_json_put(object, "donor", model_json(plan->models[1]));
}

static json_t *add_decompress(json_t *object, const mc_plan *plan)
{
    json_error_t ignored;
    return mc_json_put(object, "decompress", json_loads(plan->decompress, 0, &ignored));
}

/* The files of the result beside this one. */
static json_t *files_json(const mc_folder *folder)
{
    json_t *files = json_array();
    for (size_t i = 0; i < folder->file_count; i++) {
        const mc_folder_file *const file = &folder->files[i];
        char digits[MC_CHECKSUM_TEXT];
        mc_checksum_text(file->checksum, digits);
        files = mc_json_append(files, json_pack("{s:o, s:I, s:s}", "name", mc_json_text(file->name),
                                                "bytes", (json_int_t)file->size, "xxh64", digits));
    }
    return files;
}

static json_t *provenance_json(const mc_plan *plan, const mc_run_options *options,
                               const mc_folder *folder)
{
    json_t *object = json_pack("{s:s}", "mergecraft", mc_version());
    object = plan->method       ? add_method(object, plan)
             : plan->transplant ? add_transplant(object, plan)
             : plan->decompress ? add_decompress(object, plan)
                                : mc_json_put(object, "recipe", mc_json_text(plan->recipe));
    object = mc_json_put(object, "models", models_json(plan->models, plan->model_count));
    object = mc_json_put(object, "base", plan->base ? model_json(plan->base) : json_null());
    object = mc_json_put(object, "sides", sides_json(plan));
    object = mc_json_put(object, "seed", seed_json(plan->outputs.seed));
    object = mc_json_put(object, "dtype",
                         plan->convert ? json_string(mc_dtype_torch_name(plan->dtype))
                                       : json_null());
    object = mc_json_put(object, "shard_size", json_integer(mc_save_shard_size(options)));
    object = mc_json_put(object, "strict", json_boolean(plan->strict));
    object = mc_json_put(object, "tensors", json_integer((json_int_t)plan->outputs.count));
    object = mc_json_put(object, "averaged", names_json(plan, MC_ACTION_MEAN));
    object = mc_json_put(object, "copied", names_json(plan, MC_ACTION_COPY));
    object = mc_json_put(object, "report", report_json(plan->report));
    if (plan->search) {
        json_error_t ignored;
        object = mc_json_put(object, "search", json_loads(plan->search, 0, &ignored));
    }
    return mc_json_put(object, "files", files_json(folder));
}

mc_status mc_provenance_write(const mc_plan *plan, const mc_run_options *options, mc_folder *folder,
                              mc_error *error)
{
    json_t *const provenance = provenance_json(plan, options, folder);
    if (!provenance)
        return mc_fail_memory(error);
    const mc_status status = mc_folder_write_json(folder, "mergecraft.json", provenance, error);
    json_decref(provenance);
    return status;
}
