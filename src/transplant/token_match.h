/*
 * Which tokens of two vocabularies are the same. Texts are compared in a normal form: the mark of
 * a word's beginning ("Ġ" or "▁") is the same in both, and special tokens are compared by role.
 */
#ifndef MC_TRANSPLANT_TOKEN_MATCH_H
#define MC_TRANSPLANT_TOKEN_MATCH_H

#include "merge/tokenizer_files.h"

#include <stdint.h>

/* A vocabulary, and its tokens in normal form. */
typedef struct mc_vocabulary_side {
    mc_document *document;
    const char *word_start; /* "Ġ", "▁", or "" if its tokens have no mark */
    char **forms;           /* per token of the document, in its order */
    size_t count;
} mc_vocabulary_side;

/*
 * Reads the tokenizer files. Free with mc_vocabulary_side_free, also after a failure.
 *
 * Errors: MC_UNSUPPORTED  no file lists the vocabulary
 */
mc_status mc_vocabulary_side_read(const mc_tokenizer_owner *owner, mc_vocabulary_side *out,
                                  mc_error *error);
void mc_vocabulary_side_free(mc_vocabulary_side *side);

/* The donor's tokens, by the ids that they have in the result. */
typedef struct mc_token_match {
    size_t rows;          /* of the result: the donor's largest id + 1 */
    int32_t *from;        /* [rows]: the model's id; −1: it lacks the token */
    const char **texts;   /* [rows]: the donor's; NULL: no token has the id */
    size_t common, lacks; /* tokens that both have, and that the model lacks */
} mc_token_match;

mc_status mc_token_match_new(const mc_vocabulary_side *model, const mc_vocabulary_side *donor,
                             mc_token_match *out, mc_error *error);
void mc_token_match_free(mc_token_match *match);

/*
 * The text that a token stands for, in new memory (mc_free): without marks, and bytes instead of
 * the characters that byte-level BPE and byte fallback write them as. *size: its bytes, of which
 * some may be 0, as those of "<0x00>". NULL: no memory.
 */
char *mc_token_plain_text(const mc_vocabulary_side *side, const char *token, size_t *size);

#endif
