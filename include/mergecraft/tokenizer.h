/*
 * Tokenizers: from a text to the token ids that a model reads, the same ids as transformers 5 and
 * its package `tokenizers` give.
 *
 *     mc_encoding encoding = {0};
 *     mc_tokenizer_open("models/bert", &tokenizer, &error);
 *     mc_tokenizer_encode(tokenizer, "Hello", 5, NULL, 0, 512, &encoding, &error);
 *     … encoding.ids[0 … encoding.count - 1] …
 *     mc_encoding_free(&encoding);
 *     mc_tokenizer_close(tokenizer);
 *
 * Supports WordPiece as in BERT and DistilBERT, and byte-level BPE as in RoBERTa.
 *
 * Threads: a tokenizer does not change once it is open, so several threads may use it at once, each
 * with its own encoding.
 */
#ifndef MERGECRAFT_TOKENIZER_H
#define MERGECRAFT_TOKENIZER_H

#include <mergecraft/error.h>

#include <stdbool.h>

MC_BEGIN_DECLS

typedef struct mc_tokenizer mc_tokenizer;

/*
 * Opens the tokenizer in a model folder. Close with mc_tokenizer_close.
 *
 * The vocabulary comes from tokenizer.json, else from vocab.txt, else from vocab.json and
 * merges.txt. The class that tokenizer_config.json or config.json names (or implies, by model_type)
 * decides about the rest, as in transformers 5:
 *
 *     BertTokenizer, DistilBertTokenizer, …  normalisation from do_lower_case, strip_accents and
 *                                            tokenize_chinese_chars of tokenizer_config.json
 *     RobertaTokenizer                       add_prefix_space of tokenizer_config.json
 *     other classes, or none                 everything from tokenizer.json
 *
 * Added and special tokens come from tokenizer.json, tokenizer_config.json,
 * special_tokens_map.json and added_tokens.json. The blocks `truncation` and `padding` of
 * tokenizer.json are ignored.
 *
 * Errors: MC_NOT_FOUND    there is no such file
 *         MC_UNSUPPORTED  a part of the tokenizer is not supported; the text names it
 *         MC_FORMAT       a file is malformed: ids or tokens that appear twice, merges of missing
 *                         tokens, …; the error names the file
 */
MC_API mc_status mc_tokenizer_open(const char *folder, mc_tokenizer **out, mc_error *error);
MC_API void mc_tokenizer_close(mc_tokenizer *tokenizer); /* accepts NULL */

/*
 * The tokens of a text or a pair, special tokens included. Zero-initialise. The next call, with any
 * tokenizer, reuses the memory; mc_encoding_free releases it. One thread at a time may use it.
 */
typedef struct mc_encoding {
    int32_t *ids;   /* [count], each 0 … mc_tokenizer_vocabulary_size - 1 */
    uint8_t *types; /* [count]: segment types, usually 0 or 1 */
    size_t count, capacity;
    bool truncated;                      /* tokens were left out */
    struct mc_encoding_scratch *scratch; /* internal */
} mc_encoding;

/*
 * Encodes a text of `size` bytes, or a pair of texts (pair NULL: a single text). Any bytes are
 * allowed: invalid UTF-8 becomes U+FFFD as in Python's bytes.decode("utf-8", "replace").
 *
 * max_length limits the number of tokens, special ones included; 0: no limit. The longer text of a
 * pair is truncated first ("longest_first"). After an error the encoding is empty.
 *
 * Errors: MC_USAGE      max_length is below the number of special tokens
 *         MC_NO_MEMORY
 */
MC_API mc_status mc_tokenizer_encode(const mc_tokenizer *tokenizer, const char *text, size_t size,
                                     const char *pair, size_t pair_size, size_t max_length,
                                     mc_encoding *out, mc_error *error);
MC_API void mc_encoding_free(mc_encoding *encoding);

/* The largest id + 1. */
MC_API size_t mc_tokenizer_vocabulary_size(const mc_tokenizer *tokenizer);
/* model_max_length of tokenizer_config.json; 0: missing, or too large to mean anything. */
MC_API size_t mc_tokenizer_max_length(const mc_tokenizer *tokenizer);
/*
 * A token's text in the vocabulary ("##ing"); NULL: no token has the id. Lives with the tokenizer.
 */
MC_API const char *mc_tokenizer_token(const mc_tokenizer *tokenizer, int32_t id);

MC_END_DECLS

#endif
