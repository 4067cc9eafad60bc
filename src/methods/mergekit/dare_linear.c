#define TASK_SPARSIFY TASK_RANDOM
#define TASK_CONSENSUS false
#include "methods/mergekit/task.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    return task_check_density(&values[1], model_count, error);
}

MC_LAYER_MERGE(
    dare_linear,
    .help =
        "base plus the weighted sum of the task vectors, elements of which are dropped at random",
    .paper = "Yu et al. 2023, Language models are super Mario, arXiv:2311.03099",
    .scope = MC_ELEMENTWISE, .needs_base = true, .check = check, .note = task_note,
    .statistics = &task_statistics, .scratch_bytes = task_scratch,
    .params = MC_PARAMS(TASK_WEIGHT, TASK_DENSITY, TASK_LAMBDA, TASK_NORMALIZE(0), TASK_RESCALE(1),
                        TASK_INT8_MASK))
{
    return task_apply(layer);
}
