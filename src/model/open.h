/* Opening models by path or by name on the Hub, without adapters; reference.c adds those. */
#ifndef MC_MODEL_OPEN_H
#define MC_MODEL_OPEN_H

#include "model/model.h"

/* Returns whether `name` is looked up on the Hub: it has the form ORG/NAME and is not a path. */
bool mc_is_remote(const char *name);

/* As mc_models_open (mergecraft/model.h), for names without adapters. */
mc_status mc_models_open_plain(const char *const *names, size_t count, const mc_hub_options *hub,
                               bool headers_only, mc_model **out, mc_error *error);

#endif
