/* vocab.txt (WordPiece), or vocab.json and merges.txt (byte-level BPE). */
#ifndef MC_TOKENIZER_READ_VOCAB_H
#define MC_TOKENIZER_READ_VOCAB_H

#include "tokenizer/config.h"

/*
 * Read into an empty tokenizer. config->class must be that of the files, or not known. Errors name
 * the file if it is not `path`.
 */
mc_status mc_tokenizer_read_vocab_txt(mc_tokenizer *tokenizer, const char *path,
                                      const mc_tokenizer_config *config, mc_error *error);
mc_status mc_tokenizer_read_vocab_json(mc_tokenizer *tokenizer, const char *path,
                                       const char *merges, const mc_tokenizer_config *config,
                                       mc_error *error);

/*
 * What BertTokenizer and RobertaTokenizer make of a vocabulary that has been read, and of their
 * configuration; `added_tokens` as in mc_special_add.
 */
mc_status mc_tokenizer_make_bert(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                                 const json_t *added_tokens, mc_error *error);
mc_status mc_tokenizer_make_roberta(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                                    const json_t *added_tokens, mc_error *error);

#endif
