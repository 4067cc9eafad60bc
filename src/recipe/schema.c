#include "recipe/schema.h"

#include "base/memory.h"
#include "base/text.h"
#include "recipe/coerce.h"
#include "recipe/setting.h"

#include <stdio.h>
#include <string.h>

/* Sources of a slice are compared pairwise: a bound keeps that fast for any input. */
enum { MOST_SOURCES = 1024, MOST_BLOCKS = 4096 };

/* What is read, and the stage that it fills. */
typedef struct reader {
    mc_recipe_schema *schema;
    mc_recipe_stage *stage;
    bool module_has_name; /* inside a module that is not "default" */
    mc_error *error;
} reader;

#define FAIL_AS(reader_, status_, node_, ...)                                                      \
    mc_yaml_fail((reader_)->error, (status_), (reader_)->schema->file, (node_)->line,              \
                 (node_)->column, __VA_ARGS__)
#define FAIL(reader_, node_, ...) FAIL_AS(reader_, MC_FORMAT, node_, __VA_ARGS__)
#define WARN(reader_, node_, ...)                                                                  \
    mc_yaml_warn((reader_)->schema->yaml, (node_)->line, (node_)->column, (reader_)->error,        \
                 __VA_ARGS__)

/* ---- keys ------------------------------------------------------------------------------------ */
/* Where a key may stand. */
typedef enum place { TOP, MODEL, SLICE, SOURCE, MODULE, TOKENIZER, TOKEN, CONDITION, PLACES } place;

static const char *const place_texts[PLACES] = {
    [TOP] = "the top level",
    [MODEL] = "an entry of 'models'",
    [SLICE] = "an entry of 'slices'",
    [SOURCE] = "an entry of 'sources'",
    [MODULE] = "an entry of 'modules'",
    [TOKENIZER] = "'tokenizer'",
    [TOKEN] = "an entry of 'tokens'",
    [CONDITION] = "a conditional setting",
};

enum { MOST_KEYS = 13 };

static const char *const keys[PLACES][MOST_KEYS] = {
    [TOP] = {"merge_method", "models", "slices", "modules", "base_model", "dtype", "out_dtype",
             "parameters", "tokenizer_source", "tokenizer", "chat_template", "name"},
    [MODEL] = {"model", "parameters"},
    [SLICE] = {"sources", "base_model", "residual_weight", "parameters"},
    [SOURCE] = {"model", "layer_range", "parameters"},
    [MODULE] = {"slices", "models", "parameters"},
    [TOKENIZER] = {"source", "tokens", "pad_to_multiple_of"},
    [TOKEN] = {"source", "force"},
    [CONDITION] = {"filter", "value"},
};

static size_t key_count(place where)
{
    size_t count = 0;
    while (count < MOST_KEYS && keys[where][count])
        count++;
    return count;
}

static bool has_key(place where, const char *key)
{
    for (size_t i = 0; i < key_count(where); i++)
        if (strcmp(keys[where][i], key) == 0)
            return true;
    return false;
}

static const mc_param *find_param(const mc_method *method, const char *name)
{
    for (const mc_param *param = method->params; param && param->name; param++)
        if (strcmp(param->name, name) == 0)
            return param;
    return NULL;
}

/* Whether any method of mergekit, which recipes are limited to, has a parameter of this name. */
static bool is_any_param(const char *name)
{
    for (size_t i = 0; i < mc_method_count(); i++) {
        const mc_method *const method = mc_method_at(i);
        if (strcmp(method->family, "mergekit") == 0 && find_param(method, name))
            return true;
    }
    return false;
}

/*
 * Warns about an unknown key. mergekit ignores it silently, so a recipe in use may have one; but
 * its author meant something. The text says where the key belongs if it is known elsewhere.
 */
