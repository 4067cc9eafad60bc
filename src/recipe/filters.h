/*
 * Filters of parameters that match no tensor: misspelled names, or patterns, which mergekit does
 * not have. The parameter then has another value than its author meant.
 */
#ifndef MC_RECIPE_FILTERS_H
#define MC_RECIPE_FILTERS_H

#include "merge/outputs.h"
#include "merge/report.h"
#include "recipe/schema.h"

/*
 * Reports the filters of a stage that are no part of a name in `outputs`, of results or of inputs.
 *
 * Errors: MC_MISMATCH  under strict
 */
mc_status mc_recipe_report_filters(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                   const mc_outputs *outputs, bool strict, mc_report *report,
                                   mc_error *error);

#endif
