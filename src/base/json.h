/* JSON, by jansson, as Python's json module reads and writes it. */
#ifndef MC_BASE_JSON_H
#define MC_BASE_JSON_H

#include "base/error.h"
#include "base/text.h"

#include <jansson.h>

/*
 * Parses `size` bytes. If a name repeats, its last value counts, as in Python. NaN, Infinity and
 * numbers beyond 64 bits become strings that mc_json_number_text recognises and mc_json_write
 * writes unchanged. Release the result with json_decref.
 *
 * Errors: MC_FORMAT  not valid JSON, or NUL in a name; the error has byte and reason
 */
mc_status mc_json_parse(const char *bytes, size_t size, json_t **out, mc_error *error);
/* The same, but a name that repeats is an error, as the safetensors format requires. */
mc_status mc_json_parse_unique(const char *bytes, size_t size, json_t **out, mc_error *error);

/* Parses a file of at most `limit` bytes. */
mc_status mc_json_load(const char *path, int64_t limit, json_t **out, mc_error *error);
/* The same, with all integers as reals: for files whose integers may exceed 64 bits. */
mc_status mc_json_load_reals(const char *path, int64_t limit, json_t **out, mc_error *error);

/*
 * Returns the text of a number that jansson cannot represent; NULL if the value is not such a
 * number.
 */
const char *mc_json_number_text(const json_t *value);

/*
 * Writes a value with jansson's `flags`, numbers as short as they can be and still be read back as
 * the same. Returns new memory (mc_free); NULL if there is none.
 */
char *mc_json_write(const json_t *value, size_t flags);

/*
 * Builders that need one check at the end: they take over container and value. If either is NULL or
 * memory runs out, they release both and return NULL, else they return the container.
 */
json_t *mc_json_append(json_t *array, json_t *value);
json_t *mc_json_put(json_t *object, const char *name, json_t *value);

/* A string of any bytes: what is not UTF-8 becomes U+FFFD. NULL gives null. */
json_t *mc_json_text(const char *text);

/* Appends a JSON string, non-ASCII characters as they are. */
void mc_json_add_text(mc_text *to, const char *text);

/*
 * Returns the flags with which json_dumps writes the numbers in a value as short as they can be and
 * still be read back as the same: 0.2, not 0.20000000000000001.
 */
size_t mc_json_shortest(const json_t *value);

#endif
