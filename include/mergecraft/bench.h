/*
 * Benchmarks of merge methods. A suite names a base, models with their tasks, and methods with
 * grids of parameters. One encoder is merged per method and grid point, and every task is scored
 * with its own model's head. The grid point with the best average on the validation part of the
 * data is reported on the rest.
 *
 *     mc_suite_open("suite.yml", &suite, &error);
 *     mc_bench_run(suite, &options, &result, &error);   // resumes from options.folder
 *     mc_bench_write(result, "results", &error);        // table.md, table.csv, results.json
 *
 * A suite file is YAML; docs/benchmarks.md describes it.
 *
 * Thread-safety: suites and results do not change once they are made. One run at a time per folder.
 */
#ifndef MERGECRAFT_BENCH_H
#define MERGECRAFT_BENCH_H

#include <mergecraft/merge.h>
#include <mergecraft/pipeline.h>

MC_BEGIN_DECLS

typedef struct mc_suite mc_suite;

/*
 * Reads a suite file. Paths in it are relative to its folder. Close with mc_suite_close, which
 * accepts NULL.
 *
 * Errors: MC_NOT_FOUND  no such file
 *         MC_FORMAT     not YAML, a key that is unknown or missing, or a value of another type:
 *                       "FILE:LINE:COLUMN: …"
 *         MC_USAGE      an unknown method, task or parameter; a seed twice; too large a grid
 */
MC_API mc_status mc_suite_open(const char *path, mc_suite **out, mc_error *error);
MC_API void mc_suite_close(mc_suite *suite);

/* Zero is the default of every field but `folder`. */
typedef struct mc_bench_options {
    /*
     * The folder of the journal, results.jsonl, to which every finished merge is added. What is in
     * it for the same models, data, parameters and library is not computed again. It is created if
     * it does not exist. NULL: nothing is written, and nothing resumed.
     */
    const char *folder;
    int threads;                /* 0: all CPUs that the process may use */
    int64_t memory;             /* as in mc_run_options */
    const volatile int *cancel; /* stops the run (MC_INTERRUPTED) once it is not 0; NULL: never */
    const mc_hub_options *hub;  /* how models are downloaded; may be NULL */
    /* Called before each merge with the number of those done and of all; may be NULL. */
    void (*progress)(size_t done, size_t total, const char *what, void *user);
    void *user; /* of progress and warning */
    /*
     * Called with what only the values of a merge show (mc_plan_materialize), such as averaged
     * tensors, once per line and merge, also for merges that the journal holds. Before the merges,
     * also once per seed and task, with `what` the task and `parameters` NULL: truncated examples,
     * a guessed order of labels, and scores of the task's own model that cannot be divided by. May
     * be NULL.
     */
    void (*warning)(const char *what, const char *parameters, const char *text, void *user);
    bool strict;       /* any such line is MC_MISMATCH */
    void *reserved[2]; /* must be zero */
} mc_bench_options;

/* A score on the rest of the data: the mean over seeds. */
typedef struct mc_bench_score {
    double value;
    double normalised;     /* divided by the score of the task's own model */
    double standard_error; /* of `value`, from the number of examples; NaN if it is unknown */
} mc_bench_score;

/* One line of the table: a method with the parameters that validation chose. */
typedef struct mc_bench_row {
    const char *name;
    size_t points;                /* of the grid */
    const mc_bench_score *scores; /* [tasks] */
    mc_bench_score average;       /* over tasks */
    double deviation;             /* standard deviation of the average over seeds; NaN for one */
    double seconds;               /* of one merge, in the mean over seeds */
    const char *const *chosen;    /* [seeds] parameters as JSON */
} mc_bench_row;

typedef struct mc_bench_result mc_bench_result;

/*
 * Runs what is not in the journal yet. Besides the methods, the table has the rows `individual`
 * (each task's own model) and `base` (the base with each task's head). Free *out with
 * mc_bench_free, which accepts NULL. `options` may be NULL.
 *
 * Errors: MC_MISMATCH     models that do not fit together, labels that are not the task's, or a
 *                         warning under strict
 *         MC_INTERRUPTED  options->cancel
 *         and those of opening models, loading data, merging and evaluating
 */
MC_API mc_status mc_bench_run(const mc_suite *suite, const mc_bench_options *options,
                              mc_bench_result **out, mc_error *error);
MC_API void mc_bench_free(mc_bench_result *result);

MC_API size_t mc_bench_task_count(const mc_bench_result *result);
MC_API const char *mc_bench_task(const mc_bench_result *result, size_t index);
MC_API size_t mc_bench_seed_count(const mc_bench_result *result);
MC_API size_t mc_bench_count(const mc_bench_result *result);
MC_API const mc_bench_row *mc_bench_row_at(const mc_bench_result *result, size_t index);

/* The table as Markdown, as CSV, and all of it as JSON; free with mc_bench_free_text. */
MC_API mc_status mc_bench_markdown(const mc_bench_result *result, char **out, mc_error *error);
MC_API mc_status mc_bench_csv(const mc_bench_result *result, char **out, mc_error *error);
MC_API mc_status mc_bench_json(const mc_bench_result *result, char **out, mc_error *error);
MC_API void mc_bench_free_text(char *text);

/* Writes table.md, table.csv and results.json into a folder, which exists. */
MC_API mc_status mc_bench_write(const mc_bench_result *result, const char *folder, mc_error *error);

MC_END_DECLS

#endif
