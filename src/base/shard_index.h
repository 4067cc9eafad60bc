/* The index of a checkpoint in several files: {"weight_map": {"tensor": "file", …}}. */
#ifndef MC_BASE_SHARD_INDEX_H
#define MC_BASE_SHARD_INDEX_H

#include "base/error.h"
#include "base/hash.h"

/* A tensor that the index lists. */
typedef struct mc_shard_entry {
    const char *file, *tensor; /* in text */
    size_t place;              /* in the order of the index */
} mc_shard_entry;

typedef struct mc_shard_index {
    char *text;              /* its strings, decoded where they were */
    mc_shard_entry *entries; /* sorted by file */
    size_t entry_count, entry_capacity;
    mc_index tensors;   /* from names to positions in entries */
    const char **files; /* each once, sorted; in text */
    size_t *firsts;     /* [count + 1]: where the entries of each file begin */
    size_t count;
} mc_shard_index;

/* Returns whether a file that begins with these bytes may be JSON, and so an index. */
bool mc_shard_index_probe(const unsigned char *head, size_t size);

/*
 * Parses a copy of `size` bytes and checks that each file is the plain name of a file in the folder
 * of the index. Zero-initialise *out; free it also after a failure.
 */
mc_status mc_shard_index_parse(const char *bytes, size_t size, mc_shard_index *out,
                               mc_error *error);
/* Parses the file at a path. */
mc_status mc_shard_index_load(const char *path, mc_shard_index *out, mc_error *error);
void mc_shard_index_free(mc_shard_index *index);

/* Returns the file of a tensor; NULL if the index does not name the tensor. */
const char *mc_shard_index_file(const mc_shard_index *index, const char *tensor);

#endif
