#include "tokenizer/vocabulary.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

/* Probes before a set is rejected: far more than one needs that was not made to collide. */
#define MOST_PROBES 512

/* FNV-1a continues byte by byte, so the hash of every prefix of a text is a by-product. */
static inline uint64_t next_hash(uint64_t hash, char byte)
{
    return (hash ^ (unsigned char)byte) * UINT64_C(0x100000001b3);
}

static uint64_t hash_of(uint64_t hash, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = next_hash(hash, text[i]);
    return hash;
}

/* Mixes in the upper bits, which depend on all bytes. */
static inline uint32_t folded(uint64_t hash)
{
    return (uint32_t)(hash >> 32) ^ (uint32_t)hash;
}

mc_prefix mc_prefix_of(const char *text, size_t size)
{
    return (mc_prefix){.text = text, .size = size, .hash = hash_of(MC_HASH_START, text, size)};
}

mc_status mc_vocabulary_reserve(mc_vocabulary *vocabulary, size_t count, mc_error *error)
{
    size_t capacity = 16;
    while (capacity < count * 2)
        /* At most half full: probes stay short. */
        capacity *= 2;
    vocabulary->slots = mc_alloc_zero(capacity, sizeof *vocabulary->slots);
    if (!vocabulary->slots)
        return mc_fail_memory(error);
    vocabulary->capacity = capacity;
    return MC_OK;
}

void mc_vocabulary_free(mc_vocabulary *vocabulary)
{
    mc_free(vocabulary->slots);
    *vocabulary = (mc_vocabulary){0};
}

static inline bool is_text(const mc_vocabulary_slot *slot, const mc_prefix *prefix,
                           const char *text, size_t size)
{
    return slot->size == prefix->size + size &&
           memcmp(slot->text + prefix->size, text, size) == 0 &&
           (!prefix->size || memcmp(slot->text, prefix->text, prefix->size) == 0);
}

/* Returns the slot of a text, or the free slot for it; NULL if there is none within MOST_PROBES. */
static inline mc_vocabulary_slot *slot_of(const mc_vocabulary *vocabulary, const mc_prefix *prefix,
                                          const char *text, size_t size, uint64_t hash)
{
    const uint32_t key = folded(hash);
    for (size_t i = 0; i < MOST_PROBES; i++) {
        mc_vocabulary_slot *const slot = &vocabulary->slots[(key + i) & (vocabulary->capacity - 1)];
        if (!slot->text || (slot->hash == key && is_text(slot, prefix, text, size)))
            return slot;
    }
    return NULL;
}

mc_status mc_vocabulary_add(mc_vocabulary *vocabulary, const char *text, size_t size, int32_t id,
                            int32_t *old, mc_error *error)
{
    static const mc_prefix none = {.text = "", .size = 0};
    const uint64_t hash = hash_of(MC_HASH_START, text, size);
    /* mc_vocabulary_longest keeps a hash per byte on the stack. */
    if (size > MC_TOKEN_BYTES)
        return mc_fail(error, MC_FORMAT, "expected tokens of at most %d bytes, found one of %zu",
                       MC_TOKEN_BYTES, size);
    mc_vocabulary_slot *const slot = slot_of(vocabulary, &none, text, size, hash);
    if (!slot)
        return mc_fail(error, MC_FORMAT, "too many of its tokens have colliding hashes");
    *old = slot->text ? slot->id : MC_NO_TOKEN;
    if (slot->text)
        return MC_OK;
    *slot = (mc_vocabulary_slot){
        .text = text, .hash = folded(hash), .size = (uint32_t)size, .id = id};
    vocabulary->count++;
    vocabulary->longest = size > vocabulary->longest ? size : vocabulary->longest;
    return MC_OK;
}

int32_t mc_vocabulary_find(const mc_vocabulary *vocabulary, const char *text, size_t size)
{
    static const mc_prefix none = {.text = "", .size = 0};
    if (vocabulary->count == 0)
        return MC_NO_TOKEN;
    const mc_vocabulary_slot *const slot = slot_of(vocabulary, &none, text, size,
                                                   hash_of(MC_HASH_START, text, size));
    return slot && slot->text ? slot->id : MC_NO_TOKEN;
}

int32_t mc_vocabulary_longest(const mc_vocabulary *vocabulary, const mc_prefix *prefix,
                              const char *text, size_t size, size_t *length)
{
    /* hashes[i]: of the prefix and the first i bytes. */
    uint64_t hashes[MC_TOKEN_BYTES + 1];
    const size_t longest = vocabulary->longest > prefix->size ? vocabulary->longest - prefix->size
                                                              : 0;
    const size_t most = size < longest ? size : longest;
    hashes[0] = prefix->hash;
    for (size_t i = 0; i < most; i++)
        hashes[i + 1] = next_hash(hashes[i], text[i]);
    /* The longest first. Each try costs a lookup, not another pass over the text. */
    for (size_t i = most; i > 0; i--) {
        const mc_vocabulary_slot *const slot = slot_of(vocabulary, prefix, text, i, hashes[i]);
        if (slot && slot->text) {
            *length = i;
            return slot->id;
        }
    }
    return MC_NO_TOKEN;
}
