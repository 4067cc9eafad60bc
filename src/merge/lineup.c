#include "merge/lineup.h"

#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"
#include "tensor/source.h"

#include <fnmatch.h>
#include <string.h>

/* How a tensor comes about. */
typedef enum kind {
    MERGED,      /* by the method */
    PASSED,      /* averaged, because the user wants it so */
    SOME,        /* averaged over those that have it */
    NOT_IN_BASE, /* averaged, because the method needs a base and the base lacks it */
    NOT_IN_LIST, /* averaged, because a further list lacks it */
    COPIED,      /* not floats */
    OPAQUE,      /* not floats, and of a dtype that nothing is known about */
    KINDS
} kind;

typedef struct work {
    mc_map map;
    mc_lineup *lineup;
    mc_report *report;
    mc_names names[KINDS]; /* for the report */
    mc_names base_only, unequal;
    mc_state_dict *merged; /* what a method of model scope made */
} work;

void mc_lineup_free(mc_lineup *lineup)
{
    for (size_t i = 0; i < lineup->count; i++) {
        mc_free(lineup->lines[i].name);
        mc_source_unref(lineup->lines[i].source);
        mc_free(lineup->lines[i].how);
    }
    mc_free(lineup->lines);
    *lineup = (mc_lineup){0};
}

/* Takes over `source` and `how`, also on failure. */
static mc_status add_line(mc_lineup *lineup, const char *name, mc_source *source, char *how,
                          mc_error *error)
{
    char *const copy = mc_strdup(name);
    if (!copy || !how || !MC_GROW(lineup->lines, lineup->count, lineup->capacity)) {
        mc_free(copy);
        mc_free(how);
        mc_source_unref(source);
        return mc_fail_memory(error);
    }
    lineup->lines[lineup->count++] = (mc_line){.name = copy, .source = source, .how = how};
    return MC_OK;
}

static bool passed_through(const mc_merge_input *input, const char *name)
{
    for (size_t i = 0; i < input->passthrough_count; i++)
        if (fnmatch(input->passthrough[i], name, 0) == 0)
            return true;
    return false;
}

static size_t owners(const mc_merge_input *input, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < input->model_count; i++)
        count += mc_state_dict_find(input->models[i], name) != NULL;
    return count;
}

static kind kind_of(const mc_map *map, const char *name, mc_dtype dtype)
{
    const mc_merge_input *const input = map->input;
    if (mc_dtype_kind_of(dtype) == MC_KIND_OPAQUE)
        return OPAQUE;
    if (mc_dtype_kind_of(dtype) == MC_KIND_INTEGER)
        return COPIED;
    if (passed_through(input, name))
        return PASSED;
    if (owners(input, name) < input->model_count)
        return SOME;
    if (map->method->needs_base && !mc_state_dict_find(input->base, name))
        return NOT_IN_BASE;
    return mc_map_in_all_lists(map, name) ? MERGED : NOT_IN_LIST;
}

/* ---- lines ------------------------------------------------------------------------------------- */

static mc_status add_merged(work *w, const char *name, mc_error *error)
{
    mc_source *source = NULL;
    char *const how = mc_format("%s of %zu", w->map.method->name, w->map.input->model_count);
    mc_status status = MC_OK;
    if (w->merged) {
        source = mc_state_dict_find(w->merged, name);
        if (!source) { /* the method left it out on purpose */
            mc_free(how);
            return MC_OK;
        }
        mc_source_ref(source);
    } else {
        status = mc_map_layer(&w->map, name, &source, error);
    }
    if (status != MC_OK) {
        mc_free(how);
        return status;
    }
    return add_line(w->lineup, name, source, how, error);
}

static mc_status add_average(work *w, const char *name, mc_error *error)
{
    mc_source *source = NULL;
    MC_TRY(mc_map_average(&w->map, name, &source, error));
    const size_t count = owners(w->map.input, name);
    return add_line(w->lineup, name, source, mc_format("average of %zu", count), error);
}

