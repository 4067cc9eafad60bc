/* Truncates a text or a pair, and adds special tokens. */
#ifndef MC_TOKENIZER_TEMPLATE_H
#define MC_TOKENIZER_TEMPLATE_H

#include "tokenizer/tokenizer.h"

/* Appends a part. MC_UNSUPPORTED: the template has MC_TEMPLATE_PARTS already. */
mc_status mc_template_add(mc_template *template, mc_part_kind kind, int32_t id, uint8_t type,
                          mc_error *error);

/*
 * Fills `out` with the tokens of a text, or a pair (NULL: none), truncated to max_length (0: not).
 */
mc_status mc_template_apply(const mc_tokenizer *tokenizer, const mc_ids *text, const mc_ids *pair,
                            size_t max_length, mc_encoding *out, mc_error *error);

#endif
