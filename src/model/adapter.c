#include "model/adapter.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "base/weight_files.h"
#include "checkpoint/safetensors_file.h"
#include "tensor/source.h"

#include <string.h>

#define CONFIG_LIMIT (INT64_C(16) << 20)

/* ---- names of tensors ------------------------------------------------------------------------ */

typedef enum part { A, B, MAGNITUDE, ALPHA } part;

/*
 * The endings of a module's tensors in PEFT's files ("X.lora_A.weight"), in kohya's
 * ("lora_unet_X.lora_down.weight") and in those of earlier versions of diffusers. The first that
 * fits counts. The ending of B follows that of A.
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

enum { ENDINGS = sizeof endings / sizeof *endings };

/* The index of a name's ending in the table; ENDINGS: it is the name of a whole tensor. */
static size_t ending_of(const char *name)
{
    size_t i = 0;
    while (i < ENDINGS && !mc_ends_with(name, endings[i].ending))
        i++;
    return i;
}

char *mc_adapter_tensor_name(const mc_adapter_module *module, mc_adapter_tensor what)
{
    const size_t at = module->ending + (what == MC_ADAPTER_B);
    return mc_format("%s%s", module->stem,
                     what == MC_ADAPTER_ALPHA ? ".alpha" : endings[at].ending);
}

