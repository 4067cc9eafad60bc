/* Recipes: what is accepted has names of models, and warnings with a text. */
#include "fuzz.h"

#include "recipe/setting.h"
#include "recipe/yaml.h"

#include <mergecraft/recipe.h>

/* A setting that is accepted has a value, or none, for every tensor and place. */
static void evaluate(const mc_yaml *setting, mc_param_type type)
{
    static const char *const tensors[] = {"model.layers.0.mlp.up_proj.weight", "norm", "",
                                          "model.layers.0.block_sparse_moe.experts.1.w2.weight",
                                          "mlp.experts.10.up_proj.weight"};
    mc_error error = MC_ERROR_NONE;
    if (mc_setting_check(" ", setting, &error) != MC_OK ||
        mc_setting_check_type(" ", setting, type, &error) != MC_OK)
        return;
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        for (double t = 0; t <= 1; t += .5) {
            bool found = false;
            double value = 0;
            error = (mc_error)MC_ERROR_NONE;
            const mc_status status = mc_setting_value(" ", setting, type, tensors[i], t, &found,
                                                      &value, &error);
            fuzz_check_status(status, &error);
        }
}

/* Every node below, as if it were a setting. */
static void evaluate_all(const mc_yaml *node)
{
    evaluate(node, MC_NUMBER);
    evaluate(node, MC_INTEGER);
    evaluate(node, MC_FLAG);
    for (size_t i = 0; node->kind == MC_YAML_MAP && i < node->count; i++)
        evaluate_all(node->pairs[i].value);
    for (size_t i = 0; node->kind == MC_YAML_LIST && i < node->count; i++)
        evaluate_all(node->items[i]);
}

static void evaluate_settings(const uint8_t *data, size_t size)
{
    mc_yaml_file *file = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_yaml_parse(" ", (const char *)data, size, &file, &error) != MC_OK)
        return;
    for (size_t i = 0; i < file->document_count && file->node_count < 1000; i++)
        evaluate_all(file->documents[i]);
    mc_yaml_free(file);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_error error = MC_ERROR_NONE;
    mc_recipe *recipe = NULL;
    evaluate_settings(data, size);
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
