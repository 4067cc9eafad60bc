#include "recipe/depth.h"

#include "base/memory.h"
#include "merge/report.h"
#include "model/model.h"

#include <string.h>

enum { MOST_KEYS = 5 };

/*
 * Where a module's configuration is, and the keys that hold its number of blocks: architectures use
 * different ones. The last row is for all other modules.
 */
typedef struct section {
    const char *module, *object;
    const char *keys[MOST_KEYS];
} section;

static const section sections[] = {
    {"text_decoder", "text_config", {"num_hidden_layers", "n_layer", "num_layers", "n_layers"}},
    {"vision_tower", "vision_config", {"num_hidden_layers", "depth", "num_layers", "n_layers"}},
    {"audio_tower", "audio_config", {"num_hidden_layers", "encoder_layers", "num_layers"}},
    {"encoder", NULL, {"encoder_layers", "num_layers", "num_hidden_layers"}},
    {"decoder", NULL, {"decoder_layers", "num_decoder_layers"}},
    {"default", "text_config", {"num_hidden_layers", "n_layer", "num_layers", "n_layers"}},
};

static const section *section_of(const char *module)
{
    const size_t last = sizeof sections / sizeof *sections - 1;
    size_t i = 0;
    while (i < last && strcmp(sections[i].module, module) != 0)
        i++;
    return &sections[i];
}

static json_t *part_of(const section *s, const json_t *config)
{
    json_t *const inner = s->object ? json_object_get(config, s->object) : NULL;
    return json_is_object(inner) ? inner : (json_t *)(uintptr_t)config;
}

static const char *depth_key(const section *s, const json_t *part)
{
    for (size_t i = 0; i < MOST_KEYS && s->keys[i]; i++)
        if (json_is_integer(json_object_get(part, s->keys[i])))
            return s->keys[i];
    return NULL;
}

/* The stacks of one module in the order of the result. */
typedef struct run {
    const section *section;
    const mc_recipe_stack *stacks;
    size_t count;
    mc_error *error;
} run;

/*
 * The list of that name in the model that the blocks come from, if it is long enough; `fallback`
 * otherwise.
 */
static const json_t *list_of(const run *r, const mc_recipe_stack *stack, const char *key,
                             const json_t *fallback)
{
    const json_t *const config = stack->model->config;
    const json_t *const list = config ? json_object_get(part_of(r->section, config), key) : NULL;
    const bool reaches = (int64_t)json_array_size(list) >= stack->first + stack->count;
    return json_is_array(list) && reaches ? list : fallback;
}

/* Stacks a list with an entry per block: each block keeps the entry that it had in its model. */
static bool stack_entries(const run *r, const char *key, const json_t *old, json_t *list)
{
    bool complete = true;
    for (size_t s = 0; s < r->count; s++) {
        const mc_recipe_stack *const stack = &r->stacks[s];
        const json_t *const from = list_of(r, stack, key, old);
        for (int64_t i = 0; complete && i < stack->count; i++)
            complete = json_array_append(list, json_array_get(from, (size_t)(stack->first + i))) ==
                       0;
    }
    return complete;
}

static bool holds(const json_t *list, int64_t number)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_integer_value(json_array_get(list, i)) == number)
            return true;
    return false;
}

/* Stacks a list of block numbers: those that the listed blocks have in the result. */
static bool stack_numbers(const run *r, const char *key, const json_t *old, json_t *list)
{
    int64_t output = 0;
    bool complete = true;
    for (size_t s = 0; s < r->count; s++) {
        const mc_recipe_stack *const stack = &r->stacks[s];
        const json_t *const config = stack->model->config;
        const json_t *const own = config ? json_object_get(part_of(r->section, config), key) : NULL;
        for (int64_t i = 0; i < stack->count; i++, output++)
            if (complete && holds(json_is_array(own) ? own : old, stack->first + i))
                complete = json_array_append_new(list, json_integer(output)) == 0;
    }
    return complete;
}

