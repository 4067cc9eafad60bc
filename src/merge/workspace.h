/*
 * The buffers of one thread: tiles of all inputs of a job, the result, and scratch. They grow as
 * needed and are reused from tile to tile, so that nothing is allocated in a steady state.
 */
#ifndef MC_MERGE_WORKSPACE_H
#define MC_MERGE_WORKSPACE_H

#include "merge/job.h"

/* Bytes that tiles of all threads together may take: what the caller asks for, or the default. */
int64_t mc_tile_memory(const mc_run_options *options);

/*
 * The same for tensors that are held as a whole, of which each thread may compute one. Unless the
 * caller sets a bound, they may take a quarter of the memory that is available: with less, threads
 * wait. Processes of one run, which may share a machine, share it.
 */
int64_t mc_whole_memory(const mc_run_options *options);

/* Zero-initialise. */
typedef struct mc_workspace {
    char *memory;
    size_t size;
    void *pointers; /* of the loaded tile, and in the second half those of the part */
    size_t pointer_size;
    mc_layer layer;       /* the tile that is loaded */
    mc_layer part;        /* some of its elements: mc_workspace_cut */
    const char *averaged; /* why the method averaged the tile; NULL: it did not */
} mc_workspace;

/* Frees the buffers; the workspace can be used again. */
void mc_workspace_free(mc_workspace *workspace);

/* Makes workspace->memory at least `size` bytes, aligned for vectors; its content is lost. */
mc_status mc_workspace_reserve(mc_workspace *workspace, size_t size, mc_error *error);

/* Bytes of a workspace for tiles of `count` elements, except a few for pointers. */
size_t mc_workspace_bytes(const mc_job *job, int64_t count);

/*
 * Reads elements first … first + count − 1 of all inputs and points workspace->layer to them. Side
 * inputs that are given as a whole are read if the tile is the whole tensor; else they are NULL.
 */
mc_status mc_workspace_load(mc_workspace *workspace, const mc_job *job, int64_t first,
                            int64_t count, const void *state, mc_error *error);

/* Points workspace->part to elements first … first + count − 1 of the loaded tile. */
void mc_workspace_cut(mc_workspace *workspace, const mc_job *job, size_t first, size_t count);

#endif
