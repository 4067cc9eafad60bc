#include "merge/lineup.h"

#include "base/memory.h"
#include "merge/report.h"
#include "model/parts.h"

#include <fnmatch.h>
#include <string.h>

/* How a tensor of the result is made. */
typedef enum kind {
    MERGED,      /* by the method */
    EXCLUDED,    /* copied from the model that keeps it: its name fits an exclude pattern */
    PASSED,      /* averaged: its name fits a passthrough pattern */
    SOME,        /* averaged over the models that have it */
    NO_FLOATS,   /* averaged: the base's are not floats */
    NOT_IN_BASE, /* averaged: the method needs a base and the base lacks it */
    NOT_IN_SIDE, /* averaged: a side input lacks it */
    COPIED,      /* not floats */
    MIXED,       /* copied: floats in some models, not in others */
    OPAQUE,      /* copied: of a dtype that is never looked into */
    KINDS
} kind;

/* One tensor name seen across all models. */
typedef struct column {
    const char *name;
    mc_source **models; /* model_count; NULL where a model lacks it */
    mc_source *base;
    size_t owners; /* models that have it */
} column;

typedef struct work {
    const mc_lineup *lineup;
    const mc_merge_input *input;
    mc_outputs *outputs;
    mc_report *report;
    column column;         /* reused from name to name */
    mc_names names[KINDS]; /* for the report */
    mc_names base_only, side_only, unequal;
    mc_names not_kept; /* excluded, but not in the model that they would be copied from */
    mc_model_call *call;
    mc_state_dict *made; /* by a method of model scope */
} work;

/* ---- does the method fit --------------------------------------------------------------------- */

static mc_status check_count(const mc_method *method, size_t count, mc_error *error)
{
    const size_t least = method->min_models ? method->min_models : 1;
    const size_t most = method->max_models ? method->max_models : SIZE_MAX;
    if (count >= least && count <= most)
        return MC_OK;
    if (least == most)
        return mc_fail(error, MC_USAGE, "%s: expected exactly %zu model%s, found %zu", method->name,
                       least, least == 1 ? "" : "s", count);
    return mc_fail(error, MC_USAGE, "%s: expected at %s %zu model%s, found %zu", method->name,
                   count < least ? "least" : "most", count < least ? least : most,
                   (count < least ? least : most) == 1 ? "" : "s", count);
}

static const mc_side_dicts *find_side(const mc_merge_input *input, const char *name)
{
    for (size_t i = 0; i < input->side_count; i++)
        if (strcmp(input->sides[i].name, name) == 0)
            return &input->sides[i];
    return NULL;
}

static mc_status check_sides(const mc_method *method, const mc_merge_input *input, mc_error *error)
{
    size_t wanted = 0;
    for (; method->sides && method->sides[wanted].name; wanted++) {
        const char *const name = method->sides[wanted].name;
        const mc_side_dicts *const given = find_side(input, name);
        if (!given)
            return mc_with_hint(
                error, MC_HINT_SIDE,
                mc_fail(error, MC_USAGE, "%s needs the side input '%s'", method->name, name));
        if (given->count != input->model_count)
            return mc_fail(error, MC_USAGE,
                           "side input '%s': expected %zu models, as many as are merged, "
                           "found %zu",
                           given->name, input->model_count, given->count);
    }
    if (input->side_count > wanted)
        return mc_fail(error, MC_USAGE, "%s takes %zu side input%s, found %zu", method->name,
                       wanted, wanted == 1 ? "" : "s", input->side_count);
    return MC_OK;
}

mc_status mc_lineup_check(const mc_method *method, const mc_merge_input *input, mc_error *error)
{
    if (!method)
        return mc_fail(error, MC_USAGE, "expected a method, found none");
    if (method->api != MC_METHOD_API)
        return mc_fail(error, MC_USAGE,
                       "method compiled for version %u of the method interface, expected %u",
                       method->api, MC_METHOD_API);
    if (method->needs_base && !input->base)
        return mc_with_hint(error, MC_HINT_BASE,
                            mc_fail(error, MC_USAGE, "%s needs a base model", method->name));
    for (size_t i = 0; i < input->then_count; i++)
        if (!input->base && input->then[i])
            return mc_with_hint(
                error, MC_HINT_BASE,
                mc_fail(error, MC_USAGE, "%s needs a base model", input->then[i]->name));
    if (input->keep > input->model_count)
        return mc_fail(error, MC_USAGE, "keep: expected a model from 1 to %zu, found %zu",
                       input->model_count, input->keep);
    MC_TRY(check_count(method, input->model_count, error));
    return check_sides(method, input, error);
}

