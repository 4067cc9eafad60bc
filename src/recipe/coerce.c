#include "recipe/coerce.h"

#include "base/text.h"

#include <math.h>
#include <string.h>

/* A longer text is not a number; this bounds the buffer. */
enum { LONGEST = 400 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * Copies a text without blanks around it and without underscores between digits, which pydantic
 * ignores; false if it is too long.
 */
static bool tidy(const char *text, char out[LONGEST + 1])
{
    size_t length = strlen(text), kept = 0;
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    while (length > 0 && is_blank(*text)) {
        text++;
        length--;
    }
    if (length > LONGEST)
        return false;
    for (size_t i = 0; i < length; i++) {
        const bool between = i > 0 && i + 1 < length && is_digit(text[i - 1]) &&
                             is_digit(text[i + 1]);
        if (text[i] != '_' || !between)
            out[kept++] = text[i];
    }
    out[kept] = '\0';
    return true;
}

static bool same_word(const char *text, const char *word)
{
    for (; *text && *word; text++, word++) {
        const char lower = *text >= 'A' && *text <= 'Z' ? (char)(*text | 0x20) : *text;
        if (lower != *word)
            return false;
    }
    return *text == *word;
}

static bool is_one_of(const char *text, const char *const *words)
{
    while (*words && !same_word(text, *words))
        words++;
    return *words;
}

static bool number_of_text(const char *text, double *out)
{
    static const char *const infinities[] = {"inf", "infinity", NULL};
    char tidied[LONGEST + 1];
    if (!tidy(text, tidied))
        return false;
    const char *const digits = tidied + (tidied[0] == '-' || tidied[0] == '+');
    if (is_one_of(digits, infinities)) {
        *out = tidied[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        return true;
    }
    if (same_word(digits, "nan")) {
        *out = (double)NAN;
        return true;
    }
    return (is_digit(digits[0]) || (digits[0] == '.' && is_digit(digits[1]))) &&
           mc_parse_number(tidied, out);
}

bool mc_coerce_number(const mc_yaml *node, double *out)
{
    switch (node->kind) {
    case MC_YAML_BOOL:
    case MC_YAML_INTEGER:
    case MC_YAML_NUMBER:
        *out = node->number;
        return true;
    case MC_YAML_STRING:
        return number_of_text(node->text, out);
    default:
        return false;
    }
}

bool mc_coerce_integer(const mc_yaml *node, double *out)
{
    /* "5" and "5.0" are whole numbers, "1e2" is not. */
    if (node->kind == MC_YAML_STRING && strpbrk(node->text, "eEnN"))
        return false;
    return mc_coerce_number(node, out) && fabs(*out) <= 0x1p53 && *out == nearbyint(*out);
}

bool mc_coerce_flag(const mc_yaml *node, double *out)
{
    static const char *const truths[] = {"yes", "on", "y", "t", "true", "1", NULL};
    static const char *const falsehoods[] = {"no", "off", "n", "f", "false", "0", NULL};
    if (node->kind == MC_YAML_STRING) {
        *out = is_one_of(node->text, truths);
        return *out != 0 || is_one_of(node->text, falsehoods);
    }
    return mc_coerce_number(node, out) && (*out == 0 || *out == 1);
}

bool mc_coerce(mc_param_type type, const mc_yaml *node, double *out)
{
    switch (type) {
    case MC_FLAG:
        return mc_coerce_flag(node, out);
    case MC_INTEGER:
        return mc_coerce_integer(node, out);
    default:
        return mc_coerce_number(node, out);
    }
}

const char *mc_coerce_text(mc_param_type type)
{
    return type == MC_FLAG ? "true or false" : type == MC_INTEGER ? "a whole number" : "a number";
}
