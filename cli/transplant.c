/* mergecraft transplant: gives a model the tokenizer of another one. */
#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "plan_run.h"

#include <mergecraft/transplant.h>

#include <string.h>

typedef struct transplant_settings {
    plan_settings plan;
    const char *method;
    uint64_t neighbours;
} transplant_settings;

#define AT(field_) offsetof(transplant_settings, field_)
static const option options[] = {
    PLAN_OUTPUT_OPTION,
    {"method", 'm', OPTION_TEXT, AT(method), "NAME", "how to approximate rows of missing tokens",
     "omp",
     .details =
         "omp: orthogonal matching pursuit, the token's row in DONOR as a combination of rows of "
         "common tokens, applied to MODEL's rows. common: the mean of the nearest common tokens, "
         "weighted by inverse distance. subword: the mean of the rows of the tokens that MODEL's "
         "tokenizer makes of the text. mean: the mean of all rows. zero: zeros."},
    {"neighbours", 'k', OPTION_NUMBER, AT(neighbours), "N", "common tokens per row (omp, common)",
     "64", 1, INT32_MAX},
    PLAN_RUN_OPTIONS(
        "omp and common also hold the rows of common tokens, and omp up to one byte per pair of "
        "common tokens (docs/vocabularies.md). "),
    COMMON_OPTIONS("The object is that of merge (see mergecraft-merge(1)), with the member "
                   "transplant: donor, method and neighbours."),
    {NULL}};

static mc_status transplant(const transplant_settings *settings, mc_model *const *models,
                            mc_plan **plan, mc_error *error)
{
    const mc_transplant_input input = {.model = models[0],
                                       .donor = models[1],
                                       .method = settings->method,
                                       .neighbours = (int64_t)settings->neighbours,
                                       .threads = (int)settings->plan.threads,
                                       .strict = settings->plan.strict};
    const mc_status status = mc_transplant_plan(&input, plan, error);
    if (status != MC_OK)
        return status;
    return run_plan(&settings->plan, *plan, error);
}

static mc_status check_arguments(const transplant_settings *settings, const text_list *operands,
                                 mc_error *error)
{
    if (operands->count != 2)
        return mc_fail(error, MC_USAGE, "expected a model and a donor, found %zu argument%s",
                       operands->count, plural((int64_t)operands->count));
    return check_plan_output(&settings->plan, error);
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
            failed = open_models(operands.items, 2, &settings.plan.common, false, models, &error);
        if (failed == MC_OK)
            failed = transplant(&settings, models, &plan, &error);
        if (failed != MC_OK)
            status = report_failure(self, &settings.plan.common, &error);
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
