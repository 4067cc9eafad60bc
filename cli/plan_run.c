#include "plan_run.h"

#include "output.h"
#include "progress.h"
#include "signals.h"

#include <mergecraft/text.h>

#include <math.h>
#include <stdlib.h>

mc_status check_plan_output(const plan_settings *settings, mc_error *error)
{
    if (!settings->output && !settings->dry_run)
        return mc_fail(error, MC_USAGE, "expected an output folder: give it with -o DIR");
    if (settings->output && !*settings->output)
        return mc_fail(error, MC_USAGE, "--output: expected a folder, found ''");
    return MC_OK;
}

mc_run_options plan_run_options(const plan_settings *settings)
{
    mc_run_options run = MC_RUN_DEFAULT;
    run.threads = (int)settings->threads;
    run.memory = settings->memory;
    run.shard_size = settings->shard_size;
    run.overwrite = settings->overwrite;
    run.no_sync = settings->no_sync;
    return run;
}

static mc_status print_json_plan(const plan_settings *settings, const mc_plan *plan,
                                 const mc_run_result *result, mc_error *error)
{
    char *text = NULL;
    const mc_status status = mc_plan_json(plan, NULL, &text, error);
    if (status != MC_OK)
        return status;
    json_t *const object = json_of_plan(settings->output, text);
    if (result) {
        json_object_set_new(object, "bytes_written", json_integer(result->bytes_written));
        json_object_set_new(object, "seconds", json_real(round(result->seconds * 1000) / 1000));
    }
    print_json(object);
    return MC_OK;
}

static mc_status print_plan(const plan_settings *settings, const mc_plan *plan, mc_error *error)
{
    static const char *const titles[] = {"TENSOR", "SHAPE"};
    table rows = {.titles = titles, .columns = 2};
    if (settings->common.json)
        return print_json_plan(settings, plan, NULL, error);
    for (size_t i = 0; i < mc_plan_count(plan); i++) {
        mc_plan_line line;
        mc_plan_line_at(plan, i, &line);
        table_add(&rows, "%s", line.name);
        table_add_shape(&rows, (size_t)line.rank, line.shape);
    }
    table_finish(&rows, stdout);
    return MC_OK;
}

static void print_warnings(const plan_settings *settings, const mc_plan *plan, size_t first)
{
    const mc_report *const report = mc_plan_report(plan);
    for (size_t i = first; !settings->common.quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
}

static mc_status write_result(const plan_settings *settings, const mc_plan *plan, mc_error *error)
{
    char bytes[16];
    mc_run_options run = plan_run_options(settings);
    mc_run_result result = {0};
    progress_display display = progress_begin(&settings->common);
    run.cancel = catch_signals();
    signals_report_folder(settings->output);
    if (display.bar || display.lines) {
        run.progress = progress_update;
        run.user = &display;
    }
    const size_t printed = mc_report_count(mc_plan_report(plan));
    const mc_status status = mc_plan_run(plan, settings->output, &run, &result, error);
    progress_end(&display);
    if (status != MC_OK)
        return status;
    print_warnings(settings, plan, printed); /* what only the values show */
    if (settings->common.json)
        return print_json_plan(settings, plan, &result, error);
    if (settings->common.quiet)
        return MC_OK;
    char *const folder = visible_text(settings->output);
    printf("%s: %zu tensor%s, %s in %.2f s\n", folder, result.tensors,
           plural((int64_t)result.tensors),
           mc_format_bytes(result.bytes_written + result.bytes_resumed, bytes, sizeof bytes),
           result.seconds);
    free(folder);
    return MC_OK;
}

mc_status run_plan(const plan_settings *settings, const mc_plan *plan, mc_error *error)
{
    print_warnings(settings, plan, 0);
    return settings->dry_run ? print_plan(settings, plan, error)
                             : write_result(settings, plan, error);
}
