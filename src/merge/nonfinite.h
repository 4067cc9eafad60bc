/*
 * Counts NaN and infinities in the inputs of a merge while tiles are in the cache, and reports them
 * per model.
 */
#ifndef MC_MERGE_NONFINITE_H
#define MC_MERGE_NONFINITE_H

#include "merge/plan.h"
#include "merge/workspace.h"

#include <pthread.h>

typedef struct mc_nonfinite_source {
    const mc_source *source;
    int64_t nans, infinities;
} mc_nonfinite_source;

/* Shared by all worker threads. */
typedef struct mc_nonfinite {
    pthread_mutex_t lock; /* guards the rest */
    mc_nonfinite_source *sources;
    size_t count, capacity;
} mc_nonfinite;

void mc_nonfinite_free(mc_nonfinite *found);

/* Counts the values of the models and the base in the tile that the workspace has loaded. */
mc_status mc_nonfinite_scan(mc_nonfinite *found, const mc_job *job, const mc_workspace *workspace,
                            mc_error *error);

/* Adds a line per model to the report, which may be NULL; MC_MISMATCH if the plan is strict. */
mc_status mc_nonfinite_report(const mc_nonfinite *found, const mc_plan *plan, mc_report *report,
                              mc_error *error);

#endif
