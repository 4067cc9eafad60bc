/* A checkpoint on disk: one file, or several with an index. */
#ifndef MC_CHECKPOINT_CHECKPOINT_H
#define MC_CHECKPOINT_CHECKPOINT_H

#include <mergecraft/comm.h>
#include <mergecraft/state_dict.h>

#include "base/file.h"
#include "base/json.h"
#include "base/notes.h"

typedef struct mc_checkpoint {
    mc_state_dict *dict;
    const char *format; /* static: the reader's name */
    mc_file **files;
    size_t file_count;
    char *folder; /* of the files */
    /*
     * Names of tensors that share the storage of another one, which is in `dict`: aliases[i] is
     * tied to tied_to[i].
     */
    char **aliases;
    char **tied_to;
    size_t alias_count;
    /* Set before opening: which of several tied tensors is kept (tied.h); NULL: the first. */
    bool (*is_input_embedding)(const char *name);
    /* Set before opening: the processes that open it together; NULL: this one alone. */
    const mc_comm *comm;
    bool dequantized; /* FP8 tensors are read as products with their scales */
    mc_notes notes;   /* what was ignored, skipped or converted */
} mc_checkpoint;

/* Returns the folder of a checkpoint at `path` in new memory (mc_free): a folder is its own. */
mc_status mc_checkpoint_folder(const char *path, char **out, mc_error *error);

/*
 * Opens a file, a shard index, or a folder (see folder.h). `config` is the model's configuration,
 * NULL if there is none. Tied tensors are kept once (tied.h), unless the configuration unties them.
 * Quantised weights are rejected, or dequantised lazily (quantization.h); then quantization_config
 * is removed from `config`. Zero-initialise *out but for what is set before opening; close it also
 * after a failure.
 */
mc_status mc_checkpoint_open(const char *path, json_t *config, mc_checkpoint *out, mc_error *error);
void mc_checkpoint_close(mc_checkpoint *checkpoint);

/* Returns whether all tensors are LoRA factors, without the weights that they belong to. */
bool mc_checkpoint_is_adapter(const mc_checkpoint *checkpoint);

#endif
