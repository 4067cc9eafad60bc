/* Which models a greedy soup has. */
#include "base/memory.h"
#include "pipeline/joint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The models by aligned names, and the pipeline that scores mixtures of them. */
typedef struct soup_search {
    const mc_observed_model *models;
    size_t count;
    mc_alignment alignment;
    mc_pipeline *pipeline;
    const mc_pipeline_run *run;
    size_t *order; /* of the models, the best one first */
    double *scores;
    mc_observe_result noticed;
} soup_search;

/* The task's first metric of a state dict on the last model's examples. */
static mc_status score(soup_search *s, const mc_state_dict *weights, double *out, mc_error *error)
{
    const mc_observed_model *const last = &s->models[s->count - 1];
    mc_evaluation evaluation = {0};
    MC_TRY(mc_pipeline_load(s->pipeline, weights, error));
    MC_TRY(mc_pipeline_evaluate(s->pipeline, last->task, last->data, s->run, &evaluation, error));
    const bool scored = evaluation.metric_count > 0;
    s->noticed.examples = evaluation.examples;
    s->noticed.truncated = evaluation.truncated;
    s->noticed.labels_guessed = evaluation.guessed;
    *out = scored ? evaluation.metrics[0].value : 0;
    mc_evaluation_free(&evaluation);
    return scored
               ? MC_OK
               : mc_fail(error, MC_USAGE, "greedy_soup: expected examples with labels, found none");
}

/* The score of the mean of the models whose weight is not 0. */
static mc_status score_mixture(soup_search *s, const double *weights, double *out, mc_error *error)
{
    const mc_state_dict **const members = mc_alloc(s->count * sizeof *members);
    mc_state_dict *mixture = NULL;
    size_t count = 0;
    if (!members)
        return mc_fail_memory(error);
    for (size_t t = 0; t < s->count; t++)
        if (weights[t] > 0)
            members[count++] = s->alignment.dicts[t];
    const mc_merge_input input = {.models = members, .model_count = count};
    mc_status status = mc_model_merge(mc_method_find("mergecraft:soup"), &input, &mixture, NULL,
                                      error);
    if (status == MC_OK)
        status = score(s, mixture, out, error);
    mc_state_dict_free(mixture);
    mc_free(members);
    return status;
}

/*
 * The best model first. Of equal ones the last comes first, as in the authors' code, which sorts
 * upwards and reverses.
 */
static void sort(soup_search *s)
{
    for (size_t i = 0; i < s->count; i++) {
        size_t at = i;
        for (; at > 0 && s->scores[s->order[at - 1]] <= s->scores[i]; at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
}

static mc_status select_models(soup_search *s, double *weights, mc_error *error)
{
    for (size_t t = 0; t < s->count; t++) {
        MC_TRY(score(s, s->alignment.dicts[t], &s->scores[t], error));
        weights[t] = 0;
    }
    sort(s);
    weights[s->order[0]] = 1;
    double best = s->scores[s->order[0]];
    for (size_t i = 1; i < s->count; i++) {
        double found = 0;
        weights[s->order[i]] = 1;
        MC_TRY(score_mixture(s, weights, &found, error));
        if (found > best)
            best = found;
        else
            weights[s->order[i]] = 0;
    }
    return MC_OK;
}

static mc_status align(soup_search *s, mc_error *error)
{
    const mc_model **const models = mc_alloc(s->count * sizeof *models);
    mc_report *ignored = NULL;
    if (!models)
        return mc_fail_memory(error);
    for (size_t t = 0; t < s->count; t++)
        models[t] = s->models[t].model;
    /* The plan of the merge aligns the same models and reports what was renamed. */
    mc_status status = mc_report_new(&ignored, error);
    if (status == MC_OK)
        status = mc_align(models, s->count, s->count, &s->alignment, ignored, error);
    mc_report_free(ignored);
    mc_free(models);
    return status;
}

static mc_status run_search(soup_search *s, double *weights, mc_error *error)
{
    const mc_pipeline *const last = s->models[s->count - 1].pipeline;
    s->order = mc_alloc(s->count * sizeof *s->order);
    if (!s->scores || !s->order)
        return mc_fail_memory(error);
    MC_TRY(align(s, error));
    MC_TRY(mc_pipeline_new(last->config_text, last->folder, &last->options, &s->pipeline, error));
    return select_models(s, weights, error);
}

mc_status mc_greedy_soup(const mc_observed_model *models, size_t count, const mc_pipeline_run *run,
                         double *weights, double *scores, mc_observe_result *noticed,
                         mc_error *error)
{
    if (count == 0)
        return mc_fail(error, MC_USAGE, "expected models, found none");
    double *const own = mc_alloc_zero(count, sizeof *own);
    soup_search s = {.models = models, .count = count, .run = run, .scores = own};
    const mc_status status = run_search(&s, weights, error);
    for (size_t t = 0; status == MC_OK && scores && t < count; t++)
        scores[t] = own[t];
    if (noticed)
        *noticed = s.noticed;
    mc_pipeline_close(s.pipeline);
    mc_alignment_free(&s.alignment);
    mc_free(s.order);
    mc_free(own);
    return status;
}
