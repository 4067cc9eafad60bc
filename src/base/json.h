/* JSON, by jansson. */
#ifndef MC_BASE_JSON_H
#define MC_BASE_JSON_H

#include "base/error.h"

#include <jansson.h>

/* Parses `size` bytes; duplicate names and NUL in names are errors. The error names byte and reason. json_decref the result. */
mc_status mc_json_parse(const char *bytes, size_t size, json_t **out, mc_error *error);

/* Reads and parses a file of at most `limit` bytes. */
mc_status mc_json_load(const char *path, int64_t limit, json_t **out, mc_error *error);
/* The same, with all numbers as reals: for files with integers that may be too large for 64 bits. */
mc_status mc_json_load_reals(const char *path, int64_t limit, json_t **out, mc_error *error);

/*
 * Builders that need one check at the end: they take over container and value, and where either is NULL or there is no memory they
 * free both and return NULL, else the container.
 */
json_t *mc_json_append(json_t *array, json_t *value);
json_t *mc_json_put(json_t *object, const char *name, json_t *value);

/* A string of any bytes: what is not UTF-8 becomes U+FFFD. NULL gives null. */
json_t *mc_json_text(const char *text);

/*
 * The flags with which json_dumps writes the numbers in a value as short as they can be and still be read back as the same:
 * 0.2, not 0.20000000000000001.
 */
size_t mc_json_shortest(const json_t *value);

#endif