static mc_status warn_unknown(const reader *r, place where, const mc_yaml *key)
{
    if (is_any_param(key->text))
        return WARN(r, key, "'%s' has no effect here: it belongs under 'parameters'", key->text);
    if (strcmp(key->text, "revision") == 0)
        return WARN(r, key, "'revision' has no effect here: write the model as NAME@REVISION");
    if (strcmp(key->text, "lora") == 0)
        return WARN(r, key, "'lora' has no effect here: write the model as MODEL+ADAPTER");
    const char *const near = mc_suggest(key->text, keys[where], key_count(where));
    if (near)
        return WARN(r, key, "unknown key '%s' has no effect; did you mean '%s'?", key->text, near);
    for (place other = TOP; other < PLACES; other++)
        if (has_key(other, key->text))
            return WARN(r, key, "'%s' has no effect here: it belongs into %s", key->text,
                        place_texts[other]);
    return WARN(r, key, "unknown key '%s' has no effect", key->text);
}

static mc_status check_keys(const reader *r, place where, const mc_yaml *map)
{
    if (map->kind != MC_YAML_MAP)
        return FAIL(r, map, "expected %s as a map, found %s", place_texts[where],
                    mc_yaml_kind_text(map->kind));
    for (size_t i = 0; i < map->count; i++) {
        const mc_yaml *const key = map->pairs[i].key;
        if (key->kind != MC_YAML_STRING)
            return FAIL(r, key, "expected a string as a key, found %s '%s'; quote it",
                        mc_yaml_kind_text(key->kind), key->text);
        if (!has_key(where, key->text))
            MC_TRY(warn_unknown(r, where, key));
    }
    return MC_OK;
}

/* The value of a key; NULL also if it is null: to mergekit the two are the same. */
static const mc_yaml *value_of(const mc_yaml *map, const char *key)
{
    const mc_yaml *const value = mc_yaml_get(map, key);
    return value && value->kind != MC_YAML_NULL ? value : NULL;
}

/* A key with a list; an empty one counts as absent. */
static mc_status list_of(const reader *r, const mc_yaml *map, const char *key, const mc_yaml **out)
{
    const mc_yaml *const list = value_of(map, key);
    *out = NULL;
    if (list && list->kind != MC_YAML_LIST)
        return FAIL(r, list, "expected a list as '%s', found %s", key,
                    mc_yaml_kind_text(list->kind));
    if (list && list->count > 0)
        *out = list;
    return MC_OK;
}

static mc_status string_of(const reader *r, const mc_yaml *map, const char *key,
                           const mc_yaml **out)
{
    *out = value_of(map, key);
    if (*out && (*out)->kind != MC_YAML_STRING) {
        const bool scalar = (*out)->kind != MC_YAML_LIST && (*out)->kind != MC_YAML_MAP;
        return FAIL(r, *out, "expected a string as '%s', found %s%s", key,
                    mc_yaml_kind_text((*out)->kind), scalar ? "; quote it" : "");
    }
    return MC_OK;
}

/* ---- parameters ------------------------------------------------------------------------------ */
/* A misspelled `filter` would be ignored: the value would apply to all tensors. */
static mc_status check_conditions(const reader *r, const mc_yaml *setting)
{
    const mc_yaml *condition;
    for (size_t i = 0; (condition = mc_setting_condition(setting, i)); i++)
        MC_TRY(check_keys(r, CONDITION, condition));
    return MC_OK;
}

/*
 * Checks the form of any setting, but the type only of parameters that the method has: others have
 * no effect and only warrant a warning.
 */
static mc_status check_parameter(const reader *r, const mc_yaml_pair *pair, bool of_a_model)
{
    const mc_yaml *const key = pair->key;
    const mc_method *const method = r->stage->method;
    if (key->kind != MC_YAML_STRING)
        return FAIL(r, key, "expected the name of a parameter, found %s '%s'; quote it",
                    mc_yaml_kind_text(key->kind), key->text);
    MC_TRY(mc_setting_check(r->schema->file, pair->value, r->error));
    MC_TRY(check_conditions(r, pair->value));
    const mc_param *const param = find_param(method, key->text);
    if (param && of_a_model && !param->per_input)
        MC_TRY(WARN(r, key,
                    "'%s' has no effect here: it is a parameter of the whole merge and "
                    "belongs under 'parameters' at the top level",
                    key->text));
    if (param)
        return mc_setting_check_type(r->schema->file, pair->value, param->type, r->error);
    const char *names[32];
    size_t count = 0;
    for (const mc_param *at = method->params; at && at->name && count < 32; at++)
        names[count++] = at->name;
    const char *const near = is_any_param(key->text) ? NULL : mc_suggest(key->text, names, count);
    return near ? WARN(r, key, "%s has no parameter '%s'; did you mean '%s'?", method->name,
                       key->text, near)
                : WARN(r, key, "%s has no parameter '%s': it has no effect", method->name,
                       key->text);
}

