/* Tokenizer files and configuration of a result with a vocabulary of its own. */
#ifndef MC_MERGE_TOKEN_MAP_OUTFIT_H
#define MC_MERGE_TOKEN_MAP_OUTFIT_H

#include "merge/outfit.h"
#include "merge/token_map.h"

/*
 * Gives an outfit that was made from models[donor] the tokenizer files of the vocabulary's target,
 * with the tokens that were added, and the number of rows. Files that cannot have the new tokens
 * are removed and reported. Where no token is added, files stay byte for byte.
 *
 * Errors: MC_FORMAT    a file is malformed
 *         MC_MISMATCH  under strict, what would be reported
 */
mc_status mc_token_map_dress(const mc_token_map *map, size_t donor, mc_outfit *outfit,
                             mc_report *report, mc_error *error);

/*
 * Gives an outfit the tokenizer files and generation_config.json of another model, and the ids of
 * its special tokens, which are reported.
 */
mc_status mc_outfit_take_tokenizer(mc_outfit *outfit, const mc_tokenizer_owner *from,
                                   mc_report *report, mc_error *error);

/* Sets vocab_size of the configuration, or of its text model. */
mc_status mc_outfit_set_vocabulary(mc_outfit *outfit, size_t rows, mc_error *error);

#endif
