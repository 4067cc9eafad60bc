/*
 * Searches: parameters of a merge are tried, and the best merge is kept. Models stay open, and each
 * merge is made in the memory of the encoder that scores it:
 *
 *     mc_search_run(&input, &options, &search, &error);       // resumes from options.journal
 *     mc_search_write(search, "best", NULL, NULL, &error);    // the best merge as a model
 *     mc_search_free(search);
 *
 * Every trial is a line of the journal, which docs/search.md describes. The same input gives the
 * same trials and scores for any number of threads, also if the search was interrupted.
 *
 * Thread-safety: one run per journal at a time; a search belongs to one thread at a time.
 */
#ifndef MERGECRAFT_SEARCH_H
#define MERGECRAFT_SEARCH_H

#include <mergecraft/merge.h>
#include <mergecraft/pipeline.h>
#include <mergecraft/recipe.h>

MC_BEGIN_DECLS

/* How the scores of several tasks become one. */
typedef enum mc_search_objective {
    MC_SEARCH_MEAN,          /* weighted mean */
    MC_SEARCH_MIN,           /* the smallest */
    MC_SEARCH_RELATIVE,      /* weighted mean of score / best score of a single model */
    MC_SEARCH_WORST_RELATIVE /* the smallest score / best score of a single model */
} mc_search_objective;

/* What merges are scored on. Everything is borrowed until the search is freed. */
typedef struct mc_search_task {
    const mc_glue_task *task;
    const mc_glue_data *data;     /* with labels */
    const mc_glue_data *held_out; /* scored for the best only; NULL: mc_search_input.validate */
    const char *split;            /* name of the data in the journal; may be NULL */
    const char *metric;           /* NULL: the first of the task; "loss" */
    double weight;                /* 0: 1 */
    void *reserved[4];            /* must be zero */
} mc_search_task;

/* What is searched. Everything is borrowed until the search is freed. Zero is the default. */
typedef struct mc_search_input {
    /* The merge, with fixed parameters in `params`; or NULL and … */
    const mc_plan_input *merge;
    /* … the path of a recipe with ${NAME} or ${NAME=VALUES} in the place of values. */
    const char *recipe;
    const mc_recipe_options *recipe_options;
    /*
     * Dimensions, "k=.05:.5, sign=sum|count". A range LOW:HIGH may be followed by :log, :int and
     * the number of levels on a grid. "NAME[2]" is the value of model 2 of a parameter that has one
     * per model; "NAME[*]" has a dimension per model. "models=subset" searches which models take
     * part.
     */
    const char *space;
    /* random (NULL), grid, coordinate, greedy, nelder-mead, bobyqa, crs, esch */
    const char *strategy;
    uint64_t seed; /* of the strategy */
    size_t trials; /* 0: 20, or all that a grid or greedy has */

    const mc_search_task *tasks;
    size_t task_count;
    mc_search_objective objective;
    double validate; /* share of the examples that is held out, below 1 */
    /*
     * Steps in which a trial gets its examples: 2 are a half and all, 3 a quarter, a half and all.
     * It stops when its score is below the median of the trials before it. 0: no steps.
     */
    size_t halving;
    bool parents;           /* score single models, too */
    mc_precision precision; /* of the encoder */

    /*
     * Instead of tasks: a command for the shell, with the folder of the merged model for {}. The
     * last line of its output is the score.
     */
    const char *command;
    double command_seconds;     /* limit; 0: none */
    const char *command_folder; /* where merged models are written; NULL: TMPDIR or /tmp */

    bool minimize;     /* smaller scores are better; always so for the metric "loss" */
    void *reserved[4]; /* must be zero */
} mc_search_input;

/* A trial that is finished. Texts are valid during the call. */
typedef struct mc_search_trial {
    size_t number, total;   /* from 1; total is 0 if it is not known */
    const char *parameters; /* as JSON */
    double score;           /* NaN: it failed */
    const char *error;      /* why; NULL */
    bool stopped;           /* early: see mc_search_input.halving */
    bool resumed;           /* it was in the journal */
    size_t best;            /* number of the best so far; 0: none */
    double best_score;
    const char *line; /* of the journal */
} mc_search_trial;

typedef struct mc_search_options {
    const char *journal; /* NULL: there is none, and nothing can be resumed */
    bool resume;         /* go on with a journal that exists; otherwise it is MC_EXISTS */
    int threads;         /* 0: all CPUs that the process may use */
    int64_t memory;      /* bytes for tiles of merges; 0: 64 MiB */
    const volatile int *cancel;
    void (*trial)(const mc_search_trial *trial, void *user); /* after each trial; may be NULL */
    void *user;
    void *reserved[4]; /* must be zero */
} mc_search_options;

typedef struct mc_search mc_search;

/*
 * Runs the trials that the journal does not have yet, then scores the best one on the examples that
 * were held out. Free *out with mc_search_free, which accepts NULL.
 *
 * A trial that fails because of its parameters is recorded, and the search goes on.
 *
 * Errors: MC_USAGE        the space does not fit the merge; nothing to score
 *         MC_EXISTS       the journal exists, without options->resume
 *         MC_CHANGED      the journal is of another search: models, data, space, library
 *         MC_BUSY         another search writes to the journal
 *         MC_MISMATCH     all trials failed; the text has the first reason
 *         MC_INTERRUPTED  options->cancel
 */
MC_API mc_status mc_search_run(const mc_search_input *input, const mc_search_options *options,
                               mc_search **out, mc_error *error);
MC_API void mc_search_free(mc_search *search);

/* The journal's lines, without line feeds; index < count. Valid as long as the search. */
MC_API size_t mc_search_line_count(const mc_search *search);
MC_API const char *mc_search_line(const mc_search *search, size_t index);

/* The number of the best trial, its score, and the last line of the journal. */
MC_API size_t mc_search_best(const mc_search *search, double *score);
MC_API const char *mc_search_result(const mc_search *search);

/*
 * Writes the best merge to a folder, as mc_plan_run does. mergecraft.json and the model card record
 * the search and the scores on the examples that were held out, or else those of the trial.
 */
MC_API mc_status mc_search_write(mc_search *search, const char *folder,
                                 const mc_run_options *options, mc_run_result *result,
                                 mc_error *error);

/* The warnings of the best merge. Valid as long as the search. */
MC_API const mc_report *mc_search_report(const mc_search *search);

/* The recipe of the best trial; NULL if the search is not of a recipe. Valid as long as it. */
MC_API const char *mc_search_recipe(const mc_search *search);

MC_END_DECLS

#endif
