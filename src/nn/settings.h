/* The settings in config.json, with transformers' defaults for missing ones. */
#ifndef MC_NN_SETTINGS_H
#define MC_NN_SETTINGS_H

#include "base/json.h"
#include "nn/network.h"

typedef struct mc_nn_settings {
    int hidden, blocks, heads, inner; /* widths: of the model, of the wide layer in each block */
    int vocabulary, positions, types; /* rows of the three tables; types 0: no such table */
    int labels;
    int padding; /* id of the padding token */
    float epsilon;
    mc_activation activation;
} mc_nn_settings;

/*
 * Names of an architecture's settings in config.json, and defaults; NULL: it has no such setting.
 */
typedef struct mc_setting_names {
    const char *hidden, *blocks, *heads, *inner, *activation, *types, *epsilon;
    mc_nn_settings defaults;
} mc_setting_names;

/* MC_FORMAT or MC_UNSUPPORTED names `file`, the setting, what was expected and what was found. */
mc_status mc_nn_settings_read(const json_t *config, const char *file, const mc_setting_names *names,
                              mc_nn_settings *out, mc_error *error);

#endif
