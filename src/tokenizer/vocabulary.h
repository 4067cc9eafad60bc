/*
 * A set of texts with one number each, made to find the longest one that is a prefix of a text: the
 * hash continues byte by byte over the text, so each prefix costs one lookup.
 */
#ifndef MC_TOKENIZER_VOCABULARY_H
#define MC_TOKENIZER_VOCABULARY_H

#include "base/error.h"

#include <stdbool.h>

/* Limit of a token's bytes. */
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

/* The start of a search: a prefix that is not part of the text ("##"). */
typedef struct mc_prefix {
    const char *text;
    size_t size;
    uint64_t hash;
} mc_prefix;

mc_prefix mc_prefix_of(const char *text, size_t size);

/* Makes room for `count` texts, the final number. */
mc_status mc_vocabulary_reserve(mc_vocabulary *vocabulary, size_t count, mc_error *error);
/*
 * Adds a text, which is borrowed. If the text is in the set already it keeps its id, and *old is
 * that id, else MC_NO_TOKEN.
 *
 * Errors: MC_FORMAT: the text is longer than MC_TOKEN_BYTES, or the texts were made to collide
 */
mc_status mc_vocabulary_add(mc_vocabulary *vocabulary, const char *text, size_t size, int32_t id,
                            int32_t *old, mc_error *error);
void mc_vocabulary_free(mc_vocabulary *vocabulary);

/* Returns the id of a text; MC_NO_TOKEN if it is not in the set. */
int32_t mc_vocabulary_find(const mc_vocabulary *vocabulary, const char *text, size_t size);
/*
 * Finds the longest text of the set that is `prefix` followed by the first bytes of `text`, at
 * least one, and sets *length to their number. MC_NO_TOKEN: none.
 */
int32_t mc_vocabulary_longest(const mc_vocabulary *vocabulary, const mc_prefix *prefix,
                              const char *text, size_t size, size_t *length);

#endif
