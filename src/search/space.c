#include "search/space.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Levels of a grid where the text has no number of them. */
enum { USUAL_LEVELS = 5, MOST_LEVELS = 10000 };

/* Every whole number up to here is exact as a double. */
static const double largest_whole = 0x1p53;

void mc_space_free(mc_space *space)
{
    for (size_t i = 0; i < space->count; i++) {
        mc_dimension *const d = &space->dimensions[i];
        for (size_t k = 0; k < d->choice_count; k++)
            mc_free(d->choices[k]);
        mc_free(d->choices);
        mc_free(d->name);
    }
    mc_free(space->dimensions);
    *space = (mc_space){0};
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* Cuts blanks off both ends, in place. */
static char *trimmed(char *text)
{
    text += strspn(text, " \t\n");
    for (size_t length = strlen(text); length > 0 && isspace((unsigned char)text[length - 1]);)
        text[--length] = '\0';
    return text;
}

static mc_status add_choice(mc_dimension *d, const char *text, mc_error *error)
{
    for (size_t i = 0; i < d->choice_count; i++)
        if (strcmp(d->choices[i], text) == 0)
            return mc_fail(error, MC_USAGE,
                           "space: '%s': expected different choices, found '%s' twice", d->name,
                           text);
    char *const copy = mc_strdup(text);
    if (!copy || !MC_GROW(d->choices, d->choice_count, d->choice_capacity)) {
        mc_free(copy);
        return mc_fail_memory(error);
    }
    d->choices[d->choice_count++] = copy;
    return MC_OK;
}

static mc_status parse_choices(mc_dimension *d, char *text, mc_error *error)
{
    d->kind = MC_DIMENSION_CHOICE;
    for (char *rest = text; rest;) {
        const char *const one = trimmed(strsep(&rest, "|"));
        if (!*one)
            return mc_fail(error, MC_USAGE, "space: '%s': expected a choice, found none", d->name);
        MC_TRY(add_choice(d, one, error));
    }
    d->high = (double)(d->choice_count - 1);
    d->levels = d->choice_count;
    return MC_OK;
}

/* "log", "int" or the number of levels on a grid, after the bounds of a range. */
static mc_status parse_word(mc_dimension *d, const char *word, mc_error *error)
{
    double number;
    if (strcmp(word, "log") == 0)
        d->log = true;
    else if (strcmp(word, "int") == 0)
        d->kind = MC_DIMENSION_INTEGER;
    else if (mc_parse_number(word, &number) && number == floor(number) && number >= 1 &&
             number <= MOST_LEVELS)
        d->levels = (size_t)number;
    else
        return mc_fail(error, MC_USAGE,
                       "space: '%s': expected log, int or a number of levels up to %d, found '%s'",
                       d->name, MOST_LEVELS, word);
    return MC_OK;
}

static mc_status check_range(mc_dimension *d, mc_error *error)
{
    const bool whole = d->kind == MC_DIMENSION_INTEGER;
    if (!isfinite(d->low) || !isfinite(d->high) || d->low >= d->high)
        return mc_fail(error, MC_USAGE,
                       "space: '%s': expected LOW:HIGH with LOW < HIGH, found %g:%g", d->name,
                       d->low, d->high);
    if (d->log && d->low <= 0)
        return mc_fail(error, MC_USAGE, "space: '%s': expected LOW > 0 with log, found %g", d->name,
                       d->low);
    if (whole && (d->low != floor(d->low) || d->high != floor(d->high) ||
                  fabs(d->low) > largest_whole || fabs(d->high) > largest_whole))
        return mc_fail(error, MC_USAGE, "space: '%s': expected whole numbers with int, found %g:%g",
                       d->name, d->low, d->high);
    const double most = whole ? d->high - d->low + 1 : MOST_LEVELS;
    if (d->levels == 0)
        d->levels = USUAL_LEVELS;
    if ((double)d->levels > most)
        d->levels = (size_t)most;
    return MC_OK;
}

static mc_status parse_range(mc_dimension *d, char *text, mc_error *error)
{
    char *rest = text;
    const char *const low = trimmed(strsep(&rest, ":"));
    const char *const high = rest ? trimmed(strsep(&rest, ":")) : "";
    if (!mc_parse_number(low, &d->low) || !mc_parse_number(high, &d->high))
        return mc_fail(error, MC_USAGE, "space: '%s': expected LOW:HIGH or A|B|C, found '%s'%s%s%s",
                       d->name, low, *high ? " and '" : "", high, *high ? "'" : "");
    while (rest)
        MC_TRY(parse_word(d, trimmed(strsep(&rest, ":")), error));
    return check_range(d, error);
}

/* Appends a dimension of that name, which it takes over, also on failure. */
static mc_status new_dimension(mc_space *space, char *name, mc_dimension **out, mc_error *error)
{
    mc_status status = name ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < space->count; i++)
        if (strcmp(space->dimensions[i].name, name) == 0)
            status = mc_fail(error, MC_USAGE, "space: expected '%s' once, found it twice", name);
    if (status == MC_OK && !MC_GROW(space->dimensions, space->count, space->capacity))
        status = mc_fail_memory(error);
    if (status != MC_OK) {
        mc_free(name);
        return status;
    }
    *out = &space->dimensions[space->count++];
    **out = (mc_dimension){.name = name};
    return MC_OK;
}

