#include "merge/params.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest whole number up to which every whole number is exact as a double. */
#define LARGEST_INTEGER (INT64_C(1) << 53)

/* ---- life ----------------------------------------------------------------------------------- */

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
    mc_params_unref(params->then);
    mc_free(params->values);
    mc_free(params->numbers);
    mc_free(params->given);
    mc_free(params);
}

mc_params *mc_params_ref(mc_params *params)
{
    atomic_fetch_add(&params->references, 1);
    return params;
}

static size_t value_count(const mc_method *method, size_t index, size_t model_count)
{
    return method->params[index].per_input ? model_count : 1;
}

/*
 * Points each value to its numbers and sets the defaults. All numbers are one array, in the order
 * of the parameters.
 */
static void lay_out(mc_params *params)
{
    double *at = params->numbers;
    for (size_t i = 0; i < params->count; i++) {
        const size_t count = value_count(params->method, i, params->model_count);
        params->values[i] = (mc_value){.numbers = at, .count = count};
        for (size_t k = 0; k < count; k++)
            *at++ = params->method->params[i].fallback;
    }
}

mc_status mc_params_new(const mc_method *method, size_t model_count, mc_params **out,
                        mc_error *error)
{
    mc_params *const params = mc_alloc_zero(1, sizeof *params);
    if (!params)
        return mc_fail_memory(error);
    params->references = 1;
    params->method = method;
    params->model_count = model_count;
    params->count = param_count(method);
    for (size_t i = 0; i < params->count; i++)
        params->number_count += value_count(method, i, model_count);
    params->values = mc_alloc_zero(params->count, sizeof *params->values);
    params->numbers = mc_alloc_zero(params->number_count, sizeof *params->numbers);
    params->given = mc_alloc_zero(params->number_count, sizeof *params->given);
    if (!params->values || !params->numbers || !params->given) {
        mc_params_unref(params);
        return mc_fail_memory(error);
    }
    lay_out(params);
    *out = params;
    return MC_OK;
}

mc_status mc_params_copy(const mc_params *params, mc_params **out, mc_error *error)
{
    mc_params *copy = NULL;
    MC_TRY(mc_params_new(params->method, params->model_count, &copy, error));
    for (size_t i = 0; i < params->number_count; i++) {
        copy->numbers[i] = params->numbers[i];
        copy->given[i] = params->given[i];
    }
    copy->then = params->then ? mc_params_ref(params->then) : NULL;
    *out = copy;
    return MC_OK;
}

bool mc_params_equal(const mc_params *a, const mc_params *b)
{
    if (!a->then != !b->then || (a->then && !mc_params_equal(a->then, b->then)))
        return false;
    return a->method == b->method && a->model_count == b->model_count &&
           memcmp(a->numbers, b->numbers, a->number_count * sizeof *a->numbers) == 0;
}

/* ---- names ---------------------------------------------------------------------------------- */

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

static mc_status find_param(const mc_params *params, const char *name, size_t *index,
                            mc_error *error)
{
    for (size_t i = 0; i < params->count; i++)
        if (strcmp(params->method->params[i].name, name) == 0) {
            *index = i;
            return MC_OK;
        }
    return unknown_param(params->method, params->count, name, error);
}

/* ---- numbers -------------------------------------------------------------------------------- */

static bool is_whole(double number)
{
    return fabs(number) <= (double)LARGEST_INTEGER && number == trunc(number);
}

static bool is_bounded(const mc_param *param)
{
    return param->minimum != 0 || param->maximum != 0;
}

static bool is_allowed(const mc_param *param, double number)
{
    if (!isfinite(number))
        return false;
    if (param->type == MC_CHOICE) {
        size_t count = 0;
        while (param->choices[count])
            count++;
        return is_whole(number) && number >= 0 && number < (double)count;
    }
    if (param->type == MC_FLAG)
        return number == 0 || number == 1;
    if (param->type == MC_INTEGER && !is_whole(number))
        return false;
    return !is_bounded(param) || (number >= param->minimum && number <= param->maximum);
}

/* Reports a value that is not allowed; `found` is what the user wrote. */
static mc_status refuse(const mc_method *method, const mc_param *param, const char *found,
                        mc_error *error)
{
    char kind[128];
    const bool whole = param->type == MC_INTEGER;
    if (param->type == MC_CHOICE || param->type == MC_FLAG)
        snprintf(kind, sizeof kind, "the index of a choice");
    else if (is_bounded(param))
        snprintf(kind, sizeof kind, "a %snumber from %g to %g", whole ? "whole " : "",
                 param->minimum, param->maximum);
    else if (whole)
        snprintf(kind, sizeof kind, "a whole number of at most 2^53 in magnitude");
    else
        snprintf(kind, sizeof kind, "a number");
    return mc_fail(error, MC_USAGE, "%s: parameter '%s': expected %s, found '%s'", method->name,
                   param->name, kind, found);
}

