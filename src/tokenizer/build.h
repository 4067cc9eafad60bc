/* Putting a tokenizer together; the readers of its files share this. */
#ifndef MC_TOKENIZER_BUILD_H
#define MC_TOKENIZER_BUILD_H

#include "base/json.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer.h"

/* The member `name`, or `fallback` if it is missing or null; MC_FORMAT if it is something else than a boolean. */
mc_status mc_build_flag(const json_t *object, const char *name, bool fallback, bool *flag,
                        mc_error *error);
/* An id below MC_MOST_TOKENS; `where` names what holds it in the error. */
mc_status mc_build_token_id(const json_t *value, const char *where, int32_t *id, mc_error *error);
/* An added token, of an object with its `content` and flags; the text is borrowed. */
mc_status mc_build_token(const json_t *block, int32_t id, mc_added_token *token, mc_error *error);

/* The vocabulary, of an object {"token": id, …}, or of the lines in tokenizer->texts, whose numbers are the ids. */
mc_status mc_build_vocabulary(mc_tokenizer *tokenizer, const json_t *vocab, mc_error *error);
mc_status mc_build_lines(mc_tokenizer *tokenizer, size_t size, mc_error *error);
/* The id of a token that must be in the vocabulary or be an added one; `what` says what it is, for the error. */
mc_status mc_build_find(const mc_tokenizer *tokenizer, const char *what, const char *token,
                        int32_t *id, mc_error *error);
/* Sets the WordPiece model. */
mc_status mc_build_wordpiece(mc_tokenizer *tokenizer, const char *unknown, const char *prefix,
                             size_t most_characters, mc_error *error);

/* Sets a byte-level BPE model; mc_bpe_reserve comes next, then its merges, the first one of rank 0: of two tokens, or "a b". */
void mc_build_bpe(mc_tokenizer *tokenizer);
mc_status mc_build_merge(mc_tokenizer *tokenizer, const char *left, size_t left_size,
                         const char *right, size_t right_size, int32_t rank, mc_error *error);
mc_status mc_build_merge_text(mc_tokenizer *tokenizer, const char *text, size_t size, int32_t rank,
                              mc_error *error);

/* Makes room for `count` added tokens, all there will be. */
mc_status mc_build_added_reserve(mc_tokenizer *tokenizer, size_t count, mc_error *error);
/*
 * Adds a token to those that are found in texts; token.text is copied. Its id is that of the vocabulary, or the next free one; token.id is
 * what the file says, or MC_NO_TOKEN. MC_FORMAT if that is another one, or if the token was added before.
 */
mc_status mc_build_added(mc_tokenizer *tokenizer, mc_added_token token, mc_error *error);

/*
 * Templates: A and A B of types 0 1; [CLS] A [SEP] and [CLS] A [SEP] B [SEP] of types 0 0 0 1 1; as RoBERTa has it, <s> A </s> and
 * <s> A </s> </s> B </s>, all of type 0.
 */
mc_status mc_build_plain_template(mc_tokenizer *tokenizer, mc_error *error);
mc_status mc_build_bert_template(mc_tokenizer *tokenizer, int32_t cls, int32_t sep,
                                 mc_error *error);
mc_status mc_build_roberta_template(mc_tokenizer *tokenizer, int32_t cls, int32_t sep,
                                    mc_error *error);

#endif
