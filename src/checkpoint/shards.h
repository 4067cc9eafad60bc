/* The index of a checkpoint in several files: {"weight_map": {"tensor": "file", …}}. */
#ifndef MC_CHECKPOINT_SHARDS_H
#define MC_CHECKPOINT_SHARDS_H

#include <mergecraft/state_dict.h>

#include "base/json.h"

typedef struct mc_shards {
    json_t *json;
    json_t *weight_map; /* in json */
    const char **files; /* each once, sorted; in json */
    size_t count;
} mc_shards;

/* Whether a file that begins with these bytes may be JSON, and so an index. */
bool mc_shards_probe(const unsigned char *head, size_t size);

/*
 * Reads an index and checks that each file is the plain name of a file in the index's own folder. Zero-initialise
 * *out; free it also after a failure.
 */
mc_status mc_shards_read(const char *path, mc_shards *out, mc_error *error);
/* The same of `size` bytes of JSON. */
mc_status mc_shards_parse(const char *bytes, size_t size, mc_shards *out, mc_error *error);
void mc_shards_free(mc_shards *shards);

/*
 * Moves the tensors of shard `file` to `dict`. Those that the index does not name are taken too, those that it has in another
 * shard are left out, and those that it has in this one must be there.
 */
mc_status mc_shards_take(const mc_shards *shards, const char *file, const mc_state_dict *found,
                         mc_state_dict *dict, mc_error *error);

#endif
