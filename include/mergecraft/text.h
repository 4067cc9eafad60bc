/* Text for people, as the library writes it. Thread-safe. */
#ifndef MERGECRAFT_TEXT_H
#define MERGECRAFT_TEXT_H

#include <mergecraft/export.h>

#include <stddef.h>
#include <stdint.h>

MC_BEGIN_DECLS

/*
 * Returns the candidate that is closest to a mistyped word, or else the longest one that is among
 * its words ("boost" in "subspace_boost"); NULL if there is none. Case does not count, and `-`
 * equals `_`.
 */
MC_API const char *mc_suggest(const char *word, const char *const *candidates, size_t count);

/* Writes a number of bytes as "12.3 MB" into buffer, of at least 16 bytes. Returns buffer. */
MC_API char *mc_format_bytes(int64_t bytes, char *buffer, size_t size);

MC_END_DECLS

#endif
