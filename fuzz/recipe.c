/* Recipes: what is accepted has names of models, and warnings with a text. */
#include "fuzz.h"

#include <mergecraft/recipe.h>

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_error error = MC_ERROR_NONE;
    mc_recipe *recipe = NULL;
    const mc_status status = mc_recipe_parse("recipe.yml", (const char *)data, size, &recipe,
                                             &error);
    fuzz_check_status(status, &error);
    if (status != MC_OK)
        return;
    for (size_t i = 0; i < mc_recipe_model_count(recipe); i++)
        fuzz_require(mc_recipe_model(recipe, i) != NULL, "a model has a name");
    for (size_t i = 0; i < mc_recipe_warning_count(recipe); i++)
        fuzz_require(mc_recipe_warning(recipe, i)[0] != '\0', "a warning has a text");
    mc_recipe_close(recipe);
}
