#include "search/subject.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/row_params.h"
#include "model/model.h"
#include "model/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t largest_recipe = 1 << 24;

/* ---- recipes --------------------------------------------------------------------------------- */

/*
 * The next ${…} from `at` on: returns where it begins, and where its text ends in *end (at the
 * brace); NULL: none.
 */
static const char *next_hole(const char *at, const char **end)
{
    const char *const begin = strstr(at, "${");
    *end = begin ? strchr(begin, '}') : NULL;
    return *end ? begin : NULL;
}

/* The name in ${NAME} or ${NAME=VALUES}: its length without blanks at its end. */
static size_t name_length(const char *name, const char *end)
{
    size_t length = strcspn(name, "=}");
    if (length > (size_t)(end - name))
        length = (size_t)(end - name);
    while (length > 0 && name[length - 1] == ' ')
        length--;
    return length;
}

/* Adds the dimensions that the recipe itself has. */
static mc_status add_holes(const char *text, mc_space *space, mc_error *error)
{
    const char *end;
    for (const char *at = text; (at = next_hole(at, &end)) != NULL; at = end) {
        if (!memchr(at, '=', (size_t)(end - at)))
            continue;
        char *const one = mc_strndup(at + 2, (size_t)(end - at) - 2);
        const mc_status status = one ? mc_space_add(space, one, (mc_space_counts){0}, error)
                                     : mc_fail_memory(error);
        mc_free(one);
        MC_TRY(status);
    }
    return MC_OK;
}

static size_t find_dimension(const mc_space *space, const char *name, size_t length)
{
    for (size_t i = 0; i < space->count; i++)
        if (strlen(space->dimensions[i].name) == length &&
            strncmp(space->dimensions[i].name, name, length) == 0)
            return i;
    return space->count;
}

/* Writes the values in the place of ${…}. used[i]: dimension i occurs. */
static mc_status fill_holes(const mc_subject *s, const double *values, bool *used, char **out,
                            mc_error *error)
{
    mc_text text = {0};
    const char *end, *from = s->template;
    for (const char *at; (at = next_hole(from, &end)) != NULL; from = end + 1) {
        const size_t length = name_length(at + 2, end);
        const size_t d = find_dimension(s->space, at + 2, length);
        if (d == s->space->count) {
            mc_text_free(&text);
            return mc_fail(error, MC_USAGE, "%s: expected values for '%.*s' in the space",
                           s->input->recipe, (int)length, at + 2);
        }
        char *const value = mc_dimension_text(&s->space->dimensions[d], values[d]);
        mc_text_append(&text, from, (size_t)(at - from));
        mc_text_add(&text, "%s", value ? value : "");
        text.failed = text.failed || !value;
        mc_free(value);
        used[d] = true;
    }
    mc_text_add(&text, "%s", from);
    if (text.failed) {
        mc_text_free(&text);
        return mc_fail_memory(error);
    }
    *out = text.data;
    return MC_OK;
}

static mc_status fill_recipe(mc_subject *s, const double *values, mc_error *error)
{
    bool *const used = mc_alloc_zero(s->space->count, sizeof *used);
    mc_free(s->recipe_text);
    s->recipe_text = NULL;
    mc_status status = used ? fill_holes(s, values, used, &s->recipe_text, error)
                            : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < s->space->count; i++)
        if (!used[i])
            status = mc_fail(error, MC_USAGE, "%s: expected ${%s} in the recipe, found none",
                             s->input->recipe, s->space->dimensions[i].name);
    mc_free(used);
    return status;
}

static mc_status plan_recipe(mc_subject *s, const double *values, mc_error *error)
{
    MC_TRY(fill_recipe(s, values, error));
    /* The plan reads the recipe's models, so it goes first. */
    mc_plan_free(s->plan);
    s->plan = NULL;
    mc_recipe_close(s->recipe);
    s->recipe = NULL;
    MC_TRY(mc_recipe_parse(s->input->recipe, s->recipe_text, strlen(s->recipe_text), &s->recipe,
                           error));
    return mc_recipe_plan(s->recipe, s->input->recipe_options, &s->plan, error);
}

/* ---- methods --------------------------------------------------------------------------------- */

static bool is_in(const mc_subject *s, const double *values, size_t model)
{
    for (size_t i = 0; i < s->space->count; i++)
        if (s->space->dimensions[i].switches == model + 1)
            return values[i] == 1;
    return true;
}

static bool has_switches(const mc_subject *s)
{
    for (size_t i = 0; i < s->space->count; i++)
        if (s->space->dimensions[i].switches > 0)
            return true;
    return false;
}

static void free_settings(mc_subject *s)
{
    for (size_t i = 0; i < s->setting_count; i++)
        mc_free(s->settings[i]);
    s->setting_count = 0;
}

/* Takes the setting over; NULL: no memory. */
static mc_status add_setting(mc_subject *s, char *setting, mc_error *error)
{
    if (!setting)
        return mc_fail_memory(error);
    s->settings[s->setting_count++] = setting;
    return MC_OK;
}