/* ---- one name -------------------------------------------------------------------------------- */

static void look_up(work *w, const char *name)
{
    column *const c = &w->column;
    c->name = name;
    c->owners = 0;
    for (size_t i = 0; i < w->input->model_count; i++) {
        c->models[i] = mc_state_dict_find(w->input->models[i], name);
        c->owners += c->models[i] != NULL;
    }
    c->base = w->input->base ? mc_state_dict_find(w->input->base, name) : NULL;
}

static bool fits_one(const char *const *patterns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    return false;
}

/*
 * Whether every item of the side inputs has the layer, or none has it and the method does without
 * (*none).
 */
static bool fits_sides(const work *w, bool *none)
{
    const mc_merge_input *const input = w->input;
    const mc_side_input *const sides = w->lineup->method->sides;
    size_t found = 0, wanted = 0;
    bool optional = true;
    for (size_t k = 0; k < input->side_count; k++)
        for (size_t i = 0; i < input->sides[k].count; i++, wanted++)
            found += mc_state_dict_find(input->sides[k].items[i], w->column.name) != NULL;
    for (size_t k = 0; sides && sides[k].name; k++)
        optional = optional && sides[k].optional;
    *none = found == 0;
    return found == wanted || (found == 0 && optional);
}

/*
 * The dtype kind of the models' tensors: floats only if all are floats. *mixed: some are, others
 * are not.
 */
static mc_dtype_kind common_kind(const work *w, bool *mixed)
{
    mc_dtype_kind common = MC_KIND_FLOAT;
    size_t floats = 0;
    for (size_t i = 0; i < w->input->model_count; i++) {
        const mc_source *const one = w->column.models[i];
        if (!one)
            continue;
        const mc_dtype_kind found = mc_dtype_kind_of(one->dtype);
        floats += found == MC_KIND_FLOAT;
        common = found == MC_KIND_FLOAT ? common : found;
    }
    *mixed = floats > 0 && floats < w->column.owners;
    return common;
}

/* Whether a base is used: by the method, or by add-ons, which all need one. */
static bool uses_base(const work *w)
{
    const mc_method *const method = w->lineup->method;
    return method->needs_base || (method->takes_base && w->input->base) || w->lineup->params->then;
}

/*
 * Decides for one name. The order matters: the user's exclusion comes first, then what cannot be
 * computed with, then the user's passthrough, then what is missing. mc_dict_map (`common`) knows no
 * patterns, and its rows need all models.
 */
