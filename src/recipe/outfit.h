/*
 * Everything in a stage's result that is not a tensor: the donor's outfit, changed by the recipe.
 */
#ifndef MC_RECIPE_OUTFIT_H
#define MC_RECIPE_OUTFIT_H

#include "merge/outfit.h"
#include "recipe/rows.h"

/*
 * Changes an outfit that was made from `donor`: the number of blocks and lists with an entry per
 * block follow the stacks; tokenizer files and chat template are those that the recipe asks for,
 * and rows get their vocabulary; mergekit_config.yml is the recipe.
 *
 * Errors: those of mc_recipe_set_tokenizer and mc_recipe_set_template
 */
mc_status mc_recipe_dress(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                          const mc_recipe_models *models, const mc_recipe_options *options,
                          mc_recipe_rows *rows, const mc_model *donor, mc_outfit *outfit,
                          mc_report *report, mc_error *error);

#endif
