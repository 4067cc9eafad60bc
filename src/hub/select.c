#include "hub/select.h"

#include "base/companion.h"
#include "base/json.h"
#include "base/shard_index.h"
#include "base/text.h"
#include "base/weight_files.h"

#include <fnmatch.h>
#include <string.h>

static mc_file_role small_role(const char *path)
{
    return strcmp(path, "config.json") == 0    ? MC_FILE_CONFIG
           : strcmp(path, "modules.json") == 0 ? MC_FILE_MODULES
                                               : MC_FILE_SMALL;
}

/*
 * Code is added if config.json refers to it: a repository may also hold training scripts. The model
 * card has the licence and the ancestors, which the result's card names.
 */
static bool is_small(const char *path)
{
    return strcmp(path, "config.json") == 0 || strcmp(path, "README.md") == 0 ||
           fnmatch(MC_CHAT_TEMPLATES "/*.jinja", path, FNM_PATHNAME) == 0 ||
           (!strchr(path, '/') && mc_is_companion(path) && !mc_is_code(path));
}

/* The only *.safetensors of the root folder; NULL if there are none or several. */
static const char *only_safetensors(const mc_listing *listing)
{
    const char *found = NULL;
    for (size_t i = 0; i < listing->count; i++) {
        const char *const name = listing->names[i];
        if (strchr(name, '/') || !mc_ends_with(name, ".safetensors") ||
            strcmp(name, mc_adapter_files[0]) == 0)
            continue;
        if (found)
            return NULL;
        found = name;
    }
    return found;
}

static const char *find_weights(const mc_listing *listing)
{
    for (size_t i = 0; i < MC_WEIGHT_FILES; i++)
        if (mc_listing_has(listing, mc_weight_files[i]))
            return mc_weight_files[i];
    return only_safetensors(listing);
}

/* The files of a LoRA adapter. */
static mc_status add_adapter(const mc_listing *listing, mc_select_file *add, void *user,
                             bool *found, mc_error *error)
{
    *found = false;
    if (!mc_listing_has(listing, MC_ADAPTER_CONFIG))
        return MC_OK;
    /* The first that exists, as PEFT loads it. */
    for (size_t i = 0; i < MC_ADAPTER_FILES && !*found; i++)
        if (mc_listing_has(listing, mc_adapter_files[i])) {
            *found = true;
            MC_TRY(add(user, mc_adapter_files[i], MC_FILE_WEIGHTS, error));
        }
    return add(user, MC_ADAPTER_CONFIG, MC_FILE_SMALL, error);
}

mc_status mc_select_files(const mc_listing *listing, mc_select_file *add, void *user,
                          mc_error *error)
{
    const char *const found = find_weights(listing);
    bool adapter = false;
    for (size_t i = 0; i < listing->count; i++)
        if (is_small(listing->names[i]))
            MC_TRY(add(user, listing->names[i], small_role(listing->names[i]), error));
    MC_TRY(add_adapter(listing, add, user, &adapter, error));
    if (found)
        return add(user, found, mc_ends_with(found, ".json") ? MC_FILE_INDEX : MC_FILE_WEIGHTS,
                   error);
    if (adapter)
        return MC_OK;
    return mc_fail(error, MC_NOT_FOUND,
                   "no weights in a supported format: expected %s, %s, %s or %s among %zu files",
                   mc_weight_files[0], mc_weight_files[1], mc_weight_files[2], mc_weight_files[3],
                   listing->count);
}

/* ---- references ------------------------------------------------------------------------------ */

static mc_status add_shards(const char *text, size_t size, mc_select_file *add, void *user,
                            mc_error *error)
{
    mc_shard_index index = {0};
    mc_status status = mc_shard_index_parse(text, size, &index, error);
    for (size_t i = 0; status == MC_OK && i < index.count; i++)
        /* The index comes from the server: a name in it must not lead out of the snapshot. */
        status = mc_hub_path_ok(index.files[i])
                     ? add(user, index.files[i], MC_FILE_WEIGHTS, error)
                     : mc_fail(error, MC_FORMAT, "expected a file name in weight_map, found '%s'",
                               index.files[i]);
    mc_shard_index_free(&index);
    return status;
}

/* Whether a file lies directly in a folder. */
static bool is_in_folder(const char *path, const char *folder)
{
    const size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/' &&
           !strchr(path + length + 1, '/');
}

static mc_status add_folder(const char *folder, const mc_listing *listing, mc_select_file *add,
                            void *user, mc_error *error)
{
    for (size_t i = 0; i < listing->count; i++) {
        const char *const path = listing->names[i];
        const bool weights = mc_ends_with(path, ".safetensors") || mc_ends_with(path, ".bin");
        if (is_in_folder(path, folder))
            MC_TRY(add(user, path, weights ? MC_FILE_WEIGHTS : MC_FILE_SMALL, error));
    }
    return MC_OK;
}

/* The first module is the model itself, with path "". */
static mc_status add_modules(const json_t *modules, const mc_listing *listing, mc_select_file *add,
                             void *user, mc_error *error)
{
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const json_t *const module = json_array_get(modules, i);
        const char *const folder = json_string_value(json_object_get(module, "path"));
        if (folder && *folder && mc_hub_path_ok(folder))
            MC_TRY(add_folder(folder, listing, add, user, error));
    }
    return MC_OK;
}

static mc_status add_code(const json_t *config, const mc_listing *listing, mc_select_file *add,
                          void *user, mc_error *error)
{
    /* auto_map names the classes in the code that the model needs. */
    if (!json_object_get(config, "auto_map"))
        return MC_OK;
    for (size_t i = 0; i < listing->count; i++)
        if (!strchr(listing->names[i], '/') && mc_is_code(listing->names[i]))
            MC_TRY(add(user, listing->names[i], MC_FILE_SMALL, error));
    return MC_OK;
}

mc_status mc_select_referenced(mc_file_role role, const char *text, size_t size,
                               const mc_listing *listing, mc_select_file *add, void *user,
                               mc_error *error)
{
    json_t *json = NULL;
    if (role == MC_FILE_INDEX)
        return add_shards(text, size, add, user, error);
    /* A malformed file refers to nothing. Opening the model reports it. */
    (void)mc_json_parse(text, size, &json, NULL);
    const mc_status status = role == MC_FILE_MODULES  ? add_modules(json, listing, add, user, error)
                             : role == MC_FILE_CONFIG ? add_code(json, listing, add, user, error)
                                                      : MC_OK;
    json_decref(json);
    return status;
}
