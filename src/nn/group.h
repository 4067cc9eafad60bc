/*
 * A group: sequences that go through the network together, and the memory for what is computed of them. One thread computes a group, or a
 * team does, each member its part.
 */
#ifndef MC_NN_GROUP_H
#define MC_NN_GROUP_H

#include "base/team.h"
#include "nn/encoder.h"
#include "nn/kernels.h"
#include "nn/weights.h"

/* The values of the network, of one group. Products write whole blocks of rows: there is room for those. */
typedef struct mc_values {
    float **floats; /* [value_count]; NULL: not kept in this form */
    void **inputs;  /* in the form that products read */
} mc_values;

/* What a thread needs beside. */
typedef struct mc_nn_workspace {
    float *attention;
    void *product;
    int32_t *sums; /* of int8: of a block, and what becomes of it */
    float *block;
} mc_nn_workspace;

/* One thread's memory. */
typedef struct mc_worker {
    mc_values values;
    mc_nn_workspace workspace;
    char *values_memory, *workspace_memory;
    size_t values_size, workspace_size;
} mc_worker;

/* How far a call is; shared by all its threads. */
typedef struct mc_meter {
    const mc_watch *watch;
    _Atomic size_t steps; /* tokens that have passed an operation, of all operations */
} mc_meter;

typedef struct mc_group {
    const mc_network *network;
    const mc_weights *weights;
    const mc_nn_kernels *kernels;
    const mc_batch *batch;
    size_t first, count; /* sequences */
    size_t tokens, longest;
    mc_meter *meter;
    bool calls_back; /* this is the thread that reports progress */
    mc_team *team;   /* NULL: one thread computes it */
    int member;
    mc_values *values;          /* of all members */
    mc_nn_workspace *workspace; /* of this one */
} mc_group;

/* Room for the values of the group, in `worker`, and for what a thread needs to compute it. Both may be used again, for another group. */
mc_status mc_group_have_values(mc_group *group, mc_worker *worker, mc_error *error);
mc_status mc_group_have_workspace(mc_group *group, mc_worker *worker, mc_error *error);
void mc_worker_free(mc_worker *worker);

/* Rows of a value: tokens or sequences; and how many there is room for, as products write whole blocks. */
size_t mc_group_rows(const mc_group *group, int value);
size_t mc_group_room(const mc_group *group, int value);
/* Of a value of int8: what one step of each row stands for. */
float *mc_group_scales(const mc_group *group, int value);
/* The row of the first token of a sequence, sequence ≤ count. */
size_t mc_group_start(const mc_group *group, size_t sequence);

/* Computes the network, or this member's part of it; after another member has failed, less, and the status is MC_OK here. */
mc_status mc_group_run(const mc_group *group, mc_error *error);

#endif
