/*
 * GLUE: its tasks, their data sets as the Hub and as GLUE itself store them, and their metrics.
 *
 *     mc_glue_load(mc_glue_task_find("rte"), "validation.parquet", NULL, &data, &error);
 *     … a prediction for each mc_glue_example_at(data, i) …
 *     mc_glue_score(task, predictions, labels, mc_glue_count(data), metrics);
 *
 * Tasks are static and a data set does not change once it is loaded: both may be used from several threads at once.
 */
#ifndef MERGECRAFT_GLUE_H
#define MERGECRAFT_GLUE_H

#include <mergecraft/error.h>

#include <stdbool.h>

enum { MC_GLUE_METRICS = 2 }; /* the most that a task has */

/* Lists end with NULL. */
typedef struct mc_glue_task {
    const char *name;   /* "rte": the Hub's name of it (a configuration of nyu-mll/glue) */
    const char *folder; /* "RTE": the folder in GLUE's own archives */
    const char *help;   /* what has to be told, in a few words */
    const char *columns
        [2]; /* names of the text and of its pair on the Hub; [1] is NULL for tasks of single texts */
    const char *const
        *labels;        /* names of the labels 0, 1 …, in the Hub's order; NULL for regression */
    size_t label_count; /* 0 for regression */
    double
        label_maximum; /* the largest label: label_count − 1, or 5 for regression (the smallest is 0) */
    const char *const *splits;  /* of the data set; the first is the one to evaluate on */
    const char *const *metrics; /* what mc_glue_score gives, in its order */
} mc_glue_task;

/* cola, sst2, mrpc, qqp, stsb, mnli, mnli_matched, mnli_mismatched, qnli, rte, wnli, ax: index < mc_glue_task_count(). */
MC_API size_t mc_glue_task_count(void);
MC_API const mc_glue_task *mc_glue_task_at(size_t index);
/* By name, or as GLUE's folders are called ("SST-2", "MNLI"); case, '-' and '_' do not matter. NULL if there is none. */
MC_API const mc_glue_task *mc_glue_task_find(const char *name);

/*
 * The number of the label with this name, or with another name in use for it ("pos" for "positive"); case, '-', '_' and
 * blanks do not matter. −1 if there is none, and for regression.
 */
MC_API int mc_glue_label_find(const mc_glue_task *task, const char *name);

/*
 * The task's own name of a split: "dev" is "validation", which for mnli is "validation_matched"; NULL is the
 * split to evaluate on. NULL if the task has no such split.
 */
MC_API const char *mc_glue_split_find(const mc_glue_task *task, const char *name);

/* The examples of one split, in the order of the file. */
typedef struct mc_glue_data mc_glue_data;

/*
 * Loads a split (as mc_glue_split_find takes it) from `path`:
 *
 *   a file    Parquet, TSV as GLUE has it (quotes mean nothing), CSV (RFC 4180), or JSON lines; told by its content and its
 *             name. `split` only has to be one of the task's.
 *   a folder  the split's file in it, in a folder of the task's name in it, or in one as GLUE calls it: rte/validation-00000-of-00001.parquet
 *             (all parts, if there are several), validation.parquet, RTE/dev.tsv …
 *   "-"       standard input, read to its end
 *
 * Columns are found by their names on the Hub and in GLUE's files; docs/glue.md lists them. A label may be a number or a
 * name; a file without the column has no labels. Labels and texts are checked; nothing in a file is trusted.
 *
 * Free with mc_glue_data_free, which accepts NULL. MC_USAGE for an unknown split, MC_NOT_FOUND where no file is found (says where
 * it looked), MC_FORMAT for broken files, missing columns (lists those found) and labels that are none (says the row),
 * MC_UNSUPPORTED for what Parquet may hold but the reader does not read. Needs memory of the size of the texts; more
 * than 1 GiB, or 4,194,304 rows, is refused.
 */
MC_API mc_status mc_glue_load(const mc_glue_task *task, const char *path, const char *split,
                              mc_glue_data **out, mc_error *error);
MC_API void mc_glue_data_free(mc_glue_data *data);

MC_API size_t mc_glue_count(const mc_glue_data *data);
/* Whether there is at least one example with a label. */
MC_API bool mc_glue_labelled(const mc_glue_data *data);
/*
 * Lines of a TSV file that are too short to hold the texts (or the label, where there is such a column): they are left out, as the
 * Hub's GLUE leaves them out (QQP has three).
 */
MC_API size_t mc_glue_skipped(const mc_glue_data *data);
/* The file that was read (the first of several parts), "-" for standard input. Valid as long as the data. */
MC_API const char *mc_glue_path(const mc_glue_data *data);

/* Texts are bytes as they are in the file, not NUL-terminated, and may be no UTF-8. Valid as long as the data. */
typedef struct mc_glue_example {
    const char *text;
    size_t size;
    const char *pair; /* NULL for tasks of single texts */
    size_t pair_size;
    double label;  /* a whole number below label_count, or 0 … 5 for regression; NaN: none */
    int64_t index; /* its column "idx" or "index"; if there is none, its row in the file, from 0 */
} mc_glue_example;

MC_API mc_glue_example mc_glue_example_at(const mc_glue_data *data, size_t index);

/* `name` as Python's evaluate calls it: "accuracy", "f1", "matthews_correlation", "pearson", "spearmanr"; static. */
typedef struct mc_metric {
    const char *name;
    double value;
} mc_metric;

/*
 * Compares `count` predictions (numbers of labels, or values for regression) with the labels, and returns how many metrics it has put into
 * `out`: those of the task, or 0 if there is no memory. Equal to scikit-learn and scipy within 1e-12:
 *
 *   accuracy
 *   f1                    of label 1; 0 where neither labels nor predictions have a 1
 *   matthews_correlation  for any number of labels; 0 where labels or predictions are all the same. What is none of the task's labels
 *                         counts as one label more.
 *   pearson, spearmanr    NaN for a single example, and where labels or predictions are all the same; equal values share
 *                         the mean of their ranks
 *
 * All are NaN without examples. A prediction that is NaN is wrong for accuracy and makes the others NaN. Examples without a
 * label (NaN) are left out.
 */
MC_API size_t mc_glue_score(const mc_glue_task *task, const double *predictions,
                            const double *labels, size_t count, mc_metric out[MC_GLUE_METRICS]);

#endif
