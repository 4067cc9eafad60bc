#include "base/comm.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

mc_status mc_comm_broadcast(const mc_comm *comm, void *bytes, size_t size, int root,
                            mc_error *error)
{
    return comm && size > 0 ? comm->broadcast(comm, bytes, size, root, error) : MC_OK;
}

mc_status mc_comm_sum(const mc_comm *comm, int64_t *values, size_t count, mc_error *error)
{
    return comm && count > 0 ? comm->sum(comm, values, count, error) : MC_OK;
}

/* If communication fails, processes cannot end together any more. */
static mc_status checked(const mc_comm *comm, mc_status status, mc_error *error)
{
    mc_error unknown = MC_ERROR_NONE;
    unknown.code = status;
    if (status != MC_OK)
        comm->abort(comm, error ? error : &unknown);
    return status;
}

/*
 * The lowest rank that failed; −1 if none did. Found by bisection, which allocates nothing: a
 * process that is out of memory must take part, too.
 */
static mc_status first_failed(const mc_comm *comm, bool failed, int *rank, mc_error *error)
{
    int64_t count = failed;
    MC_TRY(checked(comm, comm->sum(comm, &count, 1, error), error));
    int first = 0, end = count > 0 ? comm->size : 0;
    while (end - first > 1) {
        const int middle = first + (end - first) / 2;
        count = failed && comm->rank >= first && comm->rank < middle;
        MC_TRY(checked(comm, comm->sum(comm, &count, 1, error), error));
        first = count > 0 ? first : middle;
        end = count > 0 ? middle : end;
    }
    *rank = end > 0 ? first : -1;
    return MC_OK;
}

/* Puts "process 3 on HOST: " before the error of another process. */
static void name_process(mc_error *error, int rank, const char *host)
{
    char text[sizeof error->text];
    memcpy(text, error->text, sizeof text);
    snprintf(error->text, sizeof error->text, "process %d on %s: %.*s", rank, host,
             (int)sizeof text - 300, text);
}

mc_status mc_comm_agree(const mc_comm *comm, mc_status status, mc_error *error)
{
    struct {
        mc_error error;
        char host[256];
    } told = {.error = MC_ERROR_NONE};
    int root = -1;
    if (!comm)
        return status;
    MC_TRY(first_failed(comm, status != MC_OK, &root, error));
    if (root < 0)
        return MC_OK;
    if (root == comm->rank) {
        if (error)
            told.error = *error;
        told.error.code = status;
        snprintf(told.host, sizeof told.host, "%s", comm->host);
    }
    MC_TRY(checked(comm, comm->broadcast(comm, &told, sizeof told, root, error), error));
    if (status != MC_OK)
        return status;
    if (error) {
        *error = told.error;
        name_process(error, root, told.host);
    }
    return told.error.code;
}

void mc_comm_part(const mc_comm *comm, size_t count, int rank, size_t *first, size_t *end)
{
    const size_t size = (size_t)mc_comm_size(comm), r = (size_t)rank;
    *first = count / size * r + count % size * r / size;
    *end = count / size * (r + 1) + count % size * (r + 1) / size;
}

mc_status mc_comm_gather(const mc_comm *comm, void *items, size_t count, size_t size,
                         mc_error *error)
{
    for (int rank = 0; rank < mc_comm_size(comm); rank++) {
        size_t first, end;
        mc_comm_part(comm, count, rank, &first, &end);
        MC_TRY(mc_comm_broadcast(comm, (char *)items + first * size, (end - first) * size, rank,
                                 error));
    }
    return MC_OK;
}
