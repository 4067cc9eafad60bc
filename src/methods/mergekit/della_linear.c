#define TASK_SPARSIFY TASK_RANKED
#define TASK_CONSENSUS false
#include "methods/mergekit/task.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    return task_check_epsilon(&values[1], &values[2], model_count, error);
}

MC_LAYER_MERGE(
    della_linear,
    .help =
        "drops elements of the task vectors at random, small ones more often, and sums up the rest",
    .paper = "Deep et al. 2024, DELLA-Merging, arXiv:2406.11617", .scope = MC_ROW,
    .needs_base = true, .check = check, .note = task_note, .statistics = &task_statistics,
    .scratch_bytes = task_scratch,
    .params = MC_PARAMS(TASK_WEIGHT, TASK_DENSITY, TASK_EPSILON, TASK_LAMBDA, TASK_NORMALIZE(0),
                        TASK_RESCALE(1), TASK_INT8_MASK))
{
    return task_apply(layer);
}