static mc_status read_parameters(const reader *r, const mc_yaml *map, bool of_a_model,
                                 const mc_yaml **out)
{
    const mc_yaml *const parameters = value_of(map, "parameters");
    *out = parameters;
    if (parameters && parameters->kind != MC_YAML_MAP)
        return FAIL(r, parameters, "expected a map as 'parameters', found %s",
                    mc_yaml_kind_text(parameters->kind));
    for (size_t i = 0; parameters && i < parameters->count; i++)
        MC_TRY(check_parameter(r, &parameters->pairs[i], of_a_model));
    return MC_OK;
}

/* ---- sources and slices ---------------------------------------------------------------------- */
static mc_status read_base(const reader *r, const mc_yaml *map, mc_reference *out)
{
    const mc_yaml *const base = value_of(map, "base_model");
    return base ? mc_reference_read(r->schema->file, base, out, r->error) : MC_OK;
}

/* Ranges are half open, as in Python: [0, 8] is the first eight blocks. */
static mc_status read_range(const reader *r, const mc_yaml *map, mc_recipe_source *out)
{
    const mc_yaml *const range = value_of(map, "layer_range");
    double first = 0, end = 0;
    if (!range)
        return FAIL(r, map, "expected 'layer_range' for a source of a slice: [first, end]");
    if (range->kind != MC_YAML_LIST || range->count != 2 ||
        !mc_coerce_integer(range->items[0], &first) || !mc_coerce_integer(range->items[1], &end))
        return FAIL(r, range, "expected two whole numbers as 'layer_range': [first, end]");
    /* [0, 0] is the only range of a module without blocks, such as a projector. */
    const bool none = first == 0 && end == 0 && r->module_has_name;
    if (first < 0 || (end <= first && !none))
        return FAIL(r, range, "expected a first block before the end, found [%.0f, %.0f]", first,
                    end);
    out->first = (int64_t)first;
    out->end = (int64_t)end;
    return MC_OK;
}

static mc_status add_source(const reader *r, mc_recipe_slice *slice, mc_recipe_source **out)
{
    if (slice->count == MOST_SOURCES)
        return FAIL(r, slice->at, "expected at most %d models in a slice", MOST_SOURCES);
    if (!MC_GROW(slice->sources, slice->count, slice->capacity))
        return mc_fail_memory(r->error);
    *out = &slice->sources[slice->count++];
    **out = (mc_recipe_source){.first = -1};
    return MC_OK;
}

static mc_status read_source(const reader *r, const mc_yaml *map, place where,
                             mc_recipe_slice *slice)
{
    mc_recipe_source *source = NULL;
    MC_TRY(check_keys(r, where, map));
    const mc_yaml *const model = value_of(map, "model");
    if (!model)
        return FAIL(r, map, "expected 'model' in %s", place_texts[where]);
    MC_TRY(add_source(r, slice, &source));
    source->at = map;
    MC_TRY(mc_reference_read(r->schema->file, model, &source->model, r->error));
    if (where == SOURCE)
        MC_TRY(read_range(r, map, source));
    MC_TRY(read_parameters(r, map, true, &source->parameters));
    for (size_t i = 0; i + 1 < slice->count; i++)
        /* Parameters are looked up per model: two entries of one would contradict each other. */
        if (strcmp(slice->sources[i].model.text, source->model.text) == 0)
            return FAIL(r, model, "the model '%s' is listed twice", source->model.text);
    return MC_OK;
}

static bool lists_model(const mc_recipe_slice *slice, const char *text)
{
    for (size_t i = 0; i < slice->count; i++)
        if (strcmp(slice->sources[i].model.text, text) == 0)
            return true;
    return false;
}

