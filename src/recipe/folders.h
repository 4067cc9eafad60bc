/*
 * Modules of sentence-transformers in their own folders ("2_Dense"), whose weights a recipe merges
 * as it merges the model. Not the `modules` of a recipe, which are parts of one model: modules.h.
 */
#ifndef MC_RECIPE_FOLDERS_H
#define MC_RECIPE_FOLDERS_H

#include "merge/plan.h"
#include "recipe/rows.h"

/*
 * Adds a plan for each such folder of the plan's outfit. `models` are those of the stage, the first
 * `merged` of them not the base. A folder that the recipe cannot merge is copied, and reported: one
 * that a model lacks, or under slices of blocks.
 */
mc_status mc_recipe_plan_folders(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const mc_recipe_models *models, size_t merged,
                                 const mc_recipe_options *options, mc_plan *plan, mc_error *error);

#endif
