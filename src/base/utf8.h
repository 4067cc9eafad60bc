/* UTF-8: what is valid, one character after the other. */
#ifndef MC_BASE_UTF8_H
#define MC_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the longest valid beginning of a text; all of it if it is UTF-8. */
size_t mc_utf8_valid(const char *text, size_t size);
/*
 * Copies a text with U+FFFD for what is not UTF-8, into out of 3 × size bytes; returns the length.
 */
size_t mc_utf8_repair(const char *text, size_t size, char *out);

/* The code point at `at`, of valid UTF-8; sets *length to its bytes. */
static inline uint32_t mc_utf8_next(const char *at, size_t *length)
{
    const unsigned char *const b = (const unsigned char *)at;
    if (b[0] < 0x80)
        return *length = 1, b[0];
    if (b[0] < 0xe0)
        return *length = 2, (b[0] & 0x1fU) << 6 | (b[1] & 0x3fU);
    if (b[0] < 0xf0)
        return *length = 3, (b[0] & 0xfU) << 12 | (b[1] & 0x3fU) << 6 | (b[2] & 0x3fU);
    *length = 4;
    return (b[0] & 7U) << 18 | (b[1] & 0x3fU) << 12 | (b[2] & 0x3fU) << 6 | (b[3] & 0x3fU);
}

/* Where the character before `at` begins, in valid UTF-8 that begins before it. */
static inline const char *mc_utf8_before(const char *at)
{
    do
        at--;
    while (((unsigned char)*at & 0xc0) == 0x80);
    return at;
}

/* Writes a code point; returns the end. */
static inline char *mc_utf8_put(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

#endif
