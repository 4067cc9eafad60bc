/*
 * Statistics of an encoder on a data set: Gram matrices of the inputs of its linear layers, and the
 * diagonal of its Fisher information. Both are means: over tokens, and over examples. Sequences go
 * in groups that depend on the data alone, so results have the same bits for any number of threads.
 *
 * Errors of both: as mc_trace_begin; MC_FORMAT if logits are not finite; MC_INTERRUPTED.
 */
#ifndef MC_NN_OBSERVE_H
#define MC_NN_OBSERVE_H

#include "nn/trace.h"

/* An array per weight of the network. Zero-initialise; free with mc_observed_free. */
typedef struct mc_observed {
    float **arrays; /* NULL: none of its own */
    size_t *owner;  /* the weight whose array is also this one's; itself if it has its own */
    size_t count;
    size_t examples, tokens;
} mc_observed;

void mc_observed_free(mc_observed *observed);

/*
 * Computes XᵀX / rows of the inputs X of each product: [in, in]. Products that read the same value
 * (queries, keys and values of a block) share one. Rows are tokens, or sequences for the head. The
 * trace must be of all tokens in the last block (`whole`).
 */
mc_status mc_observe_grams(mc_trace_f32 *trace, const mc_batch *batch, const mc_watch *watch,
                           mc_observed *out, mc_error *error);
/* Whether a Gram matrix of so many tokens is singular: XᵀX of fewer rows than columns. */
bool mc_grams_are_singular(const mc_network *n, size_t tokens);

/*
 * The same block by block, with inputs that the caller keeps between calls (RegMean++): for a model
 * whose blocks are replaced one after the other. Blocks are numbered as for mc_network_first.
 *
 * mc_observe_block   computes the Gram matrices of the products of one block into `out`, for the
 *                    block's inputs states[tokens][width].
 * mc_advance_states  replaces states by the block's outputs; block −1 fills them with embeddings.
 */
mc_status mc_observe_block(mc_trace_f32 *trace, const mc_batch *batch, int block,
                           const float *states, const mc_watch *watch, mc_observed *out,
                           mc_error *error);
mc_status mc_advance_states(mc_trace_f32 *trace, const mc_batch *batch, int block, float *states,
                            const mc_watch *watch, mc_error *error);

/*
 * Adds to gradients (as mc_trace_backward) those of the mean over sequences of the entropy of the
 * softmax, and to *entropy the mean itself. The batch may be part of a larger one: sequences
 * first … first + count − 1.
 */
mc_status mc_observe_entropy(mc_trace_f32 *trace, const mc_batch *batch, size_t first, size_t count,
                             float *const *gradients, double *entropy, mc_error *error);

/* As mc_fisher_form (mergecraft/observe.h). */
typedef enum mc_gradients_of { MC_OF_LABELS, MC_OF_OWN_LABEL } mc_gradients_of;

/* How scores follow from logits. */
typedef enum mc_likelihood {
    MC_LIKELIHOOD_SOFTMAX,
    MC_LIKELIHOOD_SIGMOID, /* labels that do not exclude each other */
    MC_LIKELIHOOD_NORMAL   /* regression */
} mc_likelihood;

/*
 * Computes the mean over sequences of the squares of gradients, in the shape of each weight.
 * `labels` (per sequence; for MC_OF_OWN_LABEL) are columns of the logits, or values.
 */
mc_status mc_observe_fisher(mc_trace_f32 *trace, const mc_batch *batch, mc_gradients_of form,
                            mc_likelihood likelihood, const double *labels, const mc_watch *watch,
                            mc_observed *out, mc_error *error);

#endif
