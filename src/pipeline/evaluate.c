/* Evaluates a pipeline on a task. */
#include "base/memory.h"
#include "base/system.h"
#include "pipeline/labels.h"
#include "pipeline/pipeline.h"
#include "pipeline/scores.h"

#include <math.h>
#include <string.h>

void mc_evaluation_free(mc_evaluation *evaluation)
{
    mc_free(evaluation->predictions);
    mc_free(evaluation->scores);
    *evaluation = (mc_evaluation){0};
}

static size_t largest(const float *row, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        /* Of equal logits the first counts, as for argmax of numpy. */
        if (row[i] > row[best])
            best = i;
    return best;
}

static mc_status take_texts(const mc_glue_data *data, mc_text_input **texts, mc_error *error)
{
    const size_t count = mc_glue_count(data);
    *texts = mc_alloc(count * sizeof **texts);
    if (!*texts)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        const mc_glue_example example = mc_glue_example_at(data, i);
        /* A slice of a file has no terminator, for which a size of 0 would ask. */
        (*texts)[i] = (mc_text_input){example.size ? example.text : "", example.size,
                                      example.pair && !example.pair_size ? "" : example.pair,
                                      example.pair_size};
    }
    return MC_OK;
}

/* Converts logits, which are in out->scores, to predictions and scores. */
static void predict(const mc_pipeline *pipeline, const mc_glue_task *task, const size_t *map,
                    mc_evaluation *out)
{
    const size_t labels = out->label_count;
    for (size_t i = 0; i < out->examples; i++)
        out->predictions[i] = task->label_count
                                  ? (double)map[largest(out->scores + i * labels, labels)]
                                  : (double)out->scores[i];
    /*
     * Predictions are found in the logits: the order of scores is the same, but rounding could make
     * two of them equal.
     */
    if (task->label_count)
        mc_scores(mc_pipeline_scoring(pipeline), out->scores, out->examples, labels);
}

mc_status mc_pipeline_task(const mc_pipeline *pipeline, const char *name,
                           const mc_glue_columns *columns, mc_glue_task **out, mc_error *error)
{
    return mc_glue_task_new(name, columns, (const char *const *)pipeline->labels,
                            pipeline->label_count, out, error);
}

/* The column of the model's logits that stands for a label of the task. */
static double column_of(const size_t *map, size_t count, double label)
{
    for (size_t i = 0; i < count && !isnan(label); i++)
        if ((double)map[i] == label)
            return (double)i;
    return NAN;
}

/* Before the logits, which are in out->scores, become probabilities. */
static mc_status compute_loss(const mc_glue_task *task, const mc_glue_data *data, const size_t *map,
                              mc_evaluation *out, mc_error *error)
{
    double *const columns = mc_alloc(out->examples * sizeof *columns);
    if (!columns)
        return mc_fail_memory(error);
    for (size_t i = 0; i < out->examples; i++) {
        const double label = mc_glue_example_at(data, i).label;
        columns[i] = task->label_count ? column_of(map, out->label_count, label) : label;
    }
    out->loss = mc_glue_loss(out->scores, out->label_count, columns, out->examples);
    mc_free(columns);
    return MC_OK;
}

static mc_status score(const mc_glue_task *task, const mc_glue_data *data, mc_evaluation *out,
                       mc_error *error)
{
    out->labelled = mc_glue_labelled(data);
    if (!out->labelled)
        return MC_OK;
    double *const labels = mc_alloc(out->examples * sizeof *labels);
    if (!labels)
        return mc_fail_memory(error);
    for (size_t i = 0; i < out->examples; i++)
        labels[i] = mc_glue_example_at(data, i).label;
    out->metric_count = mc_glue_score(task, out->predictions, labels, out->examples, out->metrics);
    mc_free(labels);
    return MC_OK;
}

static mc_status evaluate(const mc_pipeline *pipeline, const mc_glue_task *task,
                          const mc_glue_data *data, const mc_pipeline_run *run, size_t *map,
                          mc_text_input **texts, mc_evaluation *out, mc_error *error)
{
    mc_pipeline_run counting = run ? *run : (mc_pipeline_run){0};
    counting.truncated = &out->truncated;
    if (!map || !out->predictions || !out->scores)
        return mc_fail_memory(error);
    /* Before the logits, which may take minutes. */
    MC_TRY(mc_match_labels(pipeline, task, map, &out->guessed, error));
    MC_TRY(take_texts(data, texts, error));
    /* Seconds are those of tokenizer and encoder, without the scores. */
    const double start = mc_seconds();
    MC_TRY(mc_pipeline_logits(pipeline, *texts, out->examples, &counting, out->scores, error));
    out->seconds = mc_seconds() - start;
    if (run && run->truncated)
        *run->truncated = out->truncated;
    MC_TRY(compute_loss(task, data, map, out, error));
    predict(pipeline, task, map, out);
    return score(task, data, out, error);
}

mc_status mc_pipeline_evaluate(const mc_pipeline *pipeline, const mc_glue_task *task,
                               const mc_glue_data *data, const mc_pipeline_run *run,
                               mc_evaluation *out, mc_error *error)
{
    const size_t labels = pipeline->label_count;
    size_t *const map = mc_alloc_zero(labels, sizeof *map);
    mc_text_input *texts = NULL;
    *out = (mc_evaluation){.examples = mc_glue_count(data), .label_count = labels};
    out->predictions = mc_alloc_zero(out->examples, sizeof *out->predictions);
    out->scores = mc_alloc_zero(out->examples, labels * sizeof *out->scores);
    const mc_status status = evaluate(pipeline, task, data, run, map, &texts, out, error);
    mc_free(texts);
    mc_free(map);
    if (status != MC_OK)
        mc_evaluation_free(out);
    return status;
}
