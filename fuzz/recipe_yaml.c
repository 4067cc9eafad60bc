/* YAML: what is accepted is walked, which must be bounded. */
#include "fuzz.h"

#include "recipe/yaml.h"

static size_t walk(const mc_yaml *node, size_t depth)
{
    size_t size = 1;
    fuzz_require(depth <= MC_YAML_DEEPEST, "levels are bounded");
    for (size_t i = 0; i < node->count; i++)
        if (node->kind == MC_YAML_LIST)
            size += walk(node->items[i], depth + 1);
        else
            size += 1 + walk(node->pairs[i].value, depth + 1);
    return size;
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_error error = MC_ERROR_NONE;
    mc_yaml_file *file = NULL;
    const mc_status status = mc_yaml_parse("recipe.yml", (const char *)data, size, &file, &error);
    fuzz_check_status(status, &error);
    size_t total = 0;
    for (size_t i = 0; status == MC_OK && i < file->document_count; i++)
        total += walk(file->documents[i], 1);
    fuzz_require(total <= 2 * MC_YAML_MOST_NODES, "values are bounded");
    if (status == MC_OK)
        mc_yaml_free(file);
}
