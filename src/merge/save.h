/* Writing tensors to a folder: complete or not at all, and resumable. */
#ifndef MC_MERGE_SAVE_H
#define MC_MERGE_SAVE_H

#include <mergecraft/merge.h>

#include "checkpoint/writer.h"
#include "merge/folder.h"
#include "merge/found.h"

typedef struct mc_save {
    const mc_writer *writer;
    const char *target;
    const char *const *names; /* in the writer's order */
    mc_source *const *sources;
    size_t count;
    const char *stem; /* of the names of files; NULL: "model" */
    /* Of everything that the bytes depend on: a run resumes one of equal fingerprint. 0: never. */
    uint64_t fingerprint;
    bool scan; /* count NaN and infinities of the inputs */
    /*
     * Adds the other files once all tensors are written, before the folder gets its name. `found`:
     * in all tensors, also those that an interrupted run has written. May fail: then the folder is
     * discarded.
     */
    mc_status (*finish)(mc_folder *folder, const mc_run_result *result, const mc_found *found,
                        void *user, mc_error *error);
    void *user;
} mc_save;

mc_status mc_save_run(const mc_save *save, const mc_run_options *options, mc_run_result *result,
                      mc_error *error);

/* The size of shards: the option, or its default. */
int64_t mc_save_shard_size(const mc_run_options *options);

#endif
