/* tokenizer.json. */
#ifndef MC_TOKENIZER_READ_JSON_H
#define MC_TOKENIZER_READ_JSON_H

#include "tokenizer/config.h"

/*
 * Reads it into an empty tokenizer: all of it, or only its vocabulary if config->class builds the
 * rest. Errors: MC_FORMAT, MC_UNSUPPORTED.
 */
mc_status mc_tokenizer_read_json(mc_tokenizer *tokenizer, const json_t *json,
                                 const mc_tokenizer_config *config, mc_error *error);

#endif
