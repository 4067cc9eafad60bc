/*
 * What the two file formats of torch have in common: how pickles describe tensors and their
 * storages.
 */
#ifndef MC_CHECKPOINT_TORCH_H
#define MC_CHECKPOINT_TORCH_H

#include <mergecraft/source.h>

#include "base/file.h"
#include "checkpoint/pickle.h"

/* A storage as its persistent id describes it: see mc_torch_storage_parse. */
typedef struct mc_torch_storage {
    const char *type; /* "torch.FloatStorage" */
    const char *key;  /* key_size bytes without NUL */
    size_t key_size;
    bool readable;  /* false: its dtype is one that only torch supports */
    mc_dtype dtype; /* if readable */
    int64_t element_bytes;
    int64_t count;                  /* elements */
    int64_t view_first, view_count; /* elements of the view; all without a view */
} mc_torch_storage;

/* Parses ('storage', type, key, location, count[, (view key, first, count)]). */
mc_status mc_torch_storage_parse(const mc_pickle_value *persistent, mc_torch_storage *out,
                                 mc_error *error);

/*
 * Finds the bytes [*begin, *end) of a whole storage in the file, and checks that they have the size
 * that the storage declares.
 */
typedef mc_status (*mc_torch_place)(void *user, const mc_torch_storage *storage, int64_t *begin,
                                    int64_t *end, mc_error *error);

/* A file that a pickle was read from. */
typedef struct mc_torch_file {
    mc_file *file;
    mc_torch_place place;
    void *user; /* of place */
} mc_torch_file;

/* A call that makes a tensor. */
typedef struct mc_torch_call {
    const mc_global *function;
    const mc_pickle_value *arguments;
} mc_torch_call;

/* Looks through parameters and subclasses for the call; returns false if it is not a tensor. */
bool mc_torch_find_call(const mc_pickle_value *value, mc_torch_call *out);

/* Makes the source of a tensor. */
mc_status mc_torch_tensor(const mc_torch_file *file, const mc_torch_call *call, mc_source **out,
                          mc_error *error);

#endif
