#include "merge/nonfinite.h"

#include "base/memory.h"
#include "merge/report.h"
#include "tensor/convert.h"

#include <math.h>
#include <string.h>

void mc_nonfinite_free(mc_nonfinite *found)
{
    pthread_mutex_destroy(&found->lock);
    mc_free(found->sources);
}

/* ---- counting ------------------------------------------------------------------------------- */

static mc_nonfinite_source count_values(const void *values, size_t count, mc_dtype real)
{
    mc_nonfinite_source found = {0};
    for (size_t i = 0; i < count; i++) {
        const double value = real == MC_F64 ? ((const double *)values)[i]
                                            : (double)((const float *)values)[i];
        found.nans += isnan(value) != 0;
        found.infinities += isinf(value) != 0;
    }
    return found;
}

/*
 * The entry of a source, added if it is new. Tiles come in the order of the output, so an existing
 * entry is among the last. NULL: no memory.
 */
static mc_nonfinite_source *entry_of(mc_nonfinite *found, const mc_source *source)
{
    for (size_t i = found->count; i-- > 0;)
        if (found->sources[i].source == source)
            return &found->sources[i];
    if (!MC_GROW(found->sources, found->count, found->capacity))
        return NULL;
    found->sources[found->count] = (mc_nonfinite_source){.source = source};
    return &found->sources[found->count++];
}

static mc_status add(mc_nonfinite *found, const mc_source *source, mc_nonfinite_source more,
                     mc_error *error)
{
    pthread_mutex_lock(&found->lock);
    mc_nonfinite_source *const entry = entry_of(found, source);
    if (entry) {
        entry->nans += more.nans;
        entry->infinities += more.infinities;
    }
    pthread_mutex_unlock(&found->lock);
    return entry ? MC_OK : mc_fail_memory(error);
}

mc_status mc_nonfinite_scan(mc_nonfinite *found, const mc_job *job, const mc_workspace *workspace,
                            mc_error *error)
{
    const size_t count = workspace->layer.count;
    for (size_t i = 0; i < job->model_count + job->has_base; i++) {
        const void *const tile = i < job->model_count ? workspace->layer.models[i]
                                                      : workspace->layer.base;
        /* Almost no tile has one: values are counted only if it matters. */
        if (!mc_are_finite(job->real, tile, count))
            MC_TRY(add(found, job->inputs[i], count_values(tile, count, job->real), error));
    }
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

static mc_status add_row(const mc_nonfinite *found, const mc_plan *plan, const mc_output *row,
                         size_t model, tally *t, mc_error *error)
{
    for (size_t i = 0; i < row->input_count; i++)
        for (size_t k = 0; is_of(plan, &row->inputs[i], model) && k < found->count; k++) {
            const mc_nonfinite_source *const entry = &found->sources[k];
            if (entry->source != row->inputs[i].source)
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
    return mc_report_add(report, error, "%s in %zu tensor%s, the first '%s'", what, t->names.count,
                         t->names.count == 1 ? "" : "s", t->names.names[0]);
}

mc_status mc_nonfinite_report(const mc_nonfinite *found, const mc_plan *plan, mc_report *report,
                              mc_error *error)
{
    const size_t models = plan->model_count + (plan->base != NULL);
    mc_status status = MC_OK;
    for (size_t m = 0; found->count > 0 && m < models && status == MC_OK; m++) {
        tally t = {0};
        for (size_t i = 0; i < plan->outputs.count && status == MC_OK; i++)
            status = add_row(found, plan, &plan->outputs.rows[i], m, &t, error);
        if (status == MC_OK && t.names.count > 0)
            status = report_model(plan, m, &t, report, error);
        mc_names_free(&t.names);
    }
    return status;
}
