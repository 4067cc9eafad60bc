#include "merge/params.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static size_t param_count(const mc_method *method)
{
    size_t count = 0;
    while (method->params && method->params[count].name)
        count++;
    return count;
}

void mc_params_unref(mc_params *params)
{
    if (!params || atomic_fetch_sub(&params->references, 1) != 1)
        return;
    for (size_t i = 0; i < params->count; i++)
        mc_free((void *)(uintptr_t)params->values[i].numbers);
    mc_free(params->values);
    mc_free(params);
}

mc_params *mc_params_ref(mc_params *params)
{
    atomic_fetch_add(&params->references, 1);
    return params;
}

static mc_status new_params(const mc_method *method, mc_params **out, mc_error *error)
{
    mc_params *const params = mc_alloc_zero(1, sizeof *params);
    if (!params)
        return mc_fail_memory(error);
    params->references = 1;
    params->count = param_count(method);
    params->values = mc_alloc_zero(params->count, sizeof *params->values);
    if (!params->values) {
        mc_free(params);
        return mc_fail_memory(error);
    }
    for (size_t i = 0; i < params->count; i++)
        params->values[i].number = method->params[i].fallback;
    *out = params;
    return MC_OK;
}

static mc_status unknown_param(const mc_method *method, size_t count, const char *name,
                               mc_error *error)
{
    const char *names[64] = {0};
    const size_t known = count < 64 ? count : 64;
    mc_text list = {0};
    for (size_t i = 0; i < known; i++) {
        names[i] = method->params[i].name;
        mc_text_add(&list, "%s%s", i ? ", " : "", names[i]);
    }
    const char *const near = mc_suggest(name, names, known);
    mc_status status;
    if (near)
        status = mc_fail(error, MC_USAGE, "%s has no parameter '%s'; did you mean '%s'?",
                         method->name, name, near);
    else if (known)
        status = mc_fail(error, MC_USAGE, "%s has no parameter '%s'; it has %s", method->name, name,
                         list.data ? list.data : "others");
    else
        status = mc_fail(error, MC_USAGE, "%s has no parameter '%s'; it has none", method->name,
                         name);
    mc_text_free(&list);
    return status;
}

/* And one that an int64_t can hold. */
static bool is_whole(double number)
{
    return fabs(number) < 0x1p63 && number == trunc(number);
}

static mc_status check_number(const mc_method *method, const mc_param *param, const char *text,
                              double number, mc_error *error)
{
    const bool bounded = param->minimum != 0 || param->maximum != 0;
    const bool whole = param->type != MC_INTEGER || is_whole(number);
    if (isfinite(number) && whole &&
        (!bounded || (number >= param->minimum && number <= param->maximum)))
        return MC_OK;
    const char *const kind = param->type == MC_INTEGER ? "a whole number" : "a number";
    if (!bounded)
        return mc_fail(error, MC_USAGE, "%s: parameter '%s': expected %s, found '%s'", method->name,
                       param->name, kind, text);
    return mc_fail(error, MC_USAGE, "%s: parameter '%s': expected %s from %g to %g, found '%s'",
                   method->name, param->name, kind, param->minimum, param->maximum, text);
}

static mc_status parse_number(const mc_method *method, const mc_param *param, const char *text,
                              double *number, mc_error *error)
{
    if (!mc_parse_number(text, number))
        *number = (double)NAN;
    return check_number(method, param, text, *number, error);
}

static mc_status parse_flag(const mc_method *method, const mc_param *param, const char *text,
                            double *number, mc_error *error)
{
    static const char *const words[2][5] = {{"0", "false", "no", "off", "False"},
                                            {"1", "true", "yes", "on", "True"}};
    for (int value = 0; value < 2; value++)
        for (int i = 0; i < 5; i++)
            if (strcmp(text, words[value][i]) == 0) {
                *number = value;
                return MC_OK;
            }
    return mc_fail(error, MC_USAGE, "%s: parameter '%s': expected true or false, found '%s'",
                   method->name, param->name, text);
}

static mc_status parse_choice(const mc_method *method, const mc_param *param, const char *text,
                              double *number, mc_error *error)
{
    mc_text list = {0};
    for (size_t i = 0; param->choices[i]; i++) {
        if (strcmp(text, param->choices[i]) == 0) {
            *number = (double)i;
            mc_text_free(&list);
            return MC_OK;
        }
        mc_text_add(&list, "%s%s", i ? ", " : "", param->choices[i]);
    }
    const mc_status status = mc_fail(
        error, MC_USAGE, "%s: parameter '%s': expected one of %s, found '%s'", method->name,
        param->name, list.data ? list.data : "its choices", text);
    mc_text_free(&list);
    return status;
}

