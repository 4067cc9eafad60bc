/* Matches the labels of a model with those of a task. */
#ifndef MC_PIPELINE_LABELS_H
#define MC_PIPELINE_LABELS_H

#include <mergecraft/pipeline.h>

/*
 * Sets map[i], i < mc_pipeline_label_count, to the label of the task that label i of the model
 * means. Sets *guessed if the names do not show it.
 *
 * Errors: MC_MISMATCH: they cannot be the task's labels
 */
mc_status mc_match_labels(const mc_pipeline *pipeline, const mc_glue_task *task, size_t *map,
                          bool *guessed, mc_error *error);

#endif