static bool lists_numbers(const char *key)
{
    static const char *const keys[] = {"mlp_only_layers",        "full_attn_idxs",
                                       "cross_attention_layers", "moe_layers",
                                       "attn_layer_indices",     "deepstack_visual_indexes"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

/*
 * Whether a list has an entry per block, judged by its length. Lists of tokens and class names may
 * have that length by chance.
 */
static bool has_entries(const char *key, const json_t *list, int64_t depth)
{
    return depth > 1 && (int64_t)json_array_size(list) == depth && !strstr(key, "token") &&
           strcmp(key, "architectures") != 0;
}

static mc_status stack_list(const run *r, json_t *part, const char *key, int64_t depth)
{
    const json_t *const old = json_object_get(part, key);
    const bool numbers = lists_numbers(key);
    if (!json_is_array(old) || (!numbers && !has_entries(key, old, depth)))
        return MC_OK;
    json_t *const list = json_array();
    if (!list)
        return mc_fail_memory(r->error);
    if (numbers ? stack_numbers(r, key, old, list) : stack_entries(r, key, old, list))
        return json_object_set_new(part, key, list) == 0 ? MC_OK : mc_fail_memory(r->error);
    json_decref(list);
    return mc_fail_memory(r->error);
}

static mc_status stack_lists(const run *r, json_t *part, int64_t depth)
{
    const size_t count = json_object_size(part);
    /* Keys are collected first: setting a value during iteration is not safe. */
    const char **const keys = mc_alloc_zero(count + 1, sizeof *keys);
    mc_status status = keys ? MC_OK : mc_fail_memory(r->error);
    const char *key;
    json_t *value;
    size_t i = 0;
    if (keys)
        json_object_foreach(part, key, value) keys[i++] = key;
    for (i = 0; status == MC_OK && i < count; i++)
        status = stack_list(r, part, keys[i], depth);
    mc_free(keys);
    return status;
}

/*
 * T5 has as many blocks in the decoder as in the encoder unless it states a number. Before the
 * encoder's number changes, the decoder's is written out.
 */
static mc_status keep_decoder(const run *r, json_t *part, const char *key, json_int_t before)
{
    if (strcmp(r->section->module, "encoder") != 0 || strcmp(key, "num_layers") != 0 ||
        json_object_get(part, "num_decoder_layers"))
        return MC_OK;
    return json_object_set_new(part, "num_decoder_layers", json_integer(before)) == 0
               ? MC_OK
               : mc_fail_memory(r->error);
}

/* Sets every key that held the same number: some configurations have two. */
static mc_status set_number(const run *r, json_t *part, json_int_t before, int64_t depth)
{
    for (size_t i = 0; i < MOST_KEYS && r->section->keys[i]; i++) {
        const json_t *const value = json_object_get(part, r->section->keys[i]);
        if (json_is_integer(value) && json_integer_value(value) == before &&
            json_object_set_new(part, r->section->keys[i], json_integer(depth)) != 0)
            return mc_fail_memory(r->error);
    }
    return MC_OK;
}

static mc_status set_module(const run *r, json_t *config, mc_report *report)
{
    json_t *const part = part_of(r->section, config);
    const char *const key = depth_key(r->section, part);
    int64_t depth = 0;
    for (size_t s = 0; s < r->count; s++)
        depth += r->stacks[s].count;
    if (!key)
        return mc_report_add(report, r->error,
                             "config.json: expected %s, which would be %lld now, found nothing",
                             r->section->keys[0], (long long)depth);
    const json_int_t before = json_integer_value(json_object_get(part, key));
    MC_TRY(stack_lists(r, part, before));
    MC_TRY(keep_decoder(r, part, key, before));
    return set_number(r, part, before, depth);
}

mc_status mc_recipe_set_depth(const mc_recipe_rows *rows, json_t *config, mc_report *report,
                              mc_error *error)
{
    for (size_t first = 0, end; config && first < rows->stack_count; first = end) {
        const mc_recipe_stack *const stack = &rows->stacks[first];
        for (end = first + 1; end < rows->stack_count; end++)
            if (strcmp(rows->stacks[end].module, stack->module) != 0)
                break;
        const run r = {section_of(stack->usual), stack, end - first, error};
        MC_TRY(set_module(&r, config, report));
    }
    return MC_OK;
}
