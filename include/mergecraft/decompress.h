/*
 * Decompressing: a merge with emr writes one unified model and, in task_masks.safetensors, one bit
 * per element and task, a rescaler per task, and the tensors that were not merged, such as heads.
 * These and the base give the model of one task: base + rescaler · mask · (unified − base).
 *
 *     mc_task_masks_open     opens task_masks.safetensors of a merged model
 *     mc_decompress_plan     plans the model of a task; the plan runs like a merge's (merge.h)
 *
 * Thread-safety: as for the plans of merge.h.
 */
#ifndef MERGECRAFT_DECOMPRESS_H
#define MERGECRAFT_DECOMPRESS_H

#include <mergecraft/merge.h>

MC_BEGIN_DECLS

typedef struct mc_task_masks mc_task_masks;

/*
 * Opens the masks in the folder of a merged model. Close them with mc_task_masks_close, which
 * accepts NULL, after the plans that use them.
 *
 * Errors: MC_NOT_FOUND  the model is not in a folder, or its folder has no masks
 *         MC_FORMAT     the file is malformed
 */
MC_API mc_status mc_task_masks_open(const mc_model *merged, mc_task_masks **out, mc_error *error);
MC_API void mc_task_masks_close(mc_task_masks *masks);

/* The number of tasks; the name of the model of each, as the merge was given it; index < count. */
MC_API size_t mc_task_masks_count(const mc_task_masks *masks);
MC_API const char *mc_task_masks_name(const mc_task_masks *masks, size_t index);

/* The name of the base, as the merge was given it. */
MC_API const char *mc_task_masks_base(const mc_task_masks *masks);

/* What to rebuild. Everything is borrowed and must stay open until the plan is freed. */
typedef struct mc_decompress_input {
    const mc_model *merged, *base;
    const mc_task_masks *masks;
    /* A number from 1, the name of the task's model, or the last part of that name. */
    const char *task;
    int threads;       /* for comparing the base; 0: all CPUs */
    bool strict;       /* treat warnings as errors */
    void *reserved[4]; /* must be zero */
} mc_decompress_input;

/*
 * Plans the model of one task, with the configuration of the task's own model and the tokenizer of
 * the merged model. Reads the base once, to compare it with the one that was merged. Free the plan
 * with mc_plan_free.
 *
 * Errors: MC_USAGE     no such task, or its name is ambiguous
 *         MC_MISMATCH  the base is not that of the merge; a tensor is missing or has another shape;
 *                      a warning under strict
 *         MC_FORMAT    the masks lack a tensor, or have one twice
 */
MC_API mc_status mc_decompress_plan(const mc_decompress_input *input, mc_plan **out,
                                    mc_error *error);

MC_END_DECLS

#endif
