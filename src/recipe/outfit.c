#include "recipe/outfit.h"

#include "recipe/depth.h"
#include "recipe/tokenizer.h"

#include <string.h>

mc_status mc_recipe_dress(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                          const mc_recipe_models *models, mc_recipe_rows *rows,
                          const mc_model *donor, bool strict, mc_outfit *outfit, mc_report *report,
                          mc_error *error)
{
    MC_TRY(mc_recipe_set_depth(rows, outfit->config, report, error));
    MC_TRY(
        mc_recipe_set_tokenizer(schema, stage, models, donor, strict, rows, outfit, report, error));
    if (stage->chat_template)
        MC_TRY(mc_recipe_set_template(schema, stage, models, donor, strict, outfit, report, error));
    return mc_outfit_put(outfit, "mergekit_config.yml", schema->text, strlen(schema->text), error);
}
