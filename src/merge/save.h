/* Tensors to a folder of safetensors files: complete or not at all, and resumable. */
#ifndef MC_MERGE_SAVE_H
#define MC_MERGE_SAVE_H

#include <mergecraft/merge.h>

#include "merge/folder.h"

typedef struct mc_save {
    const char *target;
    const char *const *names;
    mc_source *const *sources;
    size_t count;
    /* Of everything that the bytes depend on; a run with the same one goes on where this one stopped. 0: never. */
    uint64_t fingerprint;
    /* Adds the other files, once the tensors are written and before the folder gets its name; also the place to refuse. */
    mc_status (*finish)(mc_folder *folder, const mc_run_result *result, void *user,
                        mc_error *error);
    void *user;
} mc_save;

mc_status mc_save_run(const mc_save *save, const mc_run_options *options, mc_run_result *result,
                      mc_error *error);

/* The size of a shard that is in force. */
int64_t mc_save_shard_size(const mc_run_options *options);

#endif
