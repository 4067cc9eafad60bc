#include "pipeline/batch.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

void mc_token_batch_free(mc_token_batch *batch)
{
    mc_free(batch->ids);
    mc_free(batch->types);
    mc_free(batch->starts);
    *batch = (mc_token_batch){0};
}

static mc_status reserve(mc_token_batch *b, size_t count, mc_error *error)
{
    if (count <= b->capacity)
        return MC_OK;
    const size_t capacity = 2 * count;
    int32_t *const ids = mc_realloc(b->ids, capacity * sizeof *ids);
    /* Stored at once: after a failure of the second allocation the old pointer is invalid. */
    b->ids = ids ? ids : b->ids;
    uint8_t *const types = mc_realloc(b->types, capacity * sizeof *types);
    b->types = types ? types : b->types;
    b->capacity = ids && types ? capacity : b->capacity;
    return ids && types ? MC_OK : mc_fail_memory(error);
}

static mc_status add_example(const mc_pipeline *pipeline, const mc_glue_example *e, size_t index,
                             mc_encoding *encoding, mc_token_batch *b, mc_error *error)
{
    const mc_text_input text = {e->size ? e->text : "", e->size,
                                e->pair && !e->pair_size ? "" : e->pair, e->pair_size};
    const size_t start = b->starts[index];
    MC_TRY(mc_pipeline_tokenize(pipeline, &text, encoding, error));
    MC_TRY(reserve(b, start + encoding->count, error));
    memcpy(b->ids + start, encoding->ids, encoding->count * sizeof *b->ids);
    memcpy(b->types + start, encoding->types, encoding->count);
    b->starts[index + 1] = start + encoding->count;
    b->truncated += encoding->truncated;
    return MC_OK;
}

/* Fisher and Yates' permutation. */
static void shuffle(size_t *order, size_t count)
{
    uint64_t state = MC_HASH_START;
    for (size_t i = count; i > 1; i--) {
        state = mc_hash_bytes(state, &i, sizeof i);
        const size_t k = (size_t)(state % i), last = order[i - 1];
        order[i - 1] = order[k];
        order[k] = last;
    }
}

mc_status mc_token_batch_make(const mc_pipeline *pipeline, const mc_glue_data *data, bool shuffled,
                              mc_token_batch *out, mc_error *error)
{
    const size_t count = mc_glue_count(data);
    mc_encoding encoding = {0};
    if (count == 0)
        return mc_fail(error, MC_USAGE, "expected at least one example to observe, found none");
    size_t *const order = mc_alloc(count * sizeof *order);
    out->starts = mc_alloc_zero(count + 1, sizeof *out->starts);
    mc_status status = order && out->starts ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; order && i < count; i++)
        order[i] = i;
    if (status == MC_OK && shuffled)
        shuffle(order, count);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        const mc_glue_example example = mc_glue_example_at(data, order[i]);
        status = add_example(pipeline, &example, i, &encoding, out, error);
    }
    mc_encoding_free(&encoding);
    mc_free(order);
    out->batch = (mc_batch){out->ids, out->types, out->starts, count};
    return status;
}

uint64_t mc_hash_tokens(const mc_token_batch *batch)
{
    const size_t count = batch->batch.count, tokens = batch->starts[count];
    uint64_t hash = mc_hash_bytes(MC_HASH_START, batch->starts, (count + 1) * sizeof(size_t));
    hash = mc_hash_bytes(hash, &batch->truncated, sizeof batch->truncated);
    hash = mc_hash_bytes(hash, batch->ids, tokens * sizeof *batch->ids);
    return mc_hash_bytes(hash, batch->types, tokens * sizeof *batch->types);
}
