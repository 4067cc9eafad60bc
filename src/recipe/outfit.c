#include "recipe/outfit.h"

#include "merge/tokenizer_files.h"
#include "recipe/depth.h"
#include "recipe/tokenizer.h"

#include <string.h>

mc_status mc_recipe_dress(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                          const mc_recipe_models *models, const mc_recipe_options *options,
                          mc_recipe_rows *rows, const mc_model *donor, mc_outfit *outfit,
                          mc_report *report, mc_error *error)
{
    MC_TRY(mc_recipe_set_depth(rows, outfit->config, report, error));
    for (size_t i = 0; options->no_tokenizer && mc_tokenizer_files[i]; i++)
        mc_outfit_remove(outfit, mc_tokenizer_files[i]);
    MC_TRY(mc_recipe_set_tokenizer(schema, stage, models, donor, options->strict, rows, outfit,
                                   report, error));
    if (stage->chat_template)
        MC_TRY(mc_recipe_set_template(schema, stage, models, donor, options->strict, outfit, report,
                                      error));
    return options->no_card ? MC_OK
                            : mc_outfit_put(outfit, "mergekit_config.yml", schema->text,
                                            strlen(schema->text), error);
}
