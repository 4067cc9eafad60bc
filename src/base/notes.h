/*
 * Notes: one-line remarks on what was ignored, skipped or converted while a model was opened or
 * matched with others. They end in the report of a merge.
 */
#ifndef MC_BASE_NOTES_H
#define MC_BASE_NOTES_H

#include "base/error.h"

#include <stdarg.h>

/* Zero-initialise; free with mc_notes_free. */
typedef struct mc_notes {
    char **lines;
    size_t count, capacity;
} mc_notes;

/* Adds a printf-style line; does nothing if `notes` is NULL. */
mc_status mc_notes_add(mc_notes *notes, mc_error *error, const char *format, ...) MC_PRINTF(3, 4);
mc_status mc_notes_add_list(mc_notes *notes, mc_error *error, const char *format, va_list arguments)
    MC_PRINTF(3, 0);
void mc_notes_free(mc_notes *notes);

#endif