static kind kind_of(const work *w)
{
    const mc_merge_input *const input = w->input;
    const bool common = w->lineup->common, with_base = uses_base(w);
    bool mixed;
    const mc_dtype_kind dtypes = common_kind(w, &mixed);
    if (!common && fits_one(input->exclude, input->exclude_count, w->column.name))
        return EXCLUDED;
    if (mixed)
        return MIXED;
    if (dtypes != MC_KIND_FLOAT && !common)
        return dtypes == MC_KIND_OPAQUE ? OPAQUE : COPIED;
    if (!common && fits_one(input->passthrough, input->passthrough_count, w->column.name))
        return PASSED;
    if (w->column.owners < input->model_count)
        return SOME;
    if (with_base && !w->column.base)
        return NOT_IN_BASE;
    if (with_base && mc_dtype_kind_of(w->column.base->dtype) != MC_KIND_FLOAT &&
        dtypes == MC_KIND_FLOAT)
        return NO_FLOATS;
    if (!fits_sides(w, &mixed))
        return NOT_IN_SIDE;
    return dtypes == MC_KIND_FLOAT ? MERGED : COPIED;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Adds a model's tensor to a row. `at`: the model among models, then base, then sides' items. */
static mc_status add_input(const work *w, mc_output *row, mc_input input, size_t at,
                           mc_error *error)
{
    const mc_lineup *const lineup = w->lineup;
    const char *const name = lineup->name_of ? lineup->name_of(lineup->names, at, row->name) : NULL;
    input.name = (char *)(uintptr_t)name; /* copied */
    return mc_output_add_input(row, &input, error);
}

static mc_status add_models(const work *w, mc_output *row, mc_error *error)
{
    for (size_t i = 0; i < w->input->model_count; i++)
        if (w->column.models[i])
            MC_TRY(add_input(
                w, row,
                (mc_input){.source = w->column.models[i], .role = MC_ROLE_MODEL, .model = i}, i,
                error));
    return MC_OK;
}

/* Items of the sides, in the order in which the method names the sides. */
static mc_status add_sides(const work *w, mc_output *row, mc_error *error)
{
    const mc_merge_input *const input = w->input;
    const size_t before = input->model_count + (input->base != NULL);
    const mc_side_input *const sides = w->lineup->method->sides;
    bool none;
    (void)fits_sides(w, &none);
    for (size_t k = 0; !none && sides && sides[k].name; k++) {
        const mc_side_dicts *const given = find_side(input, sides[k].name);
        const size_t at = before + (size_t)(given - input->sides) * input->model_count;
        for (size_t i = 0; i < given->count; i++) {
            const mc_input side = {.source = mc_state_dict_find(given->items[i], row->name),
                                   .role = MC_ROLE_SIDE,
                                   .model = i,
                                   .side = sides[k].name};
            MC_TRY(add_input(w, row, side, at + i, error));
        }
    }
    return MC_OK;
}

static mc_status add_base(const work *w, mc_output *row, mc_error *error)
{
    if (!uses_base(w) || !w->column.base)
        return MC_OK;
    const mc_input base = {.source = w->column.base, .role = MC_ROLE_BASE};
    return add_input(w, row, base, w->input->model_count, error);
}

static mc_status add_merged(work *w, mc_error *error)
{
    const mc_lineup *const lineup = w->lineup;
    mc_source *const made = w->made ? mc_state_dict_find(w->made, w->column.name) : NULL;
    mc_output *row = NULL;
    if (w->made && !made)
        return MC_OK; /* the method leaves it out */
    MC_TRY(mc_outputs_add(w->outputs, w->column.name, MC_ACTION_MERGE, lineup->method,
                          lineup->params, &row, error));
    MC_TRY(add_models(w, row, error));
    MC_TRY(add_base(w, row, error));
    if (!made)
        return add_sides(w, row, error);
    row->dtype = made->dtype;
    return mc_output_set_source(row, mc_source_ref(made), error);
}

static mc_status add_mean(work *w, mc_error *error)
{
    mc_output *row = NULL;
    MC_TRY(mc_outputs_add(w->outputs, w->column.name, MC_ACTION_MEAN, NULL, NULL, &row, error));
    return add_models(w, row, error);
}

/* Whether two tensors hold the same bytes. */
static mc_status same_bytes(const mc_source *a, const mc_source *b, bool *same, mc_error *error)
{
    char left[4096], right[4096];
    *same = a->dtype == b->dtype && mc_source_same_shape(a, b);
    for (int64_t at = 0; *same && at < a->bytes;) {
        const int64_t n = a->bytes - at < (int64_t)sizeof left ? a->bytes - at
                                                               : (int64_t)sizeof left;
        MC_TRY(mc_source_read_raw(a, at, n, left, error));
        MC_TRY(mc_source_read_raw(b, at, n, right, error));
        *same = memcmp(left, right, (size_t)n) == 0;
        at += n;
    }
    return MC_OK;
}

/* Notes a tensor on which the models disagree although it is copied from the last. */
static mc_status compare_copies(work *w, const mc_source *last, mc_error *error)
{
    bool same = true;
    for (size_t i = 0; same && i < w->input->model_count; i++) {
        const mc_source *const one = w->column.models[i];
        if (one && one != last)
            MC_TRY(mc_in_tensor(error, w->column.name, same_bytes(one, last, &same, error)));
    }
    return same ? MC_OK : mc_names_add(&w->unequal, w->column.name, error);
}

static mc_status add_copy(work *w, bool compare, mc_error *error)
{
    /* The last model that has it: the configuration and tokenizer are the last model's, too. */
    size_t from = w->input->model_count;
    mc_output *row = NULL;
    do
        from--;
    while (!w->column.models[from]);
    mc_source *const last = w->column.models[from];
    if (compare)
        MC_TRY(compare_copies(w, last, error));
    MC_TRY(mc_outputs_add(w->outputs, w->column.name, MC_ACTION_COPY, NULL, NULL, &row, error));
    return add_input(w, row, (mc_input){.source = last, .role = MC_ROLE_MODEL, .model = from}, from,
                     error);
}

/* Copies a tensor from the model that keeps excluded ones. */
static mc_status add_kept(work *w, mc_error *error)
{
    const size_t from = w->input->keep ? w->input->keep - 1 : w->input->model_count - 1;
    mc_output *row = NULL;
    if (!w->column.models[from])
        return mc_names_add(&w->not_kept, w->column.name, error);
    MC_TRY(mc_outputs_add(w->outputs, w->column.name, MC_ACTION_COPY, NULL, NULL, &row, error));
    const mc_input kept = {.source = w->column.models[from], .role = MC_ROLE_MODEL, .model = from};
    return add_input(w, row, kept, from, error);
}

static mc_status add_row(work *w, mc_error *error)
{
    const kind what = kind_of(w);
    const bool common = w->lineup->common;
    const bool lacking = what == SOME || what == NOT_IN_BASE || what == NO_FLOATS ||
                         what == NOT_IN_SIDE;
    MC_TRY(mc_names_add(&w->names[common && lacking ? SOME : what], w->column.name, error));
    switch (what) {
    case MERGED:
        return add_merged(w, error);
    case EXCLUDED:
        return add_kept(w, error);
    case COPIED:
    case OPAQUE:
        return add_copy(w, !common, error);
    case MIXED:
        return add_copy(w, false, error);
    default:
        return common ? MC_OK : add_mean(w, error);
    }
}

static bool seen_before(const work *w, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (w->column.models[i])
            return true;
    return false;
}

typedef mc_status (*column_visitor)(work *w, mc_error *error);

/*
 * Visits every name of the models once: those of the first model in its order, then what others
 * add. A name is skipped if an earlier model has it.
 */
static mc_status each_name(work *w, column_visitor visit, mc_error *error)
{
    for (size_t k = 0; k < w->input->model_count; k++) {
        const mc_state_dict *const dict = w->input->models[k];
        for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
            look_up(w, mc_state_dict_name(dict, i));
            if (!seen_before(w, k))
                MC_TRY(visit(w, error));
        }
    }
    return MC_OK;
}

