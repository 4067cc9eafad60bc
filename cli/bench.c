/* mergecraft bench: compares merge methods on a suite of tasks. */
#include "fetch.h"
#include "output.h"
#include "signals.h"

#include <mergecraft/bench.h>

#include <stdlib.h>

typedef struct bench_settings {
    common_options common;
    const char *output;
    int64_t memory;
    uint64_t threads;
    bool strict;
} bench_settings;

#define AT(field_) offsetof(bench_settings, field_)
static const option options[] = {
    {"output", 'o', OPTION_TEXT, AT(output), "DIR", "results folder",
     .details = "Receives table.md, table.csv, results.json, and results.jsonl with one line per "
                "finished merge, from which the same command resumes. Without this option nothing "
                "is written."},
    {"strict", '\0', OPTION_FLAG, AT(strict), NULL, "treat warnings as errors",
     .details = "Also those of merges that results.jsonl holds."},
    {"memory", '\0', OPTION_SIZE, AT(memory), "SIZE", "memory for tiles", "64MiB",
     .details = MEMORY_DETAILS},
    {"threads", '\0', OPTION_NUMBER, AT(threads), "N", "worker threads", "all CPUs", 1, 1024,
     .details = "The result does not depend on it."},
    COMMON_OPTIONS("The object has tasks, metrics, seeds, validation and methods."),
    {NULL}};

static void say_step(size_t done, size_t total, const char *what, void *user)
{
    const common_options *const common = user;
    if (common->quiet)
        return;
    /* `done` merges are complete, so the one that begins now has the next number. */
    char *const text = format_text("%zu of %zu: %s", done + 1, total, what);
    say("merge", text);
    free(text);
}

static void say_warning(const char *what, const char *parameters, const char *text, void *user)
{
    const common_options *const common = user;
    if (common->quiet)
        return;
    char *const line = format_text("%s%s%s: %s", what, parameters ? " " : "",
                                   parameters ? parameters : "", text);
    say("warning", line);
    free(line);
}

static mc_status print_result(const bench_settings *settings, const mc_bench_result *result,
                              mc_error *error)
{
    char *text = NULL;
    mc_status status = settings->common.json ? mc_bench_json(result, &text, error)
                                             : mc_bench_markdown(result, &text, error);
    if (status == MC_OK)
        fputs(text, stdout);
    mc_bench_free_text(text);
    if (status == MC_OK && settings->output)
        status = mc_bench_write(result, settings->output, error);
    return status;
}

static mc_status bench(const bench_settings *settings, const char *path, mc_error *error)
{
    mc_suite *suite = NULL;
    mc_bench_result *result = NULL;
    fetch_display display = fetch_begin(&settings->common);
    const mc_hub_options hub = fetch_options(&display);
    /* `user` loses const, since the library takes any pointer; both only read. */
    const mc_bench_options run = {.folder = settings->output,
                                  .threads = (int)settings->threads,
                                  .memory = settings->memory,
                                  .cancel = catch_signals(),
                                  .hub = &hub,
                                  .progress = say_step,
                                  .warning = say_warning,
                                  .strict = settings->strict,
                                  .user = (void *)(uintptr_t)&settings->common};
    mc_status status = mc_suite_open(path, &suite, error);
    if (status == MC_OK)
        status = mc_bench_run(suite, &run, &result, error);
    /* Before anything is printed: a bar may still be drawn. */
    fetch_end(&display);
    if (status == MC_OK)
        status = print_result(settings, result, error);
    mc_bench_free(result);
    mc_suite_close(suite);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    bench_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        const mc_status done = operands.count == 1
                                   ? bench(&settings, operands.items[0], &error)
                                   : mc_fail(&error, MC_USAGE, "expected one suite file, found %zu",
                                             operands.count);
        if (done != MC_OK)
            status = report_failure(self, &settings.common, &error);
    }
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_bench = {
    .name = "bench",
    .arguments = "SUITE.yml [options]",
    .help = "Compare merge methods on several tasks.",
    .text = "SUITE.yml names a base, models with their tasks, and methods with grids of\n"
            "parameters. One encoder is merged per method and grid point; every task is\n"
            "scored with its own model's head. Parameters are chosen on a validation part\n"
            "of the data, and scores are those on the rest.\n",
    .example = "  mergecraft bench examples/bench/small.yml -o bench-results\n",
    .options = options,
    .run = run};
