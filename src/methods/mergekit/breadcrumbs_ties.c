#define TASK_SPARSIFY TASK_OUTLIERS
#define TASK_CONSENSUS true
#include "methods/mergekit/task.h"

MC_LAYER_MERGE(breadcrumbs_ties,
               .help = "as breadcrumbs, only with elements that agree with the elected sign",
               .paper = "Davari and Belilovsky 2023, Model Breadcrumbs, arXiv:2312.06795",
               .scope = MC_ELEMENTWISE, .needs_base = true, .note = task_note,
               .statistics = &task_statistics, .scratch_bytes = task_scratch,
               .params = MC_PARAMS(TASK_WEIGHT, TASK_DENSITY, TASK_GAMMA, TASK_LAMBDA,
                                   TASK_NORMALIZE(0), TASK_RESCALE(0), TASK_INT8_MASK))
{
    return task_apply(layer);
}
