#include "recipe_run.h"

#include "fetch.h"
#include "output.h"
#include "progress.h"
#include "signals.h"

#include <mergecraft/text.h>

#include <stdlib.h>
#include <sys/stat.h>

static mc_status plan_stage(recipe_run *r, size_t stage, bool headers_only, mc_plan **plan,
                            mc_error *error)
{
    fetch_display display = fetch_begin(r->common);
    const mc_hub_options hub = fetch_options(&display);
    mc_recipe_options options = r->options;
    options.hub = &hub;
    options.headers_only = headers_only;
    options.stage = stage;
    /*
     * A recipe opens its models anew: a plan of the earlier ones must be gone before
     * (mc_recipe_plan).
     */
    mc_plan_free(*plan);
    *plan = NULL;
    const mc_status status = mc_recipe_plan(r->recipe, &options, plan, error);
    fetch_end(&display);
    return status;
}

static bool is_complete(const mc_recipe *recipe)
{
    for (size_t i = 0; i < mc_recipe_model_count(recipe); i++) {
        const mc_model *const model = mc_recipe_opened(recipe, i);
        if (model && !mc_model_is_complete(model))
            return false;
    }
    return true;
}

static void print_warnings(const recipe_run *r, const mc_plan *plan)
{
    const mc_report *const report = mc_plan_report(plan);
    for (size_t i = 0; !r->common->quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
}

static mc_status run_plan(recipe_run *r, const mc_plan *plan, const char *output, mc_error *error)
{
    progress_display display = progress_begin(r->common);
    mc_run_result result = {0};
    r->run.cancel = catch_signals();
    signals_report_folder(output);
    if (display.bar || display.lines) {
        r->run.progress = progress_update;
        r->run.user = &display;
    }
    const mc_status status = mc_plan_run(plan, output, &r->run, &result, error);
    progress_end(&display);
    if (status == MC_OK && !r->common->quiet && !r->common->json) {
        char written[16];
        char *const shown = visible_text(output);
        printf("%s: %zu tensor%s, %s in %.2f s\n", shown, result.tensors,
               plural((int64_t)result.tensors),
               mc_format_bytes(result.bytes_written, written, sizeof written), result.seconds);
        free(shown);
    }
    return status;
}

mc_status recipe_write(recipe_run *r, size_t stage, const char *output, mc_error *error)
{
    mc_plan *plan = NULL;
    /* With headers only, so that errors show before values are downloaded. */
    mc_status status = plan_stage(r, stage, true, &plan, error);
    if (status == MC_OK)
        status = mc_plan_check_target(plan, output, &r->run, error);
    if (status == MC_OK && !is_complete(r->recipe))
        status = plan_stage(r, stage, false, &plan, error);
    if (status == MC_OK) {
        print_warnings(r, plan);
        status = run_plan(r, plan, output, error);
    }
    mc_plan_free(plan);
    return status;
}

static bool exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

static mc_status write_stage(recipe_run *r, size_t index, const char *folder, bool keep,
                             mc_error *error)
{
    char *const path = format_text("%s/%s", folder, mc_recipe_stage_name(r->recipe, index));
    mc_status status = MC_OK;
    if (!keep || !exists(path)) {
        /* Stage 0 is the last document, so documents are counted from 1 here. */
        status = recipe_write(r, index + 1, path, error);
    } else if (!r->common->quiet) {
        char *const text = format_text("%s exists and is not merged again", path);
        say("note", text);
        free(text);
    }
    free(path);
    return status;
}

mc_status recipe_write_stages(recipe_run *r, const char *folder, bool all, bool keep,
                              mc_error *error)
{
    const size_t count = mc_recipe_stage_count(r->recipe);
    /* Documents that follow read the results from there. */
    r->options.stages = folder;
    /* The order is that of mc_recipe_stage_name: a document comes after those that it reads. */
    for (size_t i = 0; i < (all ? count : count - 1); i++) {
        const char *const name = mc_recipe_stage_name(r->recipe, i);
        mc_status status = MC_OK;
        if (name)
            status = write_stage(r, i, folder, keep, error);
        if (status != MC_OK)
            return status;
    }
    return MC_OK;
}
