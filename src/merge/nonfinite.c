#include "merge/nonfinite.h"

#include "base/memory.h"
#include "merge/merged.h"
#include "merge/report.h"
#include "tensor/convert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16 }; /* elements that are read at a time */

/* ---- counting ------------------------------------------------------------------------------- */

static void count_values(const void *values, size_t count, mc_dtype real, mc_nonfinite *to)
{
    for (size_t i = 0; i < count; i++) {
        const double value = real == MC_F64 ? ((const double *)values)[i]
                                            : (double)((const float *)values)[i];
        to->nans += isnan(value) != 0;
        to->infinities += isinf(value) != 0;
    }
}

mc_status mc_nonfinite_read(const mc_source *source, mc_nonfinite *to, mc_error *error)
{
    const mc_dtype real = mc_source_real(source);
    void *const values = mc_alloc(PIECE * sizeof(double));
    mc_status status = values ? MC_OK : mc_fail_memory(error);
    for (int64_t at = 0; status == MC_OK && at < source->count; at += PIECE) {
        const int64_t count = source->count - at < PIECE ? source->count - at : PIECE;
        status = mc_source_read_as(source, at, count, real, values, error);
        if (status == MC_OK && !mc_are_finite(real, values, (size_t)count))
            count_values(values, (size_t)count, real, to);
    }
    mc_free(values);
    return status;
}

mc_status mc_nonfinite_scan(mc_found *found, size_t tensor, const mc_job *job,
                            const mc_workspace *workspace, mc_error *error)
{
    const size_t count = workspace->layer.count;
    for (size_t i = 0; i < job->model_count + job->has_base; i++) {
        mc_nonfinite counts = {0};
        const void *const tile = i < job->model_count ? workspace->layer.models[i]
                                                      : workspace->layer.base;
        /* Almost no tile has one: values are counted only if it matters. */
        if (mc_are_finite(job->real, tile, count))
            continue;
        count_values(tile, count, job->real, &counts);
        const mc_finding finding = {.tensor = (int64_t)tensor,
                                    .input = (int64_t)i,
                                    .nans = counts.nans,
                                    .infinities = counts.infinities};
        MC_TRY(mc_found_add(found, &finding, error));
    }
    return MC_OK;
}

/* ---- by source ------------------------------------------------------------------------------ */

typedef struct source_counts {
    const mc_source *source;
    int64_t nans, infinities;
    size_t reporter; /* the last model that they were added to, from 1 */
} source_counts;

typedef struct all_counts {
    source_counts *items; /* sorted by source */
    size_t count;
} all_counts;

static int compare(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const source_counts *)a)->source;
    const uintptr_t y = (uintptr_t)((const source_counts *)b)->source;
    return (x > y) - (x < y);
}

/*
 * Several tensors may have the same input, and one may have it twice: each has counted all of its
 * values.
 */
static mc_status by_source(const mc_found *found, mc_source *const *tensors, all_counts *out,
                           mc_error *error)
{
    size_t inputs = 0, kept = 0;
    source_counts *const items = mc_alloc(found->count * sizeof *items);
    if (!items)
        return mc_fail_memory(error);
    for (size_t i = 0; i < found->count; i++) {
        const mc_finding *const finding = &found->items[i];
        if (finding->input == MC_FOUND_RESULT)
            continue;
        const mc_job *const job = mc_merged_job(tensors[finding->tensor]);
        items[inputs++] = (source_counts){.source = job->inputs[finding->input],
                                          .nans = finding->nans,
                                          .infinities = finding->infinities};
    }
    qsort(items, inputs, sizeof *items, compare);
    for (size_t i = 0; i < inputs; i++)
        if (kept == 0 || items[kept - 1].source != items[i].source)
            items[kept++] = items[i];
    *out = (all_counts){items, kept};
    return MC_OK;
}

/* ---- reporting ------------------------------------------------------------------------------ */

static bool is_of(const mc_plan *plan, const mc_input *input, size_t model)
{
    if (input->role == MC_ROLE_BASE)
        return plan->base && model == plan->model_count;
    return input->role == MC_ROLE_MODEL && input->model == model;
}

/* A source counts once for a model, in the first row that is made of it. */
static void add_row(const all_counts *counts, const mc_plan *plan, const mc_output *row,
                    size_t model, mc_nonfinite *to)
{
    for (size_t i = 0; i < row->input_count; i++) {
        const source_counts key = {.source = row->inputs[i].source};
        source_counts *const entry = is_of(plan, &row->inputs[i], model)
                                         ? bsearch(&key, counts->items, counts->count, sizeof key,
                                                   compare)
                                         : NULL;
        if (!entry || entry->reporter == model + 1)
            continue;
        entry->reporter = model + 1;
        to->nans += entry->nans;
        to->infinities += entry->infinities;
        to->first = to->tensors++ == 0 ? row->name : to->first;
    }
}

mc_status mc_nonfinite_add(const char *what, const mc_nonfinite *found, mc_report *report,
                           bool strict, mc_error *error)
{
    const long long nans = (long long)found->nans, infinities = (long long)found->infinities;
    if (strict)
        return mc_fail(error, MC_MISMATCH,
                       "%s: %lld NaN and %lld infinite values, the first in '%s' (strict)", what,
                       nans, infinities, found->first);
    char *const line = mc_format("%s: %lld NaN and %lld infinite values in %zu tensor%s, the first "
                                 "'%s'",
                                 what, nans, infinities, found->tensors,
                                 found->tensors == 1 ? "" : "s", found->first);
    return mc_report_add_once(report, line, error);
}

static mc_status report_model(const mc_plan *plan, size_t model, const mc_nonfinite *found,
                              mc_report *report, mc_error *error)
{
    char *const what = mc_format("%s %s", model < plan->model_count ? "model" : "base",
                                 mc_model_name(plan->models[model]));
    const mc_status status = what ? mc_nonfinite_add(what, found, report, plan->strict, error)
                                  : mc_fail_memory(error);
    mc_free(what);
    return status;
}

mc_status mc_nonfinite_report(const mc_found *found, mc_source *const *tensors, const mc_plan *plan,
                              mc_report *report, mc_error *error)
{
    const size_t models = plan->model_count + (plan->base != NULL);
    all_counts counts = {0};
    if (found->count == 0)
        return MC_OK;
    mc_status status = by_source(found, tensors, &counts, error);
    for (size_t m = 0; counts.count > 0 && m < models && status == MC_OK; m++) {
        mc_nonfinite of_model = {0};
        for (size_t i = 0; i < plan->outputs.count; i++)
            add_row(&counts, plan, &plan->outputs.rows[i], m, &of_model);
        if (of_model.tensors > 0)
            status = report_model(plan, m, &of_model, report, error);
    }
    mc_free(counts.items);
    return status;
}
