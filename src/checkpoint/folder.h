/* Which of the files in a model folder are its weights. */
#ifndef MC_CHECKPOINT_FOLDER_H
#define MC_CHECKPOINT_FOLDER_H

#include "base/json.h"
#include "base/notes.h"

/*
 * Finds the file of weights, or the index of their shards, as transformers does: the file that
 * `config` (NULL if there is none) names as transformers_weights, else the first of
 * base/weight_files.h, else the only *.safetensors. *out is the path, to be freed with mc_free.
 * Weight files that are ignored are noted. A PEFT adapter without weights of a model is rejected.
 */
mc_status mc_folder_find_weights(const char *folder, const json_t *config, char **out,
                                 mc_notes *notes, mc_error *error);

/* Rejects an adapter: `path` is its file or folder; its adapter_config.json is in `folder`. */
mc_status mc_folder_refuse_adapter(const char *path, const char *folder, mc_error *error);

#endif
