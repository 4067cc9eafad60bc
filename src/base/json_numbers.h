/*
 * Numbers that Python's json module writes and reads and jansson does not: NaN, Infinity,
 * -Infinity, integers beyond 64 bits, reals beyond float64. They are parsed as marked strings, and
 * written as the numbers that they were, digit by digit.
 */
#ifndef MC_BASE_JSON_NUMBERS_H
#define MC_BASE_JSON_NUMBERS_H

#include "base/text.h"

/* What a string that stands for a number begins with, as text of JSON and as its bytes. */
#define MC_JSON_NUMBER_ESCAPED "\\u0001number:"
#define MC_JSON_NUMBER_MARK "\001number:"

/*
 * Appends `size` bytes of JSON to *out with such numbers as marked strings, integers only if
 * `integers`. Returns whether there was one.
 */
bool mc_json_mark_numbers(const char *bytes, size_t size, bool integers, mc_text *out);

/* The fewest digits, 15 to 17, from which the same double is read back. */
int mc_json_digits(double number);

/*
 * Appends JSON as jansson wrote it to *out, with marked strings as the numbers that they were, and
 * each real as short as it can be.
 */
void mc_json_finish_numbers(const char *json, mc_text *out);

#endif
