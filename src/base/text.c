#include "base/text.h"

#include "base/memory.h"

#include <ctype.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(mc_text *text, size_t more)
{
    if (text->failed)
        return false;
    const size_t needed = text->length + more + 1;
    if (needed <= text->capacity)
        return true;
    /* Doubling keeps a text of n appended pieces at O(n). */
    const size_t capacity = needed * 2;
    char *const data = mc_realloc(text->data, capacity);
    if (!data) {
        /* Kept, and nothing is appended from then on: callers check once, at the end. */
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void mc_text_append(mc_text *text, const char *bytes, size_t length)
{
    if (!reserve(text, length))
        return;
    memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void mc_text_add(mc_text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0 && reserve(text, (size_t)length)) {
        /* The first pass has used up its arguments. */
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
}

void mc_text_free(mc_text *text)
{
    mc_free(text->data);
    *text = (mc_text){0};
}

bool mc_parse_number(const char *text, double *number)
{
    /* strtod obeys the locale and reads hexadecimal: neither is expected in options and files. */
    if (strspn(text, "+-.0123456789eEinfatyINFATY") != strlen(text) || !*text)
        return false;
    /* uselocale changes this thread only; setlocale would change the whole process. */
    const locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!plain)
        return false;
    const locale_t before = uselocale(plain);
    char *end = NULL;
    *number = strtod(text, &end);
    uselocale(before);
    freelocale(plain);
    return *end == '\0';
}

char *mc_format_bytes(int64_t bytes, char *buffer, size_t size)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    double amount = (double)bytes;
    size_t unit = 0;
    /* What rounds to 1000 belongs to the next unit: "1.0 GB", never "1000 MB". */
    while (amount >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        amount /= 1000;
        unit++;
    }
    snprintf(buffer, size, unit == 0 || amount >= 99.95 ? "%.0f %s" : "%.1f %s", amount,
             units[unit]);
    return buffer;
}

enum { LONGEST_WORD = 64 };

/* Folds spellings that count as equal: case, and `-` and `_`. */
static int fold(char letter)
{
    return letter == '-' ? '_' : tolower((unsigned char)letter);
}

/*
 * Damerau–Levenshtein distance (adjacent letters swapped count once) of words up to LONGEST_WORD.
 * This is the restricted form: no letter is edited twice.
 */
static size_t distance(const char *a, const char *b)
{
    const size_t m = strlen(a), n = strlen(b);
    /* A swap looks back two rows, so three are enough. */
    size_t rows[3][LONGEST_WORD + 1];
    if (m > LONGEST_WORD || n > LONGEST_WORD)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *const row = rows[i % 3];
        const size_t *const above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = above[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            /* A swap of the last two letters. */
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                const size_t swapped = rows[(i - 2) % 3][j - 2] + 1;
                best = swapped < best ? swapped : best;
            }
            row[j] = best;
        }
    }
    return rows[m % 3][n];
}

/* Whether `part` is one or more of the words of `all`: "k" in "top_k", "boost" in "boost_beta". */
static bool has_words(const char *all, const char *part)
{
    const size_t length = strlen(part);
    for (const char *at = all; *at; at++) {
        size_t same = 0;
        while (same < length && fold(at[same]) == fold(part[same]))
            same++;
        if (same == length && length > 0 && (at == all || fold(at[-1]) == '_') &&
            (!at[length] || fold(at[length]) == '_'))
            return true;
    }
    return false;
}

/* The longest candidate that is a word of `word`; NULL if none is. */
static const char *longest_within(const char *word, const char *const *candidates, size_t count)
{
    const char *found = NULL;
    for (size_t i = 0; i < count; i++)
        if (has_words(word, candidates[i]) && (!found || strlen(candidates[i]) > strlen(found)))
            found = candidates[i];
    return found;
}

const char *mc_suggest(const char *word, const char *const *candidates, size_t count)
{
    const size_t length = strlen(word);
    /*
     * Only a distance below this is suggested: one letter of a short word, at most three of a long
     * one. A larger distance suggests names that are unrelated to what was typed.
     */
    size_t nearest = length < 4 ? 2 : length / 2 < 4 ? length / 2 + 1 : 4;
    const char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        const size_t d = distance(word, candidates[i]);
        if (d < nearest) {
            nearest = d;
            found = candidates[i];
        }
    }
    return found ? found : longest_within(word, candidates, count);
}

bool mc_ends_with(const char *text, const char *ending)
{
    const size_t length = strlen(text), end = strlen(ending);
    return length >= end && memcmp(text + length - end, ending, end) == 0;
}

char *mc_without_slashes(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return mc_strndup(path, length);
}
