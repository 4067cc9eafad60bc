#include "recipe/setting.h"

#include "recipe/coerce.h"

#include <math.h>
#include <string.h>

#define FAIL(file_, node_, ...)                                                                    \
    mc_yaml_fail(error, MC_FORMAT, (file_), (node_)->line, (node_)->column, __VA_ARGS__)

static bool is_scalar(const mc_yaml *node)
{
    return node->kind != MC_YAML_LIST && node->kind != MC_YAML_MAP;
}

/* ---- form ------------------------------------------------------------------------------------ */
static mc_status check_scalar(const char *file, const mc_yaml *node, mc_error *error)
{
    if (node->kind == MC_YAML_NULL || node->kind == MC_YAML_DATE || !is_scalar(node))
        return FAIL(file, node, "expected a value, found %s", mc_yaml_kind_text(node->kind));
    return MC_OK;
}

static mc_status check_gradient(const char *file, const mc_yaml *list, mc_error *error)
{
    for (size_t i = 0; i < list->count; i++)
        MC_TRY(check_scalar(file, list->items[i], error));
    return MC_OK;
}

/* Checks {filter: …, value: …}. */
static mc_status check_conditional(const char *file, const mc_yaml *map, mc_error *error)
{
    const mc_yaml *const filter = mc_yaml_get(map, "filter");
    const mc_yaml *const value = mc_yaml_get(map, "value");
    if (!value)
        return FAIL(file, map, "expected 'value' (and 'filter') in a conditional setting");
    if (filter && filter->kind != MC_YAML_STRING && filter->kind != MC_YAML_NULL)
        return FAIL(file, filter, "expected a string as filter, found %s; quote it",
                    mc_yaml_kind_text(filter->kind));
    return value->kind == MC_YAML_LIST ? check_gradient(file, value, error)
                                       : check_scalar(file, value, error);
}

mc_status mc_setting_check(const char *file, const mc_yaml *setting, mc_error *error)
{
    if (setting->kind == MC_YAML_MAP)
        return check_conditional(file, setting, error);
    if (setting->kind != MC_YAML_LIST)
        return check_scalar(file, setting, error);
    size_t maps = 0;
    for (size_t i = 0; i < setting->count; i++)
        maps += setting->items[i]->kind == MC_YAML_MAP;
    if (maps == 0)
        return check_gradient(file, setting, error);
    if (maps < setting->count)
        return FAIL(file, setting, "expected numbers or conditions in a list, found both");
    for (size_t i = 0; i < setting->count; i++)
        MC_TRY(check_conditional(file, setting->items[i], error));
    return MC_OK;
}

/* ---- type ------------------------------------------------------------------------------------ */
mc_status mc_setting_check_type(const char *file, const mc_yaml *setting, mc_param_type type,
                                mc_error *error)
{
    double number;
    if (setting->kind == MC_YAML_MAP)
        return mc_setting_check_type(file, mc_yaml_get(setting, "value"), type, error);
    if (setting->kind == MC_YAML_LIST) {
        for (size_t i = 0; i < setting->count; i++)
            MC_TRY(mc_setting_check_type(file, setting->items[i], type, error));
        return MC_OK;
    }
    if (!mc_coerce(type, setting, &number))
        return FAIL(file, setting, "expected %s, found '%s'", mc_coerce_text(type), setting->text);
    if (!isfinite(number))
        return FAIL(file, setting, "expected a finite number, found '%s'", setting->text);
    return MC_OK;
}

/* ---- value ----------------------------------------------------------------------------------- */
/*
 * Evaluates a gradient at t from 0 to 1. Numbers are interpolated linearly between neighbouring
 * entries; a flag is that of the entry before, as there is nothing between.
 */
static mc_status gradient_value(const char *file, const mc_yaml *list, mc_param_type type, double t,
                                bool *found, double *out, mc_error *error)
{
    if (list->count == 0)
        return MC_OK;
    const double place = t * (double)(list->count - 1);
    const size_t low = (size_t)place, high = low + 1 < list->count ? low + 1 : list->count - 1;
    const double fraction = place - (double)low;
    double a = 0, b = 0;
    mc_coerce(type, list->items[low], &a);
    mc_coerce(type, list->items[high], &b);
    *out = type == MC_FLAG ? a : (1 - fraction) * a + fraction * b;
    *found = true;
    if (type == MC_INTEGER && *out != nearbyint(*out))
        return FAIL(file, list,
                    "expected a gradient of whole numbers, found %g at %g of the blocks", *out, t);
    return MC_OK;
}

