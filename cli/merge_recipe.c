/* mergecraft merge: recipes. */
#include "fetch.h"
#include "merge.h"
#include "recipe_run.h"

#include <string.h>

bool merge_is_recipe(const char *name)
{
    const size_t length = strlen(name);
    return (length > 4 && strcmp(name + length - 4, ".yml") == 0) ||
           (length > 5 && strcmp(name + length - 5, ".yaml") == 0);
}

/* A recipe names what is merged and how. */
static mc_status check_recipe_arguments(const merge_settings *settings, const text_list *operands,
                                        mc_error *error)
{
    mc_dtype ignored;
    /*
     * The options that change how tensors are made belong into the recipe, which is recorded with
     * the result.
     */
    const char *const ignored_option = settings->base                ? "base"
                                       : settings->params.count      ? "param"
                                       : settings->passthrough.count ? "passthrough"
                                       : settings->sides.count       ? "side"
                                       : settings->tokenizer         ? "tokenizer"
                                       : settings->tokens.count      ? "token"
                                       : settings->pad_vocabulary    ? "pad-vocab"
                                       : settings->chat_template     ? "chat-template"
                                                                     : NULL;
    if (operands->count > 1)
        return mc_fail(error, MC_USAGE, "expected no models after the recipe '%s', found '%s'",
                       operands->items[0], operands->items[1]);
    if (ignored_option)
        return mc_fail(error, MC_USAGE, "--%s does not apply to a recipe: write it in '%s'",
                       ignored_option, operands->items[0]);
    if (!settings->output && !settings->dry_run && !settings->score.task)
        return mc_fail(error, MC_USAGE, "expected an output folder: give it with -o DIR");
    return settings->dtype ? merge_parse_dtype(settings->dtype, &ignored, error) : MC_OK;
}

static mc_status plan_recipe(merge_job *job, bool headers_only, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    fetch_display display = fetch_begin(&settings->common);
    const mc_hub_options hub = fetch_options(&display);
    mc_recipe_options chosen = {.hub = &hub,
                                .headers_only = headers_only,
                                .seed = settings->seed,
                                .strict = settings->strict,
                                .stages = settings->stages,
                                .convert = settings->dtype != NULL};
    mc_status status = settings->dtype ? merge_parse_dtype(settings->dtype, &chosen.dtype, error)
                                       : MC_OK;
    /* Planned twice if models are on the Hub: with headers, then with values. */
    mc_plan_free(job->plan);
    job->plan = NULL;
    if (status == MC_OK)
        status = mc_recipe_plan(job->recipe, &chosen, &job->plan, error);
    fetch_end(&display);
    return status;
}

/* Intermediate results that the user wants to keep come first; the result then reads them. */
static mc_status write_stages(merge_job *job, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    recipe_run r = {.common = &settings->common,
                    .recipe = job->recipe,
                    .options = {.seed = settings->seed, .strict = settings->strict},
                    .run = merge_run_options(settings)};
    return recipe_write_stages(&r, settings->stages, false, false, error);
}

static void name_recipe_models(merge_job *job)
{
    for (size_t i = 0; i < mc_recipe_model_count(job->recipe); i++) {
        const char *const name = mc_recipe_model(job->recipe, i);
        merge_add_name(job, name, strlen(name));
    }
    job->model_count = job->name_count = job->all.count;
    job->all.count = 0;
}

mc_status merge_prepare_recipe(merge_job *job, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = job->settings;
    const mc_run_options run = merge_run_options(settings);
    mc_status status = check_recipe_arguments(settings, operands, error);
    if (status == MC_OK)
        status = mc_recipe_open(operands->items[0], &job->recipe, error);
    if (status == MC_OK && settings->score.task)
        status = score_prepare(&settings->score, &settings->common, &job->score, error);
    if (status == MC_OK && settings->stages && !settings->dry_run)
        status = write_stages(job, error);
    if (status == MC_OK) {
        name_recipe_models(job);
        status = plan_recipe(job, true, error);
    }
    if (status == MC_OK && settings->output)
        status = mc_plan_check_target(job->plan, settings->output, &run, error);
    if (status == MC_OK && !settings->dry_run && !merge_is_complete(job))
        status = plan_recipe(job, false, error);
    return status;
}
