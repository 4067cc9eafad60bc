/*
 * Parameters that differ between tensors: "NAME@WHERE=VALUE" is the value of the tensors at WHERE,
 * "NAME=VALUE" that of all others, wherever it stands. If several match a tensor, the last applies.
 *
 *     k=.2   k@0-5=.1   k@mlp=.4   k@0-5/attention=.3   weights[2]@*.query.weight=.5
 *
 * WHERE is a block or a range of blocks, a role or a group of roles (parts.h), both with a slash,
 * or a shell pattern of names, which has one of * ? [.
 */
#ifndef MC_MERGE_ROW_PARAMS_H
#define MC_MERGE_ROW_PARAMS_H

#include "merge/outputs.h"

typedef struct mc_row_settings {
    const mc_method *method;
    const mc_method *const *then;
    size_t then_count;
    const char *const *settings;
    size_t count, model_count;
    bool allow_unused; /* a WHERE that no merged tensor matches is not an error */
} mc_row_settings;

/* Where the WHERE of a setting begins, at its "@"; NULL: it applies to all tensors. */
const char *mc_setting_where(const char *setting);

/* The setting without its WHERE, in new memory (mc_free); NULL: no memory. */
char *mc_setting_for_all(const char *setting);

/* Errors: MC_USAGE  a WHERE is malformed; a setting alone is wrong (mc_params_check_settings) */
mc_status mc_row_settings_check(const mc_row_settings *given, mc_error *error);

/*
 * The parameters of each row that a method merges layer by layer: out[rows->count], one reference
 * each; NULL for other rows. Rows with the same settings share them. Free the references also after
 * a failure.
 *
 * Errors: MC_USAGE  a WHERE matches no merged tensor, and those of mc_params_parse_chain
 */
mc_status mc_row_settings_apply(const mc_row_settings *given, const mc_outputs *rows,
                                mc_params **out, mc_error *error);

#endif
