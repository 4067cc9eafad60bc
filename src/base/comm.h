/* What processes of one merge do together. A NULL comm is a process alone: nothing happens. */
#ifndef MC_BASE_COMM_H
#define MC_BASE_COMM_H

#include <mergecraft/comm.h>

#include "base/error.h"

static inline int mc_comm_rank(const mc_comm *comm)
{
    return comm ? comm->rank : 0;
}

static inline int mc_comm_size(const mc_comm *comm)
{
    return comm ? comm->size : 1;
}

/* Collective, as in mc_comm. */
mc_status mc_comm_broadcast(const mc_comm *comm, void *bytes, size_t size, int root,
                            mc_error *error);
mc_status mc_comm_sum(const mc_comm *comm, int64_t *values, size_t count, mc_error *error);

/*
 * Collective. Returns MC_OK if every process passes MC_OK. Else every process fails: one that
 * failed keeps its own error, the others get the error of the failed process with the lowest rank,
 * named by rank and host.
 */
mc_status mc_comm_agree(const mc_comm *comm, mc_status status, mc_error *error);

/* The part [*first, *end) of `count` items that is this process's. */
void mc_comm_part(const mc_comm *comm, size_t count, int rank, size_t *first, size_t *end);

/*
 * Collective: gives every process all of `count` items of `size` bytes each, of which every process
 * has computed its part (mc_comm_part).
 */
mc_status mc_comm_gather(const mc_comm *comm, void *items, size_t count, size_t size,
                         mc_error *error);

#endif
