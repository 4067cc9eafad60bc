#include "recipe/conflicts.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/chat_template.h"
#include "merge/report.h"

#include <string.h>

static const char *const special_tokens[] = {"bos_token", "eos_token", "pad_token"};

enum { SPECIAL_TOKENS = sizeof special_tokens / sizeof *special_tokens };

/* What is compared; NULL where a model has none. */
typedef struct manners {
    char *template, *tokens[SPECIAL_TOKENS];
} manners;

static void free_manners(manners *m)
{
    mc_free(m->template);
    for (size_t i = 0; i < SPECIAL_TOKENS; i++)
        mc_free(m->tokens[i]);
}

/* A token is a text, or a map with its content. */
static mc_status take_tokens(const json_t *config, manners *out, mc_error *error)
{
    for (size_t i = 0; i < SPECIAL_TOKENS; i++) {
        const json_t *const value = json_object_get(config, special_tokens[i]);
        const json_t *const content = json_object_get(value, "content");
        const char *const text = json_string_value(content ? content : value);
        if (text && !out->tokens[i] && !(out->tokens[i] = mc_strdup(text)))
            return mc_fail_memory(error);
    }
    return MC_OK;
}

static mc_status read_tokens(const mc_tokenizer_owner *model, const char *name, manners *out,
                             mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    json_t *config = NULL;
    MC_TRY(mc_tokenizer_text(model, name, &text, &size, error));
    mc_status status = text ? mc_json_parse(text, size, &config, error) : MC_OK;
    if (status == MC_OK && config)
        status = take_tokens(config, out, error);
    json_decref(config);
    mc_free(text);
    return mc_in_file(error, name, status);
}

static mc_status read_manners(const mc_tokenizer_owner *model, manners *out, mc_error *error)
{
    MC_TRY(mc_chat_template_of(model, &out->template, error));
    MC_TRY(read_tokens(model, "tokenizer_config.json", out, error));
    return read_tokens(model, "special_tokens_map.json", out, error);
}

static mc_status tell(bool strict, const char *text, mc_report *report, mc_error *error)
{
    return strict ? mc_fail(error, MC_MISMATCH, "%s", text)
                  : mc_report_add(report, error, "%s", text);
}

static bool differ(const char *a, const char *b)
{
    return a != b && (!a || !b || strcmp(a, b) != 0);
}

/* "the chat template of the result differs from that of 'm1' and 'm2'" */
static mc_status compare_templates(const manners *result, const manners *all,
                                   const mc_recipe_models *models, bool strict, mc_report *report,
                                   mc_error *error)
{
    mc_text text = {0};
    for (size_t i = 0; i < models->count; i++)
        if (all[i].template && differ(all[i].template, result->template))
            mc_text_add(&text, "%s'%s'", text.length > 0 ? ", " : "", models->names[i]);
    mc_status status = text.failed ? mc_fail_memory(error) : MC_OK;
    if (status == MC_OK && text.length > 0) {
        char *const line = mc_format("%s %s; chat_template: auto takes the most frequent one",
                                     result->template ? "the result has another chat template than"
                                                      : "the result has no chat template, unlike",
                                     text.data);
        status = line ? tell(strict, line, report, error) : mc_fail_memory(error);
        mc_free(line);
    }
    mc_text_free(&text);
    return status;
}

static mc_status compare_tokens(const manners *result, const manners *one, const char *name,
                                bool strict, mc_report *report, mc_error *error)
{
    for (size_t i = 0; i < SPECIAL_TOKENS; i++) {
        if (!result->tokens[i] || !one->tokens[i] || !differ(result->tokens[i], one->tokens[i]))
            continue;
        char *const line = mc_format("%s is '%s' in the result and '%s' in '%s'", special_tokens[i],
                                     result->tokens[i], one->tokens[i], name);
        const mc_status status = line ? tell(strict, line, report, error) : mc_fail_memory(error);
        mc_free(line);
        MC_TRY(status);
    }
    return MC_OK;
}

static mc_status compare(const manners *result, const manners *all, const mc_recipe_stage *stage,
                         const mc_recipe_models *models, bool strict, mc_report *report,
                         mc_error *error)
{
    if (!stage->chat_template)
        MC_TRY(compare_templates(result, all, models, strict, report, error));
    for (size_t i = 0; i < models->count; i++)
        MC_TRY(compare_tokens(result, &all[i], models->names[i], strict, report, error));
    return MC_OK;
}

mc_status mc_recipe_report_conflicts(const mc_recipe_stage *stage, const mc_recipe_models *models,
                                     const mc_model *donor, bool strict, const mc_outfit *outfit,
                                     mc_report *report, mc_error *error)
{
    const mc_tokenizer_owner merged = {donor, outfit, "the result"};
    manners result = {0}, *const all = mc_alloc_zero(models->count + 1, sizeof *all);
    mc_status status = all ? read_manners(&merged, &result, error) : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < models->count; i++) {
        const mc_tokenizer_owner model = {models->models[i], models->outfits[i], models->names[i]};
        status = read_manners(&model, &all[i], error);
    }
    if (status == MC_OK)
        status = compare(&result, all, stage, models, strict, report, error);
    for (size_t i = 0; all && i < models->count; i++)
        free_manners(&all[i]);
    free_manners(&result);
    mc_free(all);
    return status;
}
