/* Finds the state dict of a model among the values of a pickle. */
#ifndef MC_CHECKPOINT_TORCH_STATE_DICT_H
#define MC_CHECKPOINT_TORCH_STATE_DICT_H

#include <mergecraft/state_dict.h>

#include "base/notes.h"
#include "checkpoint/torch.h"

/*
 * Adds the tensors of the state dict that `root` is or contains:
 *
 *     the dict under a usual key (state_dict, model_state_dict, model, module, params_ema)
 *     else the root, if it has tensors itself
 *     else the only dict with tensors, under whatever key (generator, net, …)
 *
 * and so on inside that dict, up to four levels deep. Tensors of dicts in the state dict get dotted
 * names. Other entries are skipped and noted.
 * Errors: MC_UNSUPPORTED  no tensors, or several dicts with tensors; the text lists what was found
 */
mc_status mc_torch_read_state_dict(const mc_torch_file *file, mc_pickle_value *root,
                                   mc_state_dict *dict, mc_notes *notes, mc_error *error);

#endif
