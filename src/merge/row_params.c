#include "merge/row_params.h"

#include "base/memory.h"
#include "base/text.h"
#include "model/parts.h"

#include <ctype.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings -------------------------------------------------------------------------------- */

const char *mc_setting_where(const char *setting)
{
    const char *const at = setting + strcspn(setting, "@=");
    return *at == '@' ? at : NULL;
}

char *mc_setting_for_all(const char *setting)
{
    const char *const where = mc_setting_where(setting);
    if (!where)
        return mc_strdup(setting);
    return mc_format("%.*s%s", (int)(where - setting), setting, where + strcspn(where, "="));
}

/* ---- where ----------------------------------------------------------------------------------- */

/* Groups of roles. */
static const struct {
    const char *name;
    uint32_t roles;
} groups[] = {
    {"embedding", 1U << MC_PART_INPUT_EMBEDDING | 1U << MC_PART_POSITION_EMBEDDING |
                      1U << MC_PART_TYPE_EMBEDDING | 1U << MC_PART_PATCH_EMBEDDING},
    {"attention", 1U << MC_PART_QUERY | 1U << MC_PART_KEY | 1U << MC_PART_VALUE |
                      1U << MC_PART_QUERY_KEY_VALUE | 1U << MC_PART_ATTENTION_OUT},
    {"mlp", 1U << MC_PART_MLP_GATE | 1U << MC_PART_MLP_UP | 1U << MC_PART_MLP_GATE_UP |
                1U << MC_PART_MLP_DOWN | 1U << MC_PART_ROUTER},
};

_Static_assert(MC_PART_COUNT <= 32, "roles are bits of a word");

typedef struct place {
    int first, last; /* blocks, both included; −1: all tensors, also those in no block */
    uint32_t roles;  /* 0: all */
    char pattern[256];
} place;

/* A role as one word: "query-key-value" for "query, key, value". */
static void word_of(mc_part_role role, char *out, size_t size)
{
    size_t length = 0;
    for (const char *c = mc_part_role_text(role); *c && length + 1 < size; c++)
        if (*c != ',')
            out[length++] = (char)(*c == ' ' ? '-' : *c);
    out[length] = '\0';
}

static uint32_t roles_of(const char *text)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strcmp(groups[i].name, text) == 0)
            return groups[i].roles;
    for (int role = 0; role < MC_PART_COUNT; role++) {
        char word[40];
        word_of((mc_part_role)role, word, sizeof word);
        if (strcmp(word, text) == 0)
            return 1U << role;
    }
    return 0;
}

/* "3" or "0-5", up to the end of the text or a slash: returns where it ends; NULL: neither. */
static const char *parse_blocks(const char *text, place *out)
{
    char *end = NULL;
    if (!isdigit((unsigned char)*text))
        return NULL;
    const long first = strtol(text, &end, 10);
    long last = first;
    if (*end == '-' && isdigit((unsigned char)end[1]))
        last = strtol(end + 1, &end, 10);
    if ((*end && *end != '/') || first > last || last > INT_MAX)
        return NULL;
    out->first = (int)first;
    out->last = (int)last;
    return end;
}

static bool parse_place(const char *text, place *out)
{
    *out = (place){.first = -1, .last = -1};
    if (strpbrk(text, "*?["))
        return snprintf(out->pattern, sizeof out->pattern, "%s", text) < (int)sizeof out->pattern;
    const char *const rest = parse_blocks(text, out);
    if (rest && !*rest)
        return true;
    out->roles = roles_of(rest ? rest + 1 : text);
    return out->roles != 0;
}

/* `where` begins with "@". */
static mc_status read_place(const char *setting, const char *where, place *out, mc_error *error)
{
    const size_t length = strcspn(where, "=");
    char *const text = mc_strndup(where + 1, length - 1);
    if (!text)
        return mc_fail_memory(error);
    const bool known = parse_place(text, out);
    mc_free(text);
    return known ? MC_OK
                 : mc_fail(error, MC_USAGE,
                           "parameter '%.*s': expected blocks (3, 0-5), a role (attention, mlp, "
                           "embedding, norm, query, mlp-up, …), both (0-5/mlp) or a pattern of "
                           "names with * after the @",
                           (int)(where + length - setting), setting);
}

static bool is_there(const place *p, const char *model_type, const char *name)
{
    if (*p->pattern)
        return fnmatch(p->pattern, name, 0) == 0;
    const mc_part part = mc_part_of(model_type, name);
    return (p->first < 0 || (part.block >= p->first && part.block <= p->last)) &&
           (p->roles == 0 || p->roles >> part.role & 1);
}

/* ---- parameters of rows ---------------------------------------------------------------------- */

/* Rows that the same settings apply to. */
typedef struct group {
    bool *applies; /* [settings] */
    mc_params *params;
} group;

typedef struct work {
    const mc_row_settings *given;
    const mc_outputs *rows;
    place *places; /* [settings]; unused for those of all tensors */
    bool *used;    /* [settings] */
    bool *applies; /* [settings] to the current row */
    group *groups;
    size_t count, capacity;
} work;

static bool is_row(const mc_output *row)
{
    return row->action == MC_ACTION_MERGE && row->method->scope != MC_MODEL;
}

