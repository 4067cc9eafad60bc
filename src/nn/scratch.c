#include "nn/scratch.h"

#include "base/memory.h"

#include <string.h>

mc_status mc_scratch_new(mc_scratch **out, mc_error *error)
{
    *out = mc_alloc_zero(1, sizeof **out);
    return *out ? MC_OK : mc_fail_memory(error);
}

static void free_worker(mc_worker *worker)
{
    mc_free(worker->values_memory);
    mc_free(worker->workspace_memory);
    mc_free(worker->values.floats);
    mc_free(worker->values.inputs);
}

void mc_scratch_free(mc_scratch *scratch)
{
    for (int i = 0; scratch && i < scratch->count; i++)
        free_worker(&scratch->workers[i]);
    if (scratch)
        mc_free(scratch->workers);
    mc_free(scratch);
}

mc_status mc_scratch_reserve(mc_scratch *scratch, int count, mc_error *error)
{
    if (count <= scratch->count)
        return MC_OK;
    mc_worker *const workers = mc_realloc(scratch->workers, (size_t)count * sizeof *workers);
    if (!workers)
        return mc_fail_memory(error);
    /* Zeros: a worker without memory. The others keep theirs, which their groups reuse. */
    memset(workers + scratch->count, 0, (size_t)(count - scratch->count) * sizeof *workers);
    scratch->workers = workers;
    scratch->count = count;
    return MC_OK;
}
