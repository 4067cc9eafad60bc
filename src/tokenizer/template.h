/* Cutting a text or a pair to a length, and putting special tokens around it. */
#ifndef MC_TOKENIZER_TEMPLATE_H
#define MC_TOKENIZER_TEMPLATE_H

#include "tokenizer/tokenizer.h"

/* Appends to a template; MC_UNSUPPORTED if it has MC_TEMPLATE_PARTS already. */
mc_status mc_template_add(mc_template *template, mc_part_kind kind, int32_t id, uint8_t type,
                          mc_error *error);

/* Fills `out` with the tokens of the text (and of the pair, if it is not NULL), cut to max_length (0: not cut). */
mc_status mc_template_apply(const mc_tokenizer *tokenizer, const mc_ids *text, const mc_ids *pair,
                            size_t max_length, mc_encoding *out, mc_error *error);

#endif