bool mc_adapter_has_alpha(const mc_adapter_module *module)
{
    return module->alpha || strcmp(endings[module->ending].ending, ".lora_down.weight") == 0;
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

/* What names of a component's modules begin with, in files of kohya's scripts and of diffusers. */
static const struct {
    const char *start;
    mc_component component;
} starts[] = {
    {"base_model.model.", MC_COMPONENT_NONE},     {"unet.", MC_COMPONENT_DENOISER},
    {"transformer.", MC_COMPONENT_DENOISER},      {"diffusion_model.", MC_COMPONENT_DENOISER},
    {"text_encoder.", MC_COMPONENT_ENCODER_1},    {"text_encoder_2.", MC_COMPONENT_ENCODER_2},
    {"text_encoder_3.", MC_COMPONENT_ENCODER_3},  {"lora_unet_", MC_COMPONENT_DENOISER},
    {"lora_transformer_", MC_COMPONENT_DENOISER}, {"lora_te_", MC_COMPONENT_ENCODER_1},
    {"lora_te1_", MC_COMPONENT_ENCODER_1},        {"lora_te2_", MC_COMPONENT_ENCODER_2},
    {"lora_te3_", MC_COMPONENT_ENCODER_3},
};

/*
 * Finds the module's path in the base model, in new memory: without PEFT's wrappers, and without
 * the name of a component. NULL: no memory.
 */
static char *path_of(const mc_adapter *adapter, const char *name, size_t length,
                     mc_component *component, int *outer)
{
    /*
     * With a configuration it is PEFT's file, and only PEFT's wrapper is removed: a base model may
     * have modules of the other names.
     */
    const size_t count = adapter->config ? 1 : sizeof starts / sizeof *starts;
    size_t removed = 0;
    *component = MC_COMPONENT_NONE;
    for (size_t i = 0; i < count && removed == 0; i++)
        if (starts_with(name, starts[i].start) && strlen(starts[i].start) < length) {
            removed = strlen(starts[i].start);
            *component = starts[i].component;
        }
    char *const path = mc_strndup(name + removed, length - removed);
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
        mc_free(module->stem);
        mc_source_unref(module->a);
        mc_source_unref(module->b);
        mc_source_unref(module->magnitude);
        mc_source_unref(module->alpha);
    }
    mc_free(adapter->modules);
    mc_state_dict_free(adapter->whole);
    json_decref(adapter->config);
    for (size_t i = 0; i < MC_COMPONENTS; i++)
        json_decref(adapter->settings[i]);
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
 * Finds or adds a module; takes over its path. Tensors of a module come in any order, but mostly
 * close together: the search begins at the end.
 */
static mc_status module_at(mc_adapter *adapter, const mc_adapter_module *wanted,
                           mc_adapter_module **out, mc_error *error)
{
    for (size_t i = adapter->module_count; i-- > 0;) {
        mc_adapter_module *const one = &adapter->modules[i];
        if (one->outer == wanted->outer && one->component == wanted->component &&
            strcmp(one->path, wanted->path) == 0) {
            mc_free(wanted->path);
            *out = one;
            return MC_OK;
        }
    }
    if (!MC_GROW(adapter->modules, adapter->module_count, adapter->module_capacity)) {
        mc_free(wanted->path);
        return mc_fail_memory(error);
    }
    *out = &adapter->modules[adapter->module_count++];
    **out = *wanted;
    return MC_OK;
}

/*
 * LyCORIS may scale columns instead of rows, and then saves [1, in]: of a square matrix only the
 * shape of the norms tells.
 */
static mc_status check_norms(const char *name, const mc_source *source, mc_error *error)
{
    const bool columns = source->rank >= 2 && source->shape[0] == 1 && source->count > 1;
    return columns && mc_ends_with(name, ".dora_scale")
               ? mc_fail_at(error, MC_UNSUPPORTED, NULL, name, -1,
                            "expected the norms of rows, found those of columns")
               : MC_OK;
}

static mc_status take_factor(mc_adapter *adapter, const char *name, size_t ending,
                             mc_source *source, mc_error *error)
{
    const size_t length = strlen(name) - strlen(endings[ending].ending);
    const part what = endings[ending].part;
    mc_adapter_module wanted = {0}, *module = NULL;
    MC_TRY(check_norms(name, source, error));
    wanted.path = path_of(adapter, name, length, &wanted.component, &wanted.outer);
    if (!wanted.path)
        return mc_fail_memory(error);
    MC_TRY(module_at(adapter, &wanted, &module, error));
    mc_source **const place = what == A           ? &module->a
                              : what == B         ? &module->b
                              : what == MAGNITUDE ? &module->magnitude
                                                  : &module->alpha;
    if (*place)
        return mc_fail_at(error, MC_FORMAT, NULL, name, -1, "expected it once, found it twice");
    *place = mc_source_ref(source);
    module->embedding = module->embedding || endings[ending].embedding;
    if (what != A)
        return MC_OK;
    module->ending = ending;
    module->stem = mc_strndup(name, length);
    return module->stem ? MC_OK : mc_fail_memory(error);
}

/*
 * Takes a tensor that replaces the base's: of modules_to_save, or a bias. What PEFT keeps beside it
 * as original_module is the base's own and is skipped.
 */
static mc_status take_whole(mc_adapter *adapter, const char *name, mc_source *source,
                            mc_error *error)
{
    int outer;
    mc_component component;
    if (strstr(name, ".original_module."))
        return MC_OK;
    char *const path = path_of(adapter, name, strlen(name), &component, &outer);
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
    MC_TRY(check_kind(name, error));
    char *const plain = without_adapter_name(name);
    if (!plain)
        return mc_fail_memory(error);
    const size_t ending = ending_of(plain);
    const mc_status status = ending == ENDINGS ? take_whole(adapter, plain, source, error)
                                               : take_factor(adapter, plain, ending, source, error);
    mc_free(plain);
    return status;
}

static mc_status check_modules(const mc_adapter *adapter, mc_error *error)
{
    if (adapter->module_count == 0)
        return mc_fail(error, MC_FORMAT,
                       "expected tensors of a LoRA adapter (lora_A, lora_B), "
                       "found none");
    /* Those of other kinds of adapters, such as "diff", the change of a whole weight. */
    if (!adapter->config && mc_state_dict_count(adapter->whole) > 0)
        return mc_fail_at(error, MC_UNSUPPORTED, NULL, mc_state_dict_name(adapter->whole, 0), -1,
                          "expected a factor of a LoRA adapter or its alpha in a file without "
                          "adapter_config.json, found another tensor");
    for (size_t i = 0; i < adapter->module_count; i++) {
        const mc_adapter_module *const module = &adapter->modules[i];
        if (!module->a || !module->b)
            return mc_fail(error, MC_FORMAT, "module '%s': expected two factors, found only %s",
                           module->path,
                           module->a   ? "lora_A"
                           : module->b ? "lora_B"
                                       : "others");
        /* Magnitudes change what is added: DoRA needs them, and plain LoRA has none. */
        const bool dora = json_is_true(json_object_get(adapter->config, "use_dora"));
        if (adapter->config && dora != (module->magnitude != NULL))
            return mc_fail(error, MC_FORMAT,
                           "module '%s': expected %s lora_magnitude_vector, as use_dora is %s, "
                           "found %s",
                           module->path, dora ? "a" : "no", dora ? "true" : "false",
                           dora ? "none" : "one");
        /* Everywhere else a missing alpha means 1, but PEFT always has it in its configuration. */
        if (!adapter->config && !module->alpha && starts_with(module->stem, starts[0].start))
            return mc_fail(error, MC_UNSUPPORTED,
                           "expected adapter_config.json beside a file of PEFT, which holds alpha, "
                           "found none");
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

/* ---- configuration --------------------------------------------------------------------------- */

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
     * These leave the base's weights as they are. Others (pissa, olora, corda, loftq, lora_ga)
     * change them before training, and PEFT converts adapters back only on request.
     */
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal", "mica"};
    const char *const start = json_string_value(json_object_get(config, "init_lora_weights"));
    bool known = start == NULL;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_set(json_object_get(config, others[i])))
            return mc_fail(error, MC_UNSUPPORTED, "expected plain LoRA or DoRA, found %s",
                           others[i]);
    MC_TRY(check_variant(config, error));
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        known = known || strcasecmp(start, harmless[i]) == 0;
    if (!known)
        return mc_fail(error, MC_UNSUPPORTED,
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
    for (size_t i = 0; i < MC_ADAPTER_FILES; i++) {
        struct stat status;
        char *const path = mc_format("%s/%s", folder, mc_adapter_files[i]);
        if (!path)
            return mc_fail_memory(error);
        *out = path;
        if (mc_system->stat(path, &status) == 0)
            return MC_OK;
        mc_free(path);
    }
    *out = NULL;
    return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                      "expected %s or %s beside adapter_config.json, found neither",
                      mc_adapter_files[0], mc_adapter_files[1]);
}

/* ---- files without a configuration ----------------------------------------------------------- */

const json_t *mc_adapter_settings(const mc_adapter *adapter, const mc_adapter_module *module)
{
    return adapter->config ? adapter->config : adapter->settings[module->component];
}

/* "unet.lora_alpha" becomes "lora_alpha" of the denoiser. */
static mc_status take_setting(mc_adapter *adapter, const char *name, json_t *value, mc_error *error)
{
    mc_component component = MC_COMPONENT_NONE;
    size_t removed = 0;
    for (size_t i = 0; i < sizeof starts / sizeof *starts && removed == 0; i++)
        if (starts_with(name, starts[i].start)) {
            removed = strlen(starts[i].start);
            component = starts[i].component;
        }
    json_t **const to = &adapter->settings[component];
    *to = mc_json_put(*to ? *to : json_object(), name + removed, json_incref(value));
    return *to ? MC_OK : mc_fail_memory(error);
}

static mc_status take_settings(mc_adapter *adapter, const char *text, mc_error *error)
{
    json_t *all = NULL;
    const char *name;
    json_t *value;
    mc_status status = mc_json_parse(text, strlen(text), &all, error);
    json_object_foreach(all, name, value)
    {
        if (status == MC_OK)
            status = take_setting(adapter, name, value, error);
    }
    json_decref(all);
    for (size_t i = 0; status == MC_OK && i < MC_COMPONENTS; i++)
        status = check_settings(adapter->settings[i], error);
    return status;
}

/* diffusers writes the configurations of an adapter's components into the metadata (0.34). */
static mc_status read_metadata(mc_adapter *adapter, mc_error *error)
{
    for (size_t i = 0; i < adapter->checkpoint.file_count; i++) {
        const char *const path = mc_file_path(adapter->checkpoint.files[i]);
        json_t *metadata = NULL;
        if (!mc_ends_with(path, ".safetensors"))
            continue;
        MC_TRY(mc_safetensors_metadata(path, &metadata, error));
        const char *const text = json_string_value(
            json_object_get(metadata, "lora_adapter_metadata"));
        const mc_status status = text ? take_settings(adapter, text, error) : MC_OK;
        json_decref(metadata);
        MC_TRY(status);
    }
    return MC_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

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

/*
 * Finds PEFT's folder in new memory: `path`, or the one whose weights it names. *out is NULL if
 * there is none.
 */
static mc_status find_folder(const char *path, char **out, mc_error *error)
{
    const char *const slash = strrchr(path, '/'), *const file = slash ? slash + 1 : path;
    bool weights = false, folder = false;
    for (size_t i = 0; i < MC_ADAPTER_FILES; i++)
        weights = weights || strcmp(file, mc_adapter_files[i]) == 0;
    *out = weights ? mc_format("%.*s.", (int)(file - path), path) : mc_strdup(path);
    if (!*out)
        return mc_fail_memory(error);
    const mc_status status = mc_adapter_is_folder(*out, &folder, error);
    if (status != MC_OK || !folder) {
        mc_free(*out);
        *out = NULL;
    }
    return status;
}

static mc_status open_weights(const char *path, const char *folder, mc_adapter *out,
                              mc_error *error)
{
    char *weights = NULL;
    if (folder)
        MC_TRY(read_config(out, folder, error));
    if (folder && strcmp(path, folder) == 0)
        MC_TRY(find_weights(folder, &weights, error));
    const char *const file = weights ? weights : path;
    mc_status status = mc_checkpoint_open(file, NULL, &out->checkpoint, error);
    if (status == MC_OK && !folder)
        status = mc_in_file(error, file, read_metadata(out, error));
    if (status == MC_OK)
        status = mc_in_file(error, file, take_tensors(out, error));
    mc_free(weights);
    return status;
}

mc_status mc_adapter_open(const char *path, mc_adapter *out, mc_error *error)
{
    char *folder = NULL;
    MC_TRY(find_folder(path, &folder, error));
    const mc_status status = open_weights(path, folder, out, error);
    mc_free(folder);
    return status;
}

mc_status mc_adapter_wrap(const mc_state_dict *dict, const char *config, mc_adapter *out,
                          mc_error *error)
{
    if (config) {
        MC_TRY(mc_json_parse(config, strlen(config), &out->config, error));
        MC_TRY(check_config(out, error));
    }
    MC_TRY(mc_state_dict_copy(dict, &out->checkpoint.dict, error));
    return take_tensors(out, error);
}
