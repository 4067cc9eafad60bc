/*
 * Statistics of a model on a data set, which data-driven methods take as side inputs:
 *
 *     grams             XᵀX / rows of the inputs of every linear layer [in, in], a mean over tokens
 *                       without padding (regmean)
 *     fishers           the diagonal of the Fisher information, in the shape of every weight
 *                       (fisher)
 *     propagated_grams  as grams, but the inputs of a block come from the merged blocks before it
 *                       (regmean++)
 *     coefficients      one number per tensor [1]: the factor of its task vector (adamerging)
 *
 * The last two depend on all models of a merge. The statistics of a model are one safetensors file
 * with tensors "SIDE/TENSOR", which also records the model and the data. mc_model_open and
 * mc_model_take_side open it as a side input of a plan.
 *
 * Thread-safety: several threads may call these functions at once, with pipelines of their own.
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
    bool cached;             /* the file existed in the cache; nothing was computed */
    size_t examples, tokens; /* observed; if cached, by the earlier call */
    size_t truncated;        /* examples that were longer than the model allows */
    /* Tokens are fewer than the widest layer's inputs: its Gram matrix is singular. */
    bool singular;
    /* Labels were used, and their names have no meaning: the order of the task was assumed. */
    bool labels_guessed;
    double seconds;
    double entropy; /* nats, of mc_learn_coefficients: the mean over tasks in the last step */
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
 *                         the form needs one; an unknown form
 *         MC_UNSUPPORTED  LAPACK is not installed
 *         MC_MISMATCH     shapes of weights differ from the configuration; labels that are not the
 *                         model's; values for a classifier, or labels for a regression
 *         MC_FORMAT       NaN or infinity in a weight, or in the logits
 *         MC_INTERRUPTED  run->cancel
 */
MC_API mc_status mc_pipeline_observe(const mc_pipeline *pipeline, const mc_state_dict *weights,
                                     const mc_glue_task *task, const mc_glue_data *data,
                                     const mc_observe_options *options, const mc_pipeline_run *run,
                                     const char *path, mc_observe_result *result, mc_error *error);

/* Statistics that other code has computed, for a model of any architecture. Borrowed. */
typedef struct mc_statistics_file {
    const mc_state_dict *values;  /* "grams/NAME" and "fishers/NAME" */
    const mc_state_dict *weights; /* the model's: merges compare it with them */
    /* Pairs of names: a tensor, and another one whose Gram matrix is also its own. */
    const char *const (*shared)[2];
    size_t shared_count;
    const char *model, *data; /* names of the model and the data; may be NULL */
    mc_fisher_form form;
    size_t examples, tokens;
    void *reserved[4]; /* must be zero */
} mc_statistics_file;

/*
 * Writes statistics to a file like those of mc_pipeline_observe.
 *
 * Errors: MC_USAGE            an unknown form
 *         MC_IO, MC_NO_SPACE  the file cannot be written
 *         MC_NOT_FOUND        its folder does not exist
 */
MC_API mc_status mc_statistics_save(const mc_statistics_file *statistics, const char *path,
                                    mc_error *error);

/* A model of a merge, and the examples of its task. Everything is borrowed for the call. */
typedef struct mc_observed_model {
    const mc_model *model;
    /* With the model's configuration and tokenizer; need not have weights. */
    const mc_pipeline *pipeline;
    const mc_glue_task *task;
    const mc_glue_data *data;
} mc_observed_model;

/*
 * Computes the propagated_grams of models of one architecture. Embeddings are averaged. Then, block
 * by block, the Gram matrices of each model's block are computed, the blocks are merged by
 * regmean++, and every task's examples pass through the merged block. `params` are those of
 * regmean++, "NAME=VALUE" each; those of add-ons, "ADD-ON.NAME=VALUE", are ignored. `paths` has one
 * file per model; NULL: files in the cache. `results` has `count` elements. `run` may be NULL.
 *
 * Errors: as mc_pipeline_observe; MC_MISMATCH also if the models' encoders have other shapes.
 */
MC_API mc_status mc_observe_propagated(const mc_observed_model *models, size_t count,
                                       const char *const *params, size_t param_count,
                                       const mc_pipeline_run *run, const char *const *paths,
                                       mc_observe_result *results, mc_error *error);

/*
 * Learns the coefficients of adamerging: those that minimise the entropy of the predictions of the
 * merged encoder, with each model's own head, on the examples. Labels are not used. `params` are
 * those of adamerging; everything else is as for mc_observe_propagated.
 *
 * Errors: as mc_observe_propagated; MC_UNSUPPORTED also for models without at least two mutually
 * exclusive labels
 */
MC_API mc_status mc_learn_coefficients(const mc_observed_model *models, size_t count,
                                       const mc_model *base, const char *const *params,
                                       size_t param_count, const mc_pipeline_run *run,
                                       const char *const *paths, mc_observe_result *results,
                                       mc_error *error);

/*
 * Selects the models of a greedy soup of fine-tunes of one task: starts with the best model and
 * adds each next one if that raises the score of the mean. Models are scored by the task's first
 * metric on the examples of the last model, which should not be those of the final evaluation. Sets
 * weights[count] to 1 or 0, scores[count] (may be NULL) to the scores of the single models, and
 * `noticed` (may be NULL) to what all of them noticed: examples, truncated, labels_guessed.
 *
 * Errors: as mc_pipeline_evaluate; MC_USAGE also for examples without labels
 */
MC_API mc_status mc_greedy_soup(const mc_observed_model *models, size_t count,
                                const mc_pipeline_run *run, double *weights, double *scores,
                                mc_observe_result *noticed, mc_error *error);

MC_END_DECLS

#endif
