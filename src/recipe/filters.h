/*
 * Finds filters of parameters that match no tensor: misspelled names, patterns (which mergekit does
 * not have), or names of another module or slice. The parameter then does not have the value that
 * its author meant.
 */
#ifndef MC_RECIPE_FILTERS_H
#define MC_RECIPE_FILTERS_H

#include "merge/report.h"
#include "recipe/schema.h"

/* Clears the notes. Call before the rows of a stage and of its module folders are made. */
void mc_recipe_forget_filters(const mc_recipe_schema *schema);

/*
 * Notes which conditions of a setting match the name of a tensor. Call it for all tensors that the
 * setting applies to, also if another condition or level of precedence decides the value.
 */
void mc_recipe_note_filters(const mc_recipe_schema *schema, const mc_yaml *setting,
                            const char *tensor);

/*
 * Reports the filters of a stage that matched no tensor.
 *
 * Errors: MC_MISMATCH  under strict
 */
mc_status mc_recipe_report_filters(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                   bool strict, mc_report *report, mc_error *error);

#endif
