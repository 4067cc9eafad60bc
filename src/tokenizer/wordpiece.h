/* WordPiece, with BERT's pre-tokenizer. */
#ifndef MC_TOKENIZER_WORDPIECE_H
#define MC_TOKENIZER_WORDPIECE_H

#include "tokenizer/tokenizer.h"

/* Appends the tokens of normalised, valid UTF-8. */
void mc_wordpiece_encode(const mc_tokenizer *tokenizer, const char *text, size_t size, mc_ids *ids);

#endif
