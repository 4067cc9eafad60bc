/* What torch's two file forms have in common: how pickles describe tensors and the storages that these lie in. */
#ifndef MC_CHECKPOINT_TORCH_H
#define MC_CHECKPOINT_TORCH_H

#include "checkpoint/pickle.h"
#include "checkpoint/reader.h"

/* The names that a checkpoint's pickle may refer to. */
extern const mc_global mc_torch_globals[];

/* A storage as a persistent id describes it: ('storage', type, key, location, count[, (view key, first, count)]). */
typedef struct mc_torch_storage {
    const char *type; /* "torch.FloatStorage" */
    const char *key;  /* key_size bytes without NUL */
    size_t key_size;
    bool readable;  /* false: its dtype is one that only torch knows */
    mc_dtype dtype; /* if readable */
    int64_t element_bytes;
    int64_t count;                  /* elements */
    int64_t view_first, view_count; /* elements of it that are meant; all of them without a view */
} mc_torch_storage;

mc_status mc_torch_storage_parse(const mc_value *persistent, mc_torch_storage *out,
                                 mc_error *error);

/* Finds the bytes [*begin, *end) of the whole storage in the file; checks that they have the size that the storage says. */
typedef mc_status (*mc_torch_place)(void *user, const mc_torch_storage *storage, int64_t *begin,
                                    int64_t *end, mc_error *error);

/*
 * Adds the tensors of the state dict that `root` is or has: under state_dict, model_state_dict, model or module, one in the other up to four
 * deep. Dicts within such a nested one give dotted names; anything else that is not a tensor is passed over.
 */
mc_status mc_torch_add_tensors(mc_file *file, mc_value *root, mc_torch_place place, void *user,
                               mc_state_dict *dict, mc_error *error);

#endif