/*
 * Parses a whole number. strtoll sees all digits, while a double has rounded them already:
 * 9007199254740993 must not pass as 2^53. Other spellings (1e3) are exact below 2^53.
 */
static double parse_whole(const char *text)
{
    char *end = NULL;
    double number;
    errno = 0;
    const long long whole = strtoll(text, &end, 10);
    if (!isspace((unsigned char)*text) && end != text && *end == '\0')
        return errno == 0 && llabs(whole) <= LARGEST_INTEGER ? (double)whole : (double)NAN;
    const bool known = mc_parse_number(text, &number);
    return known && fabs(number) < (double)LARGEST_INTEGER ? number : (double)NAN;
}

static mc_status parse_number(const mc_method *method, const mc_param *param, const char *text,
                              double *number, mc_error *error)
{
    if (param->type == MC_INTEGER)
        *number = parse_whole(text);
    else if (!mc_parse_number(text, number))
        *number = (double)NAN;
    return is_allowed(param, *number) ? MC_OK : refuse(method, param, text, error);
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

static mc_status parse_one(const mc_method *method, const mc_param *param, const char *text,
                           double *number, mc_error *error)
{
    switch (param->type) {
    case MC_NUMBER:
    case MC_INTEGER:
        return parse_number(method, param, text, number, error);
    case MC_FLAG:
        return parse_flag(method, param, text, number, error);
    case MC_CHOICE:
        return parse_choice(method, param, text, number, error);
    }
    return mc_fail(error, MC_USAGE, "%s: parameter '%s' has an unknown type", method->name,
                   param->name);
}

/* ---- setting -------------------------------------------------------------------------------- */

/* Sets the number of one model, or of all. */
static void store(mc_params *params, size_t index, size_t input, double number)
{
    const mc_value *const value = &params->values[index];
    const size_t start = (size_t)(value->numbers - params->numbers);
    for (size_t i = 0; i < value->count; i++)
        if (input == MC_ALL_INPUTS || input == i) {
            params->numbers[start + i] = number;
            params->given[start + i] = true;
        }
}

/*
 * Splits "1,-1,0.5", with or without the brackets of JSON and YAML, and stores one number per
 * model. All items are parsed before their number is checked, so that the message can state it.
 */
static mc_status store_list(mc_params *params, size_t index, char *list, mc_error *error)
{
    const mc_param *const param = &params->method->params[index];
    const size_t expected = params->values[index].count;
    size_t found = 0;
    for (char *rest = list; rest; found++) {
        char *item = strsep(&rest, ",");
        double number = 0;
        item += strspn(item, " ");
        item[strcspn(item, " ")] = '\0';
        MC_TRY(parse_one(params->method, param, item, &number, error));
        if (found < expected)
            store(params, index, found, number);
    }
    if (found == expected)
        return MC_OK;
    return mc_fail(error, MC_USAGE,
                   "%s: parameter '%s': expected one value, or one per model (%zu), found %zu",
                   params->method->name, param->name, expected, found);
}

static bool is_bracketed(const char *text)
{
    const size_t length = strlen(text);
    return length >= 2 && text[0] == '[' && text[length - 1] == ']';
}

static mc_status set_list(mc_params *params, size_t index, const char *text, mc_error *error)
{
    const bool bracketed = is_bracketed(text);
    char *const list = mc_strndup(text + bracketed, strlen(text) - 2 * bracketed);
    if (!list)
        return mc_fail_memory(error);
    const mc_status status = store_list(params, index, list, error);
    mc_free(list);
    return status;
}

static mc_status check_input(const mc_params *params, size_t index, size_t input, mc_error *error)
{
    const mc_param *const param = &params->method->params[index];
    if (input == MC_ALL_INPUTS || (param->per_input && input < params->model_count))
        return MC_OK;
    if (!param->per_input)
        return mc_fail(error, MC_USAGE,
                       "%s: parameter '%s': expected one value for all models, found one for a "
                       "single model",
                       params->method->name, param->name);
    return mc_fail(error, MC_USAGE, "%s: parameter '%s': expected a model below %zu, found %zu",
                   params->method->name, param->name, params->model_count, input);
}

mc_status mc_params_set_text(mc_params *params, const char *name, size_t input, const char *text,
                             mc_error *error)
{
    size_t index = 0;
    double number = 0;
    MC_TRY(find_param(params, name, &index, error));
    MC_TRY(check_input(params, index, input, error));
    const mc_param *const param = &params->method->params[index];
    if (param->per_input && input == MC_ALL_INPUTS && (strchr(text, ',') || is_bracketed(text)))
        return set_list(params, index, text, error);
    MC_TRY(parse_one(params->method, param, text, &number, error));
    store(params, index, input, number);
    return MC_OK;
}

mc_status mc_params_set_number(mc_params *params, const char *name, size_t input, double number,
                               mc_error *error)
{
    size_t index = 0;
    char text[32];
    MC_TRY(find_param(params, name, &index, error));
    MC_TRY(check_input(params, index, input, error));
    snprintf(text, sizeof text, "%.17g", number);
    if (!is_allowed(&params->method->params[index], number))
        return refuse(params->method, &params->method->params[index], text, error);
    store(params, index, input, number);
    return MC_OK;
}

/* ---- checks and parsing --------------------------------------------------------------------- */

mc_status mc_params_check(const mc_params *params, mc_error *error)
{
    const mc_method *const method = params->method;
    for (size_t i = 0; i < params->count; i++) {
        const size_t start = (size_t)(params->values[i].numbers - params->numbers);
        for (size_t k = 0; method->params[i].required && k < params->values[i].count; k++)
            if (!params->given[start + k])
                return mc_fail(error, MC_USAGE, "%s: parameter '%s' is required", method->name,
                               method->params[i].name);
    }
    return method->check ? method->check(params->values, params->model_count, error) : MC_OK;
}

const char *mc_params_note(const mc_params *params)
{
    const mc_method *const method = params->method;
    return method->note ? method->note(params->values, params->model_count) : NULL;
}

mc_status mc_params_report(const mc_params *params, bool strict, mc_report *report, mc_error *error)
{
    for (; params; params = params->then) {
        const char *const note = mc_params_note(params);
        if (note && strict)
            return mc_fail(error, MC_USAGE, "%s: %s (strict)", params->method->name, note);
        if (note)
            MC_TRY(mc_report_add(report, error, "%s: %s", params->method->name, note));
    }
    return MC_OK;
}

/*
 * Finds the step that a parameter belongs to: "svc.alpha" is that of the add-on svc, a plain name
 * that of the method. Advances *name past the prefix.
 */
static mc_params *step_of(mc_params *params, const char **name)
{
    const size_t length = strcspn(*name, ".=");
    if ((*name)[length] != '.')
        return params;
    for (mc_params *step = params->then; step; step = step->then)
        if (strlen(step->method->name) == length &&
            strncmp(step->method->name, *name, length) == 0) {
            *name += length + 1;
            return step;
        }
    return params; /* which reports the name as unknown */
}

/* Cuts the model off "weights[2]", which counts from 1. */
static mc_status cut_input(const mc_params *params, char *name, size_t *input, mc_error *error)
{
    char *const bracket = strchr(name, '[');
    char *end = NULL;
    if (!bracket)
        return MC_OK;
    errno = 0;
    const unsigned long model = strtoul(bracket + 1, &end, 10);
    if (!isdigit((unsigned char)bracket[1]) || strcmp(end, "]") != 0 || errno != 0 || model < 1 ||
        model > params->model_count)
        return mc_fail(error, MC_USAGE,
                       "%s: parameter '%s': expected a model from 1 to %zu in the brackets",
                       params->method->name, name, params->model_count);
    *bracket = '\0';
    *input = model - 1;
    return MC_OK;
}

static mc_status parse_setting(mc_params *params, const char *setting, mc_error *error)
{
    const char *const equals = strchr(setting, '=');
    if (!equals || equals == setting)
        return mc_fail(error, MC_USAGE, "expected a parameter as NAME=VALUE, found '%s'", setting);
    const char *begin = setting;
    mc_params *const step = step_of(params, &begin);
    char *const name = mc_strndup(begin, (size_t)(equals - begin));
    if (!name)
        return mc_fail_memory(error);
    size_t input = MC_ALL_INPUTS;
    mc_status status = cut_input(step, name, &input, error);
    if (status == MC_OK)
        status = mc_params_set_text(step, name, input, equals + 1, error);
    mc_free(name);
    return status;
}

mc_status mc_params_parse(const mc_method *method, const char *const *settings, size_t count,
                          size_t model_count, mc_params **out, mc_error *error)
{
    return mc_params_parse_chain(method, NULL, 0, settings, count, model_count, out, error);
}

/* Appends the defaults of the add-ons. */
static mc_status add_steps(mc_params *params, const mc_method *const *then, size_t then_count,
                           mc_error *error)
{
    for (size_t i = 0; i < then_count; i++, params = params->then) {
        for (size_t k = 0; k < i; k++)
            if (then[i] && then[i] == then[k])
                return mc_fail(error, MC_USAGE,
                               "%s: expected each add-on once, since its name sets its parameters",
                               then[i]->name);
        if (!then[i] || !then[i]->add_on)
            return mc_fail(error, MC_USAGE, "%s%sexpected an add-on such as lines, svc or boost",
                           then[i] ? then[i]->name : "", then[i] ? ": " : "");
        if (params->method->scope == MC_MODEL)
            return mc_fail(error, MC_USAGE,
                           "%s merges whole state dicts: expected a method that merges layer by "
                           "layer before the add-on '%s'",
                           params->method->name, then[i]->name);
        MC_TRY(mc_params_new(then[i], params->model_count, &params->then, error));
    }
    return MC_OK;
}

/* Parses without checking that the values fit together. */
static mc_status parse_settings(const mc_method *method, const mc_method *const *then,
                                size_t then_count, const char *const *settings, size_t count,
                                size_t model_count, mc_params **out, mc_error *error)
{
    MC_TRY(mc_params_new(method, model_count, out, error));
    mc_status status = add_steps(*out, then, then_count, error);
    for (size_t i = 0; i < count && status == MC_OK; i++)
        status = parse_setting(*out, settings[i], error);
    if (status == MC_OK)
        return MC_OK;
    mc_params_unref(*out);
    *out = NULL;
    return status;
}

mc_status mc_params_check_settings(const mc_method *method, const mc_method *const *then,
                                   size_t then_count, const char *const *settings, size_t count,
                                   size_t model_count, mc_error *error)
{
    mc_params *params = NULL;
    MC_TRY(parse_settings(method, then, then_count, settings, count, model_count, &params, error));
    mc_params_unref(params);
    return MC_OK;
}

mc_status mc_params_parse_chain(const mc_method *method, const mc_method *const *then,
                                size_t then_count, const char *const *settings, size_t count,
                                size_t model_count, mc_params **out, mc_error *error)
{
    mc_params *params = NULL;
    mc_status status = MC_OK;
    MC_TRY(parse_settings(method, then, then_count, settings, count, model_count, &params, error));
    for (const mc_params *step = params; step && status == MC_OK; step = step->then)
        status = mc_params_check(step, error);
    if (status != MC_OK) {
        mc_params_unref(params);
        return status;
    }
    *out = params;
    return MC_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *number_json(const mc_param *param, double number)
{
    if (param->type == MC_FLAG)
        return json_boolean(number != 0);
    if (param->type == MC_CHOICE)
        return json_string(param->choices[(size_t)number]);
    /* Writes a whole number without a fraction: 0 rather than 0.0. */
    return is_whole(number) ? json_integer((int64_t)number) : json_real(number);
}

static json_t *value_json(const mc_param *param, const mc_value *value)
{
    if (!param->per_input)
        return number_json(param, value->numbers[0]);
    json_t *list = json_array();
    for (size_t i = 0; i < value->count; i++)
        list = mc_json_append(list, number_json(param, value->numbers[i]));
    return list;
}

/* Adds the values of one step, under "STEP.NAME" unless `step` is empty. */
static json_t *add_values(json_t *object, const mc_params *params, const char *step)
{
    for (size_t i = 0; object && i < params->count; i++) {
        const mc_param *const param = &params->method->params[i];
        char *const name = mc_format("%s%s%s", step, *step ? "." : "", param->name);
        if (!name) {
            json_decref(object);
            return NULL;
        }
        object = mc_json_put(object, name, value_json(param, &params->values[i]));
        mc_free(name);
    }
    return object;
}

char *mc_params_json(const mc_params *params)
{
    json_t *object = add_values(json_object(), params, "");
    for (const mc_params *step = params->then; step; step = step->then)
        object = add_values(object, step, step->method->name);
    char *const text = object ? json_dumps(object, mc_json_shortest(object)) : NULL;
    char *const copy = text ? mc_strdup(text) : NULL;
    free(text);
    json_decref(object);
    return copy;
}
