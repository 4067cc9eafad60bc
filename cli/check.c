/* mergecraft check: finds the mistakes of a recipe without reading values. */
#include "fetch.h"
#include "output.h"

#include <mergecraft/recipe.h>
#include <mergecraft/text.h>

#include <stdlib.h>

typedef struct check_settings {
    common_options common;
    char *output;
    bool strict;
} check_settings;

static const option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(check_settings, output), "DIR",
     "also check that DIR is new and its disk has room"},
    {"strict", '\0', OPTION_FLAG, offsetof(check_settings, strict), NULL,
     "treat warnings as errors"},
    COMMON_OPTIONS("The object has models, warnings, tensors, bytes_read, bytes_written and "
                   "memory."),
    {NULL}};

static json_t *json_models(const mc_recipe *recipe)
{
    json_t *const names = json_array();
    for (size_t i = 0; i < mc_recipe_model_count(recipe); i++)
        json_array_append_new(names, json_text(mc_recipe_model(recipe, i)));
    return names;
}

static void print_checked_json(const mc_recipe *recipe, const mc_plan *plan)
{
    const mc_report *const report = mc_plan_report(plan);
    json_t *const warnings = json_array();
    int64_t read, written, memory;
    mc_plan_bytes(plan, NULL, &read, &written, &memory);
    for (size_t i = 0; i < mc_report_count(report); i++)
        json_array_append_new(warnings, json_text(mc_report_line(report, i)));
    print_json(json_pack("{s:o, s:o, s:I, s:I, s:I, s:I}", "models", json_models(recipe),
                         "warnings", warnings, "tensors", (json_int_t)mc_plan_count(plan),
                         "bytes_read", (json_int_t)read, "bytes_written", (json_int_t)written,
                         "memory", (json_int_t)memory));
}

static void print_checked(const char *name, const mc_plan *plan)
{
    char read_text[16], written_text[16], memory_text[16];
    int64_t read, written, memory;
    char *const shown = visible_text(name);
    mc_plan_bytes(plan, NULL, &read, &written, &memory);
    printf("%s: %zu tensor%s; reads %s, writes %s, needs at most %s of memory\n", shown,
           mc_plan_count(plan), plural((int64_t)mc_plan_count(plan)),
           mc_format_bytes(read, read_text, sizeof read_text),
           mc_format_bytes(written, written_text, sizeof written_text),
           mc_format_bytes(memory, memory_text, sizeof memory_text));
    free(shown);
}

static mc_status check(const check_settings *settings, const char *name, mc_error *error)
{
    mc_recipe *recipe = NULL;
    mc_plan *plan = NULL;
    fetch_display display = fetch_begin(&settings->common);
    const mc_hub_options hub = fetch_options(&display);
    /* Of models on the Hub only headers are fetched: a check takes seconds and needs no space. */
    const mc_recipe_options chosen = {
        .hub = &hub, .headers_only = true, .strict = settings->strict};
    mc_status status = mc_recipe_open(name, &recipe, error);
    if (status == MC_OK)
        status = mc_recipe_plan(recipe, &chosen, &plan, error);
    fetch_end(&display);
    if (status == MC_OK && settings->output)
        status = mc_plan_check_target(plan, settings->output, NULL, error);
    /* With --json, too, warnings go to standard error: standard output holds one object. */
    const mc_report *const report = plan ? mc_plan_report(plan) : NULL;
    for (size_t i = 0; report && !settings->common.quiet && i < mc_report_count(report); i++)
        say("warning", mc_report_line(report, i));
    if (status == MC_OK && settings->common.json)
        print_checked_json(recipe, plan);
    else if (status == MC_OK && !settings->common.quiet)
        print_checked(name, plan);
    mc_plan_free(plan);
    mc_recipe_close(recipe);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    check_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    if (parse_options(self, arguments, &settings, &operands, &status)) {
        mc_error error = MC_ERROR_NONE;
        mc_status checked = operands.count == 1
                                ? check(&settings, operands.items[0], &error)
                                : mc_fail(&error, MC_USAGE, "expected one recipe, found %zu",
                                          operands.count);
        if (checked != MC_OK)
            status = report_failure(self, &settings.common, &error);
    }
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_check = {
    .name = "check",
    .arguments = "RECIPE.yml [options]",
    .help = "Check a recipe.",
    .text = "Compares names, shapes, dtypes, parameters, block ranges, vocabularies, chat\n"
            "templates, special tokens and licences, and writes nothing. Reads only\n"
            "headers, configurations and tokenizers; of models on the Hub, only these are\n"
            "downloaded.\n",
    .example = "  mergecraft check examples/ties.yml\n",
    .options = options,
    .run = run};
