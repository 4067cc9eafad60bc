/*
 * Statistics over a layer, cut in any way, with one result: partial results of leaves (MC_LEAF elements) are combined
 * along a fixed binary tree, in which node (level, i) = node (level − 1, 2i) + node (level − 1, 2i + 1), if there is a right one. A
 * tile of a power of two of leaves, aligned to its size, is a node of that tree.
 */
#ifndef MC_MERGE_REDUCE_H
#define MC_MERGE_REDUCE_H

#include "merge/merged.h"

/* Combines `count` neighbouring nodes of one level, `size` bytes each, into the first. */
void mc_reduce_nodes(const mc_merged *merged, const mc_layer *layer, void *nodes, size_t size,
                     size_t count);

/* The node of the loaded tile, into the first of `nodes`, which has room for one (of `size` bytes) a leaf. */
mc_status mc_reduce_tile(const mc_merged *merged, mc_workspace *workspace, void *nodes, size_t size,
                         mc_error *error);

/* Elements that round `round` looks at in [first, first + count): a tile without any need not be read. */
bool mc_reduce_wants(int64_t stride, int64_t first, int64_t count);

/* Bytes of a partial result in the round that layer->state has come to, and how many of them must be zero at first. */
size_t mc_reduce_size(const mc_merged *merged, const mc_layer *layer, size_t *zeros);

/*
 * Reads the wanted leaves of elements first … first + count − 1 and accumulates them into `partial`: for statistics that are
 * order_free.
 */
mc_status mc_reduce_accumulate(const mc_merged *merged, mc_workspace *workspace, int64_t first,
                               int64_t count, int64_t stride, void *state, void *partial,
                               mc_error *error);

/* A new state for the first round (mc_free); NULL: no memory. */
void *mc_reduce_state(const mc_merged *merged);

/* Digests a round's total; *more: there is another round. */
mc_status mc_reduce_next(const mc_merged *merged, int round, void *state, const void *total,
                         bool *more, mc_error *error);

/* Runs all rounds in this thread. *state: new memory, the caller frees it. */
mc_status mc_reduce_all(const mc_merged *merged, mc_workspace *workspace, void **state,
                        mc_error *error);

#endif
