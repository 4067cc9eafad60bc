#include "merge/dict_map.h"

#include "base/memory.h"
#include "merge/merged.h"
#include "merge/report.h"

#include <stdio.h>
#include <string.h>

/* ---- checks ------------------------------------------------------------------------------------ */

static mc_status check_count(const mc_method *method, size_t count, mc_error *error)
{
    const size_t least = method->min_models ? method->min_models : 1;
    const size_t most = method->max_models ? method->max_models : SIZE_MAX;
    if (count >= least && count <= most)
        return MC_OK;
    if (least == most)
        return mc_fail(error, MC_USAGE, "%s: expected exactly %zu models, found %zu", method->name,
                       least, count);
    return mc_fail(error, MC_USAGE, "%s: expected at %s %zu model%s, found %zu", method->name,
                   count < least ? "least" : "most", count < least ? least : most,
                   (count < least ? least : most) == 1 ? "" : "s", count);
}

static const mc_list *find_list(const mc_merge_input *input, const char *name)
{
    for (size_t i = 0; i < input->list_count; i++)
        if (strcmp(input->lists[i].name, name) == 0)
            return &input->lists[i];
    return NULL;
}

static mc_status check_lists(const mc_method *method, const mc_merge_input *input, mc_error *error)
{
    size_t wanted = 0;
    for (; method->lists && method->lists[wanted]; wanted++) {
        const mc_list *const list = find_list(input, method->lists[wanted]);
        if (!list)
            return mc_fail(error, MC_USAGE, "%s needs a list of models named '%s' (--list %s=…)",
                           method->name, method->lists[wanted], method->lists[wanted]);
        if (list->count != input->model_count)
            return mc_fail(error, MC_USAGE,
                           "list '%s': expected %zu models, as many as are merged, "
                           "found %zu",
                           list->name, input->model_count, list->count);
    }
    if (input->list_count > wanted)
        return mc_fail(error, MC_USAGE, "%s takes %zu further list%s of models, found %zu",
                       method->name, wanted, wanted == 1 ? "" : "s", input->list_count);
    return MC_OK;
}

mc_status mc_map_check(const mc_method *method, const mc_merge_input *input, mc_error *error)
{
    if (method->api != MC_METHOD_API)
        return mc_fail(error, MC_USAGE,
                       "method compiled for version %u of the method interface, expected %u",
                       method->api, MC_METHOD_API);
    if (method->needs_base && !input->base)
        return mc_fail(error, MC_USAGE, "%s needs a base model: name it with --base MODEL",
                       method->name);
    MC_TRY(check_count(method, input->model_count, error));
    return check_lists(method, input, error);
}

const char *mc_map_label(const mc_map *map, size_t index, char *buffer, size_t size)
{
    if (map->labels)
        return map->labels[index];
    if (index == map->input->model_count)
        return "the base";
    snprintf(buffer, size, "model %zu", index + 1);
    return buffer;
}

/* The models, and then the base, by index. */
static const mc_state_dict *dict_at(const mc_map *map, size_t index)
{
    return index < map->input->model_count ? map->input->models[index] : map->input->base;
}

/* Whether a tensor has one row a token: then another first dimension means another vocabulary. */
static bool is_vocabulary(const char *name, const mc_source *a, const mc_source *b)
{
    static const char *const parts[] = {"word_embeddings", "embed_tokens",   "wte.",
                                        "shared.",         "lm_head",        "embed_in",
                                        "tok_embeddings",  "cls.predictions"};
    if (a->rank != b->rank || a->rank == 0 || a->shape[0] == b->shape[0] ||
        memcmp(a->shape + 1, b->shape + 1, (size_t)(a->rank - 1) * sizeof *a->shape) != 0)
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

static mc_status shapes_differ(const mc_map *map, const char *name, size_t i, size_t j,
                               mc_error *error)
{
    const mc_source *const a = mc_state_dict_find(dict_at(map, i), name);
    const mc_source *const b = mc_state_dict_find(dict_at(map, j), name);
    char left[128], right[128], first[32], second[32];
    return mc_fail_at(error, MC_MISMATCH, NULL, name, -1,
                      "expected equal shapes, found %s in %s and %s in %s%s",
                      mc_shape_text(a->rank, a->shape, left, sizeof left),
                      mc_map_label(map, i, first, sizeof first),
                      mc_shape_text(b->rank, b->shape, right, sizeof right),
                      mc_map_label(map, j, second, sizeof second),
                      is_vocabulary(name, a, b) ? ": their vocabularies differ" : "");
}

static mc_status kinds_differ(const mc_map *map, const char *name, size_t i, size_t j,
                              mc_error *error)
{
    const mc_source *const a = mc_state_dict_find(dict_at(map, i), name);
    const mc_source *const b = mc_state_dict_find(dict_at(map, j), name);
    char first[32], second[32];
    return mc_fail_at(error, MC_MISMATCH, NULL, name, -1,
                      "expected float tensors in all models or in none, found %s in %s and %s in "
                      "%s",
                      mc_dtype_name(a->dtype), mc_map_label(map, i, first, sizeof first),
                      mc_dtype_name(b->dtype), mc_map_label(map, j, second, sizeof second));
}

mc_status mc_map_check_shapes(const mc_map *map, const char *name, bool with_base, mc_error *error)
{
    const size_t count = map->input->model_count + (with_base && map->input->base);
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const mc_source *const one = mc_state_dict_find(dict_at(map, i), name);
        if (!one)
            continue;
        if (first == SIZE_MAX) {
            first = i;
            continue;
        }
        const mc_source *const before = mc_state_dict_find(dict_at(map, first), name);
        if ((mc_dtype_kind_of(one->dtype) == MC_KIND_FLOAT) !=
            (mc_dtype_kind_of(before->dtype) == MC_KIND_FLOAT))
            return kinds_differ(map, name, first, i, error);
        if (!mc_source_same_shape(before, one))
            return shapes_differ(map, name, first, i, error);
    }
    return MC_OK;
}

