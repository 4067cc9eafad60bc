/* Hashing: 64-bit for keys and fingerprints, and a map from names to indices. */
#ifndef MC_BASE_HASH_H
#define MC_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MC_HASH_START UINT64_C(0xcbf29ce484222325)

/*
 * FNV-1a with a final mix, continued from `hash` (MC_HASH_START). The same on every machine. Not
 * for keys that an adversary can choose.
 */
uint64_t mc_hash_bytes(uint64_t hash, const void *bytes, size_t size);
uint64_t mc_hash_text(uint64_t hash, const char *text); /* with its NUL */
uint64_t mc_hash_mix(uint64_t value);                   /* splitmix64's finaliser: a bijection */

/*
 * A map from names (not copied: they must outlive it) to indices. Zero-initialise. Names may come
 * from untrusted files: no choice of them makes it slow.
 */
typedef struct mc_index {
    struct mc_index_slot *slots;
    size_t count, capacity;
} mc_index;

#define MC_INDEX_NONE SIZE_MAX

/* Adds or replaces; false without memory. */
bool mc_index_set(mc_index *index, const char *name, size_t value);
/* Returns MC_INDEX_NONE if the name is missing. */
size_t mc_index_find(const mc_index *index, const char *name);
void mc_index_free(mc_index *index);

#endif
