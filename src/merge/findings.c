#include "merge/findings.h"

#include "base/memory.h"
#include "merge/merged.h"
#include "merge/report.h"

#include <stdio.h>
#include <string.h>

void mc_findings_of_reads(mc_source *const *sources, size_t count, mc_run_result *result)
{
    for (size_t i = 0; i < count; i++) {
        const char *const averaged = mc_merged_averaged(sources[i]);
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
static char *overflow_text(const mc_findings *findings)
{
    const mc_run_result *const result = findings->result;
    const mc_dtype dtype = findings->sources[result->overflowed_first]->dtype;
    return mc_format("%lld value%s of %zu tensor%s, '%s' among them, %s beyond the "
                     "range of %s and became infinite or NaN%s",
                     (long long)result->overflowed, result->overflowed == 1 ? "" : "s",
                     result->overflowed_tensors, result->overflowed_tensors == 1 ? "" : "s",
                     findings->names[result->overflowed_first],
                     result->overflowed == 1 ? "is" : "are", mc_dtype_torch_name(dtype),
                     wider_than(dtype));
}

/* NULL: no memory. */
static char *averaged_text(const mc_findings *findings)
{
    const mc_run_result *const result = findings->result;
    const size_t count = result->averaged_tensors;
    return mc_format("%zu tensor%s, '%s' among them, %s averaged: %s", count, count == 1 ? "" : "s",
                     findings->names[result->averaged_first], count == 1 ? "was" : "were",
                     result->averaged_reason);
}

static bool has_line(const mc_report *report, const char *text)
{
    for (size_t i = 0; report && i < mc_report_count(report); i++)
        if (strcmp(mc_report_line(report, i), text) == 0)
            return true;
    return false;
}

/* Takes over the text; NULL: no memory. A plan that runs several times reports it once. */
static mc_status add(char *text, mc_report *report, bool strict, mc_error *error)
{
    const mc_status status = !text    ? mc_fail_memory(error)
                             : strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", text)
                             : has_line(report, text) ? MC_OK
                                                      : mc_report_add(report, error, "%s", text);
    mc_free(text);
    return status;
}

mc_status mc_findings_report(const mc_findings *findings, mc_report *report, bool strict,
                             mc_error *error)
{
    if (findings->result->overflowed > 0)
        MC_TRY(add(overflow_text(findings), report, strict, error));
    if (findings->result->averaged_tensors > 0)
        MC_TRY(add(averaged_text(findings), report, strict, error));
    return MC_OK;
}
