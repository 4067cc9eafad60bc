#include "model/adapter.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"

#include <string.h>

#define CONFIG_LIMIT (INT64_C(16) << 20)

/* ---- names of tensors ------------------------------------------------------------------------ */

typedef enum part { A, B, MAGNITUDE, ALPHA, WHOLE } part;

/*
 * The endings of a module's tensors in PEFT's files ("X.lora_A.weight"), in kohya's
 * ("lora_unet_X.lora_down.weight") and in those of earlier versions of diffusers. The first that
 * fits counts.
 */
static const struct {
    const char *ending;
    part part;
    bool embedding;
} endings[] = {
    {".lora_A.weight", A, false},
    {".lora_B.weight", B, false},
    {".lora_embedding_A", A, true},
    {".lora_embedding_B", B, true},
    {".lora_magnitude_vector.weight", MAGNITUDE, false},
    {".lora_magnitude_vector", MAGNITUDE, false},
    {".lora_down.weight", A, false},
    {".lora_up.weight", B, false},
    {".dora_scale", MAGNITUDE, false},
    {".alpha", ALPHA, false},
    {".lora.down.weight", A, false},
    {".lora.up.weight", B, false},
    {"_lora.down.weight", A, false},
    {"_lora.up.weight", B, false},
    {".lora_linear_layer.down.weight", A, false},
    {".lora_linear_layer.up.weight", B, false},
};

/*
 * Parts of names that only other kinds of adapters have. Applied as LoRA, they would give wrong
 * weights without an error.
 */
static const struct {
    const char *part, *kind;
} other_kinds[] = {
    {"hada_w", "LoHa"},
    {"lokr_w", "LoKr"},
    {"lora_mid", "LoCon with a core tensor"},
    {"oft_", "OFT"},
    {"boft_", "BOFT"},
    {"ia3_l", "IA3"},
    {"vera_lambda", "VeRA"},
    {"lora_E", "AdaLoRA"},
    {"prompt_embeddings", "prompt tuning"},
    {"lora_B.bias", "LoRA with biases in its factors"},
    {"vblora", "VB-LoRA"},
};

static part part_of(const char *name, size_t *length, bool *embedding)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (mc_ends_with(name, endings[i].ending)) {
            *length = strlen(name) - strlen(endings[i].ending);
            *embedding = endings[i].embedding;
            return endings[i].part;
        }
    return WHOLE;
}

