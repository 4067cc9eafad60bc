/*
 * Searches: tries parameters of a merge and keeps the best merge. Models stay open, and each merge
 * is made in the memory of the encoder that scores it:
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

/* How the scores of several tasks are combined. */
typedef enum mc_search_objective {
    MC_SEARCH_MEAN,          /* weighted mean */
    MC_SEARCH_MIN,           /* the smallest */
    MC_SEARCH_RELATIVE,      /* weighted mean of (score / best score of a single model) */
    MC_SEARCH_WORST_RELATIVE /* the smallest (score / best score of a single model) */
} mc_search_objective;

/* What merges are scored on. Everything is borrowed until the search is freed. */
typedef struct mc_search_task {
    const mc_glue_task *task;
    const mc_glue_data *data;     /* with labels */
    const mc_glue_data *held_out; /* scored for the best only; NULL: mc_search_input.validate */
    const char *split;            /* name of the data in the journal; may be NULL */
    const char *metric;           /* NULL: the first of the task; "loss" */
    double weight;                /* in the mean; 0: 1 */
    /*
     * The model whose head (with its pooler), labels and tokenizer score this task, with all other
     * tensors of the merge. NULL: the merge as it is.
     */
    const mc_model *head;
    void *reserved[3]; /* must be zero */
} mc_search_task;

/* What is searched. Everything is borrowed until the search is freed. Zero is the default. */
typedef struct mc_search_input {
    /* The merge, with fixed parameters in `params`; NULL: `recipe` is searched. */
    const mc_plan_input *merge;
    /* The path of a recipe with ${NAME} or ${NAME=VALUES} in place of values. */
    const char *recipe;
    const mc_recipe_options *recipe_options;
    /*
     * Dimensions, "k=.05:.5, sign=sum|count". A range LOW:HIGH may be followed by :log, :int and
     * the number of levels on a grid. "NAME[2]" is the value of model 2, of a parameter with one
     * value per model; "NAME[*]" has one dimension per model. "NAME@WHERE" is the value of some
     * tensors (mc_plan_input.params); "NAME@*" has one dimension per block. "models=subset"
     * searches which models take part.
     */
    const char *space;
    /* random (NULL), grid, coordinate, greedy, nelder-mead, bobyqa, crs, esch */
    const char *strategy;
    uint64_t seed; /* of the strategy */
    size_t trials; /* number of trials; 0: 20, or all of the strategies grid and greedy */

    const mc_search_task *tasks;
    size_t task_count;
    mc_search_objective objective;
    double validate; /* share of the examples that is held out, 0 to below 1 */
    /*
     * Steps in which a trial is scored: 2 are a half and all of the examples, 3 a quarter, a half
     * and all. A trial stops if its score is worse than the median of earlier trials at the same
     * step. Needs the strategy random or grid. 0: all examples at once.
     */
    size_t halving;
    bool parents;           /* score single models with any objective */
    mc_precision precision; /* of the encoder */

    /*
     * Instead of tasks: a command for the shell, with the folder of the merged model in place of
     * {}. The last line of its standard output is the score.
     */
    const char *command;
    double command_seconds;     /* time limit in seconds; 0: none */
    const char *command_folder; /* where merged models are written; NULL: TMPDIR or /tmp */

    bool minimize;     /* smaller scores are better; always so for the metric "loss" */
    void *reserved[4]; /* must be zero */
} mc_search_input;

/* A trial that is finished. Texts are valid during the call. */
typedef struct mc_search_trial {
    size_t number, total;   /* from 1; total is 0 if it is unknown */
    const char *parameters; /* as JSON */
    double score;           /* NaN: the trial failed */
    const char *error;      /* why it failed; NULL: it did not */
    bool stopped;           /* early: see mc_search_input.halving */
    bool resumed;           /* from the journal, not computed now */
    size_t best;            /* number of the best so far; 0: none */
    double best_score;
    const char *line; /* of the journal, without line feed */
} mc_search_trial;

typedef struct mc_search_options {
    const char *journal; /* path; NULL: no journal, and the search cannot be resumed */
    bool resume;         /* continue an existing journal; otherwise it is an error (MC_EXISTS) */
    int threads;         /* 0: all CPUs that the process may use */
    int64_t memory;      /* as in mc_run_options */
    /* Stops the search (MC_INTERRUPTED) once it is not 0; NULL: never. */
    const volatile int *cancel;
    /* Called after each trial, from the thread that runs the search; may be NULL. */
    void (*trial)(const mc_search_trial *trial, void *user);
    void *user;
    /*
     * Processes that run the same search together; process 0 writes the journal. With the
     * strategies random and grid, without halving, each process computes a trial at a time. With
     * the others, process 0 computes all. NULL: this process alone.
     */
    const mc_comm *comm;
    void *reserved[3]; /* must be zero */
} mc_search_options;

typedef struct mc_search mc_search;

/*
 * Runs the trials that the journal does not have yet, then scores the best one on the held-out
 * examples. `options` may be NULL. Free *out with mc_search_free, which accepts NULL.
 *
 * If a trial fails because of its parameters, its error is recorded, and the search continues.
 *
 * Errors: MC_USAGE        the space does not fit the merge; neither tasks nor a command; examples
 *                         without labels
 *         MC_EXISTS       the journal exists, without options->resume
 *         MC_CHANGED      the journal is that of another search: models, data, space, library
 *         MC_FORMAT       the journal is malformed
 *         MC_BUSY         another search writes to the journal
 *         MC_UNSUPPORTED  the strategy needs NLopt, which is not installed
 *         MC_MISMATCH     all trials failed; the text has the first reason
 *         MC_IO           the journal cannot be written
 *         MC_INTERRUPTED  options->cancel
 */
MC_API mc_status mc_search_run(const mc_search_input *input, const mc_search_options *options,
                               mc_search **out, mc_error *error);
MC_API void mc_search_free(mc_search *search);

/* The journal's lines, without line feeds; index < count. Valid as long as the search. */
MC_API size_t mc_search_line_count(const mc_search *search);
MC_API const char *mc_search_line(const mc_search *search, size_t index);

/* Returns the number of the best trial, and its score in *score, which may be NULL. */
MC_API size_t mc_search_best(const mc_search *search, double *score);
/* Returns the result: the last line of the journal. Valid as long as the search. */
MC_API const char *mc_search_result(const mc_search *search);

/*
 * Writes the best merge to a folder, as mc_plan_run does. mergecraft.json records the search.
 * mergecraft.json and the model card record the scores on the held-out examples, or those of the
 * trial if none were held out.
 *
 * Errors: as mc_plan_run
 */
MC_API mc_status mc_search_write(mc_search *search, const char *folder,
                                 const mc_run_options *options, mc_run_result *result,
                                 mc_error *error);

/* The warnings of the best merge. Valid as long as the search. */
MC_API const mc_report *mc_search_report(const mc_search *search);

/* The text of the best trial's recipe; NULL: a method was searched. Valid as long as the search. */
MC_API const char *mc_search_recipe(const mc_search *search);

MC_END_DECLS

#endif
