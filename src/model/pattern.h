/* Patterns of module paths, as Python's re reads them. */
#ifndef MC_MODEL_PATTERN_H
#define MC_MODEL_PATTERN_H

#include <mergecraft/error.h>

#include <stdbool.h>

/*
 * Whether `pattern` is the whole of `path`, or its end after a dot, as PEFT matches it. Fails with
 * MC_UNSUPPORTED if POSIX expressions cannot express the pattern, or if it would take too much
 * memory. Thread-safe.
 */
mc_status mc_pattern_matches(const char *pattern, const char *path, bool *out, mc_error *error);

#endif
