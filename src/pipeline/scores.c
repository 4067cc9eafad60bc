#include "pipeline/scores.h"

#include "pipeline/pipeline.h"

#include <math.h>
#include <string.h>

mc_scoring mc_pipeline_scoring(const mc_pipeline *pipeline)
{
    const char *const type = json_string_value(json_object_get(pipeline->config, "problem_type"));
    if (type && strcmp(type, "regression") == 0)
        return MC_SCORE_PLAIN;
    /*
     * The rules of pipelines in transformers: a function by problem_type, else by the number of
     * labels.
     */
    if (pipeline->label_count == 1 || (type && strcmp(type, "multi_label_classification") == 0))
        return MC_SCORE_SIGMOID;
    return MC_SCORE_SOFTMAX;
}

/* In double, so that a score is rounded once, at the end. */
static void softmax(float *row, size_t count)
{
    float largest = row[0];
    double sum = 0;
    for (size_t i = 1; i < count; i++)
        largest = row[i] > largest ? row[i] : largest;
    for (size_t i = 0; i < count; i++)
        sum += exp((double)row[i] - (double)largest);
    for (size_t i = 0; i < count; i++)
        row[i] = (float)(exp((double)row[i] - (double)largest) / sum);
}

void mc_scores(mc_scoring scoring, float *rows, size_t count, size_t labels)
{
    if (scoring == MC_SCORE_SIGMOID)
        for (size_t i = 0; i < count * labels; i++)
            rows[i] = (float)(1 / (1 + exp(-(double)rows[i])));
    else if (scoring == MC_SCORE_SOFTMAX)
        for (size_t i = 0; i < count; i++)
            softmax(rows + i * labels, labels);
}
