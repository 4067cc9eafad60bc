/* Scoring on GLUE: what `eval` and `merge --eval` have in common. */
#ifndef CLI_SCORE_H
#define CLI_SCORE_H

#include "options.h"

#include <mergecraft/pipeline.h>

#include <jansson.h>

typedef struct score_settings {
    const char *task, *data, *split, *dtype, *predictions;
    uint64_t threads;
    const char *dtype_option; /* what the option for dtype is called, for errors */
} score_settings;

/* What is scored on: found before any work is done. Zero-initialise; free it also after a failure. */
typedef struct score_job {
    const mc_glue_task *task;
    const char *split;
    mc_pipeline_options options;
    mc_glue_data *data;
} score_job;

mc_status score_prepare(const score_settings *settings, const common_options *common,
                        score_job *job, mc_error *error);
void score_free(score_job *job);

/*
 * Scores, with a bar and notes, and writes the predictions if they are wanted. `cancel` stops it. The caller frees the result
 * by mc_evaluation_free.
 */
mc_status score_run(const score_settings *settings, const score_job *job,
                    const mc_pipeline *pipeline, const common_options *common,
                    const volatile int *cancel, mc_evaluation *out, mc_error *error);

/* The result as a new JSON object, and as a line that begins with the name of the model. */
json_t *score_json(const score_job *job, const mc_pipeline *pipeline, const mc_evaluation *result);
void score_print(const score_job *job, const char *model, const mc_evaluation *result);

#endif
