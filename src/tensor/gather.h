/*
 * Gathered tensors: lazily, the entries of other tensors along one axis, the rows, in an order and
 * number of their own. Models whose vocabularies differ get embeddings with the same rows this way:
 * nothing is copied, and each tile reads what it needs.
 *
 *     row r of result k      where it comes from
 *     a rule with force      as the rule specifies
 *     ids[k][r] ≥ 0          that row of input k
 *     a rule without force   as the rule specifies
 *     otherwise              the stand-in: the row of the only input that has one, else of the
 *                            base if it has one, else the mean of those that have one, else zeros
 *     r ≥ rows               padding: the mean of rows 0 … rows − 1 of the same result
 */
#ifndef MC_TENSOR_GATHER_H
#define MC_TENSOR_GATHER_H

#include "tensor/source.h"

#include <stddef.h>

typedef struct mc_gather_input {
    mc_source *source;
    const int32_t *ids; /* [rows]: the row in `source`; −1: it has none */
} mc_gather_input;

/* In the place of an input: zeros, or the stand-in. */
#define MC_GATHER_ZERO (-1)
#define MC_GATHER_STAND_IN (-2)

/* Where one row comes from, other than by ids and stand-in. */
typedef struct mc_gather_rule {
    int32_t row;
    int32_t input; /* index among the inputs, MC_GATHER_ZERO or MC_GATHER_STAND_IN */
    int32_t from;  /* its row */
    bool force;    /* also for inputs that have the row */
} mc_gather_rule;

typedef struct mc_gather {
    int axis;
    const mc_gather_input *inputs;
    size_t input_count;
    size_t base;                 /* index of the base among the inputs; input_count: none */
    size_t rows;                 /* that have ids */
    size_t padded;               /* rows of the result, at least `rows` */
    const mc_gather_rule *rules; /* ascending by row, at most one per row */
    size_t rule_count;
    mc_dtype mean; /* in which means over inputs are added and divided */
} mc_gather;

/*
 * Makes one tensor per input: out[input_count], each of its input's dtype. Tables are copied, and
 * sources referenced. Means are summed in the order of the inputs, and each operation is rounded to
 * `mean`, as torch does on tensors of that dtype.
 *
 * Errors: MC_MISMATCH     inputs whose shapes differ in more than the axis, or a row that an input
 *                         lacks
 *         MC_UNSUPPORTED  the axis does not exist, or elements are not whole bytes
 */
mc_status mc_gather_new(const mc_gather *gather, mc_source **out, mc_error *error);

/* A number that depends on all tables of a gathered tensor; 0 of any other source. */
uint64_t mc_gather_hash(const mc_source *source);

#endif