/* `values` is changed. */
static mc_status add_one(mc_space *space, char *name, char *values, mc_error *error)
{
    mc_dimension *d = NULL;
    MC_TRY(new_dimension(space, name, &d, error));
    return strchr(values, ':') ? parse_range(d, values, error) : parse_choices(d, values, error);
}

/* "models=subset": a switch per model. */
static mc_status add_switches(mc_space *space, size_t model_count, mc_error *error)
{
    for (size_t i = 1; i <= model_count; i++) {
        char values[] = "out|in";
        MC_TRY(add_one(space, mc_format("models[%zu]", i), values, error));
        space->dimensions[space->count - 1].switches = i;
    }
    return MC_OK;
}

/* A name with a star, as "weights[*]@mlp", and the numbers that it stands for. */
typedef struct starred {
    const char *name, *star;
    size_t first, end;
} starred;

/* Whether a name stands for several dimensions: one per model first, then one per block. */
static bool find_star(const char *name, mc_space_counts counts, starred *out)
{
    const char *const models = strstr(name, "[*]");
    *out = (starred){.name = name};
    if (models && models < name + strcspn(name, "@"))
        *out = (starred){name, models + 1, 1, counts.models + 1};
    else if (mc_ends_with(name, "@*")) /* all of the WHERE: else it is a pattern */
        *out = (starred){name, name + strlen(name) - 1, 0, counts.blocks};
    return out->star != NULL;
}

static mc_status add_named(mc_space *space, const char *name, const char *values,
                           mc_space_counts counts, mc_error *error);

