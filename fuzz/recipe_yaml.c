/* YAML: what is accepted is walked, which must be bounded, and each key must find its value. */
#include "fuzz.h"

#include "recipe/yaml.h"

/* A search compares with all keys before it: more of them would take long, and show no more. */
enum { most_searched = 64 };

static void search(const mc_yaml *map)
{
    for (size_t i = 0; i < map->count && i < most_searched; i++) {
        const mc_yaml_pair *const pair = &map->pairs[i];
        if (pair->key->kind == MC_YAML_STRING)
            fuzz_require(mc_yaml_get(map, pair->key->text) == pair->value, "a key has one value");
    }
}

static size_t walk(const mc_yaml *node, size_t depth)
{
    size_t size = 1;
    fuzz_require(depth <= MC_YAML_DEEPEST, "levels are bounded");
    for (size_t i = 0; i < node->count; i++)
        if (node->kind == MC_YAML_LIST)
            size += walk(node->items[i], depth + 1);
        else
            size += 1 + walk(node->pairs[i].value, depth + 1);
    if (node->kind == MC_YAML_MAP)
        search(node);
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