/* Adds the base to `models` unless it is listed, as mergekit does. Slices have to list it. */
static mc_status add_base(const reader *r, mc_recipe_slice *slice)
{
    const mc_reference *const base = &r->stage->base;
    mc_recipe_source *source = NULL;
    if (!base->text || lists_model(slice, base->text))
        return MC_OK;
    MC_TRY(add_source(r, slice, &source));
    source->at = base->at;
    return mc_reference_read(r->schema->file, base->at, &source->model, r->error);
}

static const mc_reference *base_of(const reader *r, const mc_recipe_slice *slice)
{
    return slice->base.text ? &slice->base : &r->stage->base;
}

/* "exactly 2", "at least 1" */
static const char *bounds_text(const mc_method *method, char *buffer, size_t size)
{
    const size_t least = method->min_models > 0 ? method->min_models : 1;
    if (method->max_models == 0 || method->max_models > least)
        snprintf(buffer, size, "at least %zu", least);
    else
        snprintf(buffer, size, "exactly %zu", least);
    return buffer;
}

/*
 * Checks the number of models against the method, and its base. The base may be a slice's only
 * source where a method of any number of models allows it: the slice is then a copy of the base.
 */
static mc_status check_contract(const reader *r, const mc_recipe_slice *slice)
{
    const mc_method *const method = r->stage->method;
    const mc_reference *const base = base_of(r, slice);
    const bool uses = method->needs_base || method->takes_base;
    const bool listed = base->text && lists_model(slice, base->text);
    const size_t models = slice->count - (uses && listed);
    const size_t least = method->min_models > 0 ? method->min_models : 1;
    char buffer[32];
    if (method->needs_base && !base->text)
        return FAIL(r, slice->at, "%s needs a 'base_model'", method->name);
    if (uses && base->text && !listed)
        return FAIL(r, slice->at, "the base model '%s' is not among the sources of this slice",
                    base->text);
    const bool only_base = models == 0 && listed && method->max_models == 0 && least == 1;
    if (only_base || (models >= least && (method->max_models == 0 || models <= method->max_models)))
        return MC_OK;
    return FAIL(r, slice->at, "%s takes %s model%s%s, found %zu", method->name,
                bounds_text(method, buffer, sizeof buffer), least == 1 ? "" : "s",
                uses ? " besides the base" : "", models);
}

static mc_status add_slice(const reader *r, mc_recipe_module *module, const mc_yaml *at,
                           mc_recipe_slice **out)
{
    if (!MC_GROW(module->slices, module->count, module->capacity))
        return mc_fail_memory(r->error);
    *out = &module->slices[module->count++];
    **out = (mc_recipe_slice){.at = at};
    return MC_OK;
}

/* Sources of a slice are merged block by block, in their order. */
static mc_status check_lengths(const reader *r, const mc_recipe_slice *slice)
{
    const int64_t length = slice->sources[0].end - slice->sources[0].first;
    for (size_t i = 1; i < slice->count; i++) {
        const int64_t other = slice->sources[i].end - slice->sources[i].first;
        if (other != length)
            return FAIL(r, slice->sources[i].at,
                        "expected as many blocks from every source of a slice, found %lld and %lld",
                        (long long)length, (long long)other);
    }
    return MC_OK;
}

static mc_status read_slice(const reader *r, const mc_yaml *map, mc_recipe_module *module)
{
    const mc_yaml *sources = NULL;
    mc_recipe_slice *slice = NULL;
    MC_TRY(check_keys(r, SLICE, map));
    MC_TRY(list_of(r, map, "sources", &sources));
    if (!sources)
        return FAIL(r, map, "expected 'sources' in %s", place_texts[SLICE]);
    MC_TRY(add_slice(r, module, map, &slice));
    MC_TRY(read_base(r, map, &slice->base));
    MC_TRY(read_parameters(r, map, false, &slice->parameters));
    for (size_t i = 0; i < sources->count; i++)
        MC_TRY(read_source(r, sources->items[i], SOURCE, slice));
    MC_TRY(check_lengths(r, slice));
    if (mc_yaml_get(map, "residual_weight"))
        MC_TRY(WARN(r, map, "'residual_weight' has no effect"));
    return check_contract(r, slice);
}