static mc_status add_each(mc_space *space, const starred *s, const char *values,
                          mc_space_counts counts, mc_error *error)
{
    if (counts.models == 0)
        return mc_fail(error, MC_USAGE,
                       "space: '%s': '*' has no meaning in a recipe; write ${NAME=VALUES} in place "
                       "of each value",
                       s->name);
    if (s->first == s->end)
        return mc_fail(error, MC_USAGE, "space: '%s': expected models with blocks, found none",
                       s->name);
    for (size_t i = s->first; i < s->end; i++) {
        char *const name = mc_format("%.*s%zu%s", (int)(s->star - s->name), s->name, i,
                                     s->star + 1);
        const mc_status status = name ? add_named(space, name, values, counts, error)
                                      : mc_fail_memory(error);
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

static mc_status add_named(mc_space *space, const char *name, const char *values,
                           mc_space_counts counts, mc_error *error)
{
    starred star;
    if (find_star(name, counts, &star))
        return add_each(space, &star, values, counts, error);
    char *const copy = mc_strdup(values);
    const mc_status status = copy ? add_one(space, mc_strdup(name), copy, error)
                                  : mc_fail_memory(error);
    mc_free(copy);
    return status;
}

static mc_status add_text(mc_space *space, char *text, mc_space_counts counts, mc_error *error)
{
    char *values = text;
    const char *const name = trimmed(strsep(&values, "="));
    if (!*name || !values)
        return mc_fail(error, MC_USAGE, "space: expected NAME=VALUES, found '%s'", name);
    values = trimmed(values);
    if (strcmp(name, "models") == 0) {
        if (strcmp(values, "subset") != 0)
            return mc_fail(error, MC_USAGE, "space: 'models': expected subset, found '%s'", values);
        if (counts.models == 0)
            return mc_fail(error, MC_USAGE,
                           "space: 'models=subset' has no meaning in a recipe, which lists its "
                           "models");
        return add_switches(space, counts.models, error);
    }
    return add_named(space, name, values, counts, error);
}

mc_status mc_space_add(mc_space *space, const char *text, mc_space_counts counts, mc_error *error)
{
    char *const copy = mc_strdup(text);
    mc_status status = copy ? MC_OK : mc_fail_memory(error);
    for (char *rest = copy; status == MC_OK && rest;) {
        char *const one = trimmed(strsep(&rest, ","));
        /* A comma at the end, or a space that is empty. */
        if (*one)
            status = add_text(space, one, counts, error);
    }
    mc_free(copy);
    return status;
}

/* ---- values ---------------------------------------------------------------------------------- */

/*
 * Six digits: a value can be read and typed again, and a finer one makes no difference to a merge.
 */
static double rounded(double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.6g", value);
    return strtod(text, NULL);
}

static double within(const mc_dimension *d, double value)
{
    return value < d->low ? d->low : value > d->high ? d->high : value;
}

double mc_dimension_value(const mc_dimension *d, double unit)
{
    const double u = unit > 0 ? fmin(unit, 1) : 0;
    /* The ends as they were given, with all their digits. */
    if (d->kind == MC_DIMENSION_REAL && (u == 0 || u == 1))
        return u == 0 ? d->low : d->high;
    if (d->kind == MC_DIMENSION_REAL)
        return within(d, rounded(d->log ? exp(log(d->low) + u * (log(d->high) - log(d->low)))
                                        : d->low + u * (d->high - d->low)));
    /* Every whole number, and every choice, has an interval of the same length. */
    return within(d, d->log ? round(exp(log(d->low) + u * (log(d->high) - log(d->low))))
                            : floor(d->low + u * (d->high - d->low + 1)));
}

double mc_dimension_level(const mc_dimension *d, size_t level)
{
    if (d->levels < 2)
        return 0.5;
    const double share = (double)level / (double)(d->levels - 1);
    if (d->kind == MC_DIMENSION_REAL || d->log)
        return share;
    /* The middle of the interval of a whole number. */
    const double count = d->high - d->low + 1;
    return (round(share * (count - 1)) + 0.5) / count;
}

json_t *mc_dimension_json(const mc_dimension *d, double value)
{
    switch (d->kind) {
    case MC_DIMENSION_REAL:
        return json_real(value);
    case MC_DIMENSION_INTEGER:
        return json_integer((json_int_t)value);
    case MC_DIMENSION_CHOICE:
        break;
    }
    return mc_json_text(d->choices[(size_t)value]);
}

char *mc_dimension_text(const mc_dimension *d, double value)
{
    char text[40];
    if (d->kind == MC_DIMENSION_CHOICE)
        return mc_strdup(d->choices[(size_t)value]);
    snprintf(text, sizeof text, "%.6g", value);
    /* A bound of the range may have more digits. */
    return strtod(text, NULL) == value ? mc_strdup(text) : mc_format("%.17g", value);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *choices_json(const mc_dimension *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->choice_count; i++)
        list = mc_json_append(list, mc_json_text(d->choices[i]));
    return list;
}

static json_t *one_json(const mc_dimension *d)
{
    static const char *const kinds[] = {"real", "integer", "choice"};
    json_t *const object = mc_json_put(json_pack("{s:o}", "name", mc_json_text(d->name)), "kind",
                                       json_string(kinds[d->kind]));
    if (d->kind == MC_DIMENSION_CHOICE)
        return mc_json_put(object, "choices", choices_json(d));
    json_t *range = mc_json_put(object, "low", mc_dimension_json(d, d->low));
    range = mc_json_put(range, "high", mc_dimension_json(d, d->high));
    range = mc_json_put(range, "levels", json_integer((json_int_t)d->levels));
    return mc_json_put(range, "log", json_boolean(d->log));
}

json_t *mc_space_json(const mc_space *space)
{
    json_t *list = json_array();
    for (size_t i = 0; i < space->count; i++)
        list = mc_json_append(list, one_json(&space->dimensions[i]));
    return list;
}
