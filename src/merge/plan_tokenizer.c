#include "merge/plan_tokenizer.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/chat_template.h"
#include "merge/report.h"
#include "merge/token_map_outfit.h"
#include "merge/vocabulary_check.h"
#include "model/model.h"
#include "model/parts.h"

#include <stdlib.h>
#include <string.h>

void mc_plan_tokenizer_free(mc_plan_tokenizer *t)
{
    mc_token_map_free(t->map);
    for (size_t i = 0; t->texts && t->texts[i]; i++)
        mc_free(t->texts[i]);
    mc_free(t->texts);
    mc_free(t->rules);
    mc_free(t->owners);
    *t = (mc_plan_tokenizer){0};
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/*
 * The model whose name the text is, or begins with, followed by ":"; t->count if there is none. The
 * longest name wins: names may contain ":" or begin alike.
 */
static size_t find_model(const mc_plan_tokenizer *t, const char *text, const char **rest)
{
    size_t found = t->count, longest = 0;
    for (size_t i = 0; i < t->count; i++) {
        const char *const name = t->owners[i].name;
        const size_t length = strlen(name);
        if (strncmp(text, name, length) != 0 || length <= longest ||
            (text[length] != '\0' && text[length] != ':'))
            continue;
        found = i;
        longest = length;
        *rest = text[length] ? text + length + 1 : NULL;
    }
    return found;
}

static mc_status read_row(const char *text, mc_token_rule *rule, mc_error *error)
{
    char *end = NULL;
    rule->kind = MC_TOKEN_ROW;
    rule->row = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end)
        return mc_fail(error, MC_USAGE,
                       "token '%s': expected the number of a row after '#', found "
                       "'%s'",
                       rule->token, text);
    return MC_OK;
}

static mc_status read_source(const mc_plan_tokenizer *t, const char *source, mc_token_rule *rule,
                             mc_error *error)
{
    const char *rest = NULL;
    if (strcmp(source, "zero") == 0) {
        rule->kind = MC_TOKEN_ZERO;
        return MC_OK;
    }
    rule->model = find_model(t, source, &rest);
    if (rule->model == t->count)
        return mc_fail(error, MC_USAGE,
                       "token '%s': expected zero, MODEL, MODEL:TOKEN or MODEL:#ROW as its source, "
                       "with one of the models or the base, found '%s'",
                       rule->token, source);
    if (rest && *rest == '#' && rest[1])
        return read_row(rest + 1, rule, error);
    rule->kind = rest ? MC_TOKEN_OTHER : MC_TOKEN_SAME;
    rule->other = rest;
    return MC_OK;
}

/*
 * Cuts ",force" and "=SOURCE" off the end of a text. The last "=" counts, as tokens may contain
 * one.
 */
static mc_status read_token(const mc_plan_tokenizer *t, char *text, mc_token_rule *rule,
                            mc_error *error)
{
    static const char force[] = ",force";
    const size_t length = strlen(text);
    *rule = (mc_token_rule){.token = text, .force = mc_ends_with(text, force)};
    if (rule->force)
        text[length - (sizeof force - 1)] = '\0';
    char *const equals = strrchr(text, '=');
    if (!equals || equals == text)
        return MC_OK;
    *equals = '\0';
    return read_source(t, equals + 1, rule, error);
}