/* ---- layers ------------------------------------------------------------------------------------ */

/* Gathers the sources of a layer in the order of mc_merged_parts. False: no memory. */
static bool gather(const mc_map *map, const char *name, mc_merged_parts *parts)
{
    const mc_merge_input *const input = map->input;
    const size_t lists = parts->list_count, models = input->model_count;
    mc_source **const inputs = mc_alloc(sizeof *inputs * (models + 1 + lists * models));
    if (!inputs)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < models; i++)
        inputs[count++] = mc_state_dict_find(input->models[i], name);
    if (parts->has_base)
        inputs[count++] = mc_state_dict_find(input->base, name);
    for (size_t k = 0; k < lists; k++) {
        const mc_list *const list = find_list(input, map->method->lists[k]);
        for (size_t i = 0; i < models; i++)
            inputs[count++] = mc_state_dict_find(list->items[i], name);
    }
    parts->inputs = inputs;
    parts->input_count = count;
    return true;
}

/* The lists' tensors must have the models' shape too. */
static mc_status check_list_shapes(const mc_merged_parts *parts, mc_error *error)
{
    for (size_t i = parts->model_count; i < parts->input_count; i++) {
        const mc_source *const one = parts->inputs[i], *const first = parts->inputs[0];
        char left[128], right[128];
        if (mc_dtype_kind_of(one->dtype) != MC_KIND_FLOAT)
            return mc_fail_at(error, MC_MISMATCH, NULL, parts->name, -1,
                              "expected float tensors in every list, found %s",
                              mc_dtype_name(one->dtype));
        if (!mc_source_same_shape(one, first))
            return mc_fail_at(error, MC_MISMATCH, NULL, parts->name, -1,
                              "expected the models' shape %s in every list, found %s",
                              mc_shape_text(first->rank, first->shape, left, sizeof left),
                              mc_shape_text(one->rank, one->shape, right, sizeof right));
    }
    return MC_OK;
}

static size_t list_count(const mc_method *method)
{
    size_t count = 0;
    while (method->lists && method->lists[count])
        count++;
    return count;
}

mc_status mc_map_layer(const mc_map *map, const char *name, mc_source **out, mc_error *error)
{
    mc_merged_parts parts = {
        .method = map->method,
        .params = map->params,
        .name = name,
        .seed = map->input->seed,
        .model_count = map->input->model_count,
        .list_count = list_count(map->method),
        .has_base = map->method->needs_base,
    };
    MC_TRY(mc_map_check_shapes(map, name, parts.has_base, error));
    if (!gather(map, name, &parts))
        return mc_fail_memory(error);
    mc_status status = check_list_shapes(&parts, error);
    if (status == MC_OK)
        status = mc_in_tensor(error, name, mc_merged_new(&parts, out, error));
    mc_free((void *)(uintptr_t)parts.inputs);
    return status;
}

mc_source *mc_map_last(const mc_map *map, const char *name, size_t *from)
{
    for (size_t i = map->input->model_count; i-- > 0;) {
        mc_source *const source = mc_state_dict_find(map->input->models[i], name);
        if (source) {
            *from = i;
            return source;
        }
    }
    return NULL;
}

