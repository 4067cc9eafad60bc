/* What is inside a plan. */
#ifndef MC_MERGE_PLAN_H
#define MC_MERGE_PLAN_H

#include <mergecraft/merge.h>

#include "merge/lineup.h"

struct mc_plan {
    const mc_method *method;
    const mc_model **models; /* model_count, then the base if there is one, then the lists' */
    size_t model_count, all_count;
    const mc_model *base;
    const char **list_names;
    size_t list_count;
    char **passthrough;
    size_t passthrough_count;
    uint64_t seed;
    bool strict, convert;
    mc_dtype dtype;
    char *method_origin, *method_text; /* NULL, or as the program said */

    mc_line *lines; /* in the order of the output */
    size_t count;
    mc_report *report;
    char *parameters;
};

/* The model that configuration, tokenizer and labels come from: the last. */
const mc_model *mc_plan_last(const mc_plan *plan);

/* MC_USAGE if the target lies inside of a model, or a model inside of it. */
mc_status mc_plan_check_outside(const mc_plan *plan, const char *target, mc_error *error);

#endif