static mc_status find_base_only(work *w, mc_error *error)
{
    const mc_state_dict *const base = w->input->base;
    for (size_t i = 0; base && !w->lineup->common && i < mc_state_dict_count(base); i++) {
        look_up(w, mc_state_dict_name(base, i));
        if (w->column.owners == 0)
            MC_TRY(mc_names_add(&w->base_only, w->column.name, error));
    }
    return MC_OK;
}

static bool in_earlier_item(const mc_side_dicts *side, size_t item, const char *name)
{
    for (size_t i = 0; i < item; i++)
        if (mc_state_dict_find(side->items[i], name))
            return true;
    return false;
}

/* Methods of model scope see all of their side inputs, whatever the names. */
static mc_status find_side_only(work *w, mc_error *error)
{
    const mc_merge_input *const input = w->input;
    if (w->lineup->method->scope == MC_MODEL || w->lineup->common)
        return MC_OK;
    for (size_t k = 0; k < input->side_count; k++)
        for (size_t t = 0; t < input->sides[k].count; t++)
            for (size_t i = 0; i < mc_state_dict_count(input->sides[k].items[t]); i++) {
                look_up(w, mc_state_dict_name(input->sides[k].items[t], i));
                if (w->column.owners == 0 && !in_earlier_item(&input->sides[k], t, w->column.name))
                    MC_TRY(mc_names_add(&w->side_only, w->column.name, error));
            }
    return MC_OK;
}

/* ---- methods of model scope ------------------------------------------------------------------ */

/*
 * Collects what a method of model scope merges: the first model's tensors that line-up would merge
 * layer by layer. Their shapes are checked here, as such a method never goes through
 * mc_outputs_resolve.
 */
