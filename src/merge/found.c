#include "merge/found.h"

#include "base/memory.h"
#include "merge/merged.h"

#include <stdlib.h>
#include <string.h>

void mc_found_clear(mc_found *found)
{
    found->count = 0;
    found->reason = (mc_found_reason){0};
}

void mc_found_free(mc_found *found)
{
    mc_free(found->items);
    *found = (mc_found){0};
}

/* ---- adding ---------------------------------------------------------------------------------- */

mc_status mc_found_add(mc_found *found, const mc_finding *finding, mc_error *error)
{
    /* The tiles of a large tensor become one finding: the list grows with the tensors only. */
    if (found->count == found->capacity) {
        mc_found_combine(found);
        if (found->count >= found->capacity / 2 &&
            !MC_GROW(found->items, found->capacity, found->capacity))
            return mc_fail_memory(error);
    }
    found->items[found->count++] = *finding;
    return MC_OK;
}

/* In the journal, the text is in one line; so it is everywhere. */
void mc_found_explain(mc_found *found, size_t tensor, const char *text)
{
    mc_found_reason *const reason = &found->reason;
    if (reason->known && reason->tensor <= (int64_t)tensor)
        return;
    reason->known = 1;
    reason->tensor = (int64_t)tensor;
    size_t i = 0;
    for (; text[i] && i + 1 < sizeof reason->text; i++)
        reason->text[i] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
    memset(reason->text + i, 0, sizeof reason->text - i);
}

mc_status mc_found_add_all(mc_found *to, const mc_found *from, mc_error *error)
{
    for (size_t i = 0; i < from->count; i++)
        MC_TRY(mc_found_add(to, &from->items[i], error));
    if (from->reason.known)
        mc_found_explain(to, (size_t)from->reason.tensor, from->reason.text);
    return MC_OK;
}

/* ---- combining ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const mc_finding *const x = a, *const y = b;
    return x->tensor != y->tensor ? (x->tensor > y->tensor) - (x->tensor < y->tensor)
                                  : (x->input > y->input) - (x->input < y->input);
}

/* Numbers that a file claims may be too large to be added. */
static int64_t sum(int64_t a, int64_t b)
{
    int64_t total;
    return __builtin_add_overflow(a, b, &total) ? INT64_MAX : total;
}

static void merge_into(mc_finding *to, const mc_finding *from)
{
    to->nans = sum(to->nans, from->nans);
    to->infinities = sum(to->infinities, from->infinities);
    to->overflowed = sum(to->overflowed, from->overflowed);
    to->averaged = sum(to->averaged, from->averaged);
}

void mc_found_combine(mc_found *found)
{
    size_t kept = 0;
    if (found->count < 2)
        return;
    qsort(found->items, found->count, sizeof *found->items, compare);
    for (size_t i = 1; i < found->count; i++)
        if (compare(&found->items[kept], &found->items[i]) == 0)
            merge_into(&found->items[kept], &found->items[i]);
        else
            found->items[++kept] = found->items[i];
    found->count = kept + 1;
}

/* ---- using ----------------------------------------------------------------------------------- */

void mc_found_total(mc_found *found, mc_run_result *result)
{
    mc_found_combine(found);
    result->overflowed = 0;
    result->overflowed_tensors = result->averaged_tensors = 0;
    for (size_t i = 0; i < found->count; i++) {
        const mc_finding *const finding = &found->items[i];
        if (finding->overflowed > 0 && result->overflowed_tensors++ == 0)
            result->overflowed_first = (size_t)finding->tensor;
        if (finding->averaged > 0 && result->averaged_tensors++ == 0)
            result->averaged_first = (size_t)finding->tensor;
        result->overflowed = sum(result->overflowed, finding->overflowed);
    }
    memcpy(result->averaged_reason, found->reason.text, sizeof result->averaged_reason);
}

static bool finding_fits(const mc_finding *finding, mc_source *const *tensors, size_t count)
{
    if (finding->tensor < 0 || (uint64_t)finding->tensor >= count)
        return false;
    const int64_t numbers[] = {finding->nans, finding->infinities, finding->overflowed,
                               finding->averaged};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] < 0 || numbers[i] > tensors[finding->tensor]->count)
            return false;
    const mc_job *const job = mc_merged_job(tensors[finding->tensor]);
    return finding->input == MC_FOUND_RESULT ||
           (job && finding->input >= 0 && (uint64_t)finding->input < job->input_count);
}

bool mc_found_fits(const mc_found *found, mc_source *const *tensors, size_t count)
{
    for (size_t i = 0; i < found->count; i++)
        if (!finding_fits(&found->items[i], tensors, count))
            return false;
    return true;
}
