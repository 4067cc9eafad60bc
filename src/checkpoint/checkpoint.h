/* A checkpoint on disk: one file, or several with an index. */
#ifndef MC_CHECKPOINT_CHECKPOINT_H
#define MC_CHECKPOINT_CHECKPOINT_H

#include <mergecraft/state_dict.h>

#include "base/file.h"

typedef struct mc_checkpoint {
    mc_state_dict *dict;
    const char *format; /* static: the reader's name */
    mc_file **files;
    size_t file_count;
    char *folder; /* where it lies */
    /* Names of tensors that share the storage of another one, which is in `dict`: alias[i] is tied to tied_to[i]. */
    char **aliases;
    char **tied_to;
    size_t alias_count;
} mc_checkpoint;

/*
 * Opens a file or folder as hub conventions have it: model.safetensors.index.json, else model.safetensors, else
 * pytorch_model.bin.index.json, else pytorch_model.bin. Old names (LayerNorm.gamma, .beta) are changed, tied tensors kept
 * once, under the input embedding's name if it is one of them, else the first. Zero-initialise *out; close it also after a failure.
 */
mc_status mc_checkpoint_open(const char *path, mc_checkpoint *out, mc_error *error);
void mc_checkpoint_close(mc_checkpoint *checkpoint);

#endif
