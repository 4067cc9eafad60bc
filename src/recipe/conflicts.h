/* What the models of a recipe disagree about and no merge can join: templates, special tokens. */
#ifndef MC_RECIPE_CONFLICTS_H
#define MC_RECIPE_CONFLICTS_H

#include "merge/outfit.h"
#include "recipe/rows.h"

/*
 * Reports chat templates that differ from that of the result, unless the recipe sets one, and
 * special tokens (the beginning and the end of a text, padding) that differ. `outfit` is that of
 * the result, which was made from `donor`.
 *
 * Errors: MC_MISMATCH  either, under `strict`
 */
mc_status mc_recipe_report_conflicts(const mc_recipe_stage *stage, const mc_recipe_models *models,
                                     const mc_model *donor, bool strict, const mc_outfit *outfit,
                                     mc_report *report, mc_error *error);

#endif
