/*
 * Processes that run one merge together, on one machine or several.
 *
 * The library depends on no means of communication. A program implements the functions of this
 * table, as mergecraft-mpi does with MPI, and sets mc_run_options.comm. All processes then call
 * mc_plan_run with equal plans and the same folder, on a file system that all of them share. Each
 * process computes a share of the output; process 0 writes the files beside the weights. The result
 * has the same bytes as that of one process.
 *
 * Thread-safety: the library calls the functions from the thread that calls mc_plan_run.
 */
#ifndef MERGECRAFT_COMM_H
#define MERGECRAFT_COMM_H

#include <mergecraft/error.h>

MC_BEGIN_DECLS

typedef struct mc_comm mc_comm;

/*
 * Borrowed until mc_plan_run returns. broadcast and sum are collective: every process calls them in
 * the same order, and each call returns once this process may continue.
 *
 * Errors of both: MC_IO  the communication failed
 */
struct mc_comm {
    int rank, size;   /* this process, 0 ≤ rank < size, and the number of processes */
    const char *host; /* the name of this process's machine, for messages */
    /* Copies the `size` bytes of process `root` to every process. */
    mc_status (*broadcast)(const mc_comm *comm, void *bytes, size_t size, int root,
                           mc_error *error);
    /* Replaces each of `count` values by its sum over all processes; sums wrap around. */
    mc_status (*sum)(const mc_comm *comm, int64_t *values, size_t count, mc_error *error);
    /*
     * Ends all processes after this one has failed with `error`, so that none waits for it. Not
     * collective. It may return; then the caller returns the error.
     */
    void (*abort)(const mc_comm *comm, const mc_error *error);
    void *user;        /* for the functions; the library does not use it */
    void *reserved[4]; /* must be zero */
};

MC_END_DECLS

#endif
