#include "merge/findings.h"

#include "base/memory.h"
#include "merge/merged.h"
#include "merge/report.h"

#include <stdio.h>

void mc_findings_of_reads(const mc_state_dict *dict, mc_run_result *result)
{
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const averaged = mc_merged_averaged(mc_state_dict_source(dict, i));
        if (averaged && result->averaged_tensors++ == 0) {
            result->averaged_first = i;
            snprintf(result->averaged_reason, sizeof result->averaged_reason, "%s", averaged);
        }
    }
}

/* A dtype that holds what the given one cannot, for a hint. */
static const char *wider_than(mc_dtype dtype)
{
    const bool narrow = mc_dtype_bits(dtype) < 32 && dtype != MC_BF16;
    return narrow ? ": a wider dtype, such as bfloat16, holds them" : "";
}

/* NULL: no memory. */
static char *overflow_text(const mc_run_result *result, const char *first, mc_dtype dtype)
{
    return mc_format("%lld value%s of %zu tensor%s, '%s' among them, %s beyond the "
                     "range of %s and became infinite or NaN%s",
                     (long long)result->overflowed, result->overflowed == 1 ? "" : "s",
                     result->overflowed_tensors, result->overflowed_tensors == 1 ? "" : "s", first,
                     result->overflowed == 1 ? "is" : "are", mc_dtype_torch_name(dtype),
                     wider_than(dtype));
}

/* NULL: no memory. */
static char *averaged_text(const mc_run_result *result, const char *first)
{
    const size_t count = result->averaged_tensors;
    return mc_format("%zu tensor%s, '%s' among them, %s averaged: %s", count, count == 1 ? "" : "s",
                     first, count == 1 ? "was" : "were", result->averaged_reason);
}

/* Takes over the text; NULL: no memory. */
static mc_status add(char *text, mc_report *report, bool strict, mc_error *error)
{
    if (!text || !strict)
        return mc_report_add_once(report, text, error);
    const mc_status status = mc_fail(error, MC_MISMATCH, "%s (strict)", text);
    mc_free(text);
    return status;
}

mc_status mc_findings_report(const mc_run_result *result, const char *const *names,
                             mc_source *const *sources, mc_report *report, bool strict,
                             mc_error *error)
{
    const size_t overflowed = result->overflowed_first;
    if (result->overflowed > 0)
        MC_TRY(add(overflow_text(result, names[overflowed], sources[overflowed]->dtype), report,
                   strict, error));
    if (result->averaged_tensors > 0)
        MC_TRY(add(averaged_text(result, names[result->averaged_first]), report, strict, error));
    return MC_OK;
}

mc_status mc_findings_report_dict(const mc_run_result *result, const mc_state_dict *dict,
                                  mc_report *report, bool strict, mc_error *error)
{
    const size_t overflowed = result->overflowed_first, averaged = result->averaged_first;
    if (result->overflowed > 0)
        MC_TRY(add(overflow_text(result, mc_state_dict_name(dict, overflowed),
                                 mc_state_dict_source(dict, overflowed)->dtype),
                   report, strict, error));
    if (result->averaged_tensors > 0)
        MC_TRY(
            add(averaged_text(result, mc_state_dict_name(dict, averaged)), report, strict, error));
    return MC_OK;
}
