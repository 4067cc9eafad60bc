/* Builds a tokenizer; shared by the readers of its files. */
#ifndef MC_TOKENIZER_BUILD_H
#define MC_TOKENIZER_BUILD_H

#include "base/json.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer.h"

/* Reads a boolean member; missing or null: `fallback`. MC_FORMAT: it is not a boolean. */
mc_status mc_build_flag(const json_t *object, const char *name, bool fallback, bool *flag,
                        mc_error *error);
/* Reads an id below MC_MOST_TOKENS; `where` names what holds it, for the error. */
mc_status mc_build_token_id(const json_t *value, const char *where, int32_t *id, mc_error *error);
/* Reads an added token from an object with `content` and flags; the text is borrowed. */
mc_status mc_build_token(const json_t *block, int32_t id, mc_added_token *token, mc_error *error);

/*
 * Read the vocabulary from {"token": id, …}, or from the lines in tokenizer->texts, numbered from
 * 0.
 */
mc_status mc_build_vocabulary(mc_tokenizer *tokenizer, const json_t *vocab, mc_error *error);
mc_status mc_build_lines(mc_tokenizer *tokenizer, size_t size, mc_error *error);
/* Finds the id of a token that must exist; `what` names its role, for the error. */
mc_status mc_build_find(const mc_tokenizer *tokenizer, const char *what, const char *token,
                        int32_t *id, mc_error *error);
/* Sets the WordPiece model. */
mc_status mc_build_wordpiece(mc_tokenizer *tokenizer, const char *unknown, const char *prefix,
                             size_t most_characters, mc_error *error);

/*
 * Sets the byte-level BPE model. Then call mc_bpe_reserve, and one of the two below for each merge,
 * in the order of their ranks: with two tokens, or with "a b".
 */
void mc_build_bpe(mc_tokenizer *tokenizer);
mc_status mc_build_merge(mc_tokenizer *tokenizer, const char *left, size_t left_size,
                         const char *right, size_t right_size, int32_t rank, mc_error *error);
mc_status mc_build_merge_text(mc_tokenizer *tokenizer, const char *text, size_t size, int32_t rank,
                              mc_error *error);

/* Makes room for `count` added tokens, the final number. */
mc_status mc_build_added_reserve(mc_tokenizer *tokenizer, size_t count, mc_error *error);
/*
 * Adds an added token; copies token.text. The token gets its id in the vocabulary, or the next free
 * one. token.id is the id in the file, or MC_NO_TOKEN.
 *
 * Errors: MC_FORMAT: the id in the file differs, or the token was added before
 */
mc_status mc_build_added(mc_tokenizer *tokenizer, mc_added_token token, mc_error *error);

/*
 * Set the templates for a text and a pair:
 *
 *     plain    A               A B                       types 0, 1
 *     bert     [CLS] A [SEP]   [CLS] A [SEP] B [SEP]     types 0 0 0 1 1
 *     roberta  <s> A </s>      <s> A </s> </s> B </s>    all of type 0
 */
mc_status mc_build_plain_template(mc_tokenizer *tokenizer, mc_error *error);
mc_status mc_build_bert_template(mc_tokenizer *tokenizer, int32_t cls, int32_t sep,
                                 mc_error *error);
mc_status mc_build_roberta_template(mc_tokenizer *tokenizer, int32_t cls, int32_t sep,
                                    mc_error *error);

#endif
