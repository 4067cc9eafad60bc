/* Added tokens, special and others: found in the text before the model sees it. */
#ifndef MC_TOKENIZER_ADDED_H
#define MC_TOKENIZER_ADDED_H

#include "tokenizer/tokenizer.h"

/*
 * Builds the finders when all tokens have been added. A special token takes precedence over another
 * with the same text.
 *
 * Errors: MC_UNSUPPORTED: a token is empty after normalisation
 */
mc_status mc_added_prepare(mc_added *added, const mc_normalizer *normalizer, mc_error *error);
void mc_added_free(mc_added *added);

/* Receives the text between added tokens, and the tokens. */
typedef struct mc_added_walk {
    bool (*text)(void *user, const char *text, size_t size); /* false: stop, out of memory */
    void (*token)(void *user, int32_t id);
    void *user;
} mc_added_walk;

/* Walks over valid UTF-8 in order. False if walk->text returned false. */
bool mc_added_find(const mc_added *added, const mc_finder *finder, const char *text, size_t size,
                   const mc_added_walk *walk);

#endif
