/* Ranks and scales of an adapter's modules, by the patterns of its configuration. */
#include "model/adapter.h"

#include "base/memory.h"
#include "base/text.h"
#include "tensor/source.h"

#include <math.h>
#include <regex.h>
#include <string.h>

/* ---- patterns -------------------------------------------------------------------------------- */

static mc_status unsupported(const char *pattern, mc_error *error)
{
    return mc_fail(error, MC_UNSUPPORTED,
                   "adapter_config.json: expected a pattern of modules that POSIX has too, found "
                   "'%s'",
                   pattern);
}

/* What Python's escape of a class means in brackets; NULL: no class. */
static const char *class_of(char escaped)
{
    return escaped == 'd' ? "0-9" : escaped == 'w' ? "A-Za-z0-9_" : NULL;
}

/*
 * Appends the bracket expression at `c` and returns its last character; NULL: POSIX cannot express
 * it. A backslash stands for itself in POSIX brackets, so escapes are replaced.
 */
static const char *add_brackets(const char *c, mc_text *out)
{
    mc_text_append(out, c, 1);
    c += c[1] == '^';
    if (*c == '^')
        mc_text_append(out, c, 1);
    const char *const first = c + 1;
    for (c = first; *c && (*c != ']' || c == first); c++) {
        const char *const class = c[0] == '\\' ? class_of(c[1]) : NULL;
        const bool plain = c[0] == '\\' && (c[1] == '.' || c[1] == '_' || c[1] == '/');
        if ((c[0] == '\\' && !class && !plain) || (c[0] == '[' && strchr(":.=", c[1])))
            return NULL;
        if (class)
            mc_text_add(out, "%s", class);
        else
            mc_text_append(out, c + plain, 1);
        c += class || plain;
    }
    if (*c == ']')
        mc_text_append(out, c, 1);
    return *c == ']' ? c : NULL;
}

/*
 * Appends the escape at `c` and returns its last character. Classes and word boundaries mean the
 * same in GNU's expressions, except for digits; other letters and digits do not.
 */
static const char *add_escape(const char *c, mc_text *out)
{
    const bool letter = (c[1] >= 'a' && c[1] <= 'z') || (c[1] >= 'A' && c[1] <= 'Z') ||
                        (c[1] >= '0' && c[1] <= '9');
    if (c[1] == 'd' || c[1] == 'D')
        mc_text_add(out, c[1] == 'd' ? "[0-9]" : "[^0-9]");
    else if (c[1] && (!letter || strchr("wWsSbB", c[1])))
        mc_text_append(out, c, 2);
    else
        return NULL;
    return c + 1;
}

/*
 * Translates a Python pattern into a POSIX one: only whether there is a match counts, so lazy
 * repetition is greedy, and groups need no numbers. Returns whether that is possible.
 */
static bool translate(const char *pattern, mc_text *out)
{
    for (const char *c = pattern; c && *c; c = c ? c + 1 : NULL) {
        const bool lazy = c[0] == '?' && c > pattern && strchr("*+?}", c[-1]);
        if (c[0] == '[')
            c = add_brackets(c, out);
        else if (c[0] == '\\')
            c = add_escape(c, out);
        else if (c[0] == '(' && c[1] == '?' && c[2] != ':')
            return false;
        else if (!lazy)
            mc_text_append(out, c, 1);
        if (!c)
            return false;
        if (c[0] == '(' && c[1] == '?')
            c += 2;
    }
    return true;
}

/* Anchored as in PEFT: the pattern is the whole path, or its end after a dot. */
static mc_status matches_pattern(const char *pattern, const char *path, bool *out, mc_error *error)
{
    regex_t regex;
    mc_text text = {0};
    mc_text_add(&text, "(^|\\.)(");
    bool valid = translate(pattern, &text);
    mc_text_add(&text, ")$");
    if (text.failed) {
        mc_text_free(&text);
        return mc_fail_memory(error);
    }
    valid = valid && regcomp(&regex, text.data, REG_EXTENDED | REG_NOSUB) == 0;
    mc_text_free(&text);
    if (!valid)
        return unsupported(pattern, error);
    *out = regexec(&regex, path, 0, NULL, 0) == 0;
    regfree(&regex);
    return MC_OK;
}

/* ---- numbers --------------------------------------------------------------------------------- */

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
        MC_TRY(matches_pattern(pattern, key, &matches, error));
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
    const json_t *const plain = json_object_get(adapter->config, name);
    const json_t *const given = json_object_get(adapter->config, patterns);
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
