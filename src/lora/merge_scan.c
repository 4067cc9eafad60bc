/*
 * NaN and infinities of adapters. They are found while the plan is made, so that a run that resumes
 * need not have computed every row: adapters are small.
 */
#include "lora/merge.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/team.h"
#include "merge/nonfinite.h"

typedef struct scan {
    const mc_merging *m;
    mc_nonfinite *found; /* [adapters] */
} scan;

static mc_status scan_tensor(const mc_source *source, const char *name, mc_nonfinite *found,
                             mc_error *error)
{
    const int64_t before = found->nans + found->infinities;
    if (source->depth > 0 || mc_dtype_kind_of(source->dtype) != MC_KIND_FLOAT)
        return MC_OK;
    MC_TRY(mc_in_tensor(error, name, mc_nonfinite_read(source, found, error)));
    if (found->nans + found->infinities > before)
        found->first = found->tensors++ == 0 ? name : found->first;
    return MC_OK;
}

static mc_status scan_adapter(void *arg, int worker, size_t index, mc_error *error)
{
    const scan *const s = arg;
    const mc_adapter *const adapter = &s->m->adapters[index]->adapter;
    mc_nonfinite *const found = &s->found[index];
    (void)worker;
    for (size_t i = 0; i < adapter->module_count; i++) {
        const mc_adapter_module *const module = &adapter->modules[i];
        MC_TRY(scan_tensor(module->a, module->path, found, error));
        MC_TRY(scan_tensor(module->b, module->path, found, error));
    }
    for (size_t i = 0; i < mc_state_dict_count(adapter->whole); i++)
        MC_TRY(scan_tensor(mc_state_dict_source(adapter->whole, i),
                           mc_state_dict_name(adapter->whole, i), found, error));
    return MC_OK;
}

static mc_status report_adapter(const mc_merging *m, size_t index, const mc_nonfinite *found,
                                bool strict, mc_error *error)
{
    char *const what = mc_format("adapter %s", m->adapters[index]->name);
    const mc_status status = what ? mc_nonfinite_add(what, found, m->plan->report, strict, error)
                                  : mc_fail_memory(error);
    mc_free(what);
    return status;
}

mc_status mc_merge_scan(const mc_merging *m, bool strict, mc_error *error)
{
    scan s = {m, mc_alloc_zero(m->count, sizeof *s.found)};
    if (!s.found)
        return mc_fail_memory(error);
    mc_status status = mc_parallel(m->count, mc_cpu_count(), scan_adapter, &s, error);
    for (size_t i = 0; status == MC_OK && i < m->count; i++)
        if (s.found[i].tensors > 0)
            status = report_adapter(m, i, &s.found[i], strict, error);
    mc_free(s.found);
    return status;
}
