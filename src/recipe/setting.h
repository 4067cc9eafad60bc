/*
 * The value of a parameter for one tensor. A setting is
 *
 *     0.5                                            a value
 *     [0, 0.5, 1]                                    a gradient over the blocks
 *     [{filter: mlp, value: 0.2}, {value: [0, 1]}]   the first whose filter is a part of the name
 */
#ifndef MC_RECIPE_SETTING_H
#define MC_RECIPE_SETTING_H

#include "recipe/yaml.h"

#include <mergecraft/method.h>

/*
 * Checks the form of a setting, whatever its type: MC_FORMAT with the line otherwise. `file` is the
 * recipe in errors.
 */
mc_status mc_setting_check(const char *file, const mc_yaml *setting, mc_error *error);

/* Checks that every value of a setting (checked as above) has the type. */
mc_status mc_setting_check_type(const char *file, const mc_yaml *setting, mc_param_type type,
                                mc_error *error);

/*
 * Evaluates a setting (checked as above) for a tensor called `tensor` at position t from 0 to 1.
 * *found stays false if it has no value there: no filter fits, or a list is empty; the next level
 * of precedence is asked then. Errors: MC_FORMAT  a gradient gives an integer parameter a fraction
 */
mc_status mc_setting_value(const char *file, const mc_yaml *setting, mc_param_type type,
                           const char *tensor, double t, bool *found, double *out, mc_error *error);

/*
 * Condition `index` of a setting (checked as above), a map with `filter` and `value`; NULL beyond
 * the last one.
 */
const mc_yaml *mc_setting_condition(const mc_yaml *setting, size_t index);

/* Whether a condition has a filter that matches only some names: not "*". */
bool mc_setting_has_filter(const mc_yaml *condition);

/*
 * Whether a condition matches a tensor: the filter is a substring of its name, or of the name that
 * mergekit has for experts, or there is no filter.
 */
bool mc_setting_fits(const mc_yaml *condition, const char *tensor);

#endif
