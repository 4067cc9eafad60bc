#include "recipe/scalar.h"

#include "base/memory.h"
#include "base/text.h"

#include <math.h>
#include <string.h>

/* Longer texts are not numbers: this bounds buffers and time. */
enum { LONGEST_NUMBER = 400 };

static const char *skip_sign(const char *text)
{
    return text + (*text == '-' || *text == '+');
}

static const char *skip(const char *text, const char *set)
{
    return text + strspn(text, set);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/*
 * Skips the groups of a sexagesimal number, ":30:00", of at most two digits below 60 each; NULL if
 * there is none.
 */
static const char *skip_sixtieths(const char *text)
{
    const char *at = text;
    while (at[0] == ':' && is_digit(at[1])) {
        const bool two = at[1] <= '5' && is_digit(at[2]);
        at += two ? 3 : 2;
    }
    return at == text ? NULL : at;
}

/* Skips an exponent. In PyYAML's YAML 1.1 it must have its sign: 1.0e5 is a string. */
static const char *skip_exponent(const char *text)
{
    if ((text[0] == 'e' || text[0] == 'E') && (text[1] == '-' || text[1] == '+') &&
        is_digit(text[2]))
        return skip(text + 2, "0123456789");
    return text;
}

/*
 * Binary 0b…, hexadecimal 0x…, octal 0…, decimal, or sexagesimal; underscores anywhere after the
 * first digit.
 */
static bool is_integer(const char *text)
{
    const char *const digits = skip_sign(text);
    if (digits[0] == '0') {
        if (digits[1] == '\0')
            return true;
        if (digits[1] == 'b')
            return digits[2] && *skip(digits + 2, "01_") == '\0';
        if (digits[1] == 'x')
            return digits[2] && *skip(digits + 2, "0123456789abcdefABCDEF_") == '\0';
        return *skip(digits + 1, "01234567_") == '\0';
    }
    if (!is_digit(digits[0]))
        return false;
    const char *const end = skip(digits, "0123456789_");
    const char *const last = skip_sixtieths(end);
    return *end == '\0' || (last && *last == '\0');
}

static bool is_infinite(const char *text)
{
    const char *const word = skip_sign(text);
    return strcmp(word, ".inf") == 0 || strcmp(word, ".Inf") == 0 || strcmp(word, ".INF") == 0;
}

static bool is_nan(const char *text)
{
    return strcmp(text, ".nan") == 0 || strcmp(text, ".NaN") == 0 || strcmp(text, ".NAN") == 0;
}

/*
 * Whether a text is a float: it must have a dot, so 1e5 is a string. One that begins with the dot
 * has no sign.
 */
static bool is_number(const char *text)
{
    if (is_infinite(text) || is_nan(text))
        return true;
    if (text[0] == '.')
        return is_digit(text[1]) && *skip_exponent(skip(text + 1, "0123456789_")) == '\0';
    const char *const digits = skip_sign(text);
    if (!is_digit(digits[0]))
        return false;
    const char *const end = skip(digits, "0123456789_");
    const char *const last = skip_sixtieths(end);
    if (last)
        return last[0] == '.' && *skip(last + 1, "0123456789_") == '\0';
    return end[0] == '.' && *skip_exponent(skip(end + 1, "0123456789_")) == '\0';
}

/*
 * Skips `least` to `most` digits; NULL if there are fewer. NULL is passed on, so that calls can be
 * nested.
 */
static const char *digits_of(const char *text, size_t least, size_t most)
{
    size_t count = 0;
    while (text && count < most && is_digit(text[count]))
        count++;
    return text && count >= least ? text + count : NULL;
}

static const char *expect(const char *text, char c)
{
    return text && *text == c ? text + 1 : NULL;
}

static const char *skip_date(const char *text, size_t least)
{
    const char *const month = digits_of(expect(digits_of(text, 4, 4), '-'), least, 2);
    return digits_of(expect(month, '-'), least, 2);
}

static const char *skip_zone(const char *text)
{
    const char *const zone = skip(text, " \t");
    if (zone[0] == 'Z')
        return zone + 1;
    if (zone[0] != '-' && zone[0] != '+')
        return text;
    const char *const hours = digits_of(zone + 1, 1, 2);
    const char *const minutes = digits_of(expect(hours, ':'), 2, 2);
    return minutes ? minutes : hours ? hours : text;
}

static bool is_date(const char *text)
{
    const char *const day = skip_date(text, 2);
    if (day && *day == '\0')
        return true;
    const char *at = skip_date(text, 1);
    if (!at || !*at || !strchr("Tt \t", *at))
        return false;
    at = *at == 'T' || *at == 't' ? at + 1 : skip(at, " \t");
    at = digits_of(expect(digits_of(at, 1, 2), ':'), 2, 2);
    at = digits_of(expect(at, ':'), 2, 2);
    if (at && *at == '.')
        at = skip(at + 1, "0123456789");
    return at && *skip_zone(at) == '\0';
}

static bool is_one_of(const char *text, const char *const *words)
{
    while (*words && strcmp(text, *words) != 0)
        words++;
    return *words;
}

/*
 * Words in lower, title and upper case, and no others: `tRue` and `y` are strings. Three forms of
 * each word, the lower one first: bool_value steps by three.
 */
static const char *const truths[] = {"yes",  "Yes", "YES", "true", "True",
                                     "TRUE", "on",  "On",  "ON",   NULL};
static const char *const falsehoods[] = {"no",    "No",  "NO",  "false", "False",
                                         "FALSE", "off", "Off", "OFF",   NULL};
static const char *const nothings[] = {"", "~", "null", "Null", "NULL", NULL};

mc_scalar_kind mc_scalar_kind_of(const char *text)
{
    if (is_one_of(text, nothings))
        return MC_SCALAR_NULL;
    if (is_one_of(text, truths) || is_one_of(text, falsehoods))
        return MC_SCALAR_BOOL;
    if (strcmp(text, "<<") == 0)
        return MC_SCALAR_MERGE;
    if (strcmp(text, "=") == 0)
        return MC_SCALAR_VALUE;
    if (is_integer(text))
        return MC_SCALAR_INTEGER;
    if (is_number(text))
        return MC_SCALAR_NUMBER;
    return is_date(text) ? MC_SCALAR_DATE : MC_SCALAR_STRING;
}

/* Reads a decimal number from a part of a text. */
static bool decimal(const char *text, size_t length, double *out)
{
    char piece[LONGEST_NUMBER + 1];
    if (length == 0 || length > LONGEST_NUMBER)
        return false;
    memcpy(piece, text, length);
    piece[length] = '\0';
    return mc_parse_number(piece, out);
}

/* Reads "1:30:00": each part counts sixty of the next. */
static bool sexagesimal(const char *digits, double *out)
{
    double value = 0;
    for (;; digits++) {
        const size_t length = strcspn(digits, ":");
        double part = 0;
        if (!decimal(digits, length, &part))
            return false;
        value = value * 60 + part;
        digits += length;
        if (!*digits)
            break;
    }
    *out = value;
    return true;
}

/* Digits of base two, eight or sixteen. */
static bool power_of_two_base(const char *digits, int base, double *out)
{
    double value = 0;
    if (!*digits)
        return false;
    for (; *digits; digits++) {
        const int digit = is_digit(*digits)                  ? *digits - '0'
                          : *digits >= 'a' && *digits <= 'f' ? *digits - 'a' + 10
                          : *digits >= 'A' && *digits <= 'F' ? *digits - 'A' + 10
                                                             : base;
        if (digit >= base)
            return false;
        value = value * base + digit;
    }
    *out = value;
    return isfinite(value);
}

static bool integer_value(const char *digits, double *out)
{
    if (digits[0] == '0' && digits[1]) {
        if (digits[1] == 'b')
            return power_of_two_base(digits + 2, 2, out);
        if (digits[1] == 'x')
            return power_of_two_base(digits + 2, 16, out);
        return power_of_two_base(digits + 1, 8, out);
    }
    if (strchr(digits, ':'))
        return sexagesimal(digits, out);
    return is_digit(digits[0]) && *skip(digits, "0123456789") == '\0' &&
           decimal(digits, strlen(digits), out);
}

static bool number_value(const char *digits, double *out)
{
    if (is_infinite(digits)) {
        *out = INFINITY;
        return true;
    }
    if (is_nan(digits)) {
        *out = NAN;
        return true;
    }
    if (strchr(digits, ':'))
        return sexagesimal(digits, out);
    return decimal(digits, strlen(digits), out);
}

/* The text without its underscores, which stand between digits. */
static bool without_underscores(const char *text, char out[LONGEST_NUMBER + 1])
{
    size_t length = 0;
    for (; *text && length < LONGEST_NUMBER; text++)
        if (*text != '_')
            out[length++] = *text;
    out[length] = '\0';
    return *text == '\0';
}

static bool same_word(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a | 0x20) != *b)
            return false;
    return *a == *b;
}

/* A tag !!bool takes the words in any case. */
static bool bool_value(const char *text, double *out)
{
    for (size_t i = 0; truths[i]; i += 3)
        if (same_word(text, truths[i])) {
            *out = 1;
            return true;
        }
    for (size_t i = 0; falsehoods[i]; i += 3)
        if (same_word(text, falsehoods[i])) {
            *out = 0;
            return true;
        }
    return false;
}

bool mc_scalar_value(mc_scalar_kind kind, const char *text, double *out)
{
    char digits[LONGEST_NUMBER + 1];
    if (kind == MC_SCALAR_BOOL)
        return bool_value(text, out);
    if (!without_underscores(text, digits))
        return false;
    double size = 0;
    const char *const unsigned_part = skip_sign(digits);
    if (kind == MC_SCALAR_INTEGER ? !integer_value(unsigned_part, &size)
                                  : !number_value(unsigned_part, &size))
        return false;
    /* An integer has no negative zero, a float has. */
    const bool negative = digits[0] == '-' && (kind == MC_SCALAR_NUMBER || size > 0);
    *out = negative ? -size : size;
    return true;
}
