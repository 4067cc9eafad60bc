/*
 * Reports what only the values of a merge show: values beyond the range of their dtype, and tensors
 * that the method could only average. nonfinite.h reports NaN and infinities of the models.
 */
#ifndef MC_MERGE_FINDINGS_H
#define MC_MERGE_FINDINGS_H

#include <mergecraft/merge.h>

#include "tensor/source.h"

/*
 * Sets what reads of merged tensors have noticed, instead of a run: those that were averaged.
 * Whoever reads weights into an encoder rejects values that are not finite.
 */
void mc_findings_of_reads(const mc_state_dict *dict, mc_run_result *result);

/*
 * Adds a line per kind to the report, which may be NULL; MC_MISMATCH under strict. The indices of
 * the result are of these tensors.
 */
mc_status mc_findings_report(const mc_run_result *result, const char *const *names,
                             mc_source *const *sources, mc_report *report, bool strict,
                             mc_error *error);

/* The same for the tensors of a state dict. */
mc_status mc_findings_report_dict(const mc_run_result *result, const mc_state_dict *dict,
                                  mc_report *report, bool strict, mc_error *error);

#endif
