/* Internals of pipelines. */
#ifndef MC_PIPELINE_PIPELINE_H
#define MC_PIPELINE_PIPELINE_H

#include <mergecraft/pipeline.h>

#include "base/error.h"
#include "nn/encoder.h"

#include <jansson.h>

struct mc_pipeline {
    json_t *config;
    char *config_text, *folder;
    mc_pipeline_options options; /* threads and batch_tokens are not 0 */
    mc_tokenizer *tokenizer;
    mc_encoder *encoder;
    mc_state_dict *weights; /* NULL: none loaded */
    char **labels;
    size_t label_count, max_length;
    bool named; /* the labels' names are from the configuration */
};

/* Makes a pipeline, without weights, for the result of a plan. */
mc_status mc_pipeline_for_plan(const mc_plan *plan, const mc_pipeline_options *options,
                               mc_pipeline **out, mc_error *error);

/*
 * Loads the result of a plan. Reports averaged tensors; the report may be NULL. MC_MISMATCH if the
 * plan is strict.
 */
mc_status mc_pipeline_load_plan(mc_pipeline *pipeline, const mc_plan *plan, mc_report *report,
                                mc_error *error);

#endif
