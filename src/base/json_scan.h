/*
 * Reads JSON value by value, without a tree. The vocabulary of a language model is an object of a
 * hundred thousand members, and a tree of it takes thirty times the memory of the text.
 *
 *     for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
 *         const mc_scan_text name = mc_scan_name(s);
 *         mc_scan_skip(s);
 *     }
 *     if (s->problem) …
 *
 * The first error ends everything: all functions then return false, or an empty text.
 */
#ifndef MC_BASE_JSON_SCAN_H
#define MC_BASE_JSON_SCAN_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mc_scan {
    const char *text; /* borrowed */
    size_t size, at;
    const char *problem; /* NULL: no error so far */
} mc_scan;

/* A string as it is written, without its quotes. */
typedef struct mc_scan_text {
    const char *bytes;
    size_t size;
    bool escaped; /* has escape sequences */
} mc_scan_text;

/* Scans bytes first … end − 1 of a text. */
mc_scan mc_scan_begin(const char *text, size_t first, size_t end);

/* The first byte of the next value; NUL at the end. */
char mc_scan_peek(mc_scan *scan);

/* Opens an object ('{') or a list ('['); true: it has a member. It is an error if it is neither. */
bool mc_scan_open(mc_scan *scan, char bracket);
/* Behind a member: true if another one follows, false behind the closing bracket. */
bool mc_scan_next(mc_scan *scan, char bracket);

/* A string: valid UTF-8, valid escapes, no NUL. */
mc_scan_text mc_scan_string(mc_scan *scan);
/* The name of a member, and its colon. */
mc_scan_text mc_scan_name(mc_scan *scan);
/* A number, or NaN or Infinity, which Python's json module writes. */
mc_scan_text mc_scan_number(mc_scan *scan);
/* Any value. */
void mc_scan_skip(mc_scan *scan);
/* Expects nothing but blanks up to the end. */
void mc_scan_end(mc_scan *scan);

/* Whether a string is `text`, written without escapes. */
bool mc_scan_is(mc_scan_text string, const char *text);
/* Writes the bytes that a string stands for, at most string.size, and returns how many. */
size_t mc_scan_decode(mc_scan_text string, char *out);
/*
 * Decodes a string that was just scanned where it stands, ends it with NUL in place of its closing
 * quote, and returns it; "" after an error. The text must be memory that may be written.
 */
const char *mc_scan_keep(const mc_scan *scan, mc_scan_text string);
/* Reads a number that is an integer of 0 to `most`; −1: it is not. */
int64_t mc_scan_integer(mc_scan_text number, int64_t most);

/* The scan's error, if it has one. */
mc_status mc_scan_check(const mc_scan *scan, mc_error *error);

#endif
