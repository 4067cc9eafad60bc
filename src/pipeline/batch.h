/* The examples of a data set as one packed batch of tokens. */
#ifndef MC_PIPELINE_BATCH_H
#define MC_PIPELINE_BATCH_H

#include "pipeline/pipeline.h"

/* Zero-initialise; free with mc_token_batch_free, also after a failure. */
typedef struct mc_token_batch {
    mc_batch batch;   /* points to what follows */
    size_t truncated; /* examples that were longer than the model allows */
    int32_t *ids;
    uint8_t *types;
    size_t *starts, capacity;
} mc_token_batch;

/*
 * Tokenizes all examples, in the order of the data, or in an order that depends on their number
 * alone (`shuffled`): files may be sorted by label. Errors: MC_USAGE if there is none.
 */
mc_status mc_token_batch_make(const mc_pipeline *pipeline, const mc_glue_data *data, bool shuffled,
                              mc_token_batch *out, mc_error *error);
void mc_token_batch_free(mc_token_batch *batch);

/*
 * A hash of the tokens: what an encoder reads of a tokenizer's files, of texts, and of the longest
 * length. Also of the number of truncated examples, which is reported with the values.
 */
uint64_t mc_hash_tokens(const mc_token_batch *batch);

#endif
