/* The pattern by which GPT-2 cuts a text into words. */
#ifndef MC_TOKENIZER_BYTE_LEVEL_H
#define MC_TOKENIZER_BYTE_LEVEL_H

#include <stddef.h>

/* Bytes of the word that a text of valid UTF-8, not empty, begins with. */
size_t mc_byte_level_word(const char *text, size_t size);

#endif