/* Appends the settings that apply, without their WHERE: those of all tensors, or those of some. */
static mc_status add_texts(const mc_row_settings *given, const bool *applies, bool some,
                           char **texts, size_t *count, mc_error *error)
{
    for (size_t k = 0; k < given->count; k++)
        if (applies[k] && some == (mc_setting_where(given->settings[k]) != NULL) &&
            !(texts[(*count)++] = mc_setting_for_all(given->settings[k])))
            return mc_fail_memory(error);
    return MC_OK;
}

static mc_status parse_group(const mc_row_settings *given, const bool *applies, mc_params **out,
                             mc_error *error)
{
    char **const texts = mc_alloc_zero(given->count, sizeof *texts);
    size_t count = 0;
    mc_status status = texts ? MC_OK : mc_fail_memory(error);
    for (int some = 0; status == MC_OK && some < 2; some++)
        status = add_texts(given, applies, some, texts, &count, error);
    if (status == MC_OK)
        status = mc_params_parse_chain(given->method, given->then, given->then_count,
                                       (const char *const *)texts, count, given->model_count, out,
                                       error);
    for (size_t k = 0; texts && k < count; k++)
        mc_free(texts[k]);
    mc_free(texts);
    return status;
}

static mc_status find_group(work *w, mc_params **out, mc_error *error)
{
    const size_t size = w->given->count * sizeof *w->applies;
    for (size_t i = 0; i < w->count; i++)
        if (memcmp(w->groups[i].applies, w->applies, size) == 0) {
            *out = w->groups[i].params;
            return MC_OK;
        }
    if (!MC_GROW(w->groups, w->count, w->capacity))
        return mc_fail_memory(error);
    group *const made = &w->groups[w->count];
    *made = (group){.applies = mc_alloc_zero(w->given->count, sizeof *made->applies)};
    if (!made->applies)
        return mc_fail_memory(error);
    memcpy(made->applies, w->applies, size);
    w->count++;
    MC_TRY(parse_group(w->given, w->applies, &made->params, error));
    *out = made->params;
    return MC_OK;
}

static mc_status fill_row(work *w, size_t row, mc_params **out, mc_error *error)
{
    const mc_row_settings *const given = w->given;
    for (size_t k = 0; k < given->count; k++) {
        w->applies[k] = !mc_setting_where(given->settings[k]) ||
                        is_there(&w->places[k], w->rows->model_type, w->rows->rows[row].name);
        w->used[k] = w->used[k] || w->applies[k];
    }
    mc_params *found = NULL;
    MC_TRY(find_group(w, &found, error));
    *out = mc_params_ref(found);
    return MC_OK;
}

static mc_status check_used(const work *w, mc_error *error)
{
    const mc_row_settings *const given = w->given;
    for (size_t k = 0; k < given->count; k++)
        if (!w->used[k] && !given->allow_unused && mc_setting_where(given->settings[k]))
            return mc_fail(error, MC_USAGE,
                           "parameter '%.*s': expected merged tensors there, found none",
                           (int)strcspn(given->settings[k], "="), given->settings[k]);
    return MC_OK;
}

static mc_status fill(work *w, mc_params **out, mc_error *error)
{
    const mc_row_settings *const given = w->given;
    w->places = mc_alloc_zero(given->count, sizeof *w->places);
    w->used = mc_alloc_zero(given->count, sizeof *w->used);
    w->applies = mc_alloc_zero(given->count, sizeof *w->applies);
    if (!w->places || !w->used || !w->applies)
        return mc_fail_memory(error);
    for (size_t k = 0; k < given->count; k++) {
        const char *const where = mc_setting_where(given->settings[k]);
        if (where)
            MC_TRY(read_place(given->settings[k], where, &w->places[k], error));
    }
    for (size_t i = 0; i < w->rows->count; i++)
        if (is_row(&w->rows->rows[i]))
            MC_TRY(fill_row(w, i, &out[i], error));
    return check_used(w, error);
}

mc_status mc_row_settings_apply(const mc_row_settings *given, const mc_outputs *rows,
                                mc_params **out, mc_error *error)
{
    work w = {.given = given, .rows = rows};
    memset(out, 0, rows->count * sizeof *out);
    const mc_status status = fill(&w, out, error);
    for (size_t i = 0; i < w.count; i++) {
        mc_params_unref(w.groups[i].params);
        mc_free(w.groups[i].applies);
    }
    mc_free(w.groups);
    mc_free(w.places);
    mc_free(w.used);
    mc_free(w.applies);
    return status;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static mc_status check_one(const mc_row_settings *given, const char *setting, mc_error *error)
{
    const char *const where = mc_setting_where(setting);
    place ignored;
    if (where)
        MC_TRY(read_place(setting, where, &ignored, error));
    char *const text = mc_setting_for_all(setting);
    if (!text)
        return mc_fail_memory(error);
    const char *const one = text;
    const mc_status status = mc_params_check_settings(given->method, given->then, given->then_count,
                                                      &one, 1, given->model_count, error);
    mc_free(text);
    return status;
}

mc_status mc_row_settings_check(const mc_row_settings *given, mc_error *error)
{
    for (size_t k = 0; k < given->count; k++)
        MC_TRY(check_one(given, given->settings[k], error));
    return MC_OK;
}
