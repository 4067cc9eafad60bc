/*
 * A group: sequences that pass through the network together, and the memory for it. One thread
 * computes a group, or a team does, each member its share of every operation.
 */
#ifndef MC_NN_GROUP_H
#define MC_NN_GROUP_H

#include "base/team.h"
#include "nn/encoder.h"
#include "nn/kernels.h"
#include "nn/scratch.h"
#include "nn/weights.h"

/* How far a call is; shared by its threads. */
typedef struct mc_meter {
    const mc_watch *watch;
    _Atomic size_t steps; /* tokens that have passed an operation, summed over operations */
} mc_meter;

/*
 * Rows of a value are sequences, or tokens without padding: sequence i of a group has rows start(i)
 * … start(i + 1) − 1. Room is the rows rounded up to whole blocks of a product.
 */
typedef struct mc_group {
    const mc_network *network;
    const mc_weights *weights;
    const mc_nn_kernels *kernels;
    const mc_batch *batch;
    size_t first, count; /* sequences */
    size_t tokens, longest;
    mc_meter *meter;
    bool calls_back; /* this is the thread that reports progress */
    mc_team *team;   /* NULL: one thread computes the group */
    int member;
    mc_values *values;          /* of all members */
    mc_nn_workspace *workspace; /* of this one */
} mc_group;

/*
 * Make room in `worker` for the group's values, and for what a thread needs to compute it. Both are
 * reused for the next group.
 */
mc_status mc_group_reserve_values(mc_group *group, mc_worker *worker, mc_error *error);
mc_status mc_group_reserve_workspace(mc_group *group, mc_worker *worker, mc_error *error);

/* Rows of a value. */
size_t mc_group_rows(const mc_group *group, int value);
/* Rows that a value has memory for: products write whole blocks. */
size_t mc_group_room(const mc_group *group, int value);
/* int8: the scale of each row of a value. */
float *mc_group_scales(const mc_group *group, int value);
/* The row of a sequence's first token; sequence ≤ count. */
size_t mc_group_start(const mc_group *group, size_t sequence);

#endif
