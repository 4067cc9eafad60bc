/* Names that different versions of libraries give to one tensor. */
#ifndef MC_CHECKPOINT_RENAMES_H
#define MC_CHECKPOINT_RENAMES_H

#include <mergecraft/state_dict.h>

/*
 * Returns what two names of one tensor have in common, in new memory (mc_free): equal texts mean
 * the same tensor under an old and a new name, or under a per-library one. The text itself is not
 * the name of anything. NULL: no memory.
 */
char *mc_canonical_name(const char *name);

/*
 * Makes a copy of the dict with LayerNorm.gamma and LayerNorm.beta called weight and bias, as all
 * current libraries call them, unless the new name exists as well.
 */
mc_status mc_rename_old(const mc_state_dict *dict, mc_state_dict **out, mc_error *error);

#endif