/* The bracket of a parameter's value for one model, "weights[2]@mlp"; NULL: it is of all. */
static const char *bracket_of(const char *name)
{
    const char *const bracket = name + strcspn(name, "[@");
    return *bracket == '[' ? bracket : NULL;
}

/* A parameter's value for one model: its place among those that take part. */
static mc_status add_of_model(mc_subject *s, const char *name, const char *value, const bool *in,
                              mc_error *error)
{
    const char *const bracket = bracket_of(name);
    const size_t count = s->input->merge->model_count;
    const size_t model = bracket ? strtoul(bracket + 1, NULL, 10) : 0;
    size_t place = 0;
    if (model < 1 || model > count)
        return mc_fail(error, MC_USAGE, "space: '%s': expected a model from 1 to %zu", name, count);
    for (size_t i = 0; i < model; i++)
        place += in[i];
    /* The model does not take part: its value has no meaning. */
    if (!in[model - 1])
        return MC_OK;
    return add_setting(s,
                       mc_format("%.*s[%zu%s=%s", (int)(bracket - name), name, place,
                                 bracket + strcspn(bracket, "]"), value),
                       error);
}

static mc_status add_dimension(mc_subject *s, const mc_dimension *d, double value, const bool *in,
                               mc_error *error)
{
    if (d->switches > 0)
        return MC_OK;
    char *const text = mc_dimension_text(d, value);
    const mc_status status = !text ? mc_fail_memory(error)
                             : bracket_of(d->name)
                                 ? add_of_model(s, d->name, text, in, error)
                                 : add_setting(s, mc_format("%s=%s", d->name, text), error);
    mc_free(text);
    return status;
}

/*
 * A fixed setting with one value per model keeps those of the models that take part. Anything else
 * that has commas is the method's to judge.
 */
static char *setting_of_subset(const mc_subject *s, const char *setting, const bool *in)
{
    const size_t models = s->input->merge->model_count;
    const char *const values = strchr(setting, '=');
    size_t commas = 0;
    for (const char *c = values; c && *c; c++)
        commas += *c == ',';
    if (!values || commas + 1 != models || models == 1)
        return mc_strdup(setting);
    mc_text text = {0};
    const char *at = values + 1, *separator = "";
    mc_text_append(&text, setting, (size_t)(at - setting));
    at += *at == '[';
    for (size_t i = 0; i < models; i++) {
        const size_t length = strcspn(at, ",]");
        if (in[i]) {
            mc_text_add(&text, "%s%.*s", separator, (int)length, at);
            separator = ",";
        }
        at += length + (at[length] != '\0');
    }
    return text.failed ? NULL : text.data;
}

static mc_status make_settings(mc_subject *s, const double *values, const bool *in, mc_error *error)
{
    const mc_plan_input *const merge = s->input->merge;
    free_settings(s);
    for (size_t i = 0; i < merge->param_count; i++)
        MC_TRY(add_setting(s, setting_of_subset(s, merge->params[i], in), error));
    for (size_t i = 0; i < s->space->count; i++)
        MC_TRY(add_dimension(s, &s->space->dimensions[i], values[i], in, error));
    return MC_OK;
}

/* A new plan, of the models that take part. */
static mc_status make_plan(mc_subject *s, mc_error *error)
{
    mc_plan_input merge = *s->input->merge;
    const mc_plan_input *const all = s->input->merge;
    mc_plan_free(s->plan);
    s->plan = NULL;
    merge.model_count = 0;
    for (size_t i = 0; i < all->model_count; i++) {
        if (!s->in[i])
            continue;
        for (size_t k = 0; k < all->side_count; k++)
            s->sides[k][merge.model_count] = all->sides[k][i];
        if (i + 1 == all->keep)
            merge.keep = merge.model_count + 1;
        s->models[merge.model_count++] = all->models[i];
    }
    if (merge.model_count == 0)
        return mc_fail(error, MC_USAGE, "expected models that take part, found none");
    if (all->keep > 0 && !s->in[all->keep - 1])
        return mc_fail(error, MC_USAGE, "the model whose tensors are kept does not take part");
    merge.models = s->models;
    merge.sides = (const mc_model *const *const *)s->sides;
    merge.params = (const char *const *)s->settings;
    merge.param_count = s->setting_count;
    /* A single model is no typing error here. */
    merge.report_repeated = merge.report_repeated && !has_switches(s);
    return mc_plan_new(&merge, &s->plan, error);
}

static mc_status plan_method(mc_subject *s, const double *values, mc_error *error)
{
    const size_t count = s->input->merge->model_count;
    bool same = s->plan != NULL;
    for (size_t i = 0; i < count; i++) {
        const bool in = is_in(s, values, i);
        same = same && in == s->in[i];
        s->in[i] = in;
    }
    MC_TRY(make_settings(s, values, s->in, error));
    return same ? mc_plan_bind(s->plan, (const char *const *)s->settings, s->setting_count, error)
                : make_plan(s, error);
}