static mc_status read_models(const reader *r, const mc_yaml *models, mc_recipe_module *module)
{
    mc_recipe_slice *slice = NULL;
    MC_TRY(add_slice(r, module, models, &slice));
    slice->whole = true;
    for (size_t i = 0; i < models->count; i++)
        MC_TRY(read_source(r, models->items[i], MODEL, slice));
    MC_TRY(add_base(r, slice));
    return check_contract(r, slice);
}

/* ---- modules --------------------------------------------------------------------------------- */
static mc_status add_module(const reader *r, const char *name, const mc_yaml *at,
                            mc_recipe_module **out)
{
    mc_recipe_stage *const stage = r->stage;
    char *const copy = mc_strdup(name);
    if (!copy || !MC_GROW(stage->modules, stage->count, stage->capacity)) {
        mc_free(copy);
        return mc_fail_memory(r->error);
    }
    *out = &stage->modules[stage->count++];
    **out = (mc_recipe_module){.name = copy, .at = at};
    return MC_OK;
}

/* Reads `models` or `slices`, of the top level or of a module. */
static mc_status read_body(const reader *r, const mc_yaml *models, const mc_yaml *slices,
                           mc_recipe_module *module)
{
    if (models)
        return read_models(r, models, module);
    /* A short text must not describe a model whose plan fills the memory. */
    int64_t blocks = 0;
    for (size_t i = 0; i < slices->count; i++) {
        MC_TRY(read_slice(r, slices->items[i], module));
        const mc_recipe_source *const first = module->slices[i].sources;
        if (first->end - first->first > MOST_BLOCKS - blocks)
            return FAIL(r, slices->items[i], "expected at most %d blocks in all slices",
                        MOST_BLOCKS);
        blocks += first->end - first->first;
    }
    return MC_OK;
}

static mc_status read_module(reader *r, const mc_yaml_pair *pair)
{
    const mc_yaml *models = NULL, *slices = NULL;
    mc_recipe_module *module = NULL;
    if (pair->key->kind != MC_YAML_STRING)
        return FAIL(r, pair->key, "expected the name of a module, found %s",
                    mc_yaml_kind_text(pair->key->kind));
    MC_TRY(check_keys(r, MODULE, pair->value));
    MC_TRY(list_of(r, pair->value, "models", &models));
    MC_TRY(list_of(r, pair->value, "slices", &slices));
    if (!models == !slices)
        return FAIL(r, pair->key, "expected either 'models' or 'slices' in the module '%s'",
                    pair->key->text);
    MC_TRY(add_module(r, pair->key->text, pair->value, &module));
    r->module_has_name = strcmp(pair->key->text, "default") != 0;
    MC_TRY(read_parameters(r, pair->value, false, &module->parameters));
    return read_body(r, models, slices, module);
}

/* A recipe without `modules` has one, "default". */
static mc_status read_modules(reader *r, const mc_yaml *map)
{
    const mc_yaml *models = NULL, *slices = NULL, *const modules = value_of(map, "modules");
    mc_recipe_module *module = NULL;
    MC_TRY(list_of(r, map, "models", &models));
    MC_TRY(list_of(r, map, "slices", &slices));
    if (modules && modules->kind != MC_YAML_MAP)
        return FAIL(r, modules, "expected a map as 'modules', found %s",
                    mc_yaml_kind_text(modules->kind));
    const bool has_modules = modules && modules->count > 0;
    if ((models != NULL) + (slices != NULL) + has_modules != 1)
        return FAIL(r, map, "expected exactly one of 'models', 'slices' and 'modules'");
    for (size_t i = 0; has_modules && i < modules->count; i++)
        MC_TRY(read_module(r, &modules->pairs[i]));
    if (has_modules)
        return MC_OK;
    MC_TRY(add_module(r, "default", map, &module));
    return read_body(r, models, slices, module);
}

