/*
 * A network as data: values, weights by their names in the state dict, and a list of operations.
 * weights.c loads it and ops.c computes it; neither knows an architecture.
 */
#ifndef MC_NN_NETWORK_H
#define MC_NN_NETWORK_H

#include "base/json.h"
#include "nn/onednn.h"

/* A value has one row per token, or one per sequence. */
typedef enum mc_rows { MC_ROWS_TOKENS, MC_ROWS_SEQUENCES } mc_rows;

typedef struct mc_nn_value {
    mc_rows rows;
    int width;
    int panels; /* of width / panels columns each, stored one after the other */
    /*
     * Who reads it: other operations, in float32; products, in the network's dtype. It is stored in
     * both forms if both do.
     */
    bool floats, inputs;
} mc_nn_value;

typedef enum mc_op_kind {
    /* out = sum of rows of tables: by token id, by position, by segment type (−1: no such table) */
    MC_OP_EMBED,
    /* out = layer normalisation of in[0] (+ in[1], −1: none); weights: gain, shift */
    MC_OP_NORMALIZE,
    /* out = activation(in[0] · weightᵀ + bias); weights: weight, bias */
    MC_OP_PRODUCT,
    /* out = attention of queries in[0] over keys in[1] and values in[2], within each sequence */
    MC_OP_ATTENTION,
    /* out = the first row of each sequence of in[0] */
    MC_OP_FIRST,
    /* out = activation(in[0]); only in networks of mc_network_build_plain */
    MC_OP_ACTIVATE
} mc_op_kind;

/* Values and weights are indices; −1: none. */
typedef struct mc_op {
    mc_op_kind kind;
    int in[3], out;
    int weights[3];
    mc_activation activation; /* PRODUCT, ACTIVATE */
    int block;                /* the transformer block that it belongs to; −1: none */
} mc_op;

typedef enum mc_weight_kind {
    MC_WEIGHT_TABLE,  /* float32 rows, as stored */
    MC_WEIGHT_VECTOR, /* float32 */
    MC_WEIGHT_MATRIX, /* packed for products */
    MC_WEIGHT_BIAS    /* of the matrix before it, and kept with that */
} mc_weight_kind;

typedef struct mc_weight {
    char *name;
    mc_weight_kind kind;
    int rank;
    int64_t shape[2];
    mc_activation activation; /* MATRIX: of the product */
    /*
     * MATRIX: parts that it is cut into, so that each stays in a core's cache while many rows are
     * multiplied by it. By rows if the product's result has panels, by columns if its input has
     * (the parts' products are then added); 1: not cut.
     */
    int row_panels, column_panels;
    /* MATRIX: dtype of the product's result; MC_I32 is converted to what the value needs. */
    mc_dtype result;
} mc_weight;

/* How tokens get their position numbers. */
typedef enum mc_positions {
    MC_POSITIONS_PLAIN, /* 0, 1, … */
    /* padding + 1, padding + 2, …; a padding token has number `padding` and is not counted */
    MC_POSITIONS_OFFSET
} mc_positions;

typedef struct mc_network {
    mc_dtype dtype; /* of products; MC_I8: rows of int8 with one scale each */
    int vocabulary, max_length, types, labels, heads, padding;
    mc_positions positions;
    float epsilon;

    mc_nn_value *values;
    mc_weight *weights;
    mc_op *ops;
    size_t value_count, weight_count, op_count;
    size_t value_capacity, weight_capacity, op_capacity;
    int result; /* the value with the logits */
    int blocks; /* transformer blocks */
} mc_network;

/*
 * Builds the network that a config.json describes; errors name it as `file`. Call mc_network_free
 * also after an error.
 *
 * Errors: MC_UNSUPPORTED  the architecture, activation or kind of positions is not known
 *         MC_FORMAT       a setting has an impossible value
 */
mc_status mc_network_build(mc_network *network, const json_t *config, const char *file,
                           mc_dtype dtype, mc_error *error);
/*
 * The same network for derivatives, in float32: each value is written by one operation, activations
 * are operations of their own, and no value has panels. `whole`: all tokens pass through the last
 * block, although the head reads the first one only.
 */
mc_status mc_network_build_plain(mc_network *network, const json_t *config, const char *file,
                                 bool whole, mc_error *error);
void mc_network_free(mc_network *network);

/*
 * The first operation of a block. Block −1: of those before the first block (embeddings); block
 * `blocks`: of those after the last one (the head).
 */
size_t mc_network_first(const mc_network *network, int block);
/* The value that a block turns into the next one's: the input of block 0 … blocks. */
int mc_network_state(const mc_network *network, int block);

#endif
