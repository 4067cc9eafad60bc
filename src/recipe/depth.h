/*
 * The configuration of a result whose blocks come from slices: their number, and lists about them.
 */
#ifndef MC_RECIPE_DEPTH_H
#define MC_RECIPE_DEPTH_H

#include "base/json.h"
#include "recipe/rows.h"

/*
 * Changes `config`, the result's config.json, per module that was made from slices: the number of
 * blocks, lists with an entry per block (such as layer_types), and lists of numbers of blocks (such
 * as mlp_only_layers). A number that is missing is reported.
 */
mc_status mc_recipe_set_depth(const mc_recipe_rows *rows, json_t *config, mc_report *report,
                              mc_error *error);

#endif
