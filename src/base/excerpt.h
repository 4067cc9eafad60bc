/*
 * Parts of a file, in the order in which they were read: what another process needs to parse the
 * file without opening it. Its bytes may be sent as they are.
 */
#ifndef MC_BASE_EXCERPT_H
#define MC_BASE_EXCERPT_H

#include "base/error.h"

#include <stdbool.h>

/* Zero-initialise. */
typedef struct mc_excerpt {
    char *bytes; /* parts one after the other: offset and size, int64_t each, and the bytes */
    size_t size, capacity;
    size_t at; /* the part that mc_excerpt_find tries first: they are read in the same order */
} mc_excerpt;

mc_status mc_excerpt_add(mc_excerpt *excerpt, int64_t offset, const void *bytes, size_t size,
                         mc_error *error);
/* Copies a range of the file; false if no part has all of it. */
bool mc_excerpt_find(mc_excerpt *excerpt, int64_t offset, void *out, size_t size);
void mc_excerpt_free(mc_excerpt *excerpt);

#endif