/* ---- tokenizer ------------------------------------------------------------------------------- */
static mc_status check_tokens(const reader *r, const mc_yaml *tokens)
{
    if (tokens && tokens->kind != MC_YAML_MAP)
        return FAIL(r, tokens, "expected a map as 'tokens', found %s",
                    mc_yaml_kind_text(tokens->kind));
    for (size_t i = 0; tokens && i < tokens->count; i++)
        if (tokens->pairs[i].value->kind == MC_YAML_MAP)
            MC_TRY(check_keys(r, TOKEN, tokens->pairs[i].value));
    return MC_OK;
}

/* Reads "union", "base", or a model, which need not be one of the merge. */
static mc_status read_tokenizer_source(const reader *r, const mc_yaml *source)
{
    mc_recipe_tokenizer *const tokenizer = &r->stage->tokenizer;
    const char *const text = source->kind == MC_YAML_STRING ? source->text : "";
    tokenizer->unite = strcmp(text, "union") == 0;
    if (tokenizer->unite || strcmp(text, "base") == 0)
        return MC_OK;
    if (strncmp(text, "model:", 6) == 0)
        return FAIL(r, source, "expected \"union\", \"base\" or a model, found '%s': write '%s'",
                    text, text + 6);
    return mc_reference_read(r->schema->file, source, &tokenizer->model, r->error);
}

static mc_status read_tokenizer_map(const reader *r, const mc_yaml *map)
{
    mc_recipe_tokenizer *const tokenizer = &r->stage->tokenizer;
    double pad = 0;
    MC_TRY(check_keys(r, TOKENIZER, map));
    tokenizer->at = map;
    tokenizer->tokens = value_of(map, "tokens");
    const mc_yaml *const from = value_of(map, "source"), *const padding = value_of(
                                                             map, "pad_to_multiple_of");
    MC_TRY(check_tokens(r, tokenizer->tokens));
    if (padding && (!mc_coerce_integer(padding, &pad) || pad < 0 || pad > 1 << 20))
        return FAIL(r, padding, "expected a whole number from 0 as 'pad_to_multiple_of'");
    tokenizer->pad_to_multiple_of = (int64_t)pad;
    tokenizer->unite = !from;
    return from ? read_tokenizer_source(r, from) : MC_OK;
}

static mc_status read_tokenizer(const reader *r, const mc_yaml *map)
{
    const mc_yaml *source = NULL;
    const mc_yaml *const tokenizer = value_of(map, "tokenizer");
    MC_TRY(string_of(r, map, "chat_template", &r->stage->chat_template));
    source = value_of(map, "tokenizer_source");
    if (source && tokenizer)
        return FAIL(r, tokenizer, "expected one of 'tokenizer' and 'tokenizer_source', found both");
    if (tokenizer && tokenizer->kind == MC_YAML_STRING)
        return FAIL(r, tokenizer, "expected 'tokenizer' as a map, found '%s': write {source: %s}",
                    tokenizer->text, tokenizer->text);
    if (tokenizer)
        return read_tokenizer_map(r, tokenizer);
    r->stage->tokenizer.at = source;
    return source ? read_tokenizer_source(r, source) : MC_OK;
}

/* ---- a stage --------------------------------------------------------------------------------- */
/* Methods of forks of mergekit that recipes in use name: a better message than "unknown". */
static bool is_of_a_fork(const char *name)
{
    static const char *const names[] = {"lrp",   "pcb",          "scf",     "delerp",  "bcr",
                                        "brf",   "multi_fusion", "SWCM",    "cabs",    "iso_c",
                                        "magic", "rcz",          "scf_rkl", "ties_sb", "ota"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return strncmp(name, "moe_", 4) == 0;
}

static mc_status unknown_method(const reader *r, const mc_yaml *name)
{
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < mc_method_count() && count < 64; i++)
        if (strcmp(mc_method_at(i)->family, "mergekit") == 0)
            names[count++] = mc_method_at(i)->name;
    if (is_of_a_fork(name->text))
        return FAIL_AS(r, MC_UNSUPPORTED, name,
                       "'%s' is a method of a fork of mergekit, not of mergekit itself: expected "
                       "one of its methods (mergecraft methods)",
                       name->text);
    const char *near = mc_suggest(name->text, names, count);
    /* "dare" is close to no name, but a part of two. */
    for (size_t i = 0; !near && name->text[0] && i < count; i++)
        near = strstr(names[i], name->text) ? names[i] : NULL;
    return near ? FAIL(r, name, "unknown method '%s'; did you mean '%s'?", name->text, near)
                : FAIL(r, name, "unknown method '%s': mergecraft methods lists those of mergekit",
                       name->text);
}

