/*
 * Counts NaN and infinities in the inputs of a merge while tiles are in the cache, and reports them
 * per model.
 */
#ifndef MC_MERGE_NONFINITE_H
#define MC_MERGE_NONFINITE_H

#include "merge/found.h"
#include "merge/plan.h"
#include "merge/workspace.h"

/* What a model, or an adapter, has. Zero-initialise. */
typedef struct mc_nonfinite {
    int64_t nans, infinities;
    size_t tensors;
    const char *first; /* the first of them; borrowed */
} mc_nonfinite;

/* Reads a tensor of floats and adds its NaN and infinities; does not touch tensors and first. */
mc_status mc_nonfinite_read(const mc_source *source, mc_nonfinite *to, mc_error *error);

/* Adds a line to the report, which may be NULL; MC_MISMATCH under strict. `what`: "model NAME". */
mc_status mc_nonfinite_add(const char *what, const mc_nonfinite *found, mc_report *report,
                           bool strict, mc_error *error);

/* Counts the values of the models and the base in the tile that the workspace has loaded. */
mc_status mc_nonfinite_scan(mc_found *found, size_t tensor, const mc_job *job,
                            const mc_workspace *workspace, mc_error *error);

/*
 * Adds a line per model to the report, which may be NULL; MC_MISMATCH if the plan is strict.
 * `tensors` are those that were computed: the rows of the plan, or some of them.
 */
mc_status mc_nonfinite_report(const mc_found *found, mc_source *const *tensors, const mc_plan *plan,
                              mc_report *report, mc_error *error);

#endif