const mc_yaml *mc_setting_condition(const mc_yaml *setting, size_t index)
{
    if (setting->kind == MC_YAML_MAP)
        return index == 0 ? setting : NULL;
    const bool exists = setting->kind == MC_YAML_LIST && index < setting->count;
    return exists && setting->items[index]->kind == MC_YAML_MAP ? setting->items[index] : NULL;
}

bool mc_setting_has_filter(const mc_yaml *condition)
{
    const mc_yaml *const filter = mc_yaml_get(condition, "filter");
    return filter && filter->kind == MC_YAML_STRING && strcmp(filter->text, "*") != 0;
}

/* A stretch of a name. */
typedef struct piece {
    const char *at;
    size_t length;
} piece;

static bool begins_with(const piece *pieces, size_t count, size_t offset, const char *filter)
{
    for (size_t i = 0; *filter; i++, offset = 0) {
        if (i == count)
            return false;
        for (; *filter && offset < pieces[i].length; offset++, filter++)
            if (pieces[i].at[offset] != *filter)
                return false;
    }
    return true;
}

static bool contain(const piece *pieces, size_t count, const char *filter)
{
    for (size_t i = 0; i < count; i++)
        for (size_t offset = 0; offset < pieces[i].length; offset++)
            if (begins_with(pieces + i, count - i, offset, filter))
                return true;
    return false;
}

/* The tensor of all experts that the tensor of one is a part of; NULL: unknown. */
static const char *fused_part(const char *part)
{
    static const char *const fused[][2] = {
        {"w1.", "gate_up_proj"},        {"w2.", "down_proj"},         {"w3.", "gate_up_proj"},
        {"gate_proj.", "gate_up_proj"}, {"up_proj.", "gate_up_proj"}, {"down_proj.", "down_proj"}};
    for (size_t i = 0; i < sizeof fused / sizeof *fused; i++)
        if (strncmp(part, fused[i][0], strlen(fused[i][0])) == 0)
            return fused[i][1];
    return NULL;
}

/*
 * mergekit sees the tensors of experts under the names of transformers 5, with one tensor for all
 * experts of a block: block_sparse_moe.experts.3.w2.weight is mlp.experts.down_proj. Returns how
 * many pieces that name has; 0: the tensor is not of experts.
 */
static size_t fused_name(const char *tensor, piece pieces[static 4])
{
    static const char mixtral[] = "block_sparse_moe.", experts[] = "experts.";
    const char *const block = strstr(tensor, mixtral);
    const char *const rest = block ? block + strlen(mixtral) : tensor;
    const char *const list = strstr(rest, experts);
    const char *const number = list ? list + strlen(experts) : "";
    const size_t digits = strspn(number, "0123456789");
    const char *const part = digits && number[digits] == '.' ? fused_part(number + digits + 1)
                                                             : NULL;
    size_t count = 0;
    if (!block && !part)
        return 0;
    if (block) {
        pieces[count++] = (piece){tensor, (size_t)(block - tensor)};
        pieces[count++] = (piece){"mlp.", 4};
    }
    pieces[count++] = (piece){rest, part ? (size_t)(number - rest) : strlen(rest)};
    if (part)
        pieces[count++] = (piece){part, strlen(part)};
    return count;
}

bool mc_setting_fits(const mc_yaml *condition, const char *tensor)
{
    if (!mc_setting_has_filter(condition))
        return true;
    const char *const filter = mc_yaml_get(condition, "filter")->text;
    piece pieces[4];
    return strstr(tensor, filter) || contain(pieces, fused_name(tensor, pieces), filter);
}

/*
 * Conditions are tried in their order; without one that fits, the next level of precedence is
 * asked.
 */
mc_status mc_setting_value(const char *file, const mc_yaml *setting, mc_param_type type,
                           const char *tensor, double t, bool *found, double *out, mc_error *error)
{
    const mc_yaml *condition = mc_setting_condition(setting, 0);
    if (!condition && setting->kind == MC_YAML_LIST)
        return gradient_value(file, setting, type, t, found, out, error);
    if (!condition) {
        /* Types were checked when the recipe was read. */
        *found = mc_coerce(type, setting, out);
        return MC_OK;
    }
    for (size_t i = 0; (condition = mc_setting_condition(setting, i)); i++)
        if (mc_setting_fits(condition, tensor))
            return mc_setting_value(file, mc_yaml_get(condition, "value"), type, tensor, t, found,
                                    out, error);
    return MC_OK;
}
