#include "recipe/tokenizer.h"

#include "base/memory.h"
#include "merge/chat_template.h"
#include "merge/token_map.h"
#include "merge/token_map_outfit.h"
#include "merge/vocabulary_check.h"
#include "recipe/coerce.h"

#include <stdio.h>
#include <string.h>

/* What is read, and from what. */
typedef struct reader {
    const mc_recipe_schema *schema;
    const mc_recipe_stage *stage;
    const mc_recipe_models *models;
    mc_token_map_choice *choice;
    mc_token_rule *rules;
    mc_error *error;
} reader;

#define FAIL(reader_, node_, ...)                                                                  \
    mc_yaml_fail((reader_)->error, MC_FORMAT, (reader_)->schema->file, (node_)->line,              \
                 (node_)->column, __VA_ARGS__)

static size_t index_of(const mc_recipe_models *models, const char *text)
{
    size_t i = 0;
    while (i < models->count && strcmp(models->names[i], text) != 0)
        i++;
    return i;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static mc_status read_model(const reader *r, const mc_yaml *node, size_t *out)
{
    mc_reference reference = {0};
    mc_status status = mc_reference_read(r->schema->file, node, &reference, r->error);
    if (status == MC_OK) {
        *out = index_of(r->models, reference.text);
        if (*out == r->models->count)
            status = FAIL(r, node, "expected a model of the merge, found '%s'", reference.text);
    }
    mc_reference_free(&reference);
    return status;
}

static mc_status read_model_token(const reader *r, const mc_yaml *map, mc_token_rule *rule)
{
    const mc_yaml *const model = mc_yaml_get(map, "model");
    const mc_yaml *const token = mc_yaml_get(map, "token"), *const id = mc_yaml_get(map,
                                                                                    "token_id");
    double number = 0;
    if (!model)
        return FAIL(r, map, "expected 'model' with kind 'model_token'");
    MC_TRY(read_model(r, model, &rule->model));
    if (!token == !id)
        return FAIL(r, map, "expected one of 'token' and 'token_id', found %s",
                    token ? "both" : "neither");
    if (id && (!mc_coerce_integer(id, &number) || number < 0))
        return FAIL(r, id, "expected a whole number from 0 as 'token_id'");
    if (token && token->kind >= MC_YAML_LIST)
        return FAIL(r, token, "expected a token, found %s", mc_yaml_kind_text(token->kind));
    rule->kind = token ? MC_TOKEN_OTHER : MC_TOKEN_ROW;
    rule->other = token ? token->text : NULL;
    rule->row = (int64_t)number;
    return MC_OK;
}

static mc_status read_source(const reader *r, const mc_yaml *source, mc_token_rule *rule)
{
    const mc_yaml *const kind = mc_yaml_get(source, "kind");
    if (!source || source->kind == MC_YAML_NULL)
        return MC_OK;
    /* A map without a kind is a model, as {model: {path: …}}. */
    if (source->kind != MC_YAML_MAP || (!kind && mc_yaml_get(source, "model"))) {
        rule->kind = MC_TOKEN_SAME;
        return read_model(r, source, &rule->model);
    }
    if (kind && kind->text && strcmp(kind->text, "zero") == 0) {
        rule->kind = MC_TOKEN_ZERO;
        return MC_OK;
    }
    if (kind && kind->text && strcmp(kind->text, "model_token") == 0)
        return read_model_token(r, source, rule);
    return FAIL(r, kind ? kind : source, "expected kind: zero or kind: model_token");
}

static mc_status read_token(const reader *r, const mc_yaml_pair *pair, mc_token_rule *rule)
{
    const mc_yaml *const force = mc_yaml_get(pair->value, "force");
    double flag = 0;
    *rule = (mc_token_rule){.token = pair->key->text};
    if (pair->value->kind == MC_YAML_NULL)
        return MC_OK;
    if (pair->value->kind != MC_YAML_MAP)
        return FAIL(r, pair->value, "expected a map with 'source' or 'force', found %s",
                    mc_yaml_kind_text(pair->value->kind));
    if (force && !mc_coerce_flag(force, &flag))
        return FAIL(r, force, "expected true or false as 'force'");
    rule->force = flag != 0;
    return read_source(r, mc_yaml_get(pair->value, "source"), rule);
}

/* ---- the option ------------------------------------------------------------------------------ */

static mc_status read_choice(reader *r, const mc_model *donor)
{
    const mc_recipe_tokenizer *const tokenizer = &r->stage->tokenizer;
    const size_t count = tokenizer->tokens ? tokenizer->tokens->count : 0;
    mc_token_map_choice *const c = r->choice;
    c->unite = tokenizer->unite;
    c->target = 0;
    if (tokenizer->model.text)
        c->target = index_of(r->models, tokenizer->model.text);
    else
        /*
         * "base" and "union" take the donor's tokenizer as target: its ids come first in a union.
         */
        while (r->models->models[c->target] != donor)
            c->target++;
    c->outside = c->target >= r->models->read;
    c->pad_to_multiple_of = tokenizer->pad_to_multiple_of;
    r->rules = mc_alloc_zero(count + 1, sizeof *r->rules);
    if (!r->rules)
        return mc_fail_memory(r->error);
    for (size_t i = 0; i < count; i++)
        MC_TRY(read_token(r, &tokenizer->tokens->pairs[i], &r->rules[i]));
    c->rules = r->rules;
    c->rule_count = count;
    return MC_OK;
}

/* Gives an error about vocabularies a line of the recipe, unless it names a file of its own. */
static mc_status at_line(const mc_recipe_schema *schema, const mc_yaml *at, mc_status status,
                         mc_error *error)
{
    return mc_yaml_in_node(error, schema->file, at, status);
}

static mc_status apply(const reader *r, size_t donor, mc_recipe_rows *rows, mc_outfit *outfit,
                       mc_report *report)
{
    mc_token_map *map = NULL;
    MC_TRY(mc_token_map_new(r->choice, &map, report, r->error));
    mc_status status = mc_token_map_outputs(map, &rows->outputs, r->error);
    if (status == MC_OK)
        status = mc_token_map_dress(map, donor, outfit, report, r->error);
    mc_token_map_free(map);
    return status;
}

static mc_tokenizer_owner *owners_of(const mc_recipe_models *models)
{
    mc_tokenizer_owner *const owners = mc_alloc((models->count + 1) * sizeof *owners);
    for (size_t i = 0; owners && i < models->count; i++)
        owners[i] = (mc_tokenizer_owner){models->models[i], models->outfits[i], models->names[i]};
    return owners;
}

mc_status mc_recipe_set_tokenizer(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                  const mc_recipe_models *models, const mc_model *donor,
                                  bool strict, mc_recipe_rows *rows, mc_outfit *outfit,
                                  mc_report *report, mc_error *error)
{
    mc_tokenizer_owner *const owners = owners_of(models);
    mc_token_map_choice choice = {.models = owners,
                                  .count = models->count,
                                  .base = stage->base.text ? index_of(models, stage->base.text)
                                                           : models->count,
                                  .strict = strict};
    reader r = {schema, stage, models, &choice, NULL, error};
    size_t place = 0;
    mc_status status = owners ? MC_OK : mc_fail_memory(error);
    while (models->models[place] != donor)
        place++;
    if (status == MC_OK && !stage->tokenizer.at) {
        status = at_line(schema, stage->at,
                         mc_vocabulary_check(owners, models->count, models->count, place,
                                             &rows->outputs, strict, report, error),
                         error);
    } else if (status == MC_OK) {
        status = read_choice(&r, donor);
        if (status == MC_OK)
            status = at_line(schema, stage->tokenizer.at, apply(&r, place, rows, outfit, report),
                             error);
    }
    mc_free(r.rules);
    mc_free(owners);
    return status;
}

mc_status mc_recipe_set_template(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const mc_recipe_models *models, const mc_model *donor, bool strict,
                                 mc_outfit *outfit, mc_report *report, mc_error *error)
{
    mc_tokenizer_owner *const owners = owners_of(models);
    const mc_chat_template_choice choice = {.text = stage->chat_template->text,
                                            .models = owners,
                                            .count = models->count,
                                            .donor = donor,
                                            .complete = strict,
                                            .strict = strict};
    mc_status status = owners ? mc_chat_template_set(&choice, outfit, report, error)
                              : mc_fail_memory(error);
    mc_free(owners);
    /* A bad template is wrong usage on the command line; here it is an error of the recipe. */
    if (status == MC_USAGE && error)
        error->code = MC_FORMAT;
    return at_line(schema, stage->chat_template, status == MC_USAGE ? MC_FORMAT : status, error);
}
