/* The names under which a model uses its input embedding again, and which its files omit. */
#ifndef MC_MODEL_TIED_NAMES_H
#define MC_MODEL_TIED_NAMES_H

#include <mergecraft/state_dict.h>

#include <jansson.h>

enum { MC_TIED_NAMES = 4 };

/*
 * Fills *out with the names that are tied to the tensor `name` of `dict` and missing there; returns
 * their number: 0 if `config`, the model's config.json, unties them, is NULL or describes a model
 * without an output head.
 */
size_t mc_tied_names(const json_t *config, const mc_state_dict *dict, const char *name,
                     const char *out[MC_TIED_NAMES]);

#endif
