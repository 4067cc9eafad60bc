#include "hub/select.h"

#include "base/companion.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"

#include <string.h>

/* In the order in which local folders are searched for weights. */
static const char *const weights[] = {"model.safetensors.index.json", "model.safetensors",
                                      "pytorch_model.bin.index.json", "pytorch_model.bin"};

static bool is_small(const char *path)
{
    return strcmp(path, "config.json") == 0 || (!strchr(path, '/') && mc_is_companion(path));
}

/* The only *.safetensors of the root folder; NULL if there are none or several. */
static const char *only_safetensors(const mc_listing *listing)
{
    const char *found = NULL;
    for (size_t i = 0; i < listing->count; i++) {
        const char *const name = listing->names[i];
        if (strchr(name, '/') || !mc_ends_with(name, ".safetensors") ||
            strcmp(name, "adapter_model.safetensors") == 0)
            continue;
        if (found)
            return NULL;
        found = name;
    }
    return found;
}

static const char *find_weights(const mc_listing *listing)
{
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (mc_listing_has(listing, weights[i]))
            return weights[i];
    return only_safetensors(listing);
}

/* The files of a LoRA adapter. */
static mc_status add_adapter(const mc_listing *listing, mc_select_file *add, void *user,
                             bool *found, mc_error *error)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin"};
    *found = false;
    if (!mc_listing_has(listing, "adapter_config.json"))
        return MC_OK;
    for (size_t i = 0; i < 2 && !*found; i++)
        if (mc_listing_has(listing, names[i])) {
            *found = true;
            MC_TRY(add(user, names[i], MC_FILE_WEIGHTS, error));
        }
    return add(user, "adapter_config.json", MC_FILE_SMALL, error);
}

mc_status mc_select_files(const mc_listing *listing, mc_select_file *add, void *user,
                          mc_error *error)
{
    const char *const found = find_weights(listing);
    bool adapter = false;
    for (size_t i = 0; i < listing->count; i++)
        if (is_small(listing->names[i]))
            MC_TRY(add(user, listing->names[i], MC_FILE_SMALL, error));
    MC_TRY(add_adapter(listing, add, user, &adapter, error));
    if (found)
        return add(user, found, mc_ends_with(found, ".json") ? MC_FILE_INDEX : MC_FILE_WEIGHTS,
                   error);
    if (adapter)
        return MC_OK;
    return mc_fail(error, MC_NOT_FOUND,
                   "no weights in a supported format: expected %s, %s, %s or %s among %zu files",
                   weights[0], weights[1], weights[2], weights[3], listing->count);
}

static mc_status add_shards(json_t *map, mc_select_file *add, void *user, mc_error *error)
{
    mc_index seen = {0};
    mc_status status = MC_OK;
    const char *name;
    json_t *file;
    json_object_foreach(map, name, file)
    {
        const char *const path = json_string_value(file);
        if (!path || !mc_hub_path_ok(path) || strchr(path, '/'))
            status = mc_fail_at(error, MC_FORMAT, NULL, name, -1,
                                "expected a file name without folders in weight_map, found '%s'",
                                path ? path : "something else");
        else if (mc_index_find(&seen, path) == MC_INDEX_NONE)
            status = mc_index_set(&seen, path, 1) ? add(user, path, MC_FILE_WEIGHTS, error)
                                                  : mc_fail_memory(error);
        if (status != MC_OK)
            break;
    }
    mc_index_free(&seen);
    return status;
}

mc_status mc_select_shards(const char *text, size_t size, mc_select_file *add, void *user,
                           mc_error *error)
{
    json_t *json = NULL;
    MC_TRY(mc_json_parse(text, size, &json, error));
    json_t *const map = json_object_get(json, "weight_map");
    const mc_status status = json_object_size(map) > 0
                                 ? add_shards(map, add, user, error)
                                 : mc_fail(error, MC_FORMAT,
                                           "expected an object weight_map with the file of each "
                                           "tensor");
    json_decref(json);
    return status;
}
