/*
 * Tokenizers: text → the token ids that a model reads, the same ones as the Python package `tokenizers` gives.
 *
 *     mc_encoding encoding = {0};
 *     mc_tokenizer_open("models/bert", &tokenizer, &error);
 *     mc_tokenizer_encode(tokenizer, "Hello", 5, NULL, 0, 512, &encoding, &error);
 *     … encoding.ids[0 … encoding.count - 1] …
 *     mc_encoding_free(&encoding);
 *     mc_tokenizer_close(tokenizer);
 *
 * Known are WordPiece as BERT and DistilBERT use it, and byte-level BPE as RoBERTa uses it.
 */
#ifndef MERGECRAFT_TOKENIZER_H
#define MERGECRAFT_TOKENIZER_H

#include <mergecraft/error.h>

#include <stdbool.h>

typedef struct mc_tokenizer mc_tokenizer;

/*
 * Opens the tokenizer of a model's folder: tokenizer.json, else vocab.txt, else vocab.json with merges.txt; the latter two
 * with what tokenizer_config.json, special_tokens_map.json and added_tokens.json say, if they are there. The blocks `truncation` and
 * `padding` of a tokenizer.json are not applied. The caller closes it with mc_tokenizer_close, which accepts NULL.
 *
 * MC_NOT_FOUND without such a file; MC_UNSUPPORTED, with its name, for a part that is not known (a Unigram model, say); MC_FORMAT for
 * files that are broken: ids or tokens that appear twice, merges of tokens that are missing, …. The error names the file.
 *
 * A tokenizer does not change once it is open: several threads may use it at once, each with an encoding of its own.
 */
MC_API mc_status mc_tokenizer_open(const char *folder, mc_tokenizer **out, mc_error *error);
MC_API void mc_tokenizer_close(mc_tokenizer *tokenizer);

/*
 * The tokens of a text or a pair, special tokens included. Zero-initialise; the memory is used again by the next call, for the
 * same or another tokenizer, and freed by mc_encoding_free. Belongs to one thread at a time.
 */
typedef struct mc_encoding {
    int32_t *ids;   /* [count]: 0 … mc_tokenizer_vocabulary_size - 1 */
    uint8_t *types; /* [count]: the segment, 0 or 1 as a rule */
    size_t count, capacity;
    bool truncated;                      /* tokens were left out */
    struct mc_encoding_scratch *scratch; /* the library's */
} mc_encoding;

/*
 * Encodes a text of `size` bytes, or a pair of texts (pair NULL: one text alone). They are taken for UTF-8: any bytes are allowed;
 * every longest run of bytes that begins a character and does not complete it, and every byte that cannot begin one, becomes U+FFFD,
 * as in Python's bytes.decode("utf-8", "replace").
 *
 * max_length: the most tokens, special ones included; the longer text of a pair is cut first ("longest_first"). 0: not cut.
 * MC_USAGE if that is less than the special tokens alone; MC_NO_MEMORY. After an error the encoding is empty.
 */
MC_API mc_status mc_tokenizer_encode(const mc_tokenizer *tokenizer, const char *text, size_t size,
                                     const char *pair, size_t pair_size, size_t max_length,
                                     mc_encoding *out, mc_error *error);
MC_API void mc_encoding_free(mc_encoding *encoding);

/* The largest id + 1. */
MC_API size_t mc_tokenizer_vocabulary_size(const mc_tokenizer *tokenizer);
/* How long a sequence may be for the model, as tokenizer_config.json says (model_max_length); 0 if nothing sensible is said. */
MC_API size_t mc_tokenizer_max_length(const mc_tokenizer *tokenizer);
/* The text of a token, as it stands in the vocabulary ("##ing"); NULL for an id that no token has. Valid as long as the tokenizer. */
MC_API const char *mc_tokenizer_token(const mc_tokenizer *tokenizer, int32_t id);

#endif
