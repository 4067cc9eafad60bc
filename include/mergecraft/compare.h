/*
 * How models differ: from a base (their task vectors, and how these agree with each other), or one
 * model from another.
 *
 * Thread-safety: a comparison is immutable; any number of threads may read it.
 */
#ifndef MERGECRAFT_COMPARE_H
#define MERGECRAFT_COMPARE_H

#include <mergecraft/merge.h>

MC_BEGIN_DECLS

typedef struct mc_comparison mc_comparison;

/* What is compared. Everything is borrowed and stays open until the comparison is freed. */
typedef struct mc_compare_input {
    const mc_model *const *models;
    size_t model_count;
    /* Their base. NULL: the first model takes its place, and the others are compared with it. */
    const mc_model *base;
    const char *const *exclude; /* shell patterns of names that are not compared */
    size_t exclude_count;
    bool rank;         /* compute mc_compared_rank, which needs LAPACK and whole matrices */
    void *reserved[3]; /* must be zero */
} mc_compare_input;

/*
 * Reads every tensor that all models and the base have, once, and compares them. Fields of
 * `options` that count: threads, cancel, progress (bytes read; called from the calling thread).
 * NULL: the defaults. The caller frees *out with mc_comparison_free, which accepts NULL.
 *
 * Sums are in double along a fixed tree: the same bits for any number of threads.
 *
 * Errors: MC_USAGE        fewer models than one with a base, or two without
 *         MC_INTERRUPTED  by options->cancel
 *         MC_UNSUPPORTED  input->rank without LAPACK
 *         and those of reading
 */
MC_API mc_status mc_compare(const mc_compare_input *input, const mc_run_options *options,
                            mc_comparison **out, mc_error *error);
MC_API void mc_comparison_free(mc_comparison *comparison);

/* Number of models that are compared, without the base or the first model in its place. */
MC_API size_t mc_comparison_models(const mc_comparison *comparison);
/* Returns whether there was a base; otherwise the first model took its place. */
MC_API bool mc_comparison_has_base(const mc_comparison *comparison);
/*
 * Returns the name of a model. At index mc_comparison_models: of the base, or of the first model in
 * its place.
 */
MC_API const char *mc_comparison_model(const mc_comparison *comparison, size_t index);

/* One tensor, or the sum of several. The arrays are valid as long as their owner. */
typedef struct mc_compared {
    const char *name; /* of the tensor; NULL of a sum */
    int block;        /* its transformer layer; −1: in none, or a sum */
    const char *role; /* "query", "mlp up", "norm", …; static; NULL of a sum */
    int64_t elements;
    int64_t agree; /* where the task vectors that are not zero have one sign; one of them is not */
    int64_t conflict; /* where two task vectors have opposite signs */
    double base_norm;
    size_t models;
    const double *sums; /* opaque; for the functions below */
} mc_compared;

MC_API size_t mc_comparison_count(const mc_comparison *comparison);
MC_API void mc_comparison_at(const mc_comparison *comparison, size_t index, mc_compared *out);

/* Bytes of the sums of one mc_compared, for mc_compared_add. */
MC_API size_t mc_comparison_sum_size(const mc_comparison *comparison);
/*
 * Adds a tensor to a sum. `memory` (mc_comparison_sum_size bytes, zero at first) holds the sums and
 * becomes total->sums.
 */
MC_API void mc_compared_add(mc_compared *total, void *memory, const mc_compared *one);

/* Of a model's task vector (its difference from the base): Euclidean norm, mean and largest
 * magnitude, and the number of elements that differ. Of no elements: 0. */
MC_API double mc_compared_norm(const mc_compared *one, size_t model);
MC_API double mc_compared_mean(const mc_compared *one, size_t model);
MC_API double mc_compared_largest(const mc_compared *one, size_t model);
MC_API int64_t mc_compared_different(const mc_compared *one, size_t model);
/*
 * The effective rank of a model's task vector (Roy and Vetterli, The effective rank, 2007):
 * exp(−Σ p log p), where p are the singular values divided by their sum. The mean over matrices;
 * NaN if no matrix differs, or without mc_compare_input.rank.
 */
MC_API double mc_compared_rank(const mc_compared *one, size_t model);
/* The cosine between the task vectors of two models; NaN if one of them is zero. */
MC_API double mc_compared_cosine(const mc_compared *one, size_t a, size_t b);

/* The mean of the cosines between pairs of task vectors that are not zero; NaN: there is none. */
MC_API double mc_compared_mean_cosine(const mc_compared *one);

/*
 * What was not compared, and in what configurations, labels and tokenizers differ: one line each.
 * Without a base, all keys of config.json are compared, and the files beside it byte by byte; with
 * a base, only what matters to a merge. `identical`: there is no line, and no element differs.
 */
MC_API const mc_report *mc_comparison_report(const mc_comparison *comparison);
MC_API bool mc_comparison_identical(const mc_comparison *comparison);

MC_END_DECLS

#endif
