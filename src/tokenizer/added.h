/* Added tokens: special ones and others that are found in the text before the model sees it. */
#ifndef MC_TOKENIZER_ADDED_H
#define MC_TOKENIZER_ADDED_H

#include "tokenizer/tokenizer.h"

/*
 * Makes the finders, once all tokens are there (special ones come first where two look alike). MC_UNSUPPORTED for a token of which
 * nothing is left when it is normalised.
 */
mc_status mc_added_prepare(mc_added *added, const mc_normalizer *normalizer, mc_error *error);
void mc_added_free(mc_added *added);

/* What lies between added tokens, and an added token. */
typedef struct mc_added_walk {
    bool (*text)(void *user, const char *text, size_t size); /* false: stop, out of memory */
    void (*token)(void *user, int32_t id);
    void *user;
} mc_added_walk;

/* Walks over a text of valid UTF-8, in order. False if walk->text was. */
bool mc_added_find(const mc_added *added, const mc_finder *finder, const char *text, size_t size,
                   const mc_added_walk *walk);

#endif
