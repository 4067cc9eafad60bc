/*
 * Line-up: fills the table of outputs from state dicts in which every tensor has its aligned name.
 * Decides for each name whether it is merged by the method, averaged, copied or left out, and
 * reports everything except merged tensors.
 */
#ifndef MC_MERGE_LINEUP_H
#define MC_MERGE_LINEUP_H

#include "merge/model_call.h"
#include "merge/outputs.h"

/* The name that a tensor of model `model` (models, then base, then sides) has in its own files. */
typedef const char *(*mc_name_of)(const void *user, size_t model, const char *name);

typedef struct mc_lineup {
    const mc_method *method;
    mc_params *params;           /* parsed */
    const mc_merge_input *input; /* state dicts, passthrough, seed, strict */
    mc_labels labels;
    mc_name_of name_of; /* NULL: names are those of the dicts */
    const void *names;  /* what name_of gets */
    /* Only the names that all have (mc_dict_map); others are left out and reported. */
    bool common;
} mc_lineup;

/*
 * Appends the rows; those of layer methods are not resolved yet (mc_outputs_resolve). *call
 * receives what a method of scope MC_MODEL needs to be called again, else NULL; free it.
 * Errors: MC_USAGE     the method does not fit the input: base, number of models, sides
 *         MC_MISMATCH  nothing in common, or a report under strict
 */
mc_status mc_lineup_make(const mc_lineup *lineup, mc_outputs *outputs, mc_model_call **call,
                         mc_report *report, mc_error *error);

/* MC_USAGE if the method does not fit: interface version, base, number of models, sides. */
mc_status mc_lineup_check(const mc_method *method, const mc_merge_input *input, mc_error *error);

#endif
