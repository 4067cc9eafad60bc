/* What the files of this folder share. */
#ifndef MC_PIPELINE_PIPELINE_H
#define MC_PIPELINE_PIPELINE_H

#include <mergecraft/pipeline.h>

#include "base/error.h"
#include "nn/encoder.h"

#include <jansson.h>

struct mc_pipeline {
    json_t *config;
    char *config_text, *folder;
    mc_pipeline_options options; /* threads and batch_tokens are resolved */
    mc_tokenizer *tokenizer;
    mc_encoder *encoder;
    mc_state_dict *weights; /* NULL: nothing is loaded */
    char **labels;
    size_t label_count, max_length;
    bool named; /* the labels are the configuration's */
};

/* How logits become scores. */
typedef enum mc_scoring { MC_SCORE_PLAIN, MC_SCORE_SIGMOID, MC_SCORE_SOFTMAX } mc_scoring;

mc_scoring mc_pipeline_scoring(const mc_pipeline *pipeline);
/* Turns rows of logits into scores, in place. */
void mc_scores(mc_scoring scoring, float *rows, size_t count, size_t labels);

/*
 * Which label of a GLUE task each label of the model is, into map[pipeline->label_count]; *guessed if their names do not tell.
 * MC_MISMATCH if they cannot be the task's.
 */
mc_status mc_match_labels(const mc_pipeline *pipeline, const mc_glue_task *task, size_t *map,
                          bool *guessed, mc_error *error);

#endif
