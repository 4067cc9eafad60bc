/*
 * A network as data: values, weights by their names in the state dict, and a list of operations on them. How it is loaded
 * (weights.c) and computed (run.c) knows nothing of architectures.
 */
#ifndef MC_NN_NETWORK_H
#define MC_NN_NETWORK_H

#include "base/json.h"
#include "nn/onednn.h"

/* A value has a row for each token, or one for each sequence. */
typedef enum mc_rows { MC_ROWS_TOKENS, MC_ROWS_SEQUENCES } mc_rows;

typedef struct mc_value {
    mc_rows rows;
    int width;
    int panels; /* of width / panels columns each, kept one after the other */
    /* Who uses it: other operations, in float32; products, in the network's dtype. It is kept in both forms if both do. */
    bool floats, inputs;
} mc_value;

typedef enum mc_op_kind {
    MC_OP_EMBED, /* out = sum of rows of tables[…]: by token id, by position, by segment type (−1: no such table) */
    MC_OP_NORMALIZE, /* out = layer normalisation of in[0] (+ in[1], −1: none), weights: gain, shift */
    MC_OP_PRODUCT, /* out = activation(in[0] · weightᵀ + bias), weights: weight, bias */
    MC_OP_ATTENTION, /* out = attention of queries in[0] on keys in[1] and values in[2], in each sequence */
    MC_OP_FIRST /* out = the first row of each sequence of in[0] */
} mc_op_kind;

/* Values and weights are indices; −1: none. */
typedef struct mc_op {
    mc_op_kind kind;
    int in[3], out;
    int weights[3];
    mc_activation activation; /* PRODUCT */
} mc_op;

typedef enum mc_weight_kind {
    MC_WEIGHT_TABLE,  /* float32 rows, as they are */
    MC_WEIGHT_VECTOR, /* float32 */
    MC_WEIGHT_MATRIX, /* packed for products */
    MC_WEIGHT_BIAS    /* kept beside the matrix before it */
} mc_weight_kind;

typedef struct mc_weight {
    char *name;
    mc_weight_kind kind;
    int rank;
    int64_t shape[2];
    mc_activation activation; /* MATRIX: what follows */
    /*
     * MATRIX: parts that it is cut into, each of which stays in a core's cache while many rows are multiplied by it. By rows if the product has
     * panels, by columns if what is multiplied has them (then the parts' products are added); 1: whole.
     */
    int row_panels, column_panels;
    mc_dtype
        result; /* MATRIX: dtype of what the product itself gives; MC_I32 becomes what the value asks for */
} mc_weight;

/* How position numbers are given to tokens. */
typedef enum mc_positions {
    MC_POSITIONS_PLAIN, /* 0, 1, … */
    MC_POSITIONS_OFFSET /* padding + 1, padding + 2, …; a padding token has `padding` and does not count */
} mc_positions;

typedef struct mc_network {
    mc_dtype
        dtype; /* of products; MC_I8: rows of int8 with a scale each, made when they are needed */
    int vocabulary, max_length, types, labels, heads, padding;
    mc_positions positions;
    float epsilon;

    mc_value *values;
    mc_weight *weights;
    mc_op *ops;
    size_t value_count, weight_count, op_count;
    size_t value_capacity, weight_capacity, op_capacity;
    int result; /* the value with the logits */
} mc_network;

/*
 * The network that a config.json describes; `file` names it in errors. MC_UNSUPPORTED for an architecture, an activation or a kind
 * of positions that is not known, MC_FORMAT for numbers that cannot be. Free with mc_network_free also after an error.
 */
mc_status mc_network_build(mc_network *network, const json_t *config, const char *file,
                           mc_dtype dtype, mc_error *error);
void mc_network_free(mc_network *network);

#endif
