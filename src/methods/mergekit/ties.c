#define TASK_SPARSIFY TASK_MAGNITUDE
#define TASK_CONSENSUS true
#include "methods/mergekit/task.h"

MC_LAYER_MERGE(ties,
               .help = "base plus the weighted mean of the large task vector elements that agree "
                       "with the elected sign",
               .paper = "Yadav et al. 2023, TIES-Merging, arXiv:2306.01708",
               .scope = MC_ELEMENTWISE, .needs_base = true, .note = task_note,
               .statistics = &task_statistics, .scratch_bytes = task_scratch,
               .params = MC_PARAMS(TASK_WEIGHT, TASK_DENSITY, TASK_LAMBDA, TASK_NORMALIZE(1),
                                   TASK_RESCALE(0), TASK_INT8_MASK))
{
    return task_apply(layer);
}
