#include "recipe/equal.h"

#include "recipe/coerce.h"

#include <math.h>
#include <string.h>

static bool scalars_equal(const mc_yaml *a, const mc_yaml *b)
{
    double x, y;
    if (mc_coerce_number(a, &x) && mc_coerce_number(b, &y))
        return x == y || (isnan(x) && isnan(y));
    if (mc_coerce_flag(a, &x) && mc_coerce_flag(b, &y))
        return x == y;
    return a->kind == b->kind && strcmp(a->text, b->text) == 0;
}

static bool has_pair(const mc_yaml *map, const mc_yaml_pair *pair)
{
    for (size_t i = 0; i < map->count; i++)
        if (mc_yaml_equal(map->pairs[i].key, pair->key))
            return mc_yaml_equal(map->pairs[i].value, pair->value);
    return pair->value->kind == MC_YAML_NULL;
}

static bool has_pairs_of(const mc_yaml *map, const mc_yaml *other)
{
    for (size_t i = 0; i < other->count; i++)
        if (!has_pair(map, &other->pairs[i]))
            return false;
    return true;
}

static bool lists_equal(const mc_yaml *a, const mc_yaml *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++)
        if (!mc_yaml_equal(a->items[i], b->items[i]))
            return false;
    return a->count == b->count;
}

bool mc_yaml_equal(const mc_yaml *a, const mc_yaml *b)
{
    if (a->kind == MC_YAML_MAP && b->kind == MC_YAML_MAP)
        return has_pairs_of(a, b) && has_pairs_of(b, a);
    if (a->kind == MC_YAML_LIST && b->kind == MC_YAML_LIST)
        return lists_equal(a, b);
    if (a->kind == MC_YAML_NULL || b->kind == MC_YAML_NULL)
        return a->kind == b->kind;
    return a->text && b->text && scalars_equal(a, b);
}
