/*
 * Evaluation data: the tasks of GLUE, data sets of your own, and metrics.
 *
 *     mc_glue_load(mc_glue_task_find("rte"), "validation.parquet", NULL, &data, &error);
 *     … a prediction for each mc_glue_example_at(data, i) …
 *     mc_glue_score(task, predictions, labels, mc_glue_count(data), metrics);
 *
 * A task describes a data set: its columns, labels and metrics. Those of GLUE are built in;
 * mc_glue_task_new describes any other file with a text column.
 *
 * Tasks and data sets do not change once they are made: several threads may use them at once.
 */
#ifndef MERGECRAFT_GLUE_H
#define MERGECRAFT_GLUE_H

#include <mergecraft/error.h>

#include <stdbool.h>

MC_BEGIN_DECLS

enum { MC_GLUE_METRICS = 2 }; /* the largest number of metrics of a task */

/* Lists end with NULL. */
typedef struct mc_glue_task {
    const char *name;   /* "rte": the configuration of nyu-mll/glue on the Hub */
    const char *folder; /* "RTE": the folder in GLUE's own archives; NULL for own data */
    const char *help;   /* the question to answer, in a few words */
    /* Names of the text column and of the pair's; [1] is NULL for tasks of single texts. */
    const char *columns[2];
    /* Names of the labels 0, 1, …, in the order of the Hub or of the model; NULL for regression. */
    const char *const *labels;
    size_t label_count; /* 0 for regression */
    /* The range of labels: 0 to label_count − 1; 0 to 5 for stsb; ±infinity for own regression. */
    double label_minimum, label_maximum;
    const char *const *splits;  /* of the data set; the first is the one to evaluate on */
    const char *const *metrics; /* in the order of mc_glue_score */
    const char *label_column;   /* own data: its name, NULL without labels. GLUE: NULL */
    bool own;                   /* made by mc_glue_task_new */
} mc_glue_task;

/*
 * The tasks cola, sst2, mrpc, qqp, stsb, mnli, mnli_matched, mnli_mismatched, qnli, rte, wnli, ax.
 * `index` < mc_glue_task_count().
 */
MC_API size_t mc_glue_task_count(void);
MC_API const mc_glue_task *mc_glue_task_at(size_t index);

/*
 * Finds a task by its name, or by its folder in GLUE's archives ("SST-2", "MNLI"), ignoring case,
 * '-' and '_'. Returns NULL if there is none.
 */
MC_API const mc_glue_task *mc_glue_task_find(const char *name);

/* The columns of a data set of your own. Names must match exactly. */
typedef struct mc_glue_columns {
    const char *text;  /* required */
    const char *pair;  /* of a pair of texts; NULL for single texts */
    const char *label; /* NULL: there are no labels, and nothing is scored */
    void *reserved[4]; /* must be zero */
} mc_glue_columns;

/*
 * Describes a data set of your own for mc_glue_load. `labels` are the names of the model's labels
 * in its order (mc_pipeline_label; mc_pipeline_task makes a task of them). label_count 0 or 1 means
 * regression: labels are numbers. Everything is copied. `name` is used in messages.
 *
 * Labels of classification may be names or numbers. A text that is a label's name means that label;
 * otherwise names are compared without case, '-', '_' and blanks. A number is the index of a label,
 * unless every label's name begins with a number ("1 star", "5"): then it is that number. An empty
 * label, null, and −1 where it is not a label, mean that the example has none.
 *
 * Metrics: accuracy and f1 (two labels), accuracy and f1_macro (more), pearson and spearmanr
 * (regression).
 *
 * Free it with mc_glue_task_free, after the data that uses it.
 *
 * Errors: MC_USAGE  no text column, an empty name, or the same column twice
 */
MC_API mc_status mc_glue_task_new(const char *name, const mc_glue_columns *columns,
                                  const char *const *labels, size_t label_count, mc_glue_task **out,
                                  mc_error *error);
MC_API void mc_glue_task_free(mc_glue_task *task); /* accepts NULL */

/*
 * Returns the number of the label with this name, or with an alias of it ("pos" for "positive"),
 * ignoring case, '-', '_' and blanks; −1 if there is none, and for regression.
 */
MC_API int mc_glue_label_find(const mc_glue_task *task, const char *name);

/*
 * Returns the task's name of a split: "dev" is "validation", which for mnli is
 * "validation_matched"; NULL is the split to evaluate on. Returns NULL if there is no such split.
 */
MC_API const char *mc_glue_split_find(const mc_glue_task *task, const char *name);

/* The examples of one split, in the order of the file. */
typedef struct mc_glue_data mc_glue_data;