static mc_status read_method(const reader *r, const mc_yaml *map)
{
    const mc_yaml *name = NULL;
    MC_TRY(string_of(r, map, "merge_method", &name));
    if (!name)
        return FAIL(r, map, "expected 'merge_method'");
    char *const full = mc_format("mergekit:%s", name->text);
    if (!full)
        return mc_fail_memory(r->error);
    r->stage->method = mc_method_find(full);
    mc_free(full);
    return r->stage->method ? MC_OK : unknown_method(r, name);
}

/* "bfloat16", also as "torch.bfloat16" */
static mc_status read_dtype(const reader *r, const mc_yaml *map, const char *key, bool *has,
                            mc_dtype *out)
{
    static const struct {
        const char *name;
        mc_dtype dtype;
    } dtypes[] = {
        {"bfloat16", MC_BF16}, {"float16", MC_F16}, {"float32", MC_F32}, {"float64", MC_F64}};
    const mc_yaml *value = NULL;
    MC_TRY(string_of(r, map, key, &value));
    if (!value || value->text[0] == '\0')
        return MC_OK;
    const char *const name = strncmp(value->text, "torch.", 6) == 0 ? value->text + 6 : value->text;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *has = true;
            *out = dtypes[i].dtype;
            return MC_OK;
        }
    return FAIL(r, value, "expected bfloat16, float16, float32 or float64 as '%s', found '%s'", key,
                value->text);
}

/* Results of documents are folders of this name: it must not lead out of the folder around them. */
static bool is_folder_name(const char *name)
{
    for (const char *at = name;; at++) {
        const size_t length = strcspn(at, "/");
        if (length == 0 || (length == 1 && *at == '.') || strncmp(at, "..", length) == 0)
            return false;
        at += length;
        if (!*at)
            return true;
    }
}

static mc_status read_name(const reader *r, const mc_yaml *map)
{
    const mc_recipe_schema *const schema = r->schema;
    /* A number is accepted too: mergekit ignores the name of a single document. */
    const mc_yaml *const name = value_of(map, "name");
    if (name && (name->kind == MC_YAML_LIST || name->kind == MC_YAML_MAP))
        return FAIL(r, name, "expected a string as 'name', found %s",
                    mc_yaml_kind_text(name->kind));
    if (name && !is_folder_name(name->text))
        return FAIL(r, name, "expected the name of a folder as 'name', found '%s'", name->text);
    for (size_t i = 0; i + 1 < schema->count; i++) {
        const char *const other = schema->stages[i].name;
        if (name && other && strcmp(other, name->text) == 0)
            return FAIL(r, name, "two documents are called '%s'", name->text);
        /* A document without a name is the result; there can be only one. */
        if (!name && !other)
            return FAIL(r, map, "expected a 'name' in all documents but one");
    }
    if (!name)
        return MC_OK;
    r->stage->name = mc_strdup(name->text);
    return r->stage->name ? MC_OK : mc_fail_memory(r->error);
}

/* Recipes of mergekit's other tools, which list no models to merge. */
static mc_status check_kind(const reader *r, const mc_yaml *map)
{
    static const struct {
        const char *key, *text;
    } others[] = {{"experts", "builds a mixture of experts"},
                  {"genome", "is a search by mergekit-evolve"},
                  {"layer_slices", "is for bakllama"}};
    if (map->kind != MC_YAML_MAP)
        return FAIL(r, map, "expected a recipe, found %s", mc_yaml_kind_text(map->kind));
    const bool merges = mc_yaml_get(map, "models") || mc_yaml_get(map, "slices") ||
                        mc_yaml_get(map, "modules");
    for (size_t i = 0; !merges && i < sizeof others / sizeof *others; i++) {
        const mc_yaml *const found = mc_yaml_get(map, others[i].key);
        if (found)
            return FAIL_AS(r, MC_UNSUPPORTED, found,
                           "this recipe %s, which is not supported: expected 'merge_method' and "
                           "'models'",
                           others[i].text);
    }
    return MC_OK;
}

