#include "recipe/outfit.h"

#include "base/json.h"
#include "base/memory.h"
#include "merge/report.h"
#include "model/model.h"
#include "recipe/template.h"
#include "recipe/vocabulary.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the changes need. */
typedef struct dresser {
    const mc_recipe_schema *schema;
    const mc_recipe_stage *stage;
    const mc_recipe_models *models;
    const mc_recipe_rows *rows;
    const mc_model *donor;
    mc_outfit *outfit;
    mc_report *report;
    mc_error *error;
} dresser;

#define FAIL_AS(dresser_, status_, node_, ...)                                                     \
    mc_yaml_fail((dresser_)->error, (status_), (dresser_)->schema->file, (node_)->line,            \
                 (node_)->column, __VA_ARGS__)

/* ---- depth ------------------------------------------------------------------------------------- */
/* The part of a configuration that is about the blocks. */
static json_t *text_config(json_t *config)
{
    json_t *const inner = json_object_get(config, "text_config");
    return json_is_object(inner) ? inner : config;
}

static const char *depth_key(const json_t *config)
{
    static const char *const keys[] = {"num_hidden_layers", "n_layer", "num_layers", "n_layers"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_is_integer(json_object_get(config, keys[i])))
            return keys[i];
    return NULL;
}

/* The list of that name, with an entry per block, of the model that blocks come from. */
static const json_t *list_of_model(const mc_model *model, const char *key, const json_t *fallback,
                                   int64_t last)
{
    const json_t *const list = json_object_get(text_config(model->config), key);
    return json_is_array(list) && (int64_t)json_array_size(list) > last ? list : fallback;
}

/* A list with an entry per block follows the blocks. */
static mc_status stack_list(const dresser *d, json_t *config, const char *key, const json_t *old)
{
    json_t *const list = json_array();
    bool complete = list != NULL;
    for (size_t s = 0; complete && s < d->rows->stack_count; s++) {
        const mc_recipe_stack *const stack = &d->rows->stacks[s];
        const json_t *const from = list_of_model(stack->model, key, old,
                                                 stack->first + stack->count - 1);
        for (int64_t i = 0; complete && i < stack->count; i++)
            complete = json_array_append(list, json_array_get(from, (size_t)(stack->first + i))) ==
                       0;
    }
    if (!complete || json_object_set_new(config, key, list) != 0) {
        json_decref(complete ? NULL : list);
        return mc_fail_memory(d->error);
    }
    return MC_OK;
}

static mc_status set_depth(const dresser *d)
{
    int64_t depth = 0;
    json_t *const config = d->outfit->config ? text_config(d->outfit->config) : NULL;
    const char *const key = config ? depth_key(config) : NULL;
    for (size_t s = 0; s < d->rows->stack_count; s++)
        depth += d->rows->stacks[s].count;
    if (depth == 0 || !config)
        return MC_OK;
    if (!key)
        return mc_report_add(
            d->report, d->error,
            "config.json has no number of blocks that could follow the %lld blocks",
            (long long)depth);
    const json_int_t before = json_integer_value(json_object_get(config, key));
    json_t *const names = json_object();
    const char *name;
    json_t *value;
    json_object_foreach(config, name, value) if (json_is_array(value) && before > 1 &&
                                                 (json_int_t)json_array_size(value) == before)
        json_object_set(names, name, value);
    mc_status status = MC_OK;
    json_object_foreach(names, name, value) if (status == MC_OK)
        status = stack_list(d, config, name, value);
    json_decref(names);
    MC_TRY(status);
    return json_object_set_new(config, key, json_integer(depth)) == 0 ? MC_OK
                                                                      : mc_fail_memory(d->error);
}

/* ---- tokenizer --------------------------------------------------------------------------------- */
static mc_status check_vocabularies(const dresser *d)
{
    const mc_yaml *const option = d->stage->tokenizer.at;
    for (size_t i = 0; i < d->models->count; i++) {
        bool same = true;
        MC_TRY(mc_same_vocabulary(d->donor, d->models->models[i], &same, d->error));
        if (!same)
            return FAIL_AS(
                d, MC_UNSUPPORTED, option,
                "the vocabularies of '%s' and '%s' differ: uniting them is not supported",
                mc_model_name(d->donor), d->models->names[i]);
    }
    if (d->stage->tokenizer.tokens && d->stage->tokenizer.tokens->count > 0)
        return FAIL_AS(d, MC_UNSUPPORTED, d->stage->tokenizer.tokens,
                       "'tokens' of a tokenizer are not supported");
    if (d->stage->tokenizer.pad_to_multiple_of > 1)
        return FAIL_AS(d, MC_UNSUPPORTED, option, "'pad_to_multiple_of' is not supported");
    return MC_OK;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* The tokenizer files of another model than the donor: their vocabularies are the same. */
static mc_status take_tokenizer(const dresser *d, const mc_model *model)
{
    const char *const folder = mc_model_folder(model);
    for (size_t i = 0; folder && mc_tokenizer_files[i]; i++) {
        char *const path = mc_format("%s/%s", folder, mc_tokenizer_files[i]);
        if (!path)
            return mc_fail_memory(d->error);
        mc_status status = MC_OK;
        if (exists(path))
            status = mc_outfit_copy(d->outfit, mc_tokenizer_files[i], path, d->error);
        else
            mc_outfit_remove(d->outfit, mc_tokenizer_files[i]);
        mc_free(path);
        MC_TRY(status);
    }
    return MC_OK;
}

static mc_status set_tokenizer(const dresser *d)
{
    const mc_recipe_tokenizer *const tokenizer = &d->stage->tokenizer;
    if (!tokenizer->at)
        return MC_OK;
    const char *const source = tokenizer->source ? tokenizer->source : "union";
    const bool of_model = strcmp(source, "union") != 0 && strcmp(source, "base") != 0;
    const mc_model *const model = of_model ? mc_recipe_find(d->models, source) : d->donor;
    if (!model)
        return FAIL_AS(d, MC_UNSUPPORTED, tokenizer->at,
                       "expected \"union\", \"base\" or a model of the merge, found '%s'", source);
    MC_TRY(check_vocabularies(d));
    return model == d->donor ? MC_OK : take_tokenizer(d, model);
}

/* ---- all --------------------------------------------------------------------------------------- */
mc_status mc_recipe_dress(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                          const mc_recipe_models *models, const mc_recipe_rows *rows,
                          const mc_model *donor, mc_outfit *outfit, mc_report *report,
                          mc_error *error)
{
    const dresser d = {schema, stage, models, rows, donor, outfit, report, error};
    MC_TRY(set_depth(&d));
    MC_TRY(set_tokenizer(&d));
    if (stage->chat_template)
        MC_TRY(mc_recipe_set_template(schema, stage, models, outfit, report, error));
    return mc_outfit_put(outfit, "mergekit_config.yml", schema->text, strlen(schema->text), error);
}
