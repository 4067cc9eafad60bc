/*
 * Encoders for text classification: BERT, RoBERTa and DistilBERT with their heads.
 *
 * A batch is packed: the tokens of all sequences are rows of one matrix, without padding, and
 * attention stays within a sequence. On one CPU, the logits of a sequence have the same bits for
 * any batch and any number of threads.
 */
#ifndef MC_NN_ENCODER_H
#define MC_NN_ENCODER_H

#include "base/json.h"
#include "nn/scratch.h"

#include <mergecraft/state_dict.h>

typedef struct mc_encoder mc_encoder;

/*
 * Creates the encoder that a config.json describes, without weights; errors name it as `file`.
 * Products are computed in `dtype`: MC_F32, MC_BF16 or MC_I8; everything else in float32. Free with
 * mc_encoder_free.
 *
 * MC_I8 is dynamic quantisation: each row of a weight, and of its input, is rounded to 255 steps
 * between minus and plus its largest magnitude. Sums of products are exact.
 *
 * Errors: MC_UNSUPPORTED  the architecture is not known, the CPU has no such products, or oneDNN is
 *                         not installed
 *         MC_FORMAT       a setting has an impossible value
 */
mc_status mc_encoder_new(const json_t *config, const char *file, mc_dtype dtype, mc_encoder **out,
                         mc_error *error);
void mc_encoder_free(mc_encoder *encoder); /* accepts NULL */

/* The weights that it needs, by their names in the state dict. */
size_t mc_encoder_weight_count(const mc_encoder *encoder);
const char *mc_encoder_weight_name(const mc_encoder *encoder, size_t index); /* index < count */

int mc_encoder_label_count(const mc_encoder *encoder);
int mc_encoder_max_length(const mc_encoder *encoder); /* tokens per sequence */
int mc_encoder_vocabulary_size(const mc_encoder *encoder);

/*
 * Reads and packs the weights, each source once, on `threads` threads. Memory is allocated at the
 * first call and reused by the next. Other tensors of the state dict are ignored and not read.
 * After an error there are no weights. No other thread may use the encoder meanwhile. Stops once
 * *cancel is not 0; cancel may be NULL.
 *
 * Errors: MC_NOT_FOUND, MC_MISMATCH (shape, dtype), MC_FORMAT (NaN, infinity): naming the tensor
 *         MC_UNSUPPORTED  oneDNN is not installed
 *         MC_INTERRUPTED  cancel
 *         otherwise as reading the source
 */
mc_status mc_encoder_load(mc_encoder *encoder, const mc_state_dict *weights, int threads,
                          const volatile int *cancel, mc_error *error);

/* Borrowed. Sequence i is tokens starts[i] … starts[i + 1] − 1. */
typedef struct mc_batch {
    const int32_t *ids;
    const uint8_t *types; /* NULL: all 0 */
    const size_t *starts; /* [count + 1] */
    size_t count;
} mc_batch;

/* Watching a call while it computes. A NULL pointer, or NULL members: no watching. */
typedef struct mc_watch {
    const volatile int *cancel; /* the call stops (MC_INTERRUPTED) once it is not 0 */
    /*
     * Called from the calling thread after each of its operations, so every fraction of a second,
     * with the tokens that all threads have computed in this call. A token that has passed half of
     * the operations counts as half a token.
     */
    void (*progress)(double tokens, void *user);
    void *user;
} mc_watch;

/*
 * Computes logits[batch->count][labels] on `threads` threads. A batch may have any size: threads
 * take groups of about a thousand tokens in turn, so a large one keeps them busy, and memory grows
 * with the number of threads and the longest sequence only. Several threads may call at once.
 *
 * Errors: MC_MISMATCH     the model has no such token id or segment type
 *         MC_USAGE        an empty or too long sequence; no weights
 *         MC_FORMAT       logits are not finite
 *         MC_INTERRUPTED  watch->cancel
 */
mc_status mc_encoder_logits(const mc_encoder *encoder, const mc_batch *batch, int threads,
                            const mc_watch *watch, mc_scratch *scratch, float *logits,
                            mc_error *error);

#endif
