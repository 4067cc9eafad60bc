/*
 * GPT-2's pattern, which splits a text into words. Its alternatives, in the order in which they are
 * tried:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * It is matched by hand: every alternative is decided by the kinds of the next characters.
 */
#include "tokenizer/byte_level.h"

#include "base/utf8.h"

#include "tokenizer/unicode.h"

#include <string.h>

/* The kind of a character in the pattern. Characters of the same kind form a word. */
static unsigned kind_at(const char *at, size_t *length)
{
    return mc_unicode_character(mc_utf8_next(at, length)).flags &
           (MC_LETTER | MC_NUMBER | MC_SPACE);
}

/* Bytes of a contraction such as 's or 're; 0: none. */
static size_t contraction(const char *text, size_t size)
{
    /* strchr also finds the terminator, hence the second condition. */
    if (size >= 2 && strchr("stmd", text[1]) && text[1])
        return 2;
    if (size >= 3 && (memcmp(text + 1, "re", 2) == 0 || memcmp(text + 1, "ve", 2) == 0 ||
                      memcmp(text + 1, "ll", 2) == 0))
        return 3;
    return 0;
}

/* The end of the run of one kind that starts at `at`. */
static size_t run_end(const char *text, size_t size, size_t at, unsigned kind)
{
    size_t length;
    while (at < size && kind_at(text + at, &length) == kind)
        at += length;
    return at;
}

/*
 * Bytes of blanks: all at the end of the text, else all but the last, which may belong to the next
 * word.
 */
static size_t blanks(const char *text, size_t size)
{
    size_t length, last = 0, at = 0;
    while (at < size && kind_at(text + at, &length) == MC_SPACE) {
        last = at;
        at += length;
    }
    return at == size || last == 0 ? at : last;
}

size_t mc_byte_level_word(const char *text, size_t size)
{
    size_t length;
    const size_t short_form = text[0] == '\'' ? contraction(text, size) : 0;
    if (short_form)
        return short_form;
    /* " ?" of the pattern: one blank belongs to the word that follows. */
    const size_t start = text[0] == ' ' && size > 1;
    const unsigned kind = kind_at(text + start, &length);
    if (kind != MC_SPACE)
        return run_end(text, size, start + length, kind);
    return blanks(text, size);
}
