#include "model/adapter.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "tensor/low_rank.h"
#include "tensor/pieces.h"

#include <math.h>
#include <regex.h>
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

const char *mc_adapter_base(const mc_adapter *adapter)
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

/* ---- scales ---------------------------------------------------------------------------------- */

/* PEFT's patterns are Python's. Those in use mean the same to POSIX, except for \d. */
static bool matches_pattern(const char *pattern, const char *path, mc_status *status,
                            mc_error *error)
{
    regex_t regex;
    mc_text text = {0};
    /* Anchored as in PEFT: the pattern is the whole path, or its end after a dot. */
    mc_text_add(&text, "(^|\\.)(");
    for (const char *c = pattern; *c; c++) {
        const bool digit = c[0] == '\\' && c[1] == 'd';
        mc_text_append(&text, digit ? "[0-9]" : c, digit ? 5 : 1);
        c += digit;
    }
    mc_text_add(&text, ")$");
    if (text.failed) {
        mc_text_free(&text);
        *status = mc_fail_memory(error);
        return false;
    }
    const bool valid = regcomp(&regex, text.data, REG_EXTENDED | REG_NOSUB) == 0;
    mc_text_free(&text);
    if (!valid) {
        *status = mc_fail(error, MC_UNSUPPORTED,
                          "adapter_config.json: expected a pattern of modules, found '%s'",
                          pattern);
        return false;
    }
    const bool found = regexec(&regex, path, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

/*
 * The number `name` of the configuration, or the value of the first of `patterns` that fits the
 * module. The order of the patterns is that of the file, as in PEFT.
 */
static mc_status number_of(const mc_adapter *adapter, const mc_adapter_module *module,
                           const char *name, const char *patterns, double *out, mc_error *error)
{
    const char *pattern;
    json_t *value;
    mc_status status = MC_OK;
    const json_t *const plain = json_object_get(adapter->config, name);
    if (!json_is_number(plain))
        return mc_fail(error, MC_FORMAT, "adapter_config.json: expected %s, a number, found %s",
                       name, plain ? "something else" : "none");
    *out = json_number_value(plain);
    json_object_foreach(json_object_get(adapter->config, patterns), pattern, value)
    {
        const bool matches = matches_pattern(pattern, module->path, &status, error);
        MC_TRY(status);
        if (!matches)
            continue;
        if (!json_is_number(value))
            return mc_fail(error, MC_FORMAT,
                           "adapter_config.json: %s '%s': expected a number, found something else",
                           patterns, pattern);
        *out = json_number_value(value);
        break;
    }
    return MC_OK;
}

mc_status mc_adapter_rank(const mc_adapter *adapter, const mc_adapter_module *module, int64_t *rank,
                          mc_error *error)
{
    double number = 0;
    MC_TRY(number_of(adapter, module, "r", "rank_pattern", &number, error));
    if (number < 1 || number > 1 << 30 || number != floor(number))
        return mc_fail(error, MC_FORMAT, "adapter_config.json: expected a rank r > 0, found %g",
                       number);
    *rank = (int64_t)number;
    return MC_OK;
}

mc_status mc_adapter_scale(const mc_adapter *adapter, const mc_adapter_module *module,
                           int64_t experts, double *scale, mc_error *error)
{
    /* By the shape, not by the configuration: files of kohya's scripts have none. */
    const double rank = module->a->rank > 0 ? (double)module->a->shape[0] / (double)experts : 0;
    double alpha = rank;
    /* kohya's files have alpha beside the factors; without any alpha the scale is 1. */
    if (module->alpha)
        MC_TRY(mc_source_read_f64(module->alpha, 0, 1, &alpha, error));
    else if (adapter->config)
        MC_TRY(number_of(adapter, module, "lora_alpha", "alpha_pattern", &alpha, error));
    const bool root = json_is_true(json_object_get(adapter->config, "use_rslora"));
    *scale = rank > 0 ? alpha / (root ? sqrt(rank) : rank) : 0;
    return MC_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0);
}

/* Rejects settings under which the update is not scale · B·A of the base's own weights. */
static mc_status check_settings(const json_t *config, mc_error *error)
{
    static const char *const others[] = {"layer_replication", "trainable_token_indices",
                                         "arrow_config",      "kasa_config",
                                         "use_bdlora",        "use_qalora"};
    /*
     * These change the base's weights before training, and PEFT converts them back only on request.
     */
    static const char *const starts[] = {"pissa", "olora", "corda", "loftq"};
    const char *const start = json_string_value(json_object_get(config, "init_lora_weights"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_set(json_object_get(config, others[i])))
            return mc_fail(error, MC_UNSUPPORTED, "expected plain LoRA or DoRA, found %s",
                           others[i]);
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
    return check_modules(adapter, error);
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

/* ---- applying -------------------------------------------------------------------------------- */

/*
 * Whether a name is `path` with dots as underscores, and the ending `suffix`. A shorter name is
 * none: its NUL fits no character of the path.
 */
static bool is_flattened(const char *name, const char *path, const char *suffix)
{
    const size_t length = strlen(path);
    for (size_t i = 0; i < length; i++)
        if (name[i] != path[i] && !(name[i] == '.' && path[i] == '_'))
            return false;
    return strcmp(name + length, suffix) == 0;
}

/* Whether two dotted names are equal except for what one has in front. */
static bool is_tail(const char *name, const char *other)
{
    const size_t a = strlen(name), b = strlen(other);
    const char *const longer = a > b ? name : other, *const shorter = a > b ? other : name;
    const size_t more = a > b ? a - b : b - a;
    return strcmp(longer + more, shorter) == 0 && (more == 0 || longer[more - 1] == '.');
}

/*
 * The only tensor that `name` fits except for a prefix; NULL: none, or several. With several,
 * choosing would be a guess.
 */
static const char *find_alike(const mc_adapter *adapter, const mc_state_dict *dict,
                              const char *path, const char *suffix, const char *name)
{
    const char *found = NULL;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const one = mc_state_dict_name(dict, i);
        if (!(adapter->flattened ? is_flattened(one, path, suffix) : is_tail(one, name)))
            continue;
        if (found)
            return NULL;
        found = one;
    }
    return found;
}

/*
 * Finds the base's tensor PATH + suffix: by its name, else the only one that differs by a prefix
 * alone, since a bare encoder lacks the prefix that the model with a head has. *out is NULL if
 * there is none.
 */
static mc_status find_name(const mc_adapter *adapter, const mc_state_dict *dict, const char *path,
                           const char *suffix, const char **out, mc_error *error)
{
    char *const name = mc_format("%s%s", path, suffix);
    if (!name)
        return mc_fail_memory(error);
    *out = NULL;
    /* The copy that the dict owns: `name` is freed. */
    for (size_t i = 0; mc_state_dict_find(dict, name) && !*out; i++)
        if (strcmp(mc_state_dict_name(dict, i), name) == 0)
            *out = mc_state_dict_name(dict, i);
    if (!*out)
        *out = find_alike(adapter, dict, path, suffix, name);
    mc_free(name);
    return MC_OK;
}

static bool is_transposed_type(const char *model_type)
{
    /* Experts stored as [experts, in, out], as their modelling code multiplies them. */
    static const char *const types[] = {"aria", "aria_text", "gpt_oss", "llama4", "llama4_text"};
    for (size_t i = 0; model_type && i < sizeof types / sizeof *types; i++)
        if (strcmp(model_type, types[i]) == 0)
            return true;
    return false;
}

static bool fits(const mc_source *weight, const mc_adapter_module *module, bool transposed,
                 int64_t experts)
{
    /* The dimension of experts comes first. */
    const int at = experts > 1;
    if (weight->rank < at + 2 || module->a->rank < 2 || module->b->rank < 2)
        return false;
    const int64_t rows = weight->shape[at];
    const int64_t columns = weight->count / (rows > 0 ? rows : 1) / experts;
    const int64_t in = module->a->shape[0] > 0 ? module->a->count / module->a->shape[0] : 0;
    const int64_t out = module->b->shape[0];
    return transposed ? rows == in && columns == out : rows == out && columns == in;
}

/*
 * Whether the weight is transposed. Shapes decide where they can. For a square weight the adapter's
 * setting decides (Conv1D), or the kind of module (embeddings, experts).
 */
static bool lies_transposed(const mc_adapter *adapter, const mc_adapter_module *module,
                            const mc_source *weight, int64_t experts, const char *model_type)
{
    const bool wanted = module->embedding ? true
                        : experts > 1     ? is_transposed_type(model_type)
                                          : adapter->fan_in_fan_out;
    return fits(weight, module, !wanted, experts) && !fits(weight, module, wanted, experts)
               ? !wanted
               : wanted;
}

static mc_status update(const mc_adapter *adapter, const mc_adapter_module *module,
                        const char *model_type, const char *name, int64_t experts,
                        mc_state_dict *dict, mc_error *error)
{
    mc_source *const weight = mc_state_dict_find(dict, name), *made = NULL;
    mc_low_rank parts = {.weight = weight,
                         .a = module->a,
                         .b = module->b,
                         .magnitude = module->magnitude,
                         .experts = experts};
    if (experts > 1 && module->magnitude)
        return mc_fail(error, MC_UNSUPPORTED, "expected plain LoRA for experts, found DoRA");
    MC_TRY(mc_adapter_scale(adapter, module, experts, &parts.scale, error));
    parts.transposed = lies_transposed(adapter, module, weight, experts, model_type);
    MC_TRY(mc_source_low_rank(&parts, &made, error));
    const mc_status status = mc_state_dict_set(dict, name, made, error);
    mc_source_unref(made);
    return status;
}

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
 * Finds the parameter that a module of `target_parameters` updates: the innermost wrapper has the
 * first of those that the configuration names for this module.
 */
static mc_status target_parameter(const mc_adapter *adapter, const mc_adapter_module *module,
                                  const char **leaf, mc_error *error)
{
    *leaf = NULL;
    const json_t *const targets = json_object_get(adapter->config, "target_parameters");
    int at = wrappers_of(adapter, module->path) - 1 - module->outer;
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *const target = json_string_value(json_array_get(targets, i));
        const char *const dot = target ? strrchr(target, '.') : NULL;
        char *const parent = dot ? mc_strndup(target, (size_t)(dot - target)) : NULL;
        if (dot && !parent)
            return mc_fail_memory(error);
        const bool mine = parent && is_tail(module->path, parent);
        mc_free(parent);
        if (mine && at-- == 0) {
            *leaf = dot;
            return MC_OK;
        }
    }
    return MC_OK;
}

/* ---- experts in a tensor each ---------------------------------------------------------------- */

/*
 * The tensors in files that make one parameter of all experts: a matrix per expert, or two below
 * each other.
 */
static const struct {
    const char *parameter;
    const char *parts[2]; /* the second is NULL if there is one */
} expert_parts[] = {
    {".gate_up_proj", {".gate_proj.weight", ".up_proj.weight"}},
    {".gate_up_proj", {".w1.weight", ".w3.weight"}},
    {".down_proj", {".down_proj.weight", NULL}},
    {".down_proj", {".w2.weight", NULL}},
};

/* Names and weights of the parts of all experts, in the order in which they are stacked. */
typedef struct stacked {
    const char **names;
    mc_source **weights;
    size_t count, capacity;
} stacked;

static mc_status add_part(stacked *s, const char *name, mc_source *weight, mc_error *error)
{
    /* Two arrays of one capacity: each pointer is kept as soon as its array has moved. */
    const size_t room = s->capacity ? 2 * s->capacity : 16;
    if (s->count == s->capacity) {
        const char **const names = mc_realloc((void *)(uintptr_t)s->names, room * sizeof *names);
        s->names = names ? names : s->names;
        mc_source **const weights = mc_realloc(s->weights, room * sizeof(mc_source *));
        s->weights = weights ? weights : s->weights;
        if (!names || !weights)
            return mc_fail_memory(error);
        s->capacity = room;
    }
    s->names[s->count] = name;
    s->weights[s->count++] = weight;
    return MC_OK;
}

/* Collects PATH.0.gate_proj.weight, PATH.0.up_proj.weight, PATH.1.gate_proj.weight, … */
static mc_status collect(const mc_adapter *adapter, const mc_state_dict *dict, const char *path,
                         const char *const parts[2], stacked *s, mc_error *error)
{
    for (size_t i = 0;; i++) {
        const char *name = NULL;
        if (i % 2 == 1 && !parts[1])
            continue;
        char *const expert = mc_format("%s.%zu", path, i / 2);
        const mc_status status = expert
                                     ? find_name(adapter, dict, expert, parts[i % 2], &name, error)
                                     : mc_fail_memory(error);
        mc_free(expert);
        MC_TRY(status);
        /* The experts are numbered without gaps: the first missing name ends the list. */
        if (!name)
            return MC_OK;
        MC_TRY(add_part(s, name, mc_state_dict_find(dict, name), error));
    }
}

/*
 * Updates the parts as one tensor [experts, out, in], and cuts it into the parts again. All of this
 * is lazy: no tensor is copied.
 */
static mc_status update_parts(const mc_adapter *adapter, const mc_adapter_module *module,
                              const stacked *s, size_t per_expert, mc_state_dict *dict,
                              mc_error *error)
{
    const mc_source *const first = s->weights[0];
    const int64_t experts = (int64_t)(s->count / per_expert);
    if (first->rank != 2 || s->count % per_expert != 0)
        return mc_fail(error, MC_MISMATCH, "expected matrices of all experts");
    /* per_expert matrices lie below each other, so their rows add up. */
    const int64_t shape[] = {experts, (int64_t)per_expert * first->shape[0], first->shape[1]};
    mc_source *whole = NULL, *updated = NULL;
    mc_low_rank parts = {.a = module->a, .b = module->b, .experts = experts};
    mc_status status = mc_source_join(s->weights, s->count, 3, shape, &whole, error);
    parts.weight = whole;
    if (status == MC_OK)
        status = mc_adapter_scale(adapter, module, experts, &parts.scale, error);
    if (status == MC_OK)
        status = mc_source_low_rank(&parts, &updated, error);
    for (size_t i = 0; status == MC_OK && i < s->count; i++) {
        mc_source *piece = NULL;
        status = mc_source_window(updated, (int64_t)i * first->count, 2, first->shape, &piece,
                                  error);
        if (status == MC_OK)
            status = mc_state_dict_set(dict, s->names[i], piece, error);
        mc_source_unref(piece);
    }
    mc_source_unref(whole);
    mc_source_unref(updated);
    return status;
}

/* Updates a parameter that the base has as a tensor per expert; *done: whether it has. */
static mc_status update_experts(const mc_adapter *adapter, const mc_adapter_module *module,
                                const char *leaf, mc_state_dict *dict, bool *done, mc_error *error)
{
    *done = false;
    for (size_t i = 0; i < sizeof expert_parts / sizeof *expert_parts && !*done; i++) {
        stacked s = {0};
        if (strcmp(expert_parts[i].parameter, leaf) != 0)
            continue;
        mc_status status = collect(adapter, dict, module->path, expert_parts[i].parts, &s, error);
        *done = s.count > 0;
        if (status == MC_OK && *done)
            status = module->magnitude
                         ? mc_fail(error, MC_UNSUPPORTED,
                                   "expected plain LoRA for experts, found DoRA")
                         : update_parts(adapter, module, &s, expert_parts[i].parts[1] ? 2 : 1, dict,
                                        error);
        mc_free((void *)(uintptr_t)s.names);
        mc_free(s.weights);
        MC_TRY(mc_in_tensor(error, module->path, status));
    }
    return MC_OK;
}

/* *out: whether a target parameter lies in the module. */
static mc_status is_target_parameter(const mc_adapter *adapter, const mc_adapter_module *module,
                                     bool *out, mc_error *error)
{
    const json_t *const targets = json_object_get(adapter->config, "target_parameters");
    *out = false;
    for (size_t i = 0; i < json_array_size(targets) && !*out; i++) {
        const char *const target = json_string_value(json_array_get(targets, i));
        const char *const dot = target ? strrchr(target, '.') : NULL;
        char *const parent = dot ? mc_strndup(target, (size_t)(dot - target)) : NULL;
        if (dot && !parent)
            return mc_fail_memory(error);
        *out = parent && is_tail(module->path, parent);
        mc_free(parent);
    }
    return MC_OK;
}

static mc_status apply_module(const mc_adapter *adapter, const mc_adapter_module *module,
                              const char *model_type, mc_state_dict *dict, size_t *left_out,
                              mc_error *error)
{
    const char *name = NULL;
    int64_t experts = 1;
    MC_TRY(find_name(adapter, dict, module->path, ".weight", &name, error));
    if (!name) {
        /* Modules of target_parameters update a parameter that is not called "weight". */
        const char *leaf = NULL;
        bool done = false;
        MC_TRY(target_parameter(adapter, module, &leaf, error));
        if (leaf)
            MC_TRY(find_name(adapter, dict, module->path, leaf, &name, error));
        if (leaf && !name)
            MC_TRY(update_experts(adapter, module, leaf, dict, &done, error));
        if (done)
            return MC_OK;
        const mc_source *const found = name ? mc_state_dict_find(dict, name) : NULL;
        /* A tensor of rank 3 holds a matrix per expert. */
        experts = found && found->rank == 3 ? found->shape[0] : 1;
    }
    if (name)
        return mc_in_tensor(error, name,
                            update(adapter, module, model_type, name, experts, dict, error));
    /*
     * A single file may update several components, of which the base is one. A PEFT adapter belongs
     * to one model, so a missing tensor is an error there.
     */
    if (!adapter->config) {
        ++*left_out;
        return MC_OK;
    }
    return mc_fail(error, MC_MISMATCH,
                   "expected the tensor '%s.weight' in the base model, which the adapter updates, "
                   "found none",
                   module->path);
}

mc_status mc_adapter_experts(const mc_adapter *adapter, const mc_adapter_module *module,
                             int64_t *experts, mc_error *error)
{
    int64_t rank = 0;
    const int64_t rows = module->a->rank > 0 ? module->a->shape[0] : 0;
    bool target = false;
    *experts = 1;
    MC_TRY(is_target_parameter(adapter, module, &target, error));
    if (!target)
        return MC_OK;
    MC_TRY(mc_adapter_rank(adapter, module, &rank, error));
    /* A has r rows per expert. */
    if (rows == 0 || rows % rank != 0)
        return mc_fail(error, MC_MISMATCH,
                       "lora_A: expected a multiple of the rank %lld, found %lld rows",
                       (long long)rank, (long long)rows);
    *experts = rows / rank;
    return MC_OK;
}

/* Biases and whole modules replace the base's, or are added (a classifier). */
static mc_status apply_whole(const mc_adapter *adapter, mc_state_dict *dict, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(adapter->whole); i++) {
        const char *const path = mc_state_dict_name(adapter->whole, i);
        const char *name = NULL;
        MC_TRY(find_name(adapter, dict, path, "", &name, error));
        MC_TRY(mc_state_dict_set(dict, name ? name : path, mc_state_dict_source(adapter->whole, i),
                                 error));
    }
    return MC_OK;
}

mc_status mc_adapter_apply(const mc_adapter *adapter, const char *model_type, mc_state_dict *dict,
                           size_t *left_out, mc_error *error)
{
    *left_out = 0;
    /* First: a module that is both adapted and saved as a whole is updated from what was saved. */
    MC_TRY(apply_whole(adapter, dict, error));
    for (size_t i = 0; i < adapter->module_count; i++)
        MC_TRY(apply_module(adapter, &adapter->modules[i], model_type, dict, left_out, error));
    if (*left_out == adapter->module_count)
        return mc_fail(error, MC_MISMATCH,
                       "expected tensors that the adapter updates, '%s' say, found none in the "
                       "base model",
                       adapter->modules[0].path);
    return MC_OK;
}
