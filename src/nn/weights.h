/* The weights of a network, as its operations read them. */
#ifndef MC_NN_WEIGHTS_H
#define MC_NN_WEIGHTS_H

#include "nn/network.h"

#include <mergecraft/state_dict.h>

typedef struct mc_stored_weight {
    float *values;      /* tables, vectors and biases */
    mc_packed **packed; /* matrices: each part */
    int panels;         /* parts */
    float *scales;      /* matrices of int8: of each row, as mc_int8_columns has them */
    int32_t *zeros;
} mc_stored_weight;

typedef struct mc_weights {
    const mc_network *network;
    mc_stored_weight
        *stored; /* one for each of the network's weights; NULL before the first loading */
    mc_product **products; /* one for each shape that occurs */
    size_t product_count, product_capacity;
    size_t product_scratch; /* the most that one needs */
    bool loaded;
} mc_weights;

/*
 * Reads each weight of the network once, on `threads` threads. Memory is allocated the first time, when all shapes are known to be
 * what the network expects. After an error nothing is loaded.
 */
mc_status mc_weights_load(mc_weights *weights, const mc_state_dict *from, int threads,
                          const volatile int *cancel, mc_error *error);
void mc_weights_free(mc_weights *weights);

#endif