mc_status mc_subject_bind(mc_subject *s, const double *values, mc_error *error)
{
    return s->template ? plan_recipe(s, values, error) : plan_method(s, values, error);
}

/* ---- life ------------------------------------------------------------------------------------ */

void mc_subject_free(mc_subject *s)
{
    mc_plan_free(s->plan);
    mc_recipe_close(s->recipe);
    if (s->settings)
        free_settings(s);
    for (size_t k = 0; s->sides && k < s->input->merge->side_count; k++)
        mc_free(s->sides[k]);
    mc_free(s->sides);
    mc_free(s->models);
    mc_free(s->settings);
    mc_free(s->in);
    mc_free(s->recipe_text);
    mc_free(s->template);
    *s = (mc_subject){0};
}

static mc_status allocate(mc_subject *s, mc_error *error)
{
    const mc_plan_input *const merge = s->input->merge;
    s->in = mc_alloc_zero(merge->model_count, sizeof *s->in);
    s->models = mc_alloc_zero(merge->model_count, sizeof *s->models);
    s->settings = mc_alloc_zero(merge->param_count + s->space->count, sizeof *s->settings);
    s->sides = mc_alloc_zero(merge->side_count, sizeof *s->sides);
    bool complete = s->in && s->models && s->settings && s->sides;
    for (size_t k = 0; complete && k < merge->side_count; k++)
        complete = (s->sides[k] = mc_alloc_zero(merge->model_count, sizeof **s->sides)) != NULL;
    return complete ? MC_OK : mc_fail_memory(error);
}

/* A value for one model, or for some tensors, may be searched beside a fixed one for the others. */
static mc_status check_fixed(const mc_subject *s, mc_error *error)
{
    const mc_plan_input *const merge = s->input->merge;
    for (size_t i = 0; i < merge->param_count; i++) {
        const char *const name = merge->params[i];
        if (find_dimension(s->space, name, strcspn(name, "=")) < s->space->count)
            return mc_fail(error, MC_USAGE,
                           "space: expected '%.*s' either fixed or searched, found both",
                           (int)strcspn(name, "="), name);
    }
    return MC_OK;
}

/*
 * Parses the settings with all dimensions at their low ends, and at their high ends: a parameter
 * that does not exist, or a range that goes too far, shows before the first trial. Whether values
 * fit together depends on the point.
 */
static mc_status check_settings(mc_subject *s, mc_error *error)
{
    const mc_plan_input *const merge = s->input->merge;
    double *const values = mc_alloc_zero(s->space->count, sizeof *values);
    mc_status status = values ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; i < merge->model_count; i++)
        s->in[i] = true;
    for (int high = 0; status == MC_OK && high < 2; high++) {
        for (size_t i = 0; i < s->space->count; i++)
            values[i] = high ? s->space->dimensions[i].high : s->space->dimensions[i].low;
        status = make_settings(s, values, s->in, error);
        if (status == MC_OK)
            status = mc_row_settings_check(
                &(mc_row_settings){.method = merge->method,
                                   .then = merge->then,
                                   .then_count = merge->then_count,
                                   .settings = (const char *const *)s->settings,
                                   .count = s->setting_count,
                                   .model_count = merge->model_count},
                error);
    }
    mc_free(values);
    return status;
}

static mc_status open_recipe(mc_subject *s, mc_space *space, mc_error *error)
{
    size_t size = 0;
    MC_TRY(mc_file_load(s->input->recipe, largest_recipe, &s->template, &size, error));
    return add_holes(s->template, space, error);
}

/* Blocks of the first model, whose tensors all models have. */
static size_t count_blocks(const mc_model *model)
{
    const mc_state_dict *const tensors = mc_model_state_dict(model);
    int last = -1;
    for (size_t i = 0; i < mc_state_dict_count(tensors); i++) {
        const mc_part part = mc_part_of(mc_model_type(model), mc_state_dict_name(tensors, i));
        last = part.block > last ? part.block : last;
    }
    return (size_t)(last + 1);
}

static mc_space_counts counts_of(const mc_plan_input *merge)
{
    if (!merge || merge->model_count == 0)
        return (mc_space_counts){0};
    return (mc_space_counts){merge->model_count, count_blocks(merge->models[0])};
}

mc_status mc_subject_new(const mc_search_input *input, mc_space *space, mc_subject *out,
                         mc_error *error)
{
    *out = (mc_subject){.input = input, .space = space};
    if (!input->merge == !input->recipe)
        return mc_fail(error, MC_USAGE, "expected either a merge or a recipe");
    if (input->recipe)
        MC_TRY(open_recipe(out, space, error));
    if (input->space)
        MC_TRY(mc_space_add(space, input->space, counts_of(input->merge), error));
    if (space->count == 0)
        return mc_fail(error, MC_USAGE, "expected a space with at least one dimension, found none");
    if (input->recipe)
        return MC_OK;
    MC_TRY(allocate(out, error));
    MC_TRY(check_fixed(out, error));
    return check_settings(out, error);
}
