/* The weights of a network, in the form that its operations read. */
#ifndef MC_NN_WEIGHTS_H
#define MC_NN_WEIGHTS_H

#include "nn/network.h"

#include <mergecraft/state_dict.h>

typedef struct mc_stored_weight {
    float *values;      /* tables, vectors and biases */
    mc_packed **packed; /* matrices: each part */
    int panels;         /* parts */
    float *scales;      /* int8 matrices: per row, as in mc_int8_columns */
    int32_t *zeros;
} mc_stored_weight;

typedef struct mc_weights {
    const mc_network *network;
    mc_stored_weight *stored; /* one per weight of the network; NULL before the first load */
    mc_product **products;    /* one per shape */
    size_t product_count, product_capacity;
    size_t product_scratch; /* bytes that the largest needs */
    bool loaded;
} mc_weights;

/*
 * Reads each weight of the network once, on `threads` threads, until *cancel is not 0 (NULL:
 * never). The first call allocates memory, after it has checked all shapes. After an error nothing
 * is loaded.
 */
mc_status mc_weights_load(mc_weights *weights, const mc_state_dict *from, int threads,
                          const volatile int *cancel, mc_error *error);
void mc_weights_free(mc_weights *weights);

#endif
