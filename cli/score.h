/* Scoring on GLUE or on own data: the common part of `eval` and `merge --eval`. */
#ifndef CLI_SCORE_H
#define CLI_SCORE_H

#include "options.h"

#include <mergecraft/pipeline.h>

#include <jansson.h>

typedef struct score_settings {
    const char *task; /* NULL: own data */
    const char *data, *split, *dtype, *predictions;
    mc_glue_columns columns; /* of own data */
    uint64_t limit;          /* examples; 0: all */
    uint64_t threads;
    bool overwrite;           /* replace an existing file of predictions */
    const char *dtype_option; /* name of the option for `dtype`, for errors */
} score_settings;

/*
 * The examples and how to score them; checked before any work is done. Zero-initialise; call
 * score_free also after a failure.
 */
typedef struct score_job {
    const mc_glue_task *task;
    mc_glue_task *own_task; /* NULL for a task of GLUE */
    const char *split;
    mc_pipeline_options options; /* .cancel stops scoring too */
    mc_glue_data *data;
} score_job;

mc_status score_prepare(const score_settings *settings, const common_options *common,
                        score_job *job, mc_error *error);
/* Loads own data, which needs the labels of a model. Does nothing for a task of GLUE. */
mc_status score_load_own(const score_settings *settings, const mc_pipeline *pipeline,
                         score_job *job, mc_error *error);
void score_free(score_job *job);

/*
 * Scores with a progress bar and notes, and writes the predictions if asked to. The caller frees
 * the result with mc_evaluation_free.
 */
mc_status score_run(const score_settings *settings, const score_job *job,
                    const mc_pipeline *pipeline, const common_options *common, mc_evaluation *out,
                    mc_error *error);

/* The result as a new JSON object, and as a line that begins with the name of the model. */
json_t *score_json(const score_job *job, const mc_pipeline *pipeline, const mc_evaluation *result);
void score_print(const score_job *job, const char *model, const mc_evaluation *result);

#endif
