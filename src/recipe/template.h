/* The chat template that a recipe asks for. */
#ifndef MC_RECIPE_TEMPLATE_H
#define MC_RECIPE_TEMPLATE_H

#include "merge/outfit.h"
#include "recipe/rows.h"

/*
 * Puts stage->chat_template into the outfit, as chat_template.jinja: the text of a template, one by
 * its name (alpaca, chatml, exaone, llama3, mistral), or with "auto" the one that most models have.
 *
 * Errors: MC_FORMAT  at the line of the option: neither
 */
mc_status mc_recipe_set_template(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const mc_recipe_models *models, mc_outfit *outfit,
                                 mc_report *report, mc_error *error);

#endif
