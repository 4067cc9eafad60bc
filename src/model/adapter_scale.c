/* Ranks and scales of an adapter's modules, by the patterns of its configuration. */
#include "model/adapter.h"

#include "base/memory.h"
#include "base/text.h"
#include "model/pattern.h"
#include "tensor/source.h"

#include <math.h>

/*
 * What patterns are matched with, in new memory: the path of the module, or of its parameter. NULL:
 * no memory.
 */
static char *key_of(const mc_adapter_module *module)
{
    return module->parameter ? mc_format("%s.%s", module->path, module->parameter)
                             : mc_strdup(module->path);
}

/* Finds the value of the first pattern that fits; *out stays as it is if none does. */
static mc_status first_match(const json_t *given, const char *patterns, const char *key,
                             double *out, mc_error *error)
{
    const char *pattern;
    json_t *value;
    /* The order of the patterns is that of the file, as in PEFT. */
    json_object_foreach((json_t *)(uintptr_t)given, pattern, value)
    {
        bool matches = false;
        MC_TRY(mc_pattern_matches(pattern, key, &matches, error));
        if (!matches)
            continue;
        if (!json_is_number(value))
            return mc_fail(error, MC_FORMAT,
                           "adapter_config.json: %s '%s': expected a number, found something else",
                           patterns, pattern);
        *out = json_number_value(value);
        return MC_OK;
    }
    return MC_OK;
}

/* The number `name` of the configuration, or the value of the first of `patterns` that fits. */
static mc_status number_of(const mc_adapter *adapter, const mc_adapter_module *module,
                           const char *name, const char *patterns, double *out, mc_error *error)
{
    const json_t *const settings = mc_adapter_settings(adapter, module);
    const json_t *const plain = json_object_get(settings, name);
    const json_t *const given = json_object_get(settings, patterns);
    if (!json_is_number(plain))
        return mc_fail(error, MC_FORMAT, "adapter_config.json: expected %s, a number, found %s",
                       name, plain ? "something else" : "none");
    if (given && !json_is_null(given) && !json_is_object(given))
        return mc_fail(error, MC_FORMAT,
                       "adapter_config.json: expected %s, an object, found something else",
                       patterns);
    char *const key = key_of(module);
    if (!key)
        return mc_fail_memory(error);
    *out = json_number_value(plain);
    const mc_status status = first_match(given, patterns, key, out, error);
    mc_free(key);
    return status;
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
    const json_t *const settings = mc_adapter_settings(adapter, module);
    /* By the shape, not by the configuration: files of kohya's scripts have none. */
    const double rank = module->a->rank > 0 ? (double)module->a->shape[0] / (double)experts : 0;
    double alpha = rank;
    /* kohya's files have alpha beside the factors; without any alpha the scale is 1. */
    if (module->alpha)
        MC_TRY(mc_source_read_f64(module->alpha, 0, 1, &alpha, error));
    else if (adapter->config || json_object_get(settings, "lora_alpha"))
        MC_TRY(number_of(adapter, module, "lora_alpha", "alpha_pattern", &alpha, error));
    const bool root = json_is_true(json_object_get(settings, "use_rslora"));
    *scale = rank > 0 ? alpha / (root ? sqrt(rank) : rank) : 0;
    return MC_OK;
}

mc_status mc_adapter_check_rank(const mc_adapter *adapter, const mc_adapter_module *module,
                                int64_t experts, mc_error *error)
{
    int64_t rank = 0;
    const int64_t rows = module->a->rank > 0 ? module->a->shape[0] : 0;
    if (!adapter->config)
        return MC_OK;
    MC_TRY(mc_adapter_rank(adapter, module, &rank, error));
    if (rows % experts == 0 && rows / experts == rank)
        return MC_OK;
    return mc_fail(error, MC_MISMATCH,
                   "lora_A: expected the rank %lld of adapter_config.json, found %lld rows",
                   (long long)rank, (long long)(rows / experts));
}

mc_status mc_adapter_experts(const mc_adapter *adapter, const mc_adapter_module *module,
                             int64_t *experts, mc_error *error)
{
    int64_t rank = 0;
    const int64_t rows = module->a->rank > 0 ? module->a->shape[0] : 0;
    *experts = 1;
    if (!module->parameter)
        return MC_OK;
    MC_TRY(mc_adapter_rank(adapter, module, &rank, error));
    /* A has r rows per expert. Rows without elements cost a file nothing, and may be any number. */
    if (rows == 0 || module->a->count == 0 || rows % rank != 0)
        return mc_fail(error, MC_MISMATCH,
                       "lora_A: expected a multiple of the rank %lld, found %lld rows",
                       (long long)rank, (long long)rows);
    *experts = rows / rank;
    return MC_OK;
}
