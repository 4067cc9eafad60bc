#include "base/hash.h"

#include "base/memory.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

uint64_t mc_hash_mix(uint64_t value)
{
    /* The shifts and constants are those of splitmix64. */
    value ^= value >> 30;
    value *= UINT64_C(0xbf58476d1ce4e5b9);
    value ^= value >> 27;
    value *= UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

uint64_t mc_hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *const b = bytes;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ b[i]) * UINT64_C(0x100000001b3);
    return mc_hash_mix(hash);
}

uint64_t mc_hash_text(uint64_t hash, const char *text)
{
    /* With the NUL: ("ab", "c") and ("a", "bc"), hashed one after the other, differ. */
    return mc_hash_bytes(hash, text, strlen(text) + 1);
}

/*
 * A different number in each process, so that nobody can craft names that all fall into one slot.
 * Not 0.
 */
static uint64_t secret(void)
{
    static atomic_uint_least64_t kept;
    uint64_t value = kept, fresh = 0;
    if (value != 0)
        return value;
    /*
     * GRND_NONBLOCK: early in the boot of a system it must not wait. Then the randomised address of
     * a local variable is used.
     */
    if (getrandom(&fresh, sizeof fresh, GRND_NONBLOCK) != sizeof fresh || fresh == 0)
        fresh = (uint64_t)(uintptr_t)&fresh;
    /*
     * If two threads race, the first one's number counts for both: an index must not change its
     * secret.
     */
    return atomic_compare_exchange_strong(&kept, &value, fresh) ? fresh : value;
}

/* Both halves of the product, so that each bit of either factor reaches each bit of the result. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    const __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/*
 * A hash of this process only. Eight bytes at a time: planning hashes a million names of 60 bytes,
 * and mc_hash_text, byte by byte, was a sixth of its time.
 */
static uint64_t hash_name(const char *name)
{
    static const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t key = secret();
    const size_t size = strlen(name);
    uint64_t hash = key ^ size, word;
    size_t at = 0;
    for (; at + sizeof word <= size; at += sizeof word) {
        memcpy(&word, name + at, sizeof word);
        hash = fold(hash ^ word, key ^ odd);
    }
    word = 0;
    memcpy(&word, name + at, size - at);
    return mc_hash_mix(fold(hash ^ word, key ^ odd));
}

/*
 * A slot is free if its name is NULL. The hash decides most comparisons: names lie elsewhere in
 * memory, and reading them would dominate the cost of a large index.
 */
struct mc_index_slot {
    const char *name;
    size_t value;
    uint64_t hash;
};

/*
 * The slot of a name, or the free slot where it would be inserted. Open addressing with linear
 * probing. The capacity is a power of two. At most three quarters of the slots are used,
 * so a free one exists.
 */
static struct mc_index_slot *slot_of(const mc_index *index, const char *name, uint64_t hash)
{
    size_t at = hash & (index->capacity - 1);
    while (index->slots[at].name &&
           (index->slots[at].hash != hash || strcmp(index->slots[at].name, name) != 0))
        at = (at + 1) & (index->capacity - 1);
    return &index->slots[at];
}

static bool grow(mc_index *index)
{
    /* Twice the slots: all insertions together cost O(n). */
    mc_index larger = {.count = index->count,
                       .capacity = index->capacity ? index->capacity * 2 : 16};
    larger.slots = mc_alloc_zero(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < index->capacity; i++)
        if (index->slots[i].name)
            *slot_of(&larger, index->slots[i].name, index->slots[i].hash) = index->slots[i];
    mc_index_free(index);
    *index = larger;
    return true;
}

bool mc_index_set(mc_index *index, const char *name, size_t value)
{
    const uint64_t hash = hash_name(name);
    /* A value is replaced without memory. */
    struct mc_index_slot *const known = index->count > 0 ? slot_of(index, name, hash) : NULL;
    if (known && known->name) {
        *known = (struct mc_index_slot){name, value, hash};
        return true;
    }
    /* Fuller than that, runs of used slots would make the search slow. */
    if (index->count >= index->capacity / 4 * 3 && !grow(index))
        return false;
    *slot_of(index, name, hash) = (struct mc_index_slot){name, value, hash};
    index->count++;
    return true;
}

size_t mc_index_find(const mc_index *index, const char *name)
{
    if (index->count == 0)
        return MC_INDEX_NONE;
    const struct mc_index_slot *const slot = slot_of(index, name, hash_name(name));
    return slot->name ? slot->value : MC_INDEX_NONE;
}

void mc_index_free(mc_index *index)
{
    mc_free(index->slots);
    *index = (mc_index){0};
}
