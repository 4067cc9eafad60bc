/*
 * The parts of a tokenizer, and how a text passes through them:
 *
 *     bytes ─▶ valid UTF-8 ─▶ added tokens that are not normalised
 *                                  │ text between them
 *                                  ▼
 *                             normalizer ─▶ added tokens that are normalised
 *                                  │ text between them
 *                                  ▼
 *                             words ─▶ tokens of the model ─▶ truncation ─▶ template
 */
#ifndef MC_TOKENIZER_TOKENIZER_H
#define MC_TOKENIZER_TOKENIZER_H

#include "tokenizer/buffer.h"
#include "tokenizer/vocabulary.h"

#include <mergecraft/tokenizer.h>

/* Limit of ids: several times the largest known vocabulary. */
#define MC_MOST_TOKENS (INT32_C(1) << 22)

/* ---- parts ----------------------------------------------------------------------------------- */

/* BERT's normalisation; all false: none. */
typedef struct mc_normalizer {
    bool clean, chinese, strip, lower;
    int16_t ascii[128]; /* replacement of each ASCII character; -1: dropped */
} mc_normalizer;

typedef enum mc_model_kind { MC_WORDPIECE, MC_BYTE_BPE } mc_model_kind;

typedef struct mc_wordpiece {
    char *prefix_text;
    mc_prefix prefix;       /* of tokens that continue a word */
    size_t most_characters; /* of a word; longer ones are unknown */
    int32_t unknown;
} mc_wordpiece;

/* Merges two tokens into one; lower ranks first. */
typedef struct mc_bpe_merge {
    int32_t left, right; /* left MC_NO_TOKEN: a free slot */
    int32_t rank, merged;
} mc_bpe_merge;

typedef struct mc_bpe {
    mc_bpe_merge *merges; /* open addressing; a power of two */
    size_t capacity;
    int32_t bytes[256];       /* token of each byte; MC_NO_TOKEN: none */
    int32_t unknown;          /* token of bytes without one; MC_NO_TOKEN: such bytes are dropped */
    bool fuse_unknown;        /* a run of unknown bytes becomes one token */
    bool whole_words;         /* ignore_merges: a word that is a token is not split */
    bool prefix_space, split; /* of the pre-tokenizer: add_prefix_space, use_regex */
} mc_bpe;

/* A token that is found in the text before the model runs. */
typedef struct mc_added_token {
    const char *text; /* owned by mc_added */
    size_t size;
    int32_t id;
    bool left_strip, right_strip, single_word, normalized, special;
} mc_added_token;

/* Texts to find, each with the index of its added token. */
typedef struct mc_finder {
    mc_vocabulary texts;
    bool first[256]; /* whether a text starts with the byte */
} mc_finder;

typedef struct mc_added {
    mc_added_token *tokens;
    size_t count, capacity;
    mc_vocabulary texts; /* index by text */
    int32_t largest;     /* id */
    char *normalized_texts;
    mc_finder plain, normalized;
} mc_added;

/* A part of a template: a special token, the text, or its pair. */
typedef enum mc_part_kind { MC_PART_TOKEN, MC_PART_TEXT, MC_PART_PAIR } mc_part_kind;
typedef struct mc_template_part {
    mc_part_kind kind;
    int32_t id; /* of a token */
    uint8_t type;
} mc_template_part;

#define MC_TEMPLATE_PARTS 32
typedef struct mc_template {
    mc_template_part parts[MC_TEMPLATE_PARTS];
    size_t count;
    size_t tokens; /* number of parts that are tokens */
} mc_template;

struct mc_tokenizer {
    uint64_t serial; /* identifies the tokenizer in caches */
    mc_model_kind kind;
    mc_normalizer normalizer;
    mc_vocabulary vocabulary;
    char *texts;         /* the vocabulary's tokens, each with a terminator */
    const char **tokens; /* by id; NULL: none */
    size_t token_count;
    mc_wordpiece wordpiece;
    mc_bpe bpe;
    mc_added added;
    mc_template single, pair;
    size_t max_length;
    bool cut_left; /* truncate at the start of a text, not at its end */
};

#endif
