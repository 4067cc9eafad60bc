/*
 * A set of texts with a number each, made to find the longest one that a text begins with: a hash is continued byte by byte over
 * the text, and every beginning is one lookup.
 */
#ifndef MC_TOKENIZER_VOCABULARY_H
#define MC_TOKENIZER_VOCABULARY_H

#include "base/error.h"

#include <stdbool.h>

/* The longest token that is accepted, in bytes. */
#define MC_TOKEN_BYTES 1024
#define MC_NO_TOKEN (-1)

typedef struct mc_vocabulary_slot {
    const char *text; /* NULL: free */
    uint32_t hash, size;
    int32_t id;
} mc_vocabulary_slot;

typedef struct mc_vocabulary {
    mc_vocabulary_slot *slots; /* open addressing; a power of two */
    size_t capacity, count;
    size_t longest; /* bytes of the longest text */
} mc_vocabulary;

/* Where a search begins: after a prefix that is not in the text ("##"). */
typedef struct mc_prefix {
    const char *text;
    size_t size;
    uint64_t hash;
} mc_prefix;

mc_prefix mc_prefix_of(const char *text, size_t size);

/* Makes room for `count` texts, all that will be added. */
mc_status mc_vocabulary_reserve(mc_vocabulary *vocabulary, size_t count, mc_error *error);
/*
 * Adds a text, which is not copied; *old is MC_NO_TOKEN, or the id of the same text that was there before and stays. MC_FORMAT if it is longer
 * than MC_TOKEN_BYTES, or if the set was made so that searching it would take for ever.
 */
mc_status mc_vocabulary_add(mc_vocabulary *vocabulary, const char *text, size_t size, int32_t id,
                            int32_t *old, mc_error *error);
void mc_vocabulary_free(mc_vocabulary *vocabulary);

/* The id of a text; MC_NO_TOKEN. */
int32_t mc_vocabulary_find(const mc_vocabulary *vocabulary, const char *text, size_t size);
/*
 * The longest text of the set that is `prefix` and then a beginning of `text`, not empty; sets *length to the bytes of the
 * beginning. MC_NO_TOKEN if there is none.
 */
int32_t mc_vocabulary_longest(const mc_vocabulary *vocabulary, const mc_prefix *prefix,
                              const char *text, size_t size, size_t *length);

#endif