static mc_status collect_mergeable(work *w, mc_names *out, mc_error *error)
{
    const mc_state_dict *const first = w->input->models[0];
    for (size_t i = 0; i < mc_state_dict_count(first); i++) {
        look_up(w, mc_state_dict_name(first, i));
        if (kind_of(w) != MERGED)
            continue;
        mc_outputs one = {0};
        mc_output *row = NULL;
        mc_status status = mc_outputs_add(&one, w->column.name, MC_ACTION_MEAN, NULL, NULL, &row,
                                          error);
        if (status == MC_OK)
            status = add_models(w, row, error);
        if (status == MC_OK)
            status = add_base(w, row, error);
        if (status == MC_OK)
            status = mc_output_check(row, &w->lineup->labels, error);
        mc_outputs_free(&one);
        MC_TRY(status);
        MC_TRY(mc_names_add(out, w->column.name, error));
    }
    return MC_OK;
}

static mc_status call_model_method(work *w, mc_error *error)
{
    const mc_lineup *const lineup = w->lineup;
    mc_names names = {0};
    mc_status status = collect_mergeable(w, &names, error);
    if (status == MC_OK && names.count > 0)
        status = mc_model_call_new(lineup->method, w->input, names.names, names.count, &w->call,
                                   error);
    if (status == MC_OK && w->call)
        status = mc_model_call_run(w->call, lineup->params, &w->made, error);
    mc_names_free(&names);
    return status;
}

/* Adds what the method made under names that no model has. */
static mc_status add_new_names(work *w, mc_error *error)
{
    for (size_t i = 0; w->made && i < mc_state_dict_count(w->made); i++) {
        look_up(w, mc_state_dict_name(w->made, i));
        if (w->column.owners == 0)
            MC_TRY(add_merged(w, error));
    }
    return MC_OK;
}

/* ---- the report ------------------------------------------------------------------------------ */

static bool fits_any(const mc_merge_input *input, const char *pattern)
{
    for (size_t k = 0; k < input->model_count; k++)
        for (size_t i = 0; i < mc_state_dict_count(input->models[k]); i++)
            if (fnmatch(pattern, mc_state_dict_name(input->models[k], i), 0) == 0)
                return true;
    return false;
}

/*
 * A pattern that matches no name is probably mistyped. Silence would merge by the method what the
 * user meant to keep. The name of a usual head is not mistyped: scripts use one pattern for models
 * of many architectures, some of which have another head or none. That is a warning.
 */
static mc_status report_patterns(work *w, const char *option, const char *const *patterns,
                                 size_t count, mc_error *error)
{
    const mc_merge_input *const input = w->input;
    for (size_t i = 0; i < count; i++) {
        const char *const pattern = patterns[i];
        if (fits_any(input, pattern))
            continue;
        if (!input->allow_unused && !mc_pattern_names_head(pattern))
            return mc_with_hint(error, MC_HINT_UNUSED,
                                mc_fail(error, MC_USAGE,
                                        "no tensor name matches the %s pattern '%s'", option,
                                        pattern));
        if (input->strict)
            return mc_fail(error, MC_MISMATCH,
                           "no tensor name matches the %s pattern '%s' (strict)", option, pattern);
        MC_TRY(mc_report_add(w->report, error, "no tensor name matches the %s pattern '%s'", option,
                             pattern));
    }
    return MC_OK;
}

static mc_status report_all(work *w, mc_error *error)
{
    static const char *const remarks[KINDS] = {
        [SOME] = "only in some of the models and averaged over those",
        [NOT_IN_BASE] = "not in the base and averaged over the models",
        [NO_FLOATS] = "not floats in the base and averaged over the models",
        [NOT_IN_SIDE] = "not in every side input and averaged over the models",
        [MIXED] = "not floats in every model and copied from the last",
        [OPAQUE] = "of a dtype that cannot be merged, and copied",
    };
    const bool strict = w->input->strict;
    const mc_merge_input *const input = w->input;
    MC_TRY(report_patterns(w, "passthrough", input->passthrough, input->passthrough_count, error));
    MC_TRY(report_patterns(w, "exclude", input->exclude, input->exclude_count, error));
    MC_TRY(mc_report_names(w->report, &w->not_kept, strict,
                           "excluded, not in the model that is kept, and left out", error));
    for (int i = 0; i < KINDS; i++)
        if (remarks[i])
            MC_TRY(mc_report_names(w->report, &w->names[i], strict, remarks[i], error));
    MC_TRY(mc_report_names(w->report, &w->names[COPIED], false,
                           "not floats and copied from the last model", error));
    MC_TRY(mc_report_names(w->report, &w->unequal, strict,
                           "not the same in all models and copied from the last", error));
    MC_TRY(mc_report_names(w->report, &w->side_only, strict, "only in side inputs and left out",
                           error));
    return mc_report_names(w->report, &w->base_only, strict, "only in the base and left out",
                           error);
}

