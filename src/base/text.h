/* Text: a growing buffer, numbers that do not depend on the locale. Includes the public header. */
#ifndef MC_BASE_TEXT_H
#define MC_BASE_TEXT_H

#include <mergecraft/text.h>

#include <stdbool.h>

/*
 * A growing text. Zero-initialise; free with mc_text_free. `failed` is set once memory ran out;
 * check it at the end.
 */
typedef struct mc_text {
    char *data; /* NUL-terminated; NULL while empty */
    size_t length, capacity;
    bool failed;
} mc_text;

void mc_text_add(mc_text *text, const char *format, ...) MC_PRINTF(2, 3);
void mc_text_append(mc_text *text, const char *bytes, size_t length);
void mc_text_free(mc_text *text);

/*
 * Reads a whole text as a number, with "." whatever the locale; false if it is not one (also for ""
 * and "1x").
 */
bool mc_parse_number(const char *text, double *number);

bool mc_ends_with(const char *text, const char *ending);

/*
 * A path without the slashes that shells put at its end, in new memory (mc_free); NULL: no memory.
 * "/" stays.
 */
char *mc_without_slashes(const char *path);

#endif
