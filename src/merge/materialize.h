/* Computing state dicts into memory, with the reports of a merge into a folder. */
#ifndef MC_MERGE_MATERIALIZE_H
#define MC_MERGE_MATERIALIZE_H

#include <mergecraft/merge.h>

/* Where to report what only the values show. */
typedef struct mc_materialize_report {
    mc_report *report; /* NULL: nowhere */
    bool strict;       /* report it as an error */
    /* The tensors are the plan's, and NaN and infinities of its models are reported; or NULL. */
    const mc_plan *plan;
} mc_materialize_report;

/*
 * As mc_state_dict_materialize, with reports; NULL: none.
 *
 * Errors: MC_MISMATCH  something was found, under strict
 */
mc_status mc_materialize(const mc_state_dict *dict, const mc_materialize_report *where,
                         const mc_run_options *options, mc_state_dict **out, mc_run_result *result,
                         mc_error *error);

#endif
