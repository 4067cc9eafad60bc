/* GPT-2's pattern, which splits a text into words. */
#ifndef MC_TOKENIZER_BYTE_LEVEL_H
#define MC_TOKENIZER_BYTE_LEVEL_H

#include <stddef.h>

/* Bytes of the first word of valid UTF-8 that is not empty. */
size_t mc_byte_level_word(const char *text, size_t size);

#endif
