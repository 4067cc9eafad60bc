/* Text for people, as the library itself writes it. */
#ifndef MERGECRAFT_TEXT_H
#define MERGECRAFT_TEXT_H

#include <mergecraft/export.h>

#include <stddef.h>
#include <stdint.h>

/* The candidate that is nearest to a mistyped word, NULL if none is near. */
MC_API const char *mc_suggest(const char *word, const char *const *candidates, size_t count);

/* "12.3 MB"; buffer of at least 16 bytes. Returns buffer. */
MC_API char *mc_format_bytes(int64_t bytes, char *buffer, size_t size);

#endif
