/*
 * How a recipe names a model: MODEL[@REVISION][+ADAPTER[@REVISION]], or the same as a map for paths
 * that have these characters in them.
 */
#ifndef MC_RECIPE_REFERENCE_H
#define MC_RECIPE_REFERENCE_H

#include "recipe/yaml.h"

typedef struct mc_reference {
    char *
        /* "model@revision+adapter": as mc_models_open takes it; references of one text are one */
        text;
    char *path;         /* the model's part without revision */
    char *adapter;      /* NULL if none */
    char *architecture; /* override_architecture; NULL if none */
    const mc_yaml *at;
} mc_reference;

/* Zero-initialise *out; free it also after a failure. Errors: MC_FORMAT. */
mc_status mc_reference_read(const char *file, const mc_yaml *node, mc_reference *out,
                            mc_error *error);
void mc_reference_free(mc_reference *reference);

#endif
