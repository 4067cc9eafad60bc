/* BERT's normalisation: clean, blanks around Chinese characters, accents stripped, lower case; each if it is configured. */
#ifndef MC_TOKENIZER_NORMALIZE_H
#define MC_TOKENIZER_NORMALIZE_H

#include "tokenizer/tokenizer.h"

/* Once its steps are set. */
void mc_normalizer_prepare(mc_normalizer *normalizer);

/* Whether it has a step at all. */
static inline bool mc_normalizer_changes(const mc_normalizer *normalizer)
{
    return normalizer->clean || normalizer->chinese || normalizer->strip || normalizer->lower;
}

/* Normalises valid UTF-8 into out, which it makes large enough, and sets *length. False when there is no memory. */
bool mc_normalize(const mc_normalizer *normalizer, const char *text, size_t size, mc_buffer *out,
                  size_t *length);

#endif