static mc_status check_kind(const char *name, mc_error *error)
{
    for (size_t i = 0; i < sizeof other_kinds / sizeof *other_kinds; i++)
        if (strstr(name, other_kinds[i].part))
            return mc_fail_at(error, MC_UNSUPPORTED, NULL, name, -1,
                              "expected a tensor of a LoRA adapter, found one of %s",
                              other_kinds[i].kind);
    return MC_OK;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Removes every `piece` from a name, in place; returns how many there were. */
static int remove_all(char *name, const char *piece)
{
    int count = 0;
    const size_t length = strlen(piece);
    for (char *at; (at = strstr(name, piece)); count++)
        memmove(at, at + length, strlen(at + length) + 1);
    return count;
}

/*
 * The module's path in the base model, in new memory: without PEFT's wrappers, and without the name
 * of a diffusers component. NULL: no memory.
 */
static char *path_of(const mc_adapter *adapter, const char *name, size_t length, int *outer)
{
    static const char *const starts[] = {"base_model.model.", "unet.",      "transformer.",
                                         "text_encoder.",     "lora_unet_", "lora_te1_",
                                         "lora_te2_",         "lora_te_",   "lora_transformer_"};
    /*
     * With a configuration it is PEFT's file, and only PEFT's wrapper is removed: a base model may
     * have modules of the other names.
     */
    const size_t first = adapter->config ? 1 : sizeof starts / sizeof *starts;
    char *path = NULL;
    for (size_t i = 0; i < first && !path; i++)
        if (starts_with(name, starts[i]) && strlen(starts[i]) < length)
            path = mc_strndup(name + strlen(starts[i]), length - strlen(starts[i]));
    if (!path)
        path = mc_strndup(name, length);
    *outer = path ? remove_all(path, ".base_layer") : 0;
    if (path)
        remove_all(path, ".processor"); /* diffusers before 0.22 */
    return path;
}

/* "X.lora_A.default.weight" of a raw state dict, in new memory as "X.lora_A.weight". */
static char *without_adapter_name(const char *name)
{
    static const char *const factors[] = {".lora_A.", ".lora_B.", ".lora_embedding_A.",
                                          ".lora_embedding_B.", ".lora_magnitude_vector."};
    char *const copy = mc_strdup(name);
    for (size_t i = 0; copy && i < sizeof factors / sizeof *factors; i++) {
        char *const at = strstr(copy, factors[i]);
        char *const rest = at ? at + strlen(factors[i]) : NULL;
        if (!rest || strcmp(rest, "weight") == 0 || strcmp(rest, "bias") == 0)
            continue;
        const char *const dot = strchr(rest, '.');
        if (dot)
            memmove(rest, dot + 1, strlen(dot + 1) + 1);
        else
            rest[-1] = '\0';
    }
    return copy;
}

/* ---- reading --------------------------------------------------------------------------------- */

mc_status mc_adapter_is_folder(const char *path, bool *out, mc_error *error)
{
    struct stat status;
    char *const config = mc_format("%s/adapter_config.json", path);
    if (!config)
        return mc_fail_memory(error);
    *out = mc_system->stat(config, &status) == 0;
    mc_free(config);
    return MC_OK;
}

void mc_adapter_close(mc_adapter *adapter)
{
    for (size_t i = 0; i < adapter->module_count; i++) {
        const mc_adapter_module *const module = &adapter->modules[i];
        mc_free(module->path);
        mc_source_unref(module->a);
        mc_source_unref(module->b);
        mc_source_unref(module->magnitude);
        mc_source_unref(module->alpha);
    }
    mc_free(adapter->modules);
    mc_state_dict_free(adapter->whole);
    json_decref(adapter->config);
    mc_checkpoint_close(&adapter->checkpoint);
    *adapter = (mc_adapter){0};
}

const char *mc_adapter_base_name(const mc_adapter *adapter)
{
    const char *const name = json_string_value(
        json_object_get(adapter->config, "base_model_name_or_path"));
    return name && *name ? name : NULL;
}

/*
 * Tensors of a module come in any order, but mostly close together: the search begins at the end.
 */
static mc_status module_at(mc_adapter *adapter, char *path, int outer, mc_adapter_module **out,
                           mc_error *error)
{
    for (size_t i = adapter->module_count; i-- > 0;)
        if (adapter->modules[i].outer == outer && strcmp(adapter->modules[i].path, path) == 0) {
            mc_free(path);
            *out = &adapter->modules[i];
            return MC_OK;
        }
    if (!MC_GROW(adapter->modules, adapter->module_count, adapter->module_capacity)) {
        mc_free(path);
        return mc_fail_memory(error);
    }
    *out = &adapter->modules[adapter->module_count++];
    **out = (mc_adapter_module){.path = path, .outer = outer};
    return MC_OK;
}

static mc_status take_factor(mc_adapter *adapter, const char *name, size_t length, part what,
                             bool embedding, mc_source *source, mc_error *error)
{
    int outer;
    mc_adapter_module *module = NULL;
    char *const path = path_of(adapter, name, length, &outer);
    if (!path)
        return mc_fail_memory(error);
    MC_TRY(module_at(adapter, path, outer, &module, error));
    mc_source **const place = what == A           ? &module->a
                              : what == B         ? &module->b
                              : what == MAGNITUDE ? &module->magnitude
                                                  : &module->alpha;
    if (*place)
        return mc_fail_at(error, MC_FORMAT, NULL, name, -1, "expected it once, found it twice");
    *place = mc_source_ref(source);
    module->embedding = module->embedding || embedding;
    return MC_OK;
}

/*
 * Takes a tensor that replaces the base's: of modules_to_save, or a bias. What PEFT keeps beside it
 * as original_module is the base's own and is skipped.
 */
static mc_status take_whole(mc_adapter *adapter, const char *name, mc_source *source,
                            mc_error *error)
{
    int outer;
    if (strstr(name, ".original_module."))
        return MC_OK;
    char *const path = path_of(adapter, name, strlen(name), &outer);
    if (!path)
        return mc_fail_memory(error);
    remove_all(path, ".modules_to_save.default");
    remove_all(path, ".modules_to_save");
    const mc_status status = mc_state_dict_set(adapter->whole, path, source, error);
    mc_free(path);
    return status;
}

static mc_status take_tensor(mc_adapter *adapter, const char *name, mc_source *source,
                             mc_error *error)
{
    size_t length = 0;
    bool embedding = false;
    MC_TRY(check_kind(name, error));
    char *const plain = without_adapter_name(name);
    if (!plain)
        return mc_fail_memory(error);
    const part what = part_of(plain, &length, &embedding);
    const mc_status status = what == WHOLE ? take_whole(adapter, plain, source, error)
                                           : take_factor(adapter, plain, length, what, embedding,
                                                         source, error);
    mc_free(plain);
    return status;
}

static mc_status check_modules(const mc_adapter *adapter, mc_error *error)
{
    if (adapter->module_count == 0)
        return mc_fail(error, MC_FORMAT,
                       "expected tensors of a LoRA adapter (lora_A, lora_B), "
                       "found none");
    for (size_t i = 0; i < adapter->module_count; i++) {
        const mc_adapter_module *const module = &adapter->modules[i];
        if (!module->a || !module->b)
            return mc_fail(error, MC_FORMAT, "module '%s': expected two factors, found only %s",
                           module->path,
                           module->a   ? "lora_A"
                           : module->b ? "lora_B"
                                       : "others");
    }
    return MC_OK;
}

/* ---- target parameters ----------------------------------------------------------------------- */

/*
 * The number of wrappers that a module path has: PEFT nests one around another for each target
 * parameter.
 */
static int wrappers_of(const mc_adapter *adapter, const char *path)
{
    int count = 0;
    for (size_t i = 0; i < adapter->module_count; i++)
        count += strcmp(adapter->modules[i].path, path) == 0;
    return count;
}

/*
 * PEFT wraps the parameters of a module in the order in which its class defines them, whatever the
 * order of the configuration: the first one innermost. All classes of experts define these so.
 */
static const char *const definition_order[] = {"gate_up_proj", "gate_proj", "up_proj", "down_proj"};
enum { ORDERED = sizeof definition_order / sizeof *definition_order };

static size_t place_of(const char *leaf)
{
    size_t place = 0;
    while (place < ORDERED && strcmp(definition_order[place], leaf) != 0)
        place++;
    return place;
}

/* The parameter that `target` names if it lies in the module `path`; else NULL. */
static const char *leaf_in(const char *target, const char *path)
{
    const char *const dot = target ? strrchr(target, '.') : NULL;
    const size_t length = dot ? (size_t)(dot - target) : 0, whole = strlen(path);
    if (!dot || length > whole || memcmp(path + whole - length, target, length) != 0)
        return NULL;
    return length == whole || path[whole - length - 1] == '.' ? dot + 1 : NULL;
}

/*
 * Collects the target parameters of a module in the order of their wrappers; leaves[ORDERED] is one
 * of another name, which can be the only one. *count: how many there are.
 */
static mc_status targets_of(const mc_adapter *adapter, const char *path,
                            const char *leaves[ORDERED + 1], size_t *count, mc_error *error)
{
    const json_t *const targets = json_object_get(adapter->config, "target_parameters");
    memset(leaves, 0, (ORDERED + 1) * sizeof *leaves);
    *count = 0;
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *const leaf = leaf_in(json_string_value(json_array_get(targets, i)), path);
        const char **const place = leaf ? &leaves[place_of(leaf)] : NULL;
        if (place && *place && strcmp(*place, leaf) == 0)
            continue;
        *count += place != NULL;
        if (*count > 1 && (leaves[ORDERED] || (place && place == &leaves[ORDERED])))
            return mc_fail(error, MC_UNSUPPORTED,
                           "target_parameters: expected one parameter, or those of experts, of the "
                           "module '%s', found '%s' beside another",
                           path, leaf);
        if (place)
            *place = leaf;
    }
    return MC_OK;
}

