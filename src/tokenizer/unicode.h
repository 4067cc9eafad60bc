/* Properties of characters as the package `tokenizers` has them (tools/make_unicode.py). */
#ifndef MC_TOKENIZER_UNICODE_H
#define MC_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MC_DROPPED = 1 << 0,     /* BERT's cleaning removes it: control characters, U+FFFD, … */
    MC_BLANK = 1 << 1,       /* BERT's cleaning makes it a blank */
    MC_SPACE = 1 << 2,       /* separates words */
    MC_PUNCTUATION = 1 << 3, /* a word of its own for BERT */
    MC_CHINESE = 1 << 4,     /* BERT puts blanks around it */
    MC_LETTER = 1 << 5,      /* \p{L} of the byte-level pattern */
    MC_NUMBER = 1 << 6,      /* \p{N} of the byte-level pattern */
    MC_WORD = 1 << 7,        /* \w: an added token that is a `single_word` may not touch it */
    MC_NONSPACING = 1 << 8,  /* stripping accents removes it */
    MC_STRIPPED = 1 << 9,    /* stripping accents makes it mc_unicode_stripped */
    MC_LOWERED = 1 << 10,    /* its lower case is mc_unicode_lowered */
};

typedef struct mc_character {
    uint16_t flags;
    uint8_t combining; /* canonical combining class; 0: not reordered */
} mc_character;

/* The block of a code point; the records of blocks; flags and class of a record. */
#define MC_UNICODE_BLOCK 64
extern const uint16_t mc_unicode_block_of[], mc_unicode_record_flags[];
extern const uint8_t mc_unicode_record_of[], mc_unicode_record_classes[];

static inline mc_character mc_unicode_character(uint32_t code)
{
    const size_t block = mc_unicode_block_of[code / MC_UNICODE_BLOCK];
    const size_t record = mc_unicode_record_of[block * MC_UNICODE_BLOCK + code % MC_UNICODE_BLOCK];
    return (mc_character){mc_unicode_record_flags[record], mc_unicode_record_classes[record]};
}

/* The code points that replace `code`; sets *count. Static storage. */
const uint32_t *mc_unicode_stripped(uint32_t code, size_t *count);
const uint32_t *mc_unicode_lowered(uint32_t code, size_t *count);

/* The most bytes that a byte of UTF-8 becomes when it is normalised. */
#define MC_UNICODE_GROWTH 3

#endif
