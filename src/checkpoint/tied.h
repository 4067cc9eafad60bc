/* Tied tensors: several names for the same elements of one file. */
#ifndef MC_CHECKPOINT_TIED_H
#define MC_CHECKPOINT_TIED_H

#include "checkpoint/checkpoint.h"

/* Returns whether a configuration (NULL if there is none) unties input and output embeddings. */
bool mc_tied_is_off(const json_t *config);

/*
 * Keeps one of the tensors that are the same elements of the same file: the input embedding if it
 * is one of them (is_input_embedding), else the first. The others become aliases of the checkpoint.
 */
mc_status mc_tied_deduplicate(mc_checkpoint *checkpoint, mc_error *error);

#endif
