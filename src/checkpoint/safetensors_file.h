/* A single safetensors file with metadata, such as one of statistics. */
#ifndef MC_CHECKPOINT_SAFETENSORS_FILE_H
#define MC_CHECKPOINT_SAFETENSORS_FILE_H

#include <mergecraft/state_dict.h>

#include "base/json.h"

/*
 * Writes all tensors of a state dict, in its order, with metadata, an object of strings. The file
 * appears under its name when it is complete; an existing one is replaced.
 */
mc_status mc_safetensors_save(const char *path, const mc_state_dict *dict, const json_t *metadata,
                              mc_error *error);

/* Like mc_safetensors_save, but into an open, empty file; `path` is for messages. */
mc_status mc_safetensors_write(int fd, const char *path, const mc_state_dict *dict,
                               const json_t *metadata, mc_error *error);

/* Reads the metadata of a file: an object, empty if there are none. Release it with json_decref. */
mc_status mc_safetensors_metadata(const char *path, json_t **out, mc_error *error);

/*
 * Parses the JSON in one of the metadata's strings. Release it with json_decref.
 * Errors: MC_FORMAT  no such string, or not JSON
 */
mc_status mc_safetensors_metadata_json(const json_t *metadata, const char *name, json_t **out,
                                       mc_error *error);

#endif
