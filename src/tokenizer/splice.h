/*
 * Edits JSON as text: the value of one member is replaced, and every other byte stays. A parser
 * that writes the document anew would change numbers, escapes and blanks that it does not
 * understand.
 */
#ifndef MC_TOKENIZER_SPLICE_H
#define MC_TOKENIZER_SPLICE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Bytes first … end − 1 of a text. */
typedef struct mc_span {
    size_t first, end;
} mc_span;

/*
 * Finds the value of a member in a text that is valid JSON, of the object whose value is `within`;
 * of two members with the same name the last. False: no such member, or `within` is not an object.
 */
bool mc_splice_find(const char *text, mc_span within, const char *name, mc_span *out);

/* The whole document, without the blanks around it. */
mc_span mc_splice_root(const char *text, size_t size);

/*
 * Makes a copy of the text, with a terminator, in which `value` replaces a member's value. A
 * missing member is appended to the object. *out_size may be NULL. The caller frees *out.
 *
 * Errors: MC_FORMAT: `within` is not an object; MC_NO_MEMORY
 */
mc_status mc_splice_set(const char *text, size_t size, mc_span within, const char *name,
                        const char *value, char **out, size_t *out_size, mc_error *error);

#endif
