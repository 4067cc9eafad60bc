/* What is put right in a state dict that comes from files: old names, and tensors that are there twice. */
#ifndef MC_CHECKPOINT_NAMES_H
#define MC_CHECKPOINT_NAMES_H

#include "checkpoint/checkpoint.h"

/* LayerNorm.gamma → LayerNorm.weight and LayerNorm.beta → LayerNorm.bias, where the new name is not there too. */
mc_status mc_rename_old(mc_state_dict **dict, mc_error *error);

/* Keeps one of the tensors that are the same elements of the same file; the others become aliases. */
mc_status mc_untie(mc_checkpoint *checkpoint, mc_error *error);

#endif