/*
 * Loads a split (NULL: the one to evaluate on) from `path`:
 *
 *   a file    Parquet, CSV (RFC 4180), TSV without quoting as in GLUE, or JSON lines; recognised by
 *             content and name. `split` is checked, but does not select anything.
 *   a folder  of GLUE's tasks: the split's file in it, in a folder of the task's name in it, or in
 *             one as GLUE calls it: rte/validation-00000-of-00001.parquet (all parts, if there are
 *             several), validation.parquet, RTE/dev.tsv, …
 *   "-"       standard input, read to its end
 *
 * Columns of GLUE's tasks are found by their names on the Hub and in GLUE's files (docs/glue.md).
 * Nothing in a file is trusted. The texts stay in memory: at most 1 GiB and 4,194,304 rows.
 *
 * Free *out with mc_glue_data_free.
 *
 * Errors: MC_USAGE        unknown split
 *         MC_NOT_FOUND    no such file; the message names what was searched
 *         MC_FORMAT       malformed file, missing column (the message lists those found), or
 *                         invalid label (the message names the row)
 *         MC_UNSUPPORTED  a feature of Parquet that is not supported
 */
MC_API mc_status mc_glue_load(const mc_glue_task *task, const char *path, const char *split,
                              mc_glue_data **out, mc_error *error);
MC_API void mc_glue_data_free(mc_glue_data *data); /* accepts NULL */

/* Keeps the first `count` examples only. Call it before other threads use the data. */
MC_API void mc_glue_limit(mc_glue_data *data, size_t count);

/*
 * Makes a data set of some examples of another, in the order of `indices`, each below
 * mc_glue_count. The texts belong to `data`: free *out, by mc_glue_data_free, before `data`.
 *
 * Errors: MC_NO_MEMORY
 */
MC_API mc_status mc_glue_select(const mc_glue_data *data, const size_t *indices, size_t count,
                                mc_glue_data **out, mc_error *error);

MC_API size_t mc_glue_count(const mc_glue_data *data);
/* Returns the number of examples without a label; scores leave them out. */
MC_API size_t mc_glue_unlabelled(const mc_glue_data *data);
/* Returns whether at least one example has a label. */
MC_API bool mc_glue_labelled(const mc_glue_data *data);
/*
 * Returns the number of lines of a TSV file that were skipped because they are too short to hold
 * the texts and the label. The Hub's copy of GLUE lacks them too (QQP has three).
 */
MC_API size_t mc_glue_skipped(const mc_glue_data *data);
/* Returns the file (the first of several parts), "-" for standard input. Borrowed. */
MC_API const char *mc_glue_path(const mc_glue_data *data);

/* Texts are the bytes of the file, not NUL-terminated, possibly not UTF-8. Borrowed. */
typedef struct mc_glue_example {
    const char *text;
    size_t size;
    const char *pair; /* NULL for tasks of single texts */
    size_t pair_size;
    double label;  /* an index below label_count, or the value of a regression; NaN: none */
    int64_t index; /* column "idx" or "index" of GLUE's tasks; otherwise the row, from 0 */
} mc_glue_example;

MC_API mc_glue_example mc_glue_example_at(const mc_glue_data *data, size_t index);

/*
 * A score. `name` is static and that of Python's evaluate: "accuracy", "f1", "f1_macro",
 * "matthews_correlation", "pearson", "spearmanr"; or "cross_entropy", "mse".
 *
 * The standard error of metrics is that of the delete-one jackknife; of losses, that of a mean. It
 * is NaN if there are too few examples, and for spearmanr of more than 20,000.
 */
typedef struct mc_metric {
    const char *name;
    double value;
    double standard_error;
} mc_metric;

/*
 * Compares predictions (label indices, or values for regression) with labels. Writes the task's
 * metrics to `out` and returns how many; 0 without memory. Values equal those of scikit-learn and
 * scipy within 1e-12:
 *
 *   accuracy
 *   f1                    of label 1; 0 if neither labels nor predictions have a 1
 *   f1_macro              mean over all labels that occur in labels or predictions
 *   matthews_correlation  for any number of labels; 0 if labels or predictions are all the same.
 *                         Values that are not labels of the task count as one more label.
 *   pearson, spearmanr    NaN for a single example, and if labels or predictions are all the same;
 *                         equal values share the mean of their ranks
 *
 * All are NaN without examples. A NaN prediction is wrong for accuracy and makes the others NaN.
 * Examples without a label (NaN) are left out.
 */
MC_API size_t mc_glue_score(const mc_glue_task *task, const double *predictions,
                            const double *labels, size_t count, mc_metric out[MC_GLUE_METRICS]);

/*
 * Returns the mean loss of logits[count][label_count]: cross-entropy in nats, where labels are
 * column numbers; with label_count 1 the mean squared error. Examples without a label (NaN) are
 * left out. NaN if there are none, and if a label is not a column number.
 */
MC_API mc_metric mc_glue_loss(const float *logits, size_t label_count, const double *labels,
                              size_t count);

/* McNemar's test of two models on the same examples: do they err equally often? */
typedef struct mc_mcnemar {
    size_t both, first_only, second_only, neither; /* examples that the models get right */
    double p_value; /* exact, two-sided: binomial with probability ½; 1 if they never differ */
} mc_mcnemar;

/* Predictions and labels as for mc_glue_score. Examples without a label are left out. */
MC_API mc_mcnemar mc_glue_mcnemar(const double *first, const double *second, const double *labels,
                                  size_t count);

MC_END_DECLS

#endif
