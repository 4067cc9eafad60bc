/* The side inputs of a merge of a suite. */
#ifndef MC_BENCH_SIDES_H
#define MC_BENCH_SIDES_H

#include "bench/score.h"

/* Zero-initialise; free with mc_bench_close_sides, also after a failure. */
typedef struct mc_bench_sides {
    const char **names;              /* [count] */
    mc_model **models;               /* [count · tasks] */
    const mc_model *const **by_task; /* [count]: the same, as plans take them */
    size_t count, task_count;
} mc_bench_sides;

/*
 * Opens what the suite names under `side`. If it names nothing, statistics that the method needs
 * are computed on the validation part of each task's data, never on the reported part, and kept in
 * the user's cache. `settings` are the parameters of this merge.
 */
mc_status mc_bench_open_sides(const mc_suite_method *method, const char *seed,
                              const mc_bench_models *models, const mc_bench_data *data,
                              const char *const *settings, size_t setting_count,
                              const mc_bench_options *options, mc_bench_sides *out,
                              mc_error *error);
void mc_bench_close_sides(mc_bench_sides *sides);

#endif
