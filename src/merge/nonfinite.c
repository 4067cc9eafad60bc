#include "merge/nonfinite.h"

#include "base/memory.h"
#include "merge/merged.h"
#include "merge/report.h"
#include "tensor/convert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- counting ------------------------------------------------------------------------------- */

static void count_values(const void *values, size_t count, mc_dtype real, mc_finding *finding)
{
    for (size_t i = 0; i < count; i++) {
        const double value = real == MC_F64 ? ((const double *)values)[i]
                                            : (double)((const float *)values)[i];
        finding->nans += isnan(value) != 0;
        finding->infinities += isinf(value) != 0;
    }
}

mc_status mc_nonfinite_scan(mc_found *found, size_t tensor, const mc_job *job,
                            const mc_workspace *workspace, mc_error *error)
{
    const size_t count = workspace->layer.count;
    for (size_t i = 0; i < job->model_count + job->has_base; i++) {
        mc_finding finding = {.tensor = (int64_t)tensor, .input = (int64_t)i};
        const void *const tile = i < job->model_count ? workspace->layer.models[i]
                                                      : workspace->layer.base;
        /* Almost no tile has one: values are counted only if it matters. */
        if (mc_are_finite(job->real, tile, count))
            continue;
        count_values(tile, count, job->real, &finding);
        MC_TRY(mc_found_add(found, &finding, error));
    }
    return MC_OK;
}

/* ---- by source ------------------------------------------------------------------------------ */

typedef struct source_counts {
    const mc_source *source;
    int64_t nans, infinities;
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

/* Several tensors may have the same input. */
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
        items[inputs++] = (source_counts){job->inputs[finding->input], finding->nans,
                                          finding->infinities};
    }
    qsort(items, inputs, sizeof *items, compare);
    for (size_t i = 0; i < inputs; i++)
        if (kept > 0 && items[kept - 1].source == items[i].source) {
            items[kept - 1].nans += items[i].nans;
            items[kept - 1].infinities += items[i].infinities;
        } else {
            items[kept++] = items[i];
        }
    *out = (all_counts){items, kept};
    return MC_OK;
}

/* ---- reporting ------------------------------------------------------------------------------ */

/* What one model has. */
typedef struct tally {
    int64_t nans, infinities;
    mc_names names;
} tally;

static bool is_of(const mc_plan *plan, const mc_input *input, size_t model)
{
    if (input->role == MC_ROLE_BASE)
        return plan->base && model == plan->model_count;
    return input->role == MC_ROLE_MODEL && input->model == model;
}

static mc_status add_row(const all_counts *counts, const mc_plan *plan, const mc_output *row,
                         size_t model, tally *t, mc_error *error)
{
    for (size_t i = 0; i < row->input_count; i++) {
        const source_counts key = {.source = row->inputs[i].source};
        const source_counts *const entry = is_of(plan, &row->inputs[i], model)
                                               ? bsearch(&key, counts->items, counts->count,
                                                         sizeof key, compare)
                                               : NULL;
        if (!entry)
            continue;
        t->nans += entry->nans;
        t->infinities += entry->infinities;
        MC_TRY(mc_names_add(&t->names, row->name, error));
    }
    return MC_OK;
}

static mc_status report_model(const mc_plan *plan, size_t model, const tally *t, mc_report *report,
                              mc_error *error)
{
    char what[512];
    snprintf(what, sizeof what, "%s %s: %lld NaN and %lld infinite values",
             model < plan->model_count ? "model" : "base", mc_model_name(plan->models[model]),
             (long long)t->nans, (long long)t->infinities);
    if (plan->strict)
        return mc_fail(error, MC_MISMATCH, "%s, the first in '%s' (strict)", what,
                       t->names.names[0]);
    char *const line = mc_format("%s in %zu tensor%s, the first '%s'", what, t->names.count,
                                 t->names.count == 1 ? "" : "s", t->names.names[0]);
    return mc_report_add_once(report, line, error);
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
        tally t = {0};
        for (size_t i = 0; i < plan->outputs.count && status == MC_OK; i++)
            status = add_row(&counts, plan, &plan->outputs.rows[i], m, &t, error);
        if (status == MC_OK && t.names.count > 0)
            status = report_model(plan, m, &t, report, error);
        mc_names_free(&t.names);
    }
    mc_free(counts.items);
    return status;
}