mc_status mc_map_average(const mc_map *map, const char *name, mc_source **out, mc_error *error)
{
    const mc_method *const mean = mc_method_find("mergecraft:soup");
    mc_merged_parts parts = {.method = mean, .name = name};
    const mc_merge_input *const input = map->input;
    mc_source **const inputs = mc_alloc(sizeof *inputs * input->model_count);
    if (!inputs)
        return mc_fail_memory(error);
    for (size_t i = 0; i < input->model_count; i++) {
        mc_source *const source = mc_state_dict_find(input->models[i], name);
        if (source)
            inputs[parts.input_count++] = source;
    }
    parts.inputs = inputs;
    parts.model_count = parts.input_count;
    mc_status status = mc_map_check_shapes(map, name, false, error);
    if (status == MC_OK)
        status = mc_params_parse(mean, NULL, 0, parts.model_count, &parts.params, error);
    if (status == MC_OK)
        status = mc_in_tensor(error, name, mc_merged_new(&parts, out, error));
    mc_params_unref(parts.params);
    mc_free(inputs);
    return status;
}

/* ---- the map ----------------------------------------------------------------------------------- */

bool mc_map_in_all_lists(const mc_map *map, const char *name)
{
    const mc_merge_input *const input = map->input;
    for (size_t k = 0; k < input->list_count; k++)
        for (size_t i = 0; i < input->lists[k].count; i++)
            if (!mc_state_dict_find(input->lists[k].items[i], name))
                return false;
    return true;
}

bool mc_map_seen_before(const mc_map *map, size_t index, const char *name)
{
    for (size_t i = 0; i < index; i++)
        if (mc_state_dict_find(map->input->models[i], name))
            return true;
    return false;
}

static bool all_have(const mc_map *map, const char *name)
{
    const mc_merge_input *const input = map->input;
    for (size_t i = 0; i < input->model_count; i++)
        if (!mc_state_dict_find(input->models[i], name))
            return false;
    if (map->method->needs_base && !mc_state_dict_find(input->base, name))
        return false;
    return mc_map_in_all_lists(map, name);
}

static mc_status map_one(const mc_map *map, const char *name, const mc_source *first,
                         mc_state_dict *into, mc_error *error)
{
    size_t from = 0;
    mc_source *made = NULL;
    if (mc_dtype_kind_of(first->dtype) == MC_KIND_FLOAT)
        MC_TRY(mc_map_layer(map, name, &made, error));
    else
        made = mc_source_ref(mc_map_last(map, name, &from));
    const mc_status status = mc_state_dict_set(into, name, made, error);
    mc_source_unref(made);
    return status;
}

static mc_status map_all(const mc_map *map, mc_state_dict *into, mc_names *missing, mc_error *error)
{
    const mc_state_dict *const first = map->input->models[0];
    for (size_t i = 0; i < mc_state_dict_count(first); i++) {
        const char *const name = mc_state_dict_name(first, i);
        if (!all_have(map, name))
            MC_TRY(mc_names_add(missing, name, error));
        else
            MC_TRY(map_one(map, name, mc_state_dict_source(first, i), into, error));
    }
    for (size_t k = 1; k < map->input->model_count; k++)
        for (size_t i = 0; i < mc_state_dict_count(map->input->models[k]); i++) {
            const char *const name = mc_state_dict_name(map->input->models[k], i);
            if (!mc_map_seen_before(map, k, name))
                MC_TRY(mc_names_add(missing, name, error));
        }
    if (mc_state_dict_count(into) == 0)
        return mc_fail(error, MC_MISMATCH, "%s: the models have no tensor name in common",
                       map->method->name);
    return MC_OK;
}

mc_status mc_dict_map(const mc_method *method, const mc_merge_input *input, mc_state_dict **out,
                      mc_report *report, mc_error *error)
{
    if (method->scope == MC_MODEL)
        return mc_fail(error, MC_USAGE,
                       "%s works on whole state dicts: expected a method that works layer by layer",
                       method->name);
    MC_TRY(mc_map_check(method, input, error));
    mc_map map = {.method = method, .input = input};
    MC_TRY(mc_params_parse(method, input->params, input->param_count, input->model_count,
                           &map.params, error));
    mc_names missing = {0};
    mc_state_dict *dict = NULL;
    mc_status status = mc_params_report(map.params, input->strict, report, error);
    if (status == MC_OK)
        status = mc_state_dict_new(&dict, error);
    if (status == MC_OK)
        status = map_all(&map, dict, &missing, error);
    if (status == MC_OK)
        status = mc_report_names(report, &missing, input->strict, "not in all models and left out",
                                 error);
    mc_names_free(&missing);
    mc_params_unref(map.params);
    if (status != MC_OK) {
        mc_state_dict_free(dict);
        return status;
    }
    *out = dict;
    return MC_OK;
}
