/* The values of a method's parameters, parsed and checked. */
#ifndef MC_MERGE_PARAMS_H
#define MC_MERGE_PARAMS_H

#include <mergecraft/merge.h>

#include "base/error.h"

#include <stdatomic.h>

typedef struct mc_params {
    atomic_size_t references;
    size_t count;
    mc_value *values; /* in the order of the method's parameters */
} mc_params;

/*
 * Parses "NAME=VALUE" settings for a method that merges model_count models; what is not set has its default. MC_USAGE for an unknown
 * name (with a suggestion), a value of another type or out of range, a list of another length than the models.
 */
mc_status mc_params_parse(const mc_method *method, const char *const *settings, size_t count,
                          size_t model_count, mc_params **out, mc_error *error);
mc_params *mc_params_ref(mc_params *params);
void mc_params_unref(mc_params *params); /* accepts NULL */

/* All values as one JSON object, in new memory; NULL when there is no memory. */
char *mc_params_json(const mc_method *method, const mc_params *params);

#endif
