/* Old tensor names that current libraries load under new ones. */
#ifndef MC_CHECKPOINT_RENAMES_H
#define MC_CHECKPOINT_RENAMES_H

#include <mergecraft/state_dict.h>

/*
 * Renames LayerNorm.gamma to LayerNorm.weight and LayerNorm.beta to LayerNorm.bias, unless the new
 * name exists as well. Replaces *dict.
 */
mc_status mc_rename_old(mc_state_dict **dict, mc_error *error);

#endif