/* For mc_dict_map, which leaves out tensors that not all models have. */
static mc_status report_left_out(work *w, mc_error *error)
{
    MC_TRY(mc_report_names(w->report, &w->names[MIXED], w->input->strict,
                           "not floats in every model and copied from the last", error));
    return mc_report_names(w->report, &w->names[SOME], w->input->strict,
                           "not in all models and left out", error);
}

/* ---- all together ---------------------------------------------------------------------------- */

/*
 * Rejects side inputs that fit no tensor at all, such as those of another architecture: every layer
 * would silently be averaged.
 */
static mc_status check_sides_used(const work *w, mc_error *error)
{
    const mc_side_input *const sides = w->lineup->method->sides;
    if (w->lineup->method->scope == MC_MODEL || !sides || w->names[MERGED].count == 0)
        return MC_OK;
    for (size_t i = 0; i < w->outputs->count; i++)
        if (mc_output_count(&w->outputs->rows[i], MC_ROLE_SIDE, NULL) > 0)
            return MC_OK;
    return mc_fail(error, MC_MISMATCH,
                   "side input '%s': expected tensors with the names of the models, found none",
                   sides[0].name);
}

static mc_status check_something(const work *w, mc_error *error)
{
    const mc_method *const method = w->lineup->method;
    MC_TRY(check_sides_used(w, error));
    if (w->lineup->common && w->outputs->count == 0)
        return mc_fail(error, MC_MISMATCH, "%s: the models have no tensor name in common",
                       method->name);
    if (w->lineup->common || w->names[MERGED].count > 0 || w->names[PASSED].count > 0)
        return MC_OK;
    const bool others = w->names[COPIED].count + w->names[OPAQUE].count + w->names[MIXED].count > 0;
    return mc_fail(error, MC_MISMATCH, "the models%s have no tensor %s in common",
                   uses_base(w) ? " and the base" : "", others ? "of floats" : "name");
}

static mc_status line_up(work *w, mc_error *error)
{
    const mc_lineup *const lineup = w->lineup;
    if (lineup->method->scope == MC_MODEL)
        MC_TRY(call_model_method(w, error));
    MC_TRY(each_name(w, add_row, error));
    MC_TRY(add_new_names(w, error));
    MC_TRY(find_base_only(w, error));
    MC_TRY(find_side_only(w, error));
    MC_TRY(check_something(w, error));
    if (lineup->common)
        return report_left_out(w, error);
    if (w->input->base && !uses_base(w))
        MC_TRY(mc_report_add(w->report, error, "%s uses no base model: the base was not used",
                             lineup->method->name));
    return report_all(w, error);
}

mc_status mc_lineup_make(const mc_lineup *lineup, mc_outputs *outputs, mc_model_call **call,
                         mc_report *report, mc_error *error)
{
    work w = {.lineup = lineup, .input = lineup->input, .outputs = outputs, .report = report};
    w.column.models = mc_alloc_zero(lineup->input->model_count, sizeof *w.column.models);
    mc_status status = w.column.models ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_params_report(lineup->params, w.input->strict, report, error);
    if (status == MC_OK)
        status = line_up(&w, error);
    for (int i = 0; i < KINDS; i++)
        mc_names_free(&w.names[i]);
    mc_names_free(&w.base_only);
    mc_names_free(&w.side_only);
    mc_names_free(&w.unequal);
    mc_names_free(&w.not_kept);
    mc_free(w.column.models);
    mc_state_dict_free(w.made);
    if (status == MC_OK)
        *call = w.call;
    else
        mc_model_call_free(w.call);
    return status;
}
