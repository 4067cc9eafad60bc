/*
 * A merge of adapters while its plan is made and run. merge.c chooses the method and makes rows,
 * merge_compute.c computes a row, merge_config.c makes everything else of the result.
 */
#ifndef MC_LORA_MERGE_H
#define MC_LORA_MERGE_H

#include "lora/lora.h"
#include "lora/methods.h"
#include "lora/plan.h"
#include "lora/truncate.h"
#include "merge/params.h"

/* What rows are computed from. */
typedef struct mc_merging {
    const mc_lora **adapters;
    size_t count;
    mc_lora_modules modules; /* in the order of the rows */
    mc_lora_space space;
    mc_combining combining; /* without key */
    mc_lora_rank how;
    double clamp;
    mc_params *params;
    const double *weights;
    mc_state_dict *merged; /* MC_LORA_METHOD: whole updates, lazy */
    mc_lora_plan *plan;
} mc_merging;

/* ---- merge_compute.c ------------------------------------------------------------------------- */

/* Merges one expert of a row under `how`; free *out. */
mc_status mc_merge_expert(const mc_merging *m, size_t row, int64_t index, const mc_lora_rank *how,
                          mc_truncated *out, mc_error *error);

/* Bytes of mc_merge_expert (mc_lora_work). */
int64_t mc_merge_work(const void *user, size_t index, const mc_lora_rank *how);

/* Computes a row of the plan (mc_lora_compute). */
mc_status mc_merge_row(void *user, size_t index, double *a, double *b, mc_energy *energy,
                       mc_error *error);

/* ---- merge_config.c -------------------------------------------------------------------------- */

/* Reports adapters that were made for another base than the first. */
mc_status mc_merge_check_bases(const mc_merging *m, bool strict, mc_error *error);

/* Checks a setting that decides what the factors mean; missing, null and false are the same. */
mc_status mc_merge_check_same(const mc_merging *m, const char *name, mc_error *error);

/* Makes the configuration, unless the adapters have none. */
mc_status mc_merge_make_config(const mc_merging *m, mc_error *error);

/*
 * Adds tensors of modules_to_save, and biases: copied if one adapter has them, averaged if several
 * do.
 */
mc_status mc_merge_add_wholes(const mc_merging *m, bool strict, mc_error *error);

/*
 * Reports NaN and infinities of the adapters. Their tensors are read for that, but not those that
 * are computed: the plans that compute them report their inputs.
 */
mc_status mc_merge_scan(const mc_merging *m, bool strict, mc_error *error);

/* Fills the plan's summary, inputs, title and fingerprint. */
mc_status mc_merge_describe(const mc_merging *m, const mc_lora_merge_input *input, mc_error *error);

#endif
