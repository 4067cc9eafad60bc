/*
 * Shared libraries that are large or seldom needed (oneDNN, libcurl) are loaded when they are first
 * used, so that commands which do not need them start at once and run where they are missing. One
 * source file wraps each.
 */
#ifndef MC_BASE_LIBRARY_H
#define MC_BASE_LIBRARY_H

#include "base/error.h"

/* Where the address of the function `name` is written. */
typedef struct mc_symbol {
    const char *name;
    void **address;
} mc_symbol;

/*
 * Loads the first of `file_names` (NULL-terminated) that exists, for as long as the process lives,
 * and finds the symbols; the list ends with a NULL name. MC_UNSUPPORTED if there is none, or one
 * lacks a symbol: the error names `what` and the file. Not for several threads at once: call it
 * under pthread_once.
 */
mc_status mc_library_load(const char *what, const char *const *file_names, const mc_symbol *symbols,
                          mc_error *error);

#endif
