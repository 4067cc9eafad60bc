/*
 * The added tokens of a tokenizer: special ones and others, from all the files that may have some.
 */
#ifndef MC_TOKENIZER_SPECIAL_H
#define MC_TOKENIZER_SPECIAL_H

#include "tokenizer/config.h"

/*
 * Adds, in this order:
 *
 *     stored tokenizers only: the list `added_tokens` of tokenizer.json, which may be NULL
 *     added_tokens_decoder of tokenizer_config.json, or without one, added_tokens.json and that
 *         list, by their ids
 *     the special tokens that the configuration names (cls_token, …), or its class does
 *     further ones: extra_special_tokens, additional_special_tokens, …
 *
 * An existing token stays as it is. Errors: MC_FORMAT, also for an id that is not the
 * one which the token gets.
 */
mc_status mc_special_add(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                         const json_t *added_tokens, mc_error *error);

/*
 * Returns the text of a special token, or that of its class if the configuration does not name one.
 */
const char *mc_special_text(const mc_tokenizer_config *config, const char *name);

#endif
