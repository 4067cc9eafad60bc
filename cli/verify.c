/* mergecraft verify: compares a result with the checksums in its mergecraft.json. */
#include "output.h"
#include "progress.h"
#include "signals.h"
#include "subcommands.h"

#include <mergecraft/merge.h>
#include <mergecraft/text.h>

#include <stdlib.h>

static const option options[] = {
    COMMON_OPTIONS(
        "The object has folder, files, bytes, damaged and differences, a list of lines."),
    {NULL}};

static json_t *json_lines(const mc_report *report)
{
    json_t *const lines = json_array();
    for (size_t i = 0; i < mc_report_count(report); i++)
        json_array_append_new(lines, json_text(mc_report_line(report, i)));
    return lines;
}

static void print_json_result(const char *folder, const mc_verify_result *result,
                              const mc_report *report)
{
    print_json(json_pack("{s:o, s:I, s:I, s:I, s:o}", "folder", json_text(folder), "files",
                         (json_int_t)result->files, "bytes", (json_int_t)result->bytes, "damaged",
                         (json_int_t)result->damaged, "differences", json_lines(report)));
}

static void print_result(const char *folder, const mc_verify_result *result)
{
    char bytes[16];
    char *const shown = visible_text(folder);
    printf("%s: %zu file%s, %s, as recorded\n", shown, result->files,
           plural((int64_t)result->files), mc_format_bytes(result->bytes, bytes, sizeof bytes));
    free(shown);
}

static mc_status verify_folder(const common_options *common, const char *folder, mc_report *report,
                               mc_error *error)
{
    mc_verify_result result;
    mc_run_options run = MC_RUN_DEFAULT;
    progress_display display = progress_begin(common);
    run.cancel = catch_signals();
    if (display.bar || display.lines) {
        run.progress = progress_update;
        run.user = &display;
    }
    const mc_status status = mc_verify(folder, &run, report, &result, error);
    progress_end(&display);
    if (common->json && status == MC_OK)
        print_json_result(folder, &result, report);
    else if (status == MC_OK && !common->quiet)
        print_result(folder, &result);
    /* Differences are printed also with --quiet: they are the result. */
    for (size_t i = 0; i < mc_report_count(report); i++)
        say("differs", mc_report_line(report, i));
    return status;
}

static mc_status verify(const void *chosen, const text_list *operands, mc_error *error)
{
    const common_options *const common = chosen;
    if (operands->count != 1)
        return mc_fail(error, MC_USAGE,
                       "expected the folder of a merged model, found %zu arguments",
                       operands->count);
    mc_report *report = NULL;
    mc_status status = mc_report_new(&report, error);
    if (status == MC_OK)
        status = verify_folder(common, operands->items[0], report, error);
    mc_report_free(report);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    common_options settings = {0};
    return run_subcommand(self, arguments, &settings, verify);
}

const subcommand subcommand_verify = {
    .name = "verify",
    .arguments = "DIR [options]",
    .help = "Compare a merged model with its checksums.",
    .text = "DIR is a folder that mergecraft merge wrote. Its mergecraft.json records size\n"
            "and checksum (XXH64) of every file.\n",
    .example = "  mergecraft merge soup examples/models/rte-1 examples/models/rte-2 -o merged\n"
               "  mergecraft verify merged\n",
    .options = options,
    .run = run};
