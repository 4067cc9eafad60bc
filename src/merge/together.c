#include "merge/together.h"

#include "base/build_id.h"
#include "base/memory.h"
#include "base/system.h"
#include "merge/execute.h"
#include "merge/merged.h"
#include "merge/reduce.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* ---- the folder ------------------------------------------------------------------------------ */

/* The name of a file that only a process which sees this very folder can find. */
typedef struct probe {
    char name[64];
} probe;

mc_status mc_together_share(const mc_comm *comm, mc_status status, const mc_folder *folder,
                            mc_error *error)
{
    probe p = {""};
    if (!comm)
        return status;
    if (status == MC_OK)
        status = mc_folder_create_unique(folder, "shared.", p.name, error);
    MC_TRY(mc_comm_agree(comm, status, error));
    MC_TRY(mc_comm_broadcast(comm, &p, sizeof p, 0, error));
    status = mc_comm_agree(comm, MC_OK, error);
    (void)mc_system->unlink(folder->fd, p.name, 0);
    return status;
}

static mc_status join(const char *target, const probe *p, mc_folder *folder, mc_error *error)
{
    struct stat status;
    char *parent = NULL;
    const mc_status named = mc_folder_names(target, folder, &parent, error);
    mc_free(parent);
    MC_TRY(named);
    folder->fd = mc_system->open(AT_FDCWD, folder->work,
                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    char *const path = mc_format("%s/%s", folder->work, p->name);
    if (!path)
        return mc_fail_memory(error);
    const bool seen = folder->fd >= 0 && mc_system->stat(path, &status) == 0;
    mc_free(path);
    return seen ? MC_OK
                : mc_fail_at(error, MC_MISMATCH, folder->work, NULL, -1,
                             "expected a folder on a file system that all processes share: what "
                             "process 0 created is not visible here");
}

mc_status mc_together_join(const mc_comm *comm, const char *target, bool sync, mc_folder *folder,
                           mc_error *error)
{
    probe p = {""};
    *folder = (mc_folder){.fd = -1, .sync = sync};
    MC_TRY(mc_comm_agree(comm, MC_OK, error));
    MC_TRY(mc_comm_broadcast(comm, &p, sizeof p, 0, error));
    const mc_status status = mc_comm_agree(comm, join(target, &p, folder, error), error);
    if (status != MC_OK)
        mc_folder_keep(folder);
    return status;
}

mc_status mc_together_spans(const mc_comm *comm, mc_spans *spans, mc_error *error)
{
    int64_t count = (int64_t)spans->count;
    if (!comm)
        return MC_OK;
    MC_TRY(mc_comm_broadcast(comm, &count, sizeof count, 0, error));
    for (int64_t i = 0; i < count; i++) {
        mc_span span = comm->rank == 0 ? spans->items[i] : (mc_span){0};
        MC_TRY(mc_comm_broadcast(comm, &span, sizeof span, 0, error));
        if (comm->rank > 0)
            MC_TRY(mc_spans_add(spans, span, error));
    }
    return MC_OK;
}

/* ---- statistics ------------------------------------------------------------------------------ */

static mc_status share_reduction(mc_together *out, mc_source *tensor, size_t index,
                                 const mc_comm *comm, mc_workspace *workspace, mc_error *error)
{
    const mc_job *const job = mc_merged_job(tensor);
    if (!job || !mc_job_statistics(job))
        return MC_OK;
    return mc_reduction_run_together(job, comm, workspace, &out->states[index], error);
}

mc_status mc_together_statistics(mc_together *out, mc_source *const *tensors, size_t count,
                                 const mc_shares *shares, const mc_run_options *options,
                                 mc_error *error)
{
    mc_workspace workspace = {0};
    mc_status status = MC_OK;
    if (!options->comm)
        return MC_OK;
    out->states = mc_alloc_zero(count > 0 ? count : 1, sizeof *out->states);
    if (!out->states)
        return mc_fail_memory(error);
    out->count = count;
    /* Collective, so in one order: not when the executor of one process comes to a tensor. */
    for (size_t i = 0; status == MC_OK && i < count; i++)
        status = mc_merged_survey(tensors[i], options, error);
    for (size_t i = 0; status == MC_OK && i < shares->cut_count; i++)
        status = share_reduction(out, tensors[shares->cut[i]], shares->cut[i], options->comm,
                                 &workspace, error);
    mc_workspace_free(&workspace);
    return status;
}

void mc_together_free(mc_together *together)
{
    for (size_t i = 0; i < together->count; i++)
        mc_free(together->states[i]);
    mc_free(together->states);
    *together = (mc_together){0};
}

/* ---- results --------------------------------------------------------------------------------- */

/* Adds what process `rank` has found to *all. */
static mc_status add_found(const mc_comm *comm, int rank, const mc_found *found, mc_found *all,
                           mc_error *error)
{
    const bool mine = rank == comm->rank;
    mc_found part = {0};
    uint64_t count = mine ? found->count : 0;
    if (mine)
        part.reason = found->reason;
    MC_TRY(mc_comm_broadcast(comm, &count, sizeof count, rank, error));
    MC_TRY(mc_comm_broadcast(comm, &part.reason, sizeof part.reason, rank, error));
    part.count = count;
    part.items = mc_alloc(part.count * sizeof *part.items);
    if (!part.items)
        return mc_fail_memory(error);
    if (mine && count > 0)
        memcpy(part.items, found->items, part.count * sizeof *part.items);
    mc_status status = mc_comm_broadcast(comm, part.items, part.count * sizeof *part.items, rank,
                                         error);
    if (status == MC_OK)
        status = mc_found_add_all(all, &part, error);
    mc_found_free(&part);
    return status;
}

mc_status mc_together_found(const mc_comm *comm, mc_found *found, mc_error *error)
{
    if (!comm)
        return MC_OK;
    /* Almost no merge has any: then one number is all that is exchanged. */
    int64_t any = (int64_t)found->count;
    MC_TRY(mc_comm_sum(comm, &any, 1, error));
    mc_found all = {0};
    mc_status status = MC_OK;
    for (int rank = 0; any > 0 && rank < comm->size && status == MC_OK; rank++)
        status = add_found(comm, rank, found, &all, error);
    mc_found_free(found);
    *found = all;
    return status;
}

/* What one process has done. */
typedef struct part {
    mc_run_result result;
    mc_process_result shown;
} part;

/* Linux counts ru_maxrss in KiB. */
static part own_part(const mc_comm *comm, const mc_run_result *result)
{
    struct rusage usage = {.ru_maxrss = 0};
    part own = {.result = *result,
                .shown = {.bytes_read = result->bytes_read,
                          .bytes_written = result->bytes_written,
                          .seconds = result->seconds}};
    (void)getrusage(RUSAGE_SELF, &usage);
    own.shown.memory = (int64_t)usage.ru_maxrss * 1024;
    snprintf(own.shown.host, sizeof own.shown.host, "%s", comm->host ? comm->host : "");
    return own;
}

static void add_part(mc_run_result *total, const mc_run_result *added)
{
    total->bytes_read += added->bytes_read;
    total->bytes_written += added->bytes_written;
    total->seconds = added->seconds > total->seconds ? added->seconds : total->seconds;
}

mc_status mc_together_result(const mc_run_options *options, mc_run_result *result, mc_error *error)
{
    const mc_comm *const comm = options->comm;
    if (!comm)
        return MC_OK;
    const size_t processes = (size_t)comm->size;
    part *const parts = mc_alloc_zero(processes, sizeof *parts);
    if (!parts)
        return mc_fail_memory(error);
    parts[comm->rank] = own_part(comm, result);
    const mc_status status = mc_comm_gather(comm, parts, processes, sizeof *parts, error);
    *result = (mc_run_result){.tensors = result->tensors, .bytes_resumed = result->bytes_resumed};
    for (size_t i = 0; i < processes; i++) {
        add_part(result, &parts[i].result);
        if (options->processes)
            options->processes[i] = parts[i].shown;
    }
    mc_free(parts);
    return status;
}

/* ---- assumptions ----------------------------------------------------------------------------- */

mc_status mc_together_check_build(const mc_comm *comm, mc_error *error)
{
    char build[128] = "";
    snprintf(build, sizeof build, "%s", mc_build_id());
    MC_TRY(mc_comm_broadcast(comm, build, sizeof build, 0, error));
    const bool same = strcmp(build, mc_build_id()) == 0;
    return mc_comm_agree(
        comm,
        same ? MC_OK
             : mc_fail(error, MC_MISMATCH,
                       "expected the same build of mergecraft as in process 0 (%.16s), found %.16s",
                       build, mc_build_id()),
        error);
}

mc_status mc_together_check(const mc_comm *comm, const char *what, uint64_t fingerprint,
                            mc_error *error)
{
    uint64_t expected = fingerprint;
    MC_TRY(mc_comm_broadcast(comm, &expected, sizeof expected, 0, error));
    return mc_comm_agree(comm,
                         expected == fingerprint
                             ? MC_OK
                             : mc_fail(error, MC_MISMATCH,
                                       "%s: expected the same as in process 0, found another",
                                       what),
                         error);
}
