/*
 * The names under which transformers, diffusers and PEFT save weights, in the order in which they
 * load them.
 */
#ifndef MC_BASE_WEIGHT_FILES_H
#define MC_BASE_WEIGHT_FILES_H

#include <stddef.h>

/*
 * The weights of a model folder are the first of these that exists, as in transformers: a single
 * file wins over an index, which may be left from an earlier save.
 */
#define MC_WEIGHT_FILES 8
extern const char *const mc_weight_files[MC_WEIGHT_FILES];

/* What the names of diffusers' files begin with. */
#define MC_DIFFUSERS_STEM "diffusion_pytorch_model"

/* A PEFT adapter: its configuration, and its weights in the order of preference. */
#define MC_ADAPTER_CONFIG "adapter_config.json"
#define MC_ADAPTER_FILES 2
extern const char *const mc_adapter_files[MC_ADAPTER_FILES];

#endif
