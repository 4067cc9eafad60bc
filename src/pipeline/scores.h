/* From logits to scores. */
#ifndef MC_PIPELINE_SCORES_H
#define MC_PIPELINE_SCORES_H

#include <mergecraft/pipeline.h>

typedef enum mc_scoring { MC_SCORE_PLAIN, MC_SCORE_SIGMOID, MC_SCORE_SOFTMAX } mc_scoring;

/* As transformers chooses it: by problem_type and the number of labels. */
mc_scoring mc_pipeline_scoring(const mc_pipeline *pipeline);
/* Converts rows of logits to scores, in place. */
void mc_scores(mc_scoring scoring, float *rows, size_t count, size_t labels);

#endif
