/* mergecraft transplant: gives a model the tokenizer of another one. */
#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "progress.h"
#include "signals.h"

#include <mergecraft/text.h>
#include <mergecraft/transplant.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct transplant_settings {
    common_options common;
    const char *output, *method;
    int64_t memory, shard_size;
    uint64_t neighbours, threads;
    bool strict, dry_run, overwrite, no_sync;
} transplant_settings;

#define AT(field_) offsetof(transplant_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(output), "DIR", "output folder",
     .details = "Required unless --dry-run is given."},
    {"method", 'm', OPTION_TEXT, AT(method), "NAME", "how to approximate rows of missing tokens",
     "omp",
     .details =
         "omp: orthogonal matching pursuit, the token's row in DONOR as a combination of rows of "
         "common tokens, applied to MODEL's rows. common: the mean of the nearest common tokens, "
         "weighted by inverse distance. subword: the mean of the rows of the tokens that MODEL's "
         "tokenizer makes of the text. mean: the mean of all rows. zero: zeros."},
    {"neighbours", 'k', OPTION_NUMBER, AT(neighbours), "N", "common tokens per row (omp, common)",
     "64", 1, INT32_MAX},
    {"shard-size", '\0', OPTION_SIZE, AT(shard_size), "SIZE", "largest size of a weights file",
     "5GB"},
    {"strict", '\0', OPTION_FLAG, AT(strict), NULL, "treat warnings as errors"},
    {"dry-run", '\0', OPTION_FLAG, AT(dry_run), NULL, "print the plan and write nothing"},
    {"overwrite", '\0', OPTION_FLAG, AT(overwrite), NULL, "replace an existing output folder"},
    {"no-sync", '\0', OPTION_FLAG, AT(no_sync), NULL, "do not flush the result to disk"},
    {"memory", '\0', OPTION_SIZE, AT(memory), "SIZE", "memory for tiles", "64MiB",
     .details = "omp and common also hold the rows of common tokens, and omp up to one byte per "
                "pair of common tokens (docs/vocabularies.md). The result does not depend "
                "on it."},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object is that of merge (see mergecraft-merge(1)), with the member "
                   "transplant: donor, method and neighbours."),
    {NULL}};

static mc_run_options run_options(const transplant_settings *settings)
{
    mc_run_options run = MC_RUN_DEFAULT;
    run.threads = (int)settings->threads;
    run.memory = settings->memory;
    run.shard_size = settings->shard_size;
    run.overwrite = settings->overwrite;
    run.no_sync = settings->no_sync;
    return run;
}

static mc_status print_json_plan(const transplant_settings *settings, const mc_plan *plan,
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

static mc_status print_plan(const transplant_settings *settings, const mc_plan *plan,
                            mc_error *error)
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

static mc_status write_result(const transplant_settings *settings, const mc_plan *plan,
                              mc_error *error)
{
    char bytes[16];
    mc_run_options run = run_options(settings);
    mc_run_result result = {0};
    progress_display display = progress_begin(&settings->common);
    run.cancel = catch_signals();
    signals_report_folder(settings->output);
    if (display.bar || display.lines) {
        run.progress = progress_update;
        run.user = &display;
    }
    const mc_status status = mc_plan_run(plan, settings->output, &run, &result, error);
    progress_end(&display);
    if (status != MC_OK || settings->common.json)
        return status == MC_OK ? print_json_plan(settings, plan, &result, error) : status;
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

static mc_status transplant(const transplant_settings *settings, mc_model *const *models,
                            mc_plan **plan, mc_error *error)
{
    const mc_transplant_input input = {.model = models[0],
                                       .donor = models[1],
                                       .method = settings->method,
                                       .neighbours = (int64_t)settings->neighbours,
                                       .threads = (int)settings->threads,
                                       .strict = settings->strict};
    const mc_status status = mc_transplant_plan(&input, plan, error);
    if (status != MC_OK)
        return status;
    const mc_report *const report = mc_plan_report(*plan);
    for (size_t i = 0; !settings->common.quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
    return settings->dry_run ? print_plan(settings, *plan, error)
                             : write_result(settings, *plan, error);
}

static mc_status check_arguments(const transplant_settings *settings, const text_list *operands,
                                 mc_error *error)
{
    if (operands->count != 2)
        return mc_fail(error, MC_USAGE, "expected a model and a donor, found %zu argument%s",
                       operands->count, plural((int64_t)operands->count));
    if (!settings->output && !settings->dry_run)
        return mc_fail(error, MC_USAGE, "expected an output folder: give it with -o DIR");
    if (settings->output && !*settings->output)
        return mc_fail(error, MC_USAGE, "--output: expected a folder, found ''");
    return MC_OK;
}

static int run(const subcommand *self, const char *const *arguments)
{
    transplant_settings settings = {0};
    text_list operands = {0};
    mc_model *models[2] = {0};
    mc_plan *plan = NULL;
    int status = EXIT_DONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        mc_error error = MC_ERROR_NONE;
        mc_status failed = check_arguments(&settings, &operands, &error);
        if (failed == MC_OK)
            failed = open_models(operands.items, 2, &settings.common, false, models, &error);
        if (failed == MC_OK)
            failed = transplant(&settings, models, &plan, &error);
        if (failed != MC_OK)
            status = report_failure(self, &settings.common, &error);
    }
    mc_plan_free(plan);
    mc_model_close(models[0]);
    mc_model_close(models[1]);
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_transplant = {
    .name = "transplant",
    .arguments = "MODEL DONOR -o DIR [options]",
    .help = "Give a model the tokenizer of another one.",
    .text = "The result has the weights of MODEL and the tokenizer of DONOR. Rows of tokens\n"
            "that both have are those of MODEL; the others are approximated. An interrupted\n"
            "run resumes when you run the same command again.\n",
    .example = "  mergecraft transplant examples/models/rte-1 examples/models/rte-2 \\\n"
               "      -o merged\n",
    .options = options,
    .run = run};
