/*
 * A tokenizer.json of any kind as a document: its vocabulary and added tokens can be listed and
 * replaced. Normalizers, pre-tokenizers, decoders and everything else stay byte for byte, also
 * where mergecraft cannot run them.
 */
#ifndef MC_TOKENIZER_DOCUMENT_H
#define MC_TOKENIZER_DOCUMENT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mc_document mc_document;

typedef struct mc_document_token {
    const char *text;
    int32_t id;
    double score; /* Unigram: its log probability; else 0 */
} mc_document_token;

typedef struct mc_document_added {
    const char *text;
    int32_t id;
    bool special, normalized, left_strip, right_strip, single_word;
    bool in_vocabulary; /* of a document that was read: the vocabulary has the text, too */
} mc_document_added;

/*
 * Parses `size` bytes of a tokenizer.json, which are copied. Free with mc_document_free.
 *
 * Errors: MC_FORMAT       not JSON, no model with a vocabulary, two tokens with the same id, or an
 *                         added token whose id is not the one that the vocabulary gives it
 *         MC_UNSUPPORTED  the kind of model is not known
 */
mc_status mc_document_parse(const char *text, size_t size, mc_document **out, mc_error *error);
/* The same, but takes over the text (mc_alloc, with a NUL behind it), also after a failure. */
mc_status mc_document_take(char *text, size_t size, mc_document **out, mc_error *error);
void mc_document_free(mc_document *document); /* accepts NULL */

/* BPE, WordPiece, WordLevel or Unigram. */
const char *mc_document_model(const mc_document *document);
/* The document's text: the bytes that were parsed, but for what was replaced. */
const char *mc_document_text(const mc_document *document, size_t *size);
/* Frees the text: tokens can be listed and found, and nothing can be replaced any more. */
void mc_document_drop_text(mc_document *document);

/* The vocabulary and added tokens, in the order of their ids; an added token counts once. */
const mc_document_token *mc_document_tokens(const mc_document *document, size_t *count);
/* The added tokens, in the document's order. */
const mc_document_added *mc_document_added_tokens(const mc_document *document, size_t *count);
/* The id of a token; −1 if there is none with this text. */
int32_t mc_document_find(const mc_document *document, const char *text);
/* The added token with this text; NULL if there is none. Of two the first. */
const mc_document_added *mc_document_find_added(const mc_document *document, const char *text);

/*
 * Checks that the package `tokenizers` gives every added token the id that the document states: it
 * numbers tokens that the vocabulary lacks itself, from the vocabulary's size on. MC_FORMAT: it
 * does not, so that rows of an embedding would be those of other tokens.
 */
mc_status mc_document_check_numbers(const mc_document *document, mc_error *error);

/*
 * Replaces the model's vocabulary. Ids must differ; those of Unigram are places, so they must be
 * 0 … count − 1. What the arrays of the document pointed to is no longer valid.
 *
 * Errors: MC_USAGE     ids or texts that appear twice, or ids of Unigram with gaps
 *         MC_MISMATCH  a merge needs a token that is missing
 */
mc_status mc_document_set_vocabulary(mc_document *document, const mc_document_token *tokens,
                                     size_t count, mc_error *error);

/*
 * Replaces the list of added tokens.
 *
 * Errors: MC_USAGE: a text appears twice, or an id is that of another token
 */
mc_status mc_document_set_added(mc_document *document, const mc_document_added *tokens,
                                size_t count, mc_error *error);

/*
 * Makes a document with more tokens: `tokens` is the base's list of added tokens, once each, and
 * new ones behind, whose ids are above those of the base, in their order, unless its vocabulary has
 * the text. Parsing the text of the result gives the same tokens. Borrows the base and the texts.
 *
 * Errors: MC_USAGE: a text appears twice, or an id is that of another token
 */
mc_status mc_document_extend(const mc_document *base, const mc_document_added *tokens, size_t count,
                             mc_document **out, mc_error *error);

#endif
