/*
 * Statistics of a model on a data set, which data-driven methods take as side inputs:
 *
 *     grams     XᵀX / rows of the inputs of every linear layer [in, in], a mean over tokens without
 *               padding (regmean)
 *     fishers   the diagonal of the Fisher information, in the shape of every weight (fisher)
 *
 * They are one safetensors file with tensors "SIDE/TENSOR", which also says which model and data
 * they are from. mc_model_open and mc_model_take_side open it as a side input of a plan.
 */
#ifndef MERGECRAFT_OBSERVE_H
#define MERGECRAFT_OBSERVE_H

#include <mergecraft/pipeline.h>

MC_BEGIN_DECLS

/* What the gradients of an example are taken of. */
typedef enum mc_fisher_form {
    /*
     * The mean over labels y, weighted by their probability, of (∂ log p(y)/∂θ)²; needs no labels.
     * Of a regression: (∂ f/∂θ)².
     */
    MC_FISHER_EXACT,
    MC_FISHER_EMPIRICAL /* (∂ loss/∂θ)² for the example's own label: cross-entropy, or (f − y)² */
} mc_fisher_form;

typedef struct mc_observe_options {
    bool grams, fishers; /* what to observe; at least one */
    mc_fisher_form form;
    void *reserved[4]; /* must be zero */
} mc_observe_options;

typedef struct mc_observe_result {
    char path[4096];         /* of the file */
    bool cached;             /* it was there already */
    size_t examples, tokens; /* observed, not of a cached file */
    size_t truncated;        /* examples that were longer than the model allows */
    /* Tokens are fewer than the widest layer's inputs: its Gram matrix is singular. */
    bool singular;
    double seconds;
} mc_observe_result;

/*
 * Observes a model on all examples of a data set and writes the statistics to `path`. NULL: to a
 * file in the user's cache ($XDG_CACHE_HOME or ~/.cache, mergecraft/statistics), named by the
 * contents of model and data; if it exists, nothing is computed.
 *
 * `pipeline` has the configuration and the tokenizer and need not have weights: those of `weights`
 * are observed, or its own if that is NULL. `run` may be NULL.
 *
 * Errors: MC_USAGE        nothing to observe, no examples, an example without a label where
 *                         the form needs one
 *         MC_UNSUPPORTED  LAPACK is not installed
 *         MC_MISMATCH     weights of other shapes than the configuration says; labels that are not
 *                         the model's
 *         MC_FORMAT       NaN or infinity in a weight, or in the logits
 *         MC_INTERRUPTED  run->cancel
 */
MC_API mc_status mc_pipeline_observe(const mc_pipeline *pipeline, const mc_state_dict *weights,
                                     const mc_glue_task *task, const mc_glue_data *data,
                                     const mc_observe_options *options, const mc_pipeline_run *run,
                                     const char *path, mc_observe_result *result, mc_error *error);

/* Statistics that other code has computed, of a model of any architecture. */
typedef struct mc_statistics_file {
    const mc_state_dict *values;  /* "grams/NAME" and "fishers/NAME" */
    const mc_state_dict *weights; /* the model's: merges compare it with them */
    /* Pairs of names: a tensor, and another one whose Gram matrix is also its own. */
    const char *const (*shared)[2];
    size_t shared_count;
    const char *model, *data; /* where they are from; may be NULL */
    mc_fisher_form form;
    size_t examples, tokens;
    void *reserved[4]; /* must be zero */
} mc_statistics_file;

/*
 * Writes statistics to a file like those of mc_pipeline_observe.
 *
 * Errors: MC_IO  the file cannot be written
 */
MC_API mc_status mc_statistics_save(const mc_statistics_file *statistics, const char *path,
                                    mc_error *error);

MC_END_DECLS

#endif
