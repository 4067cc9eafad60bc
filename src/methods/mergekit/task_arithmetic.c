#define TASK_SPARSIFY TASK_NONE
#define TASK_CONSENSUS false
#include "methods/mergekit/task.h"

MC_LAYER_MERGE(
    task_arithmetic, .help = "base plus the weighted sum of the task vectors",
    .paper = "Ilharco et al. 2023, Editing models with task arithmetic, arXiv:2212.04089",
    .scope = MC_ELEMENTWISE, .needs_base = true, .scratch_bytes = task_scratch,
    .params = MC_PARAMS(TASK_WEIGHT, TASK_LAMBDA, TASK_NORMALIZE(0), TASK_INT8_MASK))
{
    return task_apply(layer);
}
