#include "recipe/outfit.h"

#include "base/json.h"
#include "base/memory.h"
#include "merge/report.h"
#include "model/model.h"
#include "recipe/depth.h"
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

/* ---- tokenizer ------------------------------------------------------------------------------- */
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

/* ---- all ------------------------------------------------------------------------------------- */
mc_status mc_recipe_dress(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                          const mc_recipe_models *models, const mc_recipe_rows *rows,
                          const mc_model *donor, mc_outfit *outfit, mc_report *report,
                          mc_error *error)
{
    const dresser d = {schema, stage, models, rows, donor, outfit, report, error};
    MC_TRY(mc_recipe_set_depth(rows, outfit->config, report, error));
    MC_TRY(set_tokenizer(&d));
    if (stage->chat_template)
        MC_TRY(mc_recipe_set_template(schema, stage, models, outfit, report, error));
    return mc_outfit_put(outfit, "mergekit_config.yml", schema->text, strlen(schema->text), error);
}
