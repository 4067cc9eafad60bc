/*
 * task_masks.safetensors: what emr writes beside a unified model, so that the model of each task
 * can be rebuilt from it and the base. Tensors:
 *
 *     masks/NAME   U8 [⌈elements / 8⌉, tasks]: bit i % 8 of row i / 8 states whether element i of
 *                  the task vector agrees with the unified one
 *     own/T/NAME   a tensor of the model of task T (from 1) that was not merged, such as a head
 *
 * Metadata, as texts: kind, version, base (its name), digests (object: NAME → digest of the base's
 * tensor), tasks (list of objects: name, rescaler, config).
 */
#ifndef MC_MERGE_TASK_MASKS_H
#define MC_MERGE_TASK_MASKS_H

#include <mergecraft/decompress.h>

#include "merge/folder.h"
#include "merge/plan.h"

#define MC_TASK_MASKS_FILE "task_masks.safetensors"
#define MC_TASK_MASKS_KIND "mergecraft task masks"
#define MC_TASK_MASKS_VERSION "1"

struct mc_task_masks {
    mc_model *file;
    json_t *tasks, *digests;
    char *base;
};

/* Rows of masks for so many elements. */
int64_t mc_mask_rows(int64_t elements);

/*
 * Writes the file, after the weights, if the plan is of emr for all tasks. Reports plans for which
 * it cannot be written, which is an error under strict.
 */
mc_status mc_task_masks_write(const mc_plan *plan, const mc_run_options *options, mc_folder *folder,
                              mc_error *error);

#endif
