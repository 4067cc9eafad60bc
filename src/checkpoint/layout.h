/* How safetensors files are laid out before anything is written: which tensor goes where, and every file's header. */
#ifndef MC_CHECKPOINT_LAYOUT_H
#define MC_CHECKPOINT_LAYOUT_H

#include <mergecraft/source.h>

typedef struct mc_shard {
    char *name;         /* "model-00001-of-00002.safetensors" */
    char *header;       /* what the file begins with */
    size_t header_size; /* a multiple of 8 */
    size_t first, count;
    int64_t start, bytes; /* of its tensors, in the stream of all tensors */
} mc_shard;

typedef struct mc_layout {
    mc_shard *shards;
    size_t count;
    int64_t bytes; /* of all tensors */
    char *index;   /* model.safetensors.index.json; NULL with one shard */
} mc_layout;

/*
 * Tensors go in the order given; a shard is closed before it would have more than shard_size bytes (a larger tensor has
 * one of its own). Zero-initialise *out; free it also after a failure.
 */
mc_status mc_layout_make(const char *const *names, mc_source *const *sources, size_t count,
                         int64_t shard_size, mc_layout *out, mc_error *error);
void mc_layout_free(mc_layout *layout);

#endif