static mc_status find_parameter(const mc_adapter *adapter, mc_adapter_module *module,
                                mc_error *error)
{
    const char *leaves[ORDERED + 1];
    size_t count = 0;
    MC_TRY(targets_of(adapter, module->path, leaves, &count, error));
    int at = wrappers_of(adapter, module->path) - 1 - module->outer;
    for (size_t i = 0; count > 0 && i <= ORDERED; i++)
        if (leaves[i] && at-- == 0)
            module->parameter = leaves[i];
    return MC_OK;
}

static mc_status find_parameters(mc_adapter *adapter, mc_error *error)
{
    for (size_t i = 0; i < adapter->module_count; i++)
        MC_TRY(find_parameter(adapter, &adapter->modules[i], error));
    return MC_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0);
}

/* Rejects variants of LoRA that this library does not know: PEFT switches each on by "use_…". */
static mc_status check_variant(const json_t *config, mc_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        const bool known = strcmp(key, "use_rslora") == 0 || strcmp(key, "use_dora") == 0;
        if (starts_with(key, "use_") && !known && is_set(value))
            return mc_fail(error, MC_UNSUPPORTED, "expected plain LoRA or DoRA, found %s", key);
    }
    return MC_OK;
}

/* Rejects settings under which the update is not scale · B·A of the base's own weights. */
static mc_status check_settings(const json_t *config, mc_error *error)
{
    static const char *const others[] = {"layer_replication", "trainable_token_indices",
                                         "arrow_config",      "kasa_config",
                                         "monteclora_config", "alora_invocation_tokens"};
    /*
     * These change the base's weights before training, and PEFT converts them back only on request.
     */
    static const char *const starts[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *const start = json_string_value(json_object_get(config, "init_lora_weights"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_set(json_object_get(config, others[i])))
            return mc_fail(error, MC_UNSUPPORTED, "expected plain LoRA or DoRA, found %s",
                           others[i]);
    MC_TRY(check_variant(config, error));
    for (size_t i = 0; start && i < sizeof starts / sizeof *starts; i++)
        if (strncasecmp(start, starts[i], strlen(starts[i])) == 0)
            return mc_fail(
                error, MC_UNSUPPORTED,
                "expected an adapter for unchanged base weights, found init_lora_weights "
                "'%s': save it with path_initial_model_for_weight_conversion",
                start);
    return MC_OK;
}

static mc_status check_config(mc_adapter *adapter, mc_error *error)
{
    const char *const type = json_string_value(json_object_get(adapter->config, "peft_type"));
    if (!json_is_object(adapter->config))
        return mc_fail(error, MC_FORMAT, "expected a JSON object, found something else");
    if (!type || strcmp(type, "LORA") != 0)
        return mc_fail(error, MC_UNSUPPORTED, "expected an adapter of the type LORA, found %s",
                       type ? type : "none");
    adapter->fan_in_fan_out = json_is_true(json_object_get(adapter->config, "fan_in_fan_out"));
    return check_settings(adapter->config, error);
}

static mc_status read_config(mc_adapter *adapter, const char *folder, mc_error *error)
{
    char *const path = mc_format("%s/adapter_config.json", folder);
    mc_status status = path ? mc_json_load(path, CONFIG_LIMIT, &adapter->config, error)
                            : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_in_file(error, path, check_config(adapter, error));
    mc_free(path);
    return status;
}

static mc_status find_weights(const char *folder, char **out, mc_error *error)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat status;
        char *const path = mc_format("%s/%s", folder, names[i]);
        if (!path)
            return mc_fail_memory(error);
        *out = path;
        if (mc_system->stat(path, &status) == 0)
            return MC_OK;
        mc_free(path);
    }
    *out = NULL;
    return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                      "expected %s or %s beside adapter_config.json, found neither", names[0],
                      names[1]);
}

