#include "tokenizer/normalize.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

typedef struct writer {
    const mc_normalizer *steps;
    char *end;
    char *run;    /* marks since the last character of combining class 0 */
    uint8_t last; /* class of the last of them */
    bool unordered;
    bool failed;
} writer;

/* Sorts the marks of a run by class, stably (Unicode's canonical ordering). */
static void order_run(writer *w)
{
    const size_t size = (size_t)(w->end - w->run);
    char *const copy = mc_alloc(size);
    if (!copy) {
        w->failed = true;
        return;
    }
    memcpy(copy, w->run, size);
    char *to = w->run;
    for (unsigned kind = 1; kind <= UINT8_MAX && to < w->end; kind++) {
        size_t length;
        for (size_t i = 0; i < size; i += length) {
            if (mc_unicode_character(mc_utf8_next(copy + i, &length)).combining == kind) {
                memcpy(to, copy + i, length);
                to += length;
            }
        }
    }
    mc_free(copy);
}

/* Called before a character of class 0. */
static void end_run(writer *w)
{
    if (w->unordered)
        order_run(w);
    w->run = w->end;
    w->last = 0;
    w->unordered = false;
}

static void put(writer *w, uint32_t code)
{
    const mc_character character = mc_unicode_character(code);
    size_t count = 1;
    const uint32_t *lowered = &code;
    if (w->steps->lower && (character.flags & MC_LOWERED))
        lowered = mc_unicode_lowered(code, &count);
    /* Marks are only reordered where stripping has decomposed the text (NFD). */
    if (!character.combining || !w->steps->strip)
        end_run(w);
    /* A run that is in order needs no sorting, which takes memory. */
    w->unordered |= character.combining < w->last;
    for (size_t i = 0; i < count; i++)
        w->end = mc_utf8_put(w->end, lowered[i]);
    if (character.combining && w->steps->strip)
        w->last = character.combining;
    else
        w->run = w->end;
}

/* A Hangul syllable is two or three letters, by arithmetic. */
static bool is_syllable(uint32_t code)
{
    return code >= 0xac00 && code < 0xd7a4;
}

static void put_letters(writer *w, uint32_t syllable)
{
    const uint32_t index = syllable - 0xac00;
    put(w, 0x1100 + index / (21 * 28));
    put(w, 0x1161 + index / 28 % 21);
    if (index % 28)
        put(w, 0x11a7 + index % 28);
}

/* Decomposes a character and drops nonspacing marks. */
static void put_stripped(writer *w, uint32_t code, mc_character character)
{
    if (character.flags & MC_NONSPACING) {
        if (!character.combining)
            end_run(w);
    } else if (is_syllable(code)) {
        put_letters(w, code);
    } else if (character.flags & MC_STRIPPED) {
        size_t count;
        const uint32_t *const parts = mc_unicode_stripped(code, &count);
        for (size_t i = 0; i < count; i++)
            put(w, parts[i]);
    } else {
        put(w, code);
    }
}

static void put_normalized(writer *w, uint32_t code)
{
    const mc_character character = mc_unicode_character(code);
    if (w->steps->clean && (character.flags & MC_DROPPED))
        return;
    if (w->steps->clean && (character.flags & MC_BLANK)) {
        put(w, ' ');
        return;
    }
    const bool chinese = w->steps->chinese && (character.flags & MC_CHINESE);
    if (chinese)
        put(w, ' ');
    if (w->steps->strip)
        put_stripped(w, code, character);
    else
        put(w, code);
    if (chinese)
        put(w, ' ');
}

void mc_normalizer_prepare(mc_normalizer *normalizer)
{
    for (int16_t byte = 0; byte < 128; byte++) {
        const uint16_t flags = mc_unicode_character((uint32_t)byte).flags;
        int16_t out = byte;
        if (normalizer->lower && (flags & MC_LOWERED))
            out = (int16_t)(byte + ('a' - 'A'));
        if (normalizer->clean && (flags & MC_DROPPED))
            out = -1;
        else if (normalizer->clean && (flags & MC_BLANK))
            out = ' ';
        normalizer->ascii[byte] = out;
    }
}

static void put_ascii(writer *w, int16_t byte)
{
    if (byte < 0)
        return;
    /* Only behind marks there is a run to end: ASCII is the common case. */
    if (w->run != w->end)
        end_run(w);
    *w->end++ = (char)byte;
    w->run = w->end;
}

bool mc_normalize(const mc_normalizer *normalizer, const char *text, size_t size, mc_buffer *out,
                  size_t *length)
{
    /* Room for the most that a text can grow, so that the writer needs no checks. */
    if (size > SIZE_MAX / MC_UNICODE_GROWTH || !mc_buffer_reserve(out, size * MC_UNICODE_GROWTH))
        return false;
    writer w = {.steps = normalizer, .end = out->bytes, .run = out->bytes};
    size_t step = 1;
    for (size_t i = 0; i < size; i += step) {
        const unsigned char byte = (unsigned char)text[i];
        if (byte < 0x80) {
            put_ascii(&w, normalizer->ascii[byte]);
            step = 1;
        } else {
            put_normalized(&w, mc_utf8_next(text + i, &step));
        }
    }
    end_run(&w);
    *length = (size_t)(w.end - out->bytes);
    return !w.failed;
}
