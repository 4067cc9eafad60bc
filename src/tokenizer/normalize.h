/*
 * BERT's normalisation. Steps, each optional: clean, put blanks around Chinese characters, strip
 * accents, lower case.
 */
#ifndef MC_TOKENIZER_NORMALIZE_H
#define MC_TOKENIZER_NORMALIZE_H

#include "tokenizer/tokenizer.h"

/* Call when its steps are set. */
void mc_normalizer_prepare(mc_normalizer *normalizer);

/* Returns whether it has any step. */
static inline bool mc_normalizer_changes(const mc_normalizer *normalizer)
{
    return normalizer->clean || normalizer->chinese || normalizer->strip || normalizer->lower;
}

/* Normalises valid UTF-8 into out, which grows as needed, and sets *length. False: no memory. */
bool mc_normalize(const mc_normalizer *normalizer, const char *text, size_t size, mc_buffer *out,
                  size_t *length);

#endif
