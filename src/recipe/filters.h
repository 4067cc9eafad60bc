/*
 * Filters of parameters that fit no tensor: misspelled names, patterns, which mergekit does not
 * have, or names of another module or slice. The parameter then has another value than its author
 * meant.
 */
#ifndef MC_RECIPE_FILTERS_H
#define MC_RECIPE_FILTERS_H

#include "merge/report.h"
#include "recipe/schema.h"

/* Forgets what was noted: before the rows of a stage and of its module folders are made. */
void mc_recipe_forget_filters(const mc_recipe_schema *schema);

/*
 * Notes which conditions of a setting the name of a tensor fits. It is called for all tensors that
 * the setting applies to, also if another condition or level of precedence decides the value.
 */
void mc_recipe_note_filters(const mc_recipe_schema *schema, const mc_yaml *setting,
                            const char *tensor);

/*
 * Reports the filters of a stage that no tensor was noted for.
 *
 * Errors: MC_MISMATCH  under strict
 */
mc_status mc_recipe_report_filters(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                   bool strict, mc_report *report, mc_error *error);

#endif
