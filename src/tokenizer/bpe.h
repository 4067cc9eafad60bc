/* Byte-level BPE, with GPT-2's pre-tokenizer. */
#ifndef MC_TOKENIZER_BPE_H
#define MC_TOKENIZER_BPE_H

#include "tokenizer/tokenizer.h"

typedef struct mc_bpe_symbol mc_bpe_symbol;
typedef struct mc_bpe_candidate mc_bpe_candidate;
typedef struct mc_bpe_cached mc_bpe_cached;

/* Memory for encoding, reused from text to text. Zero-initialise. */
typedef struct mc_bpe_scratch {
    mc_buffer text; /* with a blank in front */
    mc_buffer spelling;
    mc_bpe_symbol *symbols;
    size_t symbol_capacity;
    mc_bpe_candidate *heap;
    size_t heap_count, heap_capacity;
    mc_bpe_cached
        *cache; /* tokens of words that were seen, of the tokenizer with that serial number */
    uint64_t serial;
} mc_bpe_scratch;

void mc_bpe_scratch_free(mc_bpe_scratch *scratch);

/* Appends the tokens of valid UTF-8; sets ids->failed if there is no memory. */
void mc_bpe_encode(const mc_tokenizer *tokenizer, const char *text, size_t size,
                   mc_bpe_scratch *scratch, mc_ids *ids);

/* The code point that stands for a byte in vocabularies ("Ġ" for a blank). */
uint32_t mc_bpe_character(unsigned char byte);

/* Makes room for `count` merges, the final number. */
mc_status mc_bpe_reserve(mc_bpe *bpe, size_t count, mc_error *error);
/*
 * Adds a merge; of two for the same pair the last counts. MC_FORMAT: the pairs were made to
 * collide.
 */
mc_status mc_bpe_add(mc_bpe *bpe, mc_bpe_merge merge, mc_error *error);
void mc_bpe_free(mc_bpe *bpe);

#endif