/* Whether two tensors hold the same bytes; they have one shape, but maybe not one dtype. */
static mc_status same_bytes(const mc_source *a, const mc_source *b, bool *same, mc_error *error)
{
    char left[4096], right[4096];
    *same = a->dtype == b->dtype && a->bytes == b->bytes;
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

/* Notes when the models do not agree on a tensor that is copied from the last. */
static mc_status compare_copies(work *w, const char *name, const mc_source *last, mc_error *error)
{
    const mc_merge_input *const input = w->map.input;
    bool same = true;
    for (size_t i = 0; same && i < input->model_count; i++) {
        const mc_source *const one = mc_state_dict_find(input->models[i], name);
        if (one && one != last)
            MC_TRY(mc_in_tensor(error, name, same_bytes(one, last, &same, error)));
    }
    return same ? MC_OK : mc_names_add(&w->unequal, name, error);
}

static mc_status add_copy(work *w, const char *name, mc_error *error)
{
    size_t from = 0;
    char buffer[32];
    mc_source *const last = mc_map_last(&w->map, name, &from);
    MC_TRY(mc_map_check_shapes(&w->map, name, false, error));
    MC_TRY(compare_copies(w, name, last, error));
    char *const how = mc_format("copy of %s", mc_map_label(&w->map, from, buffer, sizeof buffer));
    return add_line(w->lineup, name, mc_source_ref(last), how, error);
}

static mc_status add_name(work *w, const char *name, mc_dtype dtype, mc_error *error)
{
    const kind what = kind_of(&w->map, name, dtype);
    MC_TRY(mc_names_add(&w->names[what], name, error));
    switch (what) {
    case MERGED:
        return add_merged(w, name, error);
    case COPIED:
    case OPAQUE:
        return add_copy(w, name, error);
    default:
        return add_average(w, name, error);
    }
}

typedef mc_status (*name_visitor)(work *w, const char *name, mc_dtype dtype, mc_error *error);

/* Visits every name of the fine-tuned models once: the first model's in its order, then what later ones add. */
static mc_status each_name(work *w, name_visitor visit, mc_error *error)
{
    const mc_merge_input *const input = w->map.input;
    for (size_t k = 0; k < input->model_count; k++) {
        const mc_state_dict *const dict = input->models[k];
        for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
            const char *const name = mc_state_dict_name(dict, i);
            if (!mc_map_seen_before(&w->map, k, name))
                MC_TRY(visit(w, name, mc_state_dict_source(dict, i)->dtype, error));
        }
    }
    return MC_OK;
}

static mc_status find_base_only(work *w, mc_error *error)
{
    const mc_state_dict *const base = w->map.input->base;
    for (size_t i = 0; base && i < mc_state_dict_count(base); i++) {
        const char *const name = mc_state_dict_name(base, i);
        if (owners(w->map.input, name) == 0)
            MC_TRY(mc_names_add(&w->base_only, name, error));
    }
    return MC_OK;
}

/* ---- methods on whole state dicts -------------------------------------------------------------- */

typedef struct mergeable {
    const char **names;
    size_t count, capacity;
} mergeable;

static mc_status collect_mergeable(work *w, mergeable *out, mc_error *error)
{
    const mc_state_dict *const first = w->map.input->models[0];
    for (size_t i = 0; i < mc_state_dict_count(first); i++) {
        const char *const name = mc_state_dict_name(first, i);
        if (kind_of(&w->map, name, mc_state_dict_source(first, i)->dtype) != MERGED)
            continue;
        MC_TRY(mc_map_check_shapes(&w->map, name, w->map.method->needs_base, error));
        if (!MC_GROW(out->names, out->count, out->capacity))
            return mc_fail_memory(error);
        out->names[out->count++] = name;
    }
    return MC_OK;
}

/* The dicts that a method sees: those names that it is to merge, and nothing else. Freed by free_dicts. */
static mc_status subset_all(const mergeable *names, const mc_state_dict *const *from, size_t count,
                            const mc_state_dict ***out, mc_error *error)
{
    *out = mc_alloc_zero(count, sizeof **out);
    if (!*out)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        mc_state_dict *dict = NULL;
        MC_TRY(mc_state_dict_subset(from[i], names->names, names->count, &dict, error));
        (*out)[i] = dict;
    }
    return MC_OK;
}

static void free_dicts(const mc_state_dict **dicts, size_t count)
{
    for (size_t i = 0; dicts && i < count; i++)
        mc_state_dict_free((mc_state_dict *)(uintptr_t)dicts[i]);
    mc_free(dicts);
}

static mc_status call_on_subsets(work *w, const mergeable *names, mc_error *error)
{
    mc_merge_input input = *w->map.input;
    input.method_params = w->map.method->params;
    input.method_values = w->map.params->values;
    input.method = w->map.method;
    const mc_state_dict **models = NULL, **base = NULL;
    mc_status status = subset_all(names, input.models, input.model_count, &models, error);
    const bool with_base = w->map.method->needs_base;
    if (status == MC_OK && with_base)
        status = subset_all(names, &input.base, 1, &base, error);
    input.models = models;
    input.base = with_base && base ? base[0] : NULL;
    if (status == MC_OK)
        status = w->map.method->merge(&input, &w->merged, error);
    free_dicts(models, input.model_count);
    free_dicts(base, 1);
    return status;
}

static mc_status call_model_method(work *w, mc_error *error)
{
    mergeable names = {0};
    mc_status status = collect_mergeable(w, &names, error);
    if (status == MC_OK && names.count > 0)
        status = call_on_subsets(w, &names, error);
    mc_free(names.names);
    return status;
}

