/* mergecraft decompress: rebuilds the model of one task from a merge with emr. */
#include "lookup.h"
#include "output.h"
#include "plan_run.h"
#include "subcommands.h"

#include <mergecraft/decompress.h>

typedef struct decompress_settings {
    plan_settings plan;
    const char *base;
} decompress_settings;

#define AT(field_) offsetof(decompress_settings, field_)
static const option options[] = {
    PLAN_OUTPUT_OPTION,
    {"base", 'b', OPTION_TEXT, AT(base), "MODEL", "base of the merge", "as in the merge",
     .details = "Its tensors are compared with those that were merged."},
    PLAN_RUN_OPTIONS(""),
    COMMON_OPTIONS("The object is that of merge (see mergecraft-merge(1)), with the member "
                   "decompress: task, model and rescaler."),
    {NULL}};

/* What must stay open until the plan is freed. */
typedef struct opened {
    mc_model *merged, *base;
    mc_task_masks *masks;
    mc_plan *plan;
} opened;

static mc_status open_base(const decompress_settings *settings, opened *o, mc_error *error)
{
    const char *const name = settings->base ? settings->base : mc_task_masks_base(o->masks);
    const mc_status status = open_models(&name, 1, &settings->plan.common, false, &o->base, error);
    if (status != MC_NOT_FOUND || settings->base)
        return status;
    return mc_fail(error, status,
                   "expected the base of the merge, '%s', found no such model: give it with "
                   "--base MODEL",
                   name);
}

static mc_status decompress(const decompress_settings *settings, const text_list *operands,
                            opened *o, mc_error *error)
{
    if (operands->count != 2)
        return mc_fail(error, MC_USAGE, "expected a merged model and a task, found %zu argument%s",
                       operands->count, plural((int64_t)operands->count));
    mc_status status = check_plan_output(&settings->plan, error);
    if (status == MC_OK)
        status = open_models(operands->items, 1, &settings->plan.common, false, &o->merged, error);
    if (status == MC_OK)
        status = mc_task_masks_open(o->merged, &o->masks, error);
    if (status == MC_OK)
        status = open_base(settings, o, error);
    const mc_decompress_input input = {.merged = o->merged,
                                       .base = o->base,
                                       .masks = o->masks,
                                       .task = operands->items[1],
                                       .threads = (int)settings->plan.threads,
                                       .strict = settings->plan.strict};
    if (status == MC_OK)
        status = mc_decompress_plan(&input, &o->plan, error);
    return status == MC_OK ? run_plan(&settings->plan, o->plan, error) : status;
}

static mc_status work(const void *settings, const text_list *operands, mc_error *error)
{
    opened o = {0};
    const mc_status status = decompress(settings, operands, &o, error);
    mc_plan_free(o.plan);
    mc_task_masks_close(o.masks);
    mc_model_close(o.base);
    mc_model_close(o.merged);
    return status;
}

static int run(const subcommand *self, const char *const *arguments)
{
    decompress_settings settings = {0};
    return run_subcommand(self, arguments, &settings, work);
}

const subcommand subcommand_decompress = {
    .name = "decompress",
    .arguments = "MERGED TASK -o DIR [options]",
    .help = "Rebuild the model of one task from a merge with emr.",
    .text = "MERGED is the folder of a merge with emr: one model for all tasks, and a bit per\n"
            "element and task in task_masks.safetensors. TASK is a number from 1, or the name\n"
            "of the model that was merged. An interrupted run resumes when you run the same\n"
            "command again.\n",
    .example = "  mergecraft merge emr examples/bench/entailment-1 examples/bench/sentiment-1 \\\n"
               "      --base examples/models/base -o merged\n"
               "  mergecraft decompress merged sentiment-1 -o sentiment\n",
    .options = options,
    .run = run};
