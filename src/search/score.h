/*
 * Scores of merges on tasks. One encoder is loaded in place for every merge; examples are sorted
 * into those of each step of a trial, and those held out.
 */
#ifndef MC_SEARCH_SCORE_H
#define MC_SEARCH_SCORE_H

#include <mergecraft/search.h>

#include <jansson.h>

enum { MC_SEARCH_STEPS = 8 }; /* most steps of a trial */

typedef struct mc_scorer_task {
    const mc_search_task *given;
    const char *metric;
    mc_glue_data *steps[MC_SEARCH_STEPS]; /* examples that are added in each step */
    mc_glue_data *rest;                   /* held out; NULL: none */
    size_t examples, held_out;
    double parent;         /* best score of a single model; NaN: unknown */
    mc_pipeline *pipeline; /* with given->head; NULL: none */
} mc_scorer_task;

typedef struct mc_scorer {
    const mc_search_input *input;
    mc_pipeline_options options;
    mc_pipeline *pipeline; /* of tasks without a head of their own; NULL before the first merge */
    mc_scorer_task *tasks;
    size_t task_count, step_count;
    bool minimize;
} mc_scorer;

/* A task's score on the examples of some steps. */
typedef struct mc_task_score {
    double value, error;
    size_t examples;
} mc_task_score;

/*
 * Prepares the examples. Zero-initialise *out; free it also after a failure.
 *
 * Errors: MC_USAGE  no labels, an unknown metric, too few examples to hold some out
 */
mc_status mc_scorer_new(const mc_search_input *input, const mc_search_options *options,
                        mc_scorer *out, mc_error *error);
void mc_scorer_free(mc_scorer *scorer);

/* Hash of the examples and of what is measured on them. */
uint64_t mc_scorer_hash(const mc_scorer *scorer, uint64_t hash);

/*
 * Loads the result of a plan into the encoder. Reports what only the values show; the report may be
 * NULL. MC_MISMATCH if the plan is strict.
 */
mc_status mc_scorer_load(mc_scorer *scorer, const mc_plan *plan, mc_report *report,
                         mc_error *error);

/* The examples of a score: those of the first steps, or those held out. */
#define MC_HELD_OUT SIZE_MAX

/*
 * Scores what is loaded on the examples of the first `steps` steps, or on those held out: fills
 * out[task_count]. Predictions of earlier steps in `kept` are used again; it may be NULL.
 */
typedef struct mc_predictions mc_predictions;
mc_status mc_predictions_new(const mc_scorer *scorer, mc_predictions **out, mc_error *error);
void mc_predictions_free(mc_predictions *predictions);
mc_status mc_scorer_run(const mc_scorer *scorer, size_t steps, mc_predictions *kept,
                        const volatile int *cancel, mc_task_score *out, mc_error *error);

/* The same for a model as it is, on all steps. */
mc_status mc_scorer_model(const mc_scorer *scorer, const mc_model *model,
                          const volatile int *cancel, mc_task_score *out, mc_error *error);

/* The objective; NaN if a score is. */
double mc_scorer_combine(const mc_scorer *scorer, const mc_task_score *scores);

/* The scores as the journal has them; NULL: no memory. */
json_t *mc_scorer_json(const mc_scorer *scorer, const mc_task_score *scores);

#endif
