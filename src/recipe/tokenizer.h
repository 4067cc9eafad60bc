/*
 * The tokenizer that a recipe asks for: tokenizer_source or the map `tokenizer`, and its chat
 * template.
 */
#ifndef MC_RECIPE_TOKENIZER_H
#define MC_RECIPE_TOKENIZER_H

#include "merge/outfit.h"
#include "recipe/rows.h"

/*
 * Gives rows and outfit the vocabulary that stage->tokenizer describes; without one, checks that
 * vocabularies do not differ. `outfit` was made from `donor`.
 *
 * Errors: MC_FORMAT, at its line   a source that is no model of the stage, an option with a wrong
 *                                  type
 *         and those of mc_token_map_new and mc_vocabulary_check
 */
mc_status mc_recipe_set_tokenizer(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                  const mc_recipe_models *models, const mc_model *donor,
                                  bool strict, mc_recipe_rows *rows, mc_outfit *outfit,
                                  mc_report *report, mc_error *error);

/*
 * Puts stage->chat_template into the outfit; see chat_template.h. A special token that the
 * vocabulary lacks is reported, as recipes in use have such templates; an error under strict.
 *
 * Errors: MC_FORMAT, at the line of the option: it is no template
 */
mc_status mc_recipe_set_template(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const mc_recipe_models *models, const mc_model *donor, bool strict,
                                 mc_outfit *outfit, mc_report *report, mc_error *error);

#endif