static mc_status read_tokens(mc_plan_tokenizer *t, const mc_plan_input *input, mc_error *error)
{
    t->rules = mc_alloc_zero(input->token_count + 1, sizeof *t->rules);
    t->texts = mc_alloc_zero(input->token_count + 1, sizeof *t->texts);
    if (!t->rules || !t->texts)
        return mc_fail_memory(error);
    for (size_t i = 0; i < input->token_count; i++) {
        t->texts[i] = mc_strdup(input->tokens[i]);
        if (!t->texts[i])
            return mc_fail_memory(error);
        MC_TRY(read_token(t, t->texts[i], &t->rules[i], error));
    }
    return MC_OK;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static mc_status find_target(const mc_plan_tokenizer *t, const mc_plan *plan, const char *text,
                             mc_token_map_choice *choice, mc_error *error)
{
    const char *rest = NULL;
    choice->unite = strcmp(text, "union") == 0;
    choice->target = plan->base ? plan->model_count : t->donor;
    if (choice->unite)
        return MC_OK;
    if (strcmp(text, "base") == 0 && !plan->base)
        return mc_with_hint(error, MC_HINT_BASE,
                            mc_fail(error, MC_USAGE, "the tokenizer 'base' needs a base model"));
    if (strcmp(text, "base") == 0)
        return MC_OK;
    choice->target = find_model(t, text, &rest);
    return choice->target < t->count && !rest
               ? MC_OK
               : mc_fail(error, MC_USAGE,
                         "expected union, base, or one of the models as tokenizer, found '%s'",
                         text);
}

static mc_status check_usage(const mc_plan_input *input, mc_error *error)
{
    if (input->pad_vocabulary < 0)
        return mc_fail(error, MC_USAGE, "expected to pad the vocabulary to a multiple from 1");
    if (!input->tokenizer && (input->token_count > 0 || input->pad_vocabulary > 0))
        return mc_with_hint(error, MC_HINT_TOKENIZER,
                            mc_fail(error, MC_USAGE,
                                    "expected a tokenizer for the tokens or the padding, found "
                                    "none"));
    if (input->tokenizer && input->side_count > 0)
        return mc_fail(error, MC_UNSUPPORTED,
                       "a tokenizer cannot be chosen together with side inputs, whose rows have no "
                       "tokens");
    return MC_OK;
}

mc_status mc_plan_tokenizer_new(const mc_plan *plan, const mc_plan_input *input,
                                mc_plan_tokenizer *t, mc_error *error)
{
    mc_token_map_choice choice = {.strict = plan->strict,
                                  .pad_to_multiple_of = input->pad_vocabulary};
    t->count = plan->model_count + (plan->base != NULL);
    t->donor = (plan->keep ? plan->keep : plan->model_count) - 1;
    t->owners = mc_alloc_zero(t->count, sizeof *t->owners);
    if (!t->owners)
        return mc_fail_memory(error);
    for (size_t i = 0; i < t->count; i++)
        t->owners[i] = (mc_tokenizer_owner){plan->models[i], NULL, mc_model_name(plan->models[i])};
    MC_TRY(check_usage(input, error));
    if (!input->tokenizer)
        return MC_OK;
    MC_TRY(read_tokens(t, input, error));
    MC_TRY(find_target(t, plan, input->tokenizer, &choice, error));
    choice.models = t->owners;
    choice.count = t->count;
    choice.base = plan->base ? plan->model_count : t->count;
    choice.rules = t->rules;
    choice.rule_count = input->token_count;
    return mc_token_map_new(&choice, &t->map, plan->report, error);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static mc_status align_name(const mc_plan_tokenizer *t, mc_alignment *a, const char *name,
                            mc_source **sources, mc_source **made, mc_error *error)
{
    for (size_t i = 0; i < t->count; i++)
        sources[i] = mc_state_dict_find(a->dicts[i], name);
    MC_TRY(mc_token_map_tensors(t->map, name, sources, made, error));
    mc_status status = MC_OK;
    for (size_t i = 0; i < t->count; i++) {
        if (status == MC_OK && made[i] && made[i] != sources[i])
            status = mc_alignment_replace(a, i, name, made[i], error);
        mc_source_unref(made[i]);
    }
    return status;
}

static bool seen_before(const mc_alignment *a, size_t model, const char *name)
{
    for (size_t i = 0; i < model; i++)
        if (mc_state_dict_find(a->dicts[i], name))
            return true;
    return false;
}

static mc_status align_names(const mc_plan_tokenizer *t, mc_alignment *a, mc_source **sources,
                             mc_source **made, mc_error *error)
{
    for (size_t k = 0; k < t->count; k++) {
        /* align_name may replace the dict by one with the same names in the same order. */
        for (size_t i = 0; i < mc_state_dict_count(a->dicts[k]); i++) {
            const char *const name = mc_state_dict_name(a->dicts[k], i);
            if (mc_part_of(NULL, name).vocabulary_axis < 0 || seen_before(a, k, name))
                continue;
            char *const copy = mc_strdup(name);
            const mc_status status = copy ? align_name(t, a, copy, sources, made, error)
                                          : mc_fail_memory(error);
            mc_free(copy);
            MC_TRY(status);
        }
    }
    return MC_OK;
}

mc_status mc_plan_tokenizer_align(const mc_plan_tokenizer *t, mc_alignment *aligned,
                                  mc_error *error)
{
    if (!t->map)
        return MC_OK;
    mc_source **const sources = mc_alloc_zero(t->count, sizeof *sources);
    mc_source **const made = mc_alloc_zero(t->count, sizeof *made);
    const mc_status status = sources && made ? align_names(t, aligned, sources, made, error)
                                             : mc_fail_memory(error);
    mc_free(sources);
    mc_free(made);
    return status;
}

mc_status mc_plan_tokenizer_check(const mc_plan_tokenizer *t, const mc_plan *plan, mc_error *error)
{
    if (t->map)
        return MC_OK;
    return mc_vocabulary_check(t->owners, t->count, plan->model_count, t->donor, &plan->outputs,
                               plan->strict, plan->report, error);
}

/* ---- files ----------------------------------------------------------------------------------- */

/*
 * Reports that the result has no chat template although a model has one: the tokenizer may be that
 * of a base, which rarely has one.
 */
static mc_status report_template(const mc_plan_tokenizer *t, mc_plan *plan, mc_error *error)
{
    bool has = false;
    const mc_tokenizer_owner result = {plan->models[t->donor], &plan->outfit, "the result"};
    MC_TRY(mc_chat_template_exists(&result, &has, error));
    for (size_t i = 0; !has && i < t->count; i++) {
        MC_TRY(mc_chat_template_exists(&t->owners[i], &has, error));
        if (has)
            return mc_report_add(plan->report, error,
                                 "the tokenizer of '%s' has no chat template, but that of '%s' "
                                 "does: the result has none",
                                 t->map->choice.models[t->map->choice.target].name,
                                 t->owners[i].name);
    }
    return MC_OK;
}

/* Records the choice for mergecraft.json: enough to make the same merge again. */
static mc_status record(const mc_plan_input *input, mc_plan *plan, mc_error *error)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < input->token_count; i++)
        tokens = mc_json_append(tokens, mc_json_text(input->tokens[i]));
    json_t *object = mc_json_put(json_object(), "source", mc_json_text(input->tokenizer));
    object = mc_json_put(object, "tokens", tokens);
    object = mc_json_put(object, "pad_vocabulary", json_integer(input->pad_vocabulary));
    object = mc_json_put(object, "chat_template", mc_json_text(input->chat_template));
    plan->tokenizer = object ? mc_json_write(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return plan->tokenizer ? MC_OK : mc_fail_memory(error);
}

mc_status mc_plan_tokenizer_dress(const mc_plan_tokenizer *t, const mc_plan_input *input,
                                  mc_plan *plan, mc_error *error)
{
    if (input->tokenizer || input->chat_template)
        MC_TRY(record(input, plan, error));
    if (t->map)
        MC_TRY(mc_token_map_dress(t->map, t->donor, &plan->outfit, plan->report, error));
    const mc_chat_template_choice choice = {.text = input->chat_template,
                                            .models = t->owners,
                                            .count = t->count,
                                            .donor = plan->models[t->donor],
                                            .complete = true,
                                            .strict = plan->strict};
    if (choice.text)
        return mc_chat_template_set(&choice, &plan->outfit, plan->report, error);
    return t->map ? report_template(t, plan, error) : MC_OK;
}
