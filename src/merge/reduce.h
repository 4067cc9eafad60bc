/*
 * The statistics of one layer, evaluated in rounds, with the same result however the layer is cut
 * and whichever threads take part.
 *
 *     begin ─▶ round: take tiles, accumulate each, add partial results ─▶ end of round ─▶ done
 *                ▲                                                            │
 *                └──────────────────── *more ─────────────────────────────────┘
 *
 * Partial results of leaves (MC_LEAF elements) are combined along a fixed binary tree, in which
 * node (level, i) = node (level − 1, 2i) + node (level − 1, 2i + 1), if the right one exists. A
 * tile of a power of two of leaves, aligned to its size, is a node of that tree. Statistics that
 * are order_free need no tree: each thread accumulates tile after tile into one partial result.
 * Their tiles have whole rows if the scope is MC_ROW, except in rounds that look at some leaves
 * only.
 *
 * Thread-safety: threads that share a reduction guard mc_reduction_take with a lock, and
 * mc_reduction_add with the same or another one. mc_reduction_accumulate needs none.
 * mc_reduction_end_round wants the reduction for itself.
 */
#ifndef MC_MERGE_REDUCE_H
#define MC_MERGE_REDUCE_H

#include "base/comm.h"
#include "merge/workspace.h"

typedef struct mc_reduction {
    const mc_job *job;
    const mc_statistics *statistics;
    int64_t leaves_tile; /* elements of a tile that is a power of two of leaves */
    int64_t tile;   /* elements that are taken at a time in this round: as many, or whole rows */
    int64_t stride; /* every how many leaves this round looks at one */
    int64_t next;   /* the first element that nobody has taken in this round */
    int round;
    void *state; /* what the method knows so far */
    void *nodes; /* partial results of this round: one per tile, or one if order_free */
    size_t partial_size, partial_zeros;
} mc_reduction;

/* The partial result that one thread works on. Zero-initialise. */
typedef struct mc_partial {
    void *memory;
    size_t size;
    const mc_reduction *of; /* whose round it belongs to, if order_free and not yet added */
} mc_partial;

void mc_partial_free(mc_partial *partial);

/*
 * Begins the first round; `tile` is a power of two of leaves. Call mc_reduction_free also after a
 * failure.
 */
mc_status mc_reduction_begin(mc_reduction *reduction, const mc_job *job, int64_t tile,
                             mc_error *error);
void mc_reduction_free(mc_reduction *reduction);

/* Whether tiles of this round are left. */
bool mc_reduction_has_tiles(const mc_reduction *reduction);

/* Takes the next tile of this round; false if none is left. */
bool mc_reduction_take(mc_reduction *reduction, int64_t *first, int64_t *count);

/* Accumulates a tile that was taken. If order_free, into `partial`, which is to be added. */
mc_status mc_reduction_accumulate(const mc_reduction *reduction, mc_partial *partial,
                                  mc_workspace *workspace, int64_t first, int64_t count,
                                  mc_error *error);

/* Adds what the thread has accumulated in this round; nothing unless order_free. */
void mc_reduction_add(mc_reduction *reduction, mc_partial *partial);

/*
 * All tiles are accumulated and added: lets the method digest them. *more: a new round has begun.
 */
mc_status mc_reduction_end_round(mc_reduction *reduction, bool *more, mc_error *error);

/* Runs all rounds in this thread. *state: new memory that the caller frees. */
mc_status mc_reduction_run(const mc_job *job, mc_workspace *workspace, void **state,
                           mc_error *error);

/* The same, of which every process does a part; collective. Every process gets the state. */
mc_status mc_reduction_run_together(const mc_job *job, const mc_comm *comm, mc_workspace *workspace,
                                    void **state, mc_error *error);

#endif
