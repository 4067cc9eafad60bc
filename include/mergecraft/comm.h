/*
 * Processes that run one merge together, on one machine or several.
 *
 * The library does not know how they talk: a program fills this table, as mergecraft-mpi does with
 * MPI, and puts it into mc_run_options. All processes then call mc_plan_run with equal plans and
 * the same folder, which is on a file system that all of them share. Each computes a part of the
 * output; process 0 writes the files beside the weights. The result is the same bytes as that of
 * one process.
 */
#ifndef MERGECRAFT_COMM_H
#define MERGECRAFT_COMM_H

#include <mergecraft/error.h>

MC_BEGIN_DECLS

typedef struct mc_comm mc_comm;

/*
 * The functions are collective: every process calls them in the same order, from one thread at a
 * time. They return when this process may go on, or fail with MC_IO.
 */
struct mc_comm {
    int rank, size;   /* this process, 0 ≤ rank < size */
    const char *host; /* the name of its machine, for messages */
    /* Gives every process the `size` bytes that process `root` has. */
    mc_status (*broadcast)(const mc_comm *comm, void *bytes, size_t size, int root,
                           mc_error *error);
    /* Replaces each value by its sum over all processes; sums wrap around. */
    mc_status (*sum)(const mc_comm *comm, int64_t *values, size_t count, mc_error *error);
    /*
     * Ends all processes after this one has failed with `error`, so that none waits for it. It may
     * return; then the caller returns the error.
     */
    void (*abort)(const mc_comm *comm, const mc_error *error);
    void *user;
    void *reserved[4]; /* must be zero */
};

MC_END_DECLS

#endif