static mc_status take_tensors(mc_adapter *adapter, mc_error *error)
{
    const mc_state_dict *const dict = adapter->checkpoint.dict;
    MC_TRY(mc_state_dict_new(&adapter->whole, error));
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const name = mc_state_dict_name(dict, i);
        /*
         * Only kohya's names begin so. Their dots are underscores, which match dots as well as
         * underscores.
         */
        adapter->flattened = adapter->flattened || (!adapter->config && starts_with(name, "lora_"));
        MC_TRY(take_tensor(adapter, name, mc_state_dict_source(dict, i), error));
    }
    MC_TRY(check_modules(adapter, error));
    return find_parameters(adapter, error);
}

mc_status mc_adapter_open(const char *path, mc_adapter *out, mc_error *error)
{
    char *weights = NULL;
    bool folder = false;
    MC_TRY(mc_adapter_is_folder(path, &folder, error));
    if (folder) {
        MC_TRY(read_config(out, path, error));
        MC_TRY(find_weights(path, &weights, error));
    }
    const char *const file = weights ? weights : path;
    mc_status status = mc_checkpoint_open(file, NULL, &out->checkpoint, error);
    if (status == MC_OK)
        status = mc_in_file(error, file, take_tensors(out, error));
    mc_free(weights);
    return status;
}

mc_status mc_adapter_wrap(const mc_state_dict *dict, const char *config, mc_adapter *out,
                          mc_error *error)
{
    MC_TRY(mc_json_parse(config, strlen(config), &out->config, error));
    MC_TRY(check_config(out, error));
    MC_TRY(mc_state_dict_copy(dict, &out->checkpoint.dict, error));
    return take_tensors(out, error);
}
