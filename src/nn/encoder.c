#include "nn/encoder.h"

#include "base/memory.h"
#include "nn/run.h"

struct mc_encoder {
    mc_network network;
    mc_weights weights;
};

static mc_status check_dtype(mc_dtype dtype, mc_error *error)
{
    if (dtype != MC_F32 && dtype != MC_BF16 && dtype != MC_I8)
        return mc_fail(error, MC_UNSUPPORTED,
                       "dtype of products: expected f32, bf16 or int8, found %s",
                       mc_dtype_name(dtype));
    /*
     * Every CPU has float32. oneDNN is then loaded with the weights, so a network can be built
     * without it.
     */
    return dtype == MC_F32 ? MC_OK : mc_onednn_check(dtype, error);
}

mc_status mc_encoder_new(const json_t *config, const char *file, mc_dtype dtype, mc_encoder **out,
                         mc_error *error)
{
    MC_TRY(check_dtype(dtype, error));
    mc_encoder *const encoder = mc_alloc_zero(1, sizeof *encoder);
    if (!encoder)
        return mc_fail_memory(error);
    encoder->weights.network = &encoder->network;
    const mc_status status = mc_network_build(&encoder->network, config, file, dtype, error);
    if (status != MC_OK) {
        mc_encoder_free(encoder);
        return status;
    }
    *out = encoder;
    return MC_OK;
}

void mc_encoder_free(mc_encoder *encoder)
{
    if (!encoder)
        return;
    mc_weights_free(&encoder->weights);
    mc_network_free(&encoder->network);
    mc_free(encoder);
}

size_t mc_encoder_weight_count(const mc_encoder *encoder)
{
    return encoder->network.weight_count;
}

const char *mc_encoder_weight_name(const mc_encoder *encoder, size_t index)
{
    return encoder->network.weights[index].name;
}

int mc_encoder_label_count(const mc_encoder *encoder)
{
    return encoder->network.labels;
}

int mc_encoder_max_length(const mc_encoder *encoder)
{
    return encoder->network.max_length;
}

int mc_encoder_vocabulary_size(const mc_encoder *encoder)
{
    return encoder->network.vocabulary;
}

mc_status mc_encoder_load(mc_encoder *encoder, const mc_state_dict *weights, int threads,
                          const volatile int *cancel, mc_error *error)
{
    return mc_weights_load(&encoder->weights, weights, threads, cancel, error);
}

/* The position table has max_length rows: a longer sequence would read behind it. */
static mc_status check_lengths(const mc_network *n, const mc_batch *batch, mc_error *error)
{
    for (size_t i = 0; i < batch->count; i++) {
        const size_t start = batch->starts[i], end = batch->starts[i + 1];
        if (end <= start || end - start > (size_t)n->max_length)
            return mc_fail(error, MC_USAGE, "sequence %zu: expected 1 to %d tokens, found %lld", i,
                           n->max_length, (long long)(end - start));
    }
    return MC_OK;
}

/*
 * Ids and types are row numbers of tables, and come from a tokenizer that may be another model's.
 */
static mc_status check_tokens(const mc_network *n, const mc_batch *batch, mc_error *error)
{
    for (size_t t = batch->starts[0]; t < batch->starts[batch->count]; t++) {
        const int id = batch->ids[t], type = batch->types ? batch->types[t] : 0;
        if (id < 0 || id >= n->vocabulary)
            return mc_fail(error, MC_MISMATCH,
                           "token id: expected less than the model's vocabulary (%d), found %d",
                           n->vocabulary, id);
        if (n->types > 0 && type >= n->types)
            return mc_fail(error, MC_MISMATCH,
                           "segment type: expected less than type_vocab_size (%d), found %d",
                           n->types, type);
    }
    return MC_OK;
}

mc_status mc_encoder_logits(const mc_encoder *encoder, const mc_batch *batch, int threads,
                            const mc_watch *watch, mc_scratch *scratch, float *logits,
                            mc_error *error)
{
    if (!encoder->weights.loaded)
        return mc_fail(error, MC_USAGE, "the encoder has no weights");
    if (batch->count == 0)
        return MC_OK;
    MC_TRY(check_lengths(&encoder->network, batch, error));
    MC_TRY(check_tokens(&encoder->network, batch, error));
    return mc_network_run(&encoder->network, &encoder->weights, batch, threads, watch, scratch,
                          logits, error);
}
