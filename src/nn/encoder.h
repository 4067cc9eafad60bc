/*
 * Encoders for text classification: BERT, RoBERTa, DistilBERT with their heads.
 *
 * The sequences of a batch are packed: all their tokens are rows of one matrix, without padding, and attention keeps to its sequence.
 * The logits of a sequence are the same bits whatever else is in the batch and however many threads compute, on one CPU.
 */
#ifndef MC_NN_ENCODER_H
#define MC_NN_ENCODER_H

#include "base/json.h"

#include <mergecraft/state_dict.h>

typedef struct mc_encoder mc_encoder;

/*
 * The encoder that a config.json describes (`file` names it in errors), without weights. `dtype`: what products are computed in, MC_F32,
 * MC_BF16 or MC_I8; everything else is float32. MC_UNSUPPORTED names the architecture found and those that are known, or says that the
 * CPU has no such products (or oneDNN is not installed); MC_FORMAT: settings that cannot be. Free with mc_encoder_free, which accepts NULL.
 *
 * MC_I8: each row of a weight, and of what it is multiplied with, is rounded to 255 steps between minus and plus its largest number
 * (dynamic quantization: nothing is learned from data), and the sums of products are exact.
 */
mc_status mc_encoder_new(const json_t *config, const char *file, mc_dtype dtype, mc_encoder **out,
                         mc_error *error);
void mc_encoder_free(mc_encoder *encoder);

/* The names of the weights that it needs, as in the state dict. */
size_t mc_encoder_weight_count(const mc_encoder *encoder);
const char *mc_encoder_weight_name(const mc_encoder *encoder, size_t index); /* index < count */

int mc_encoder_label_count(const mc_encoder *encoder);
int mc_encoder_max_length(const mc_encoder *encoder); /* tokens that a sequence may have */
int mc_encoder_vocabulary_size(const mc_encoder *encoder);

/*
 * Reads the weights, each source once, on `threads` threads, and keeps them in an order of its own; the memory is allocated the
 * first time and used again. Other entries are ignored, and not read. Errors name the tensor: MC_NOT_FOUND, MC_MISMATCH (shape or dtype),
 * MC_FORMAT (NaN or infinity), or what reading it gave; MC_UNSUPPORTED where oneDNN is not installed. After an error there are no
 * weights. Not while another thread uses the encoder.
 */
mc_status mc_encoder_load(mc_encoder *encoder, const mc_state_dict *weights, int threads,
                          const volatile int *cancel, mc_error *error);

/* Sequence i of `count` is tokens starts[i] … starts[i + 1] − 1. types: NULL for all 0. Borrowed. */
typedef struct mc_batch {
    const int32_t *ids;
    const uint8_t *types;
    const size_t *starts; /* [count + 1] */
    size_t count;
} mc_batch;

/* Watching a call while it computes; a NULL pointer, or NULL members: not. */
typedef struct mc_watch {
    const volatile int *cancel; /* the call stops (MC_INTERRUPTED) soon after it is not 0 */
    /*
     * Called from the calling thread after each of its operations, so every fraction of a second,
     * with the tokens that all threads have computed in this call: of a token that has passed half
     * of the network, a half.
     */
    void (*progress)(double tokens, void *user);
    void *user;
} mc_watch;

/* Memory for activations: one for each call that runs at the same time. It grows with what is computed, and is used again. */
typedef struct mc_scratch mc_scratch;
mc_status mc_scratch_new(mc_scratch **out, mc_error *error);
void mc_scratch_free(mc_scratch *scratch); /* accepts NULL */

/*
 * logits[batch->count][labels], on `threads` threads. A batch of any size is computed in groups of some hundred tokens, which threads
 * take in turn: the larger it is, the less they wait for each other at its end; memory grows with threads and the longest
 * sequence only. MC_MISMATCH for a token id or type that the model does not have, MC_USAGE for an empty sequence, one that is too long, or
 * without weights; MC_FORMAT where logits are not finite. Several threads may call at once.
 */
mc_status mc_encoder_logits(const mc_encoder *encoder, const mc_batch *batch, int threads,
                            const mc_watch *watch, mc_scratch *scratch, float *logits,
                            mc_error *error);

#endif
