#include "base/json_numbers.h"

#include <jansson.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 *            ┌──────── any other byte: copied ────────┐
 *            ▼                                        │
 *     between tokens ── '"' ──▶ string, to its unescaped '"'
 *            │
 *            └── letter, digit or '-' ──▶ word, to the first byte that no number has
 *                                         marked if jansson cannot read it
 */

/*
 * The longest number that is examined. Python rejects integers of more digits as well
 * (sys.set_int_max_str_digits).
 */
enum { LONGEST = 4300 };

static const char word_bytes[] = "+-.0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

static bool is_constant(const char *word, size_t length)
{
    static const char *const constants[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (length == strlen(constants[i]) && memcmp(word, constants[i], length) == 0)
            return true;
    return false;
}

/* Whether a word has the form -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool is_number(const char *word, bool *integer)
{
    const char *at = word + (*word == '-');
    const size_t whole = strspn(at, "0123456789");
    if (whole == 0 || (*at == '0' && whole > 1))
        return false;
    at += whole;
    *integer = *at == '\0';
    if (*at == '.') {
        const size_t fraction = strspn(++at, "0123456789");
        if (fraction == 0)
            return false;
        at += fraction;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '+' || *at == '-';
        const size_t digits = strspn(at, "0123456789");
        if (digits == 0)
            return false;
        at += digits;
    }
    return *at == '\0';
}

static bool is_beyond(const char *bytes, size_t length, bool integers)
{
    char word[LONGEST + 1];
    bool integer = false;
    double value = 0;
    if (is_constant(bytes, length))
        return true;
    if (length > LONGEST)
        return false;
    /*
     * A copy with a NUL: strtoll and strspn need one, and the text of a file has none behind each
     * word.
     */
    memcpy(word, bytes, length);
    word[length] = '\0';
    if (!is_number(word, &integer))
        return false;
    if (!integer)
        return mc_parse_number(word, &value) && isinf(value);
    errno = 0;
    /* Only whether it fits into 64 bits matters; the digits themselves are kept as text. */
    (void)strtoll(word, NULL, 10);
    return integers && errno == ERANGE;
}

/* The end of the string that begins at `at`, a quotation mark. */
static size_t string_end(const char *bytes, size_t size, size_t at)
{
    /* The byte behind a backslash is skipped: it may be a quotation mark. */
    for (at++; at < size && bytes[at] != '"'; at++)
        at += bytes[at] == '\\';
    return at < size ? at + 1 : size;
}

/* The end of the string, word or other byte that begins at `at`. */
static size_t token_end(const char *bytes, size_t size, size_t at, bool *word)
{
    *word = bytes[at] != '\0' && strchr(word_bytes, bytes[at]);
    if (bytes[at] == '"')
        return string_end(bytes, size, at);
    size_t end = at + 1;
    while (*word && end < size && bytes[end] != '\0' && strchr(word_bytes, bytes[end]))
        end++;
    return end;
}

/* Whether a word is the name of an object's member, where numbers are not allowed. */
static bool is_name(const char *bytes, size_t size, size_t end)
{
    while (end < size && bytes[end] != '\0' && strchr(" \t\r\n", bytes[end]))
        end++;
    return end < size && bytes[end] == ':';
}

/*
 * The bytes between two marked numbers are appended at once. Without a marked number nothing is
 * appended.
 */
bool mc_json_mark_numbers(const char *bytes, size_t size, bool integers, mc_text *out)
{
    size_t copied = 0;
    bool found = false, word = false;
    for (size_t at = 0, end; at < size; at = end) {
        end = token_end(bytes, size, at, &word);
        if (!word || !is_beyond(bytes + at, end - at, integers) || is_name(bytes, size, end))
            continue;
        mc_text_append(out, bytes + copied, at - copied);
        mc_text_add(out, "\"" MC_JSON_NUMBER_ESCAPED "%.*s\"", (int)(end - at), bytes + at);
        copied = end;
        found = true;
    }
    if (found)
        mc_text_append(out, bytes + copied, size - copied);
    return found;
}

/*
 * The fewest digits from which the same double is read back. 15 digits always survive a round trip
 * from text to double and back; 17 always identify a double.
 */
int mc_json_digits(double number)
{
    int digits = 15;
    char text[40];
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    return digits;
}

/* Appends a word; a real is shortened to the digits that it needs, in jansson's format. */
static void append_word(const char *word, size_t length, mc_text *out)
{
    char text[40];
    double number = 0;
    const bool real = length < sizeof text &&
                      (memchr(word, '.', length) || memchr(word, 'e', length));
    if (real) {
        memcpy(text, word, length);
        text[length] = '\0';
    }
    if (!real || !mc_parse_number(text, &number)) {
        mc_text_append(out, word, length);
        return;
    }
    json_t *const value = json_real(number);
    const size_t digits = JSON_REAL_PRECISION(mc_json_digits(number));
    char *const shortest = value ? json_dumps(value, JSON_ENCODE_ANY | digits) : NULL;
    json_decref(value);
    mc_text_append(out, shortest ? shortest : word, shortest ? strlen(shortest) : length);
    /* Allocated by jansson with malloc. */
    free(shortest);
}

void mc_json_finish_numbers(const char *json, mc_text *out)
{
    static const char mark[] = "\"" MC_JSON_NUMBER_ESCAPED;
    const size_t size = strlen(json);
    bool word = false;
    for (size_t at = 0, end; at < size; at = end) {
        end = token_end(json, size, at, &word);
        /*
         * Marks count only at the beginning of a string; other strings are copied with their
         * quotation marks.
         */
        const bool marked = strncmp(json + at, mark, sizeof mark - 1) == 0;
        if (word)
            append_word(json + at, end - at, out);
        else
            mc_text_append(out, json + at + (marked ? sizeof mark - 1 : 0),
                           end - at - (marked ? sizeof mark : 0));
    }
}
