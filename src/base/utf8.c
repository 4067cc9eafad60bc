#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

/*
 * The lead bytes of UTF-8: length of the character, and the range of the second byte. The range
 * excludes overlong forms (E0, F0), surrogates (ED) and values above U+10FFFF (F4). C0, C1 and F5
 * to FF begin no character.
 */
static size_t lead(unsigned char byte, unsigned char *low, unsigned char *high)
{
    *low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    *high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf)
        return 2;
    if (byte >= 0xe0 && byte <= 0xef)
        return 3;
    return byte >= 0xf0 && byte <= 0xf4 ? 4 : 0;
}

/*
 * Returns the bytes of the character at `at`. If it is incomplete, *valid is false and they are
 * those of its beginning. They become one U+FFFD together, as Unicode recommends and Python does.
 */
static size_t character(const unsigned char *at, size_t left, bool *valid)
{
    unsigned char low, high;
    *valid = true;
    if (at[0] < 0x80)
        return 1;
    const size_t length = lead(at[0], &low, &high);
    size_t seen = 1;
    while (seen < length && seen < left && at[seen] >= low && at[seen] <= high) {
        /* Only the second byte has a narrower range. */
        low = 0x80;
        high = 0xbf;
        seen++;
    }
    *valid = length && seen == length;
    return seen;
}

/* Names and JSON are mostly ASCII: eight bytes per step. */
static bool ascii8(const char *at)
{
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return !(bytes & UINT64_C(0x8080808080808080));
}

size_t mc_utf8_valid(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        if (size - at >= 8 && ascii8(text + at)) {
            at += 8;
            continue;
        }
        bool valid;
        const size_t length = character((const unsigned char *)text + at, size - at, &valid);
        if (!valid)
            return at;
        at += length;
    }
    return at;
}

size_t mc_utf8_repair(const char *text, size_t size, char *out)
{
    char *end = out;
    for (size_t at = 0; at < size;) {
        bool valid;
        const size_t length = character((const unsigned char *)text + at, size - at, &valid);
        if (valid) {
            memcpy(end, text + at, length);
            end += length;
        } else {
            end = mc_utf8_put(end, 0xfffd);
        }
        at += length;
    }
    return (size_t)(end - out);
}