/* "1,-1,0.5", also in brackets as JSON and YAML have it. */
static mc_status parse_numbers(const mc_method *method, const mc_param *param, const char *text,
                               mc_value *value, mc_error *error)
{
    const size_t length = strlen(text);
    const bool bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    char *const copy = mc_strndup(text + bracketed, length - 2 * bracketed);
    double *const numbers = mc_alloc_zero(length / 2 + 1, sizeof *numbers);
    mc_status status = copy && numbers ? MC_OK : mc_fail_memory(error);
    char *rest = copy;
    size_t count = 0;
    while (status == MC_OK && rest) {
        const char *item = strsep(&rest, ",");
        item += strspn(item, " ");
        status = parse_number(method, param, item, &numbers[count], error);
        count++;
    }
    mc_free(copy);
    if (status != MC_OK) {
        mc_free(numbers);
        return status;
    }
    mc_free((void *)(uintptr_t)value->numbers);
    value->numbers = numbers;
    value->count = count;
    return MC_OK;
}

static mc_status parse_value(const mc_method *method, const mc_param *param, const char *text,
                             mc_value *value, mc_error *error)
{
    switch (param->type) {
    case MC_NUMBER:
    case MC_INTEGER:
        return parse_number(method, param, text, &value->number, error);
    case MC_FLAG:
        return parse_flag(method, param, text, &value->number, error);
    case MC_CHOICE:
        return parse_choice(method, param, text, &value->number, error);
    case MC_NUMBERS:
        return parse_numbers(method, param, text, value, error);
    }
    return mc_fail(error, MC_USAGE, "%s: parameter '%s' is of an unknown type", method->name,
                   param->name);
}

static mc_status parse_setting(const mc_method *method, mc_params *params, const char *setting,
                               mc_error *error)
{
    const char *const equals = strchr(setting, '=');
    if (!equals || equals == setting)
        return mc_fail(error, MC_USAGE, "expected a parameter as NAME=VALUE, found '%s'", setting);
    const size_t length = (size_t)(equals - setting);
    for (size_t i = 0; i < params->count; i++) {
        const mc_param *const param = &method->params[i];
        if (strlen(param->name) == length && memcmp(param->name, setting, length) == 0)
            return parse_value(method, param, equals + 1, &params->values[i], error);
    }
    char *const name = mc_strndup(setting, length);
    if (!name)
        return mc_fail_memory(error);
    const mc_status status = unknown_param(method, params->count, name, error);
    mc_free(name);
    return status;
}

static mc_status check_counts(const mc_method *method, const mc_params *params, size_t model_count,
                              mc_error *error)
{
    for (size_t i = 0; i < params->count; i++) {
        const mc_value *const value = &params->values[i];
        if (method->params[i].each_model && value->count && value->count != model_count)
            return mc_fail(error, MC_USAGE,
                           "%s: parameter '%s': expected %zu numbers, one a model, found %zu",
                           method->name, method->params[i].name, model_count, value->count);
    }
    return MC_OK;
}

mc_status mc_params_parse(const mc_method *method, const char *const *settings, size_t count,
                          size_t model_count, mc_params **out, mc_error *error)
{
    mc_params *params = NULL;
    MC_TRY(new_params(method, &params, error));
    mc_status status = MC_OK;
    for (size_t i = 0; i < count && status == MC_OK; i++)
        status = parse_setting(method, params, settings[i], error);
    if (status == MC_OK)
        status = check_counts(method, params, model_count, error);
    if (status == MC_OK && method->check)
        status = method->check(params->values, model_count, error);
    if (status != MC_OK) {
        mc_params_unref(params);
        return status;
    }
    *out = params;
    return MC_OK;
}

/* A whole number is written as one: 0 rather than 0.0. */
static json_t *number_json(double number)
{
    return is_whole(number) ? json_integer((int64_t)number) : json_real(number);
}

static json_t *value_json(const mc_param *param, const mc_value *value)
{
    if (param->type == MC_FLAG)
        return json_boolean(value->number != 0);
    if (param->type == MC_CHOICE)
        return json_string(param->choices[(size_t)value->number]);
    if (param->type != MC_NUMBERS)
        return number_json(value->number);
    if (value->count == 0)
        return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < value->count; i++)
        list = mc_json_append(list, number_json(value->numbers[i]));
    return list;
}

char *mc_params_json(const mc_method *method, const mc_params *params)
{
    json_t *object = json_object();
    for (size_t i = 0; i < params->count; i++)
        object = mc_json_put(object, method->params[i].name,
                             value_json(&method->params[i], &params->values[i]));
    char *const text = object ? json_dumps(object, mc_json_shortest(object)) : NULL;
    char *const copy = text ? mc_strdup(text) : NULL;
    free(text);
    json_decref(object);
    return copy;
}