/* What a method made under names that no model has. */
static mc_status add_new_names(work *w, mc_error *error)
{
    for (size_t i = 0; w->merged && i < mc_state_dict_count(w->merged); i++) {
        const char *const name = mc_state_dict_name(w->merged, i);
        if (owners(w->map.input, name) == 0)
            MC_TRY(add_merged(w, name, error));
    }
    return MC_OK;
}

/* ---- all together ------------------------------------------------------------------------------ */

static bool fits_any(const mc_merge_input *input, const char *pattern)
{
    for (size_t k = 0; k < input->model_count; k++)
        for (size_t i = 0; i < mc_state_dict_count(input->models[k]); i++)
            if (fnmatch(pattern, mc_state_dict_name(input->models[k], i), 0) == 0)
                return true;
    return false;
}

/* A pattern that fits nothing is hardly meant: what it was for is merged by the method. */
static mc_status report_patterns(work *w, mc_error *error)
{
    static const char what[] = "no tensor has a name that fits the passthrough pattern";
    const mc_merge_input *const input = w->map.input;
    for (size_t i = 0; i < input->passthrough_count; i++) {
        const char *const pattern = input->passthrough[i];
        if (fits_any(input, pattern))
            continue;
        if (input->strict)
            return mc_fail(error, MC_MISMATCH, "%s '%s' (strict)", what, pattern);
        MC_TRY(mc_report_add(w->report, error, "%s '%s'", what, pattern));
    }
    return MC_OK;
}

static mc_status report_all(work *w, mc_error *error)
{
    static const char *const remarks[KINDS] = {
        [SOME] = "only in some of the models and averaged over those",
        [NOT_IN_BASE] = "not in the base and averaged over the models",
        [NOT_IN_LIST] = "not in every list and averaged over the models",
        [OPAQUE] = "of a dtype that is not computed with and copied",
    };
    const bool strict = w->map.input->strict;
    MC_TRY(report_patterns(w, error));
    for (int i = 0; i < KINDS; i++)
        if (remarks[i])
            MC_TRY(mc_report_names(w->report, &w->names[i], strict, remarks[i], error));
    MC_TRY(mc_report_names(w->report, &w->names[COPIED], false,
                           "not floats and copied from the last model", error));
    MC_TRY(mc_report_names(w->report, &w->unequal, strict,
                           "not the same in all models and copied from the last", error));
    return mc_report_names(w->report, &w->base_only, strict, "only in the base and left out",
                           error);
}

static mc_status line_up(work *w, mc_error *error)
{
    if (w->map.method->scope == MC_MODEL)
        MC_TRY(call_model_method(w, error));
    MC_TRY(each_name(w, add_name, error));
    MC_TRY(add_new_names(w, error));
    MC_TRY(find_base_only(w, error));
    if (w->names[MERGED].count == 0 && w->names[PASSED].count == 0)
        return mc_fail(error, MC_MISMATCH, "the models%s have no tensor %s in common",
                       w->map.method->needs_base ? " and the base" : "",
                       w->names[COPIED].count + w->names[OPAQUE].count > 0 ? "of floats" : "name");
    if (w->map.input->base && !w->map.method->needs_base)
        MC_TRY(mc_report_add(w->report, error, "%s uses no base model: the base was not used",
                             w->map.method->name));
    return report_all(w, error);
}

mc_status mc_lineup_make(const mc_method *method, const mc_merge_input *input,
                         const char *const *labels, mc_lineup *out, mc_report *report,
                         mc_error *error)
{
    MC_TRY(mc_map_check(method, input, error));
    work w = {.map = {.method = method, .input = input, .labels = labels},
              .lineup = out,
              .report = report};
    mc_status status = mc_params_parse(method, input->params, input->param_count,
                                       input->model_count, &w.map.params, error);
    if (status == MC_OK)
        status = mc_params_report(w.map.params, input->strict, report, error);
    if (status == MC_OK)
        status = line_up(&w, error);
    for (int i = 0; i < KINDS; i++)
        mc_names_free(&w.names[i]);
    mc_names_free(&w.base_only);
    mc_names_free(&w.unequal);
    mc_state_dict_free(w.merged);
    mc_params_unref(w.map.params);
    return status;
}

mc_status mc_model_merge(const mc_method *method, const mc_merge_input *input, mc_state_dict **out,
                         mc_report *report, mc_error *error)
{
    mc_lineup lineup = {0};
    mc_state_dict *dict = NULL;
    mc_status status = mc_lineup_make(method, input, NULL, &lineup, report, error);
    if (status == MC_OK)
        status = mc_state_dict_new(&dict, error);
    for (size_t i = 0; status == MC_OK && i < lineup.count; i++)
        status = mc_state_dict_set(dict, lineup.lines[i].name, lineup.lines[i].source, error);
    mc_lineup_free(&lineup);
    if (status != MC_OK) {
        mc_state_dict_free(dict);
        return status;
    }
    *out = dict;
    return MC_OK;
}