static mc_status read_stage(mc_recipe_schema *schema, const mc_yaml *map, mc_error *error)
{
    reader r = {.schema = schema, .error = error};
    MC_TRY(check_kind(&r, map));
    if (!MC_GROW(schema->stages, schema->count, schema->capacity))
        return mc_fail_memory(error);
    r.stage = &schema->stages[schema->count++];
    *r.stage = (mc_recipe_stage){.at = map};
    /* First of all: parameters are checked against the method. */
    MC_TRY(read_method(&r, map));
    MC_TRY(check_keys(&r, TOP, map));
    MC_TRY(read_name(&r, map));
    MC_TRY(read_base(&r, map, &r.stage->base));
    MC_TRY(read_dtype(&r, map, "dtype", &r.stage->has_dtype, &r.stage->dtype));
    MC_TRY(read_dtype(&r, map, "out_dtype", &r.stage->has_out_dtype, &r.stage->out_dtype));
    MC_TRY(read_parameters(&r, map, false, &r.stage->parameters));
    MC_TRY(read_tokenizer(&r, map));
    return read_modules(&r, map);
}

static mc_status read_stages(mc_recipe_schema *schema, mc_error *error)
{
    const mc_yaml_file *const yaml = schema->yaml;
    if (yaml->document_count == 0)
        return mc_yaml_fail(error, MC_FORMAT, schema->file, 1, 1,
                            "expected a recipe, found an empty file");
    for (size_t i = 0; i < yaml->document_count; i++)
        MC_TRY(read_stage(schema, yaml->documents[i], error));
    return MC_OK;
}

mc_status mc_recipe_schema_read(const char *file, const char *text, size_t size,
                                mc_recipe_schema **out, mc_error *error)
{
    mc_recipe_schema *const schema = mc_alloc_zero(1, sizeof *schema);
    if (!schema)
        return mc_fail_memory(error);
    schema->file = mc_strdup(file);
    schema->text = mc_strndup(text, size);
    mc_status status = schema->file && schema->text ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_yaml_parse(file, text, size, &schema->yaml, error);
    if (status == MC_OK) {
        schema->fitted = mc_alloc_zero(schema->yaml->node_count, sizeof *schema->fitted);
        status = schema->fitted ? MC_OK : mc_fail_memory(error);
    }
    if (status == MC_OK)
        status = read_stages(schema, error);
    if (status == MC_OK)
        *out = schema;
    else
        mc_recipe_schema_free(schema);
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------- */
static void free_slice(mc_recipe_slice *slice)
{
    for (size_t i = 0; i < slice->count; i++)
        mc_reference_free(&slice->sources[i].model);
    mc_reference_free(&slice->base);
    mc_free(slice->sources);
}

static void free_stage(mc_recipe_stage *stage)
{
    for (size_t m = 0; m < stage->count; m++) {
        for (size_t s = 0; s < stage->modules[m].count; s++)
            free_slice(&stage->modules[m].slices[s]);
        mc_free(stage->modules[m].slices);
        mc_free(stage->modules[m].name);
    }
    mc_free(stage->modules);
    mc_reference_free(&stage->base);
    mc_reference_free(&stage->tokenizer.model);
    mc_free(stage->name);
}

void mc_recipe_schema_free(mc_recipe_schema *schema)
{
    if (!schema)
        return;
    for (size_t i = 0; i < schema->count; i++)
        free_stage(&schema->stages[i]);
    mc_free(schema->stages);
    mc_free(schema->fitted);
    mc_yaml_free(schema->yaml);
    mc_free(schema->file);
    mc_free(schema->text);
    mc_free(schema);
}
