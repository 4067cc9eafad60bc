/* The mergecraft.json of a merge that was made: which models it names. */
#ifndef CLI_RECORD_H
#define CLI_RECORD_H

#include <mergecraft/error.h>

#include <jansson.h>

/*
 * Reads the file; release *out with json_decref.
 *
 * Errors: MC_NOT_FOUND  no such file
 *         MC_FORMAT     not a record of a merge
 */
mc_status record_load(const char *path, json_t **out, mc_error *error);

/*
 * How to open a recorded model. One from the Hub is pinned to its commit: "ORG/NAME@COMMIT", with
 * the adapters that followed its name. The caller frees it.
 */
char *record_model(const json_t *model);

#endif
