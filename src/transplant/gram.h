/*
 * The products of all pairs of points, in one byte each. With them, the products of all points and
 * the residual of a target take one pass over the rows of the points that were chosen so far,
 * instead of a matrix product of the full width.
 */
#ifndef MC_TRANSPLANT_GRAM_H
#define MC_TRANSPLANT_GRAM_H

#include "linalg/lapack.h"
#include "transplant/gram_table.h"
#include "transplant/pursuit.h"

#include <stdbool.h>

/* The lengths of points. */
typedef struct mc_norms {
    double *points;  /* [points] */
    double *largest; /* [blocks of MC_GRAM_BLOCK points] */
} mc_norms;

typedef struct mc_gram {
    const mc_points *points;
    const mc_norms *norms;
    size_t blocks, stride; /* of MC_GRAM_BLOCK points; points with the padding of the last block */
    int8_t *bytes;         /* [points, stride]: products divided by their scale; 0 with itself */
    float *scales;         /* [points, blocks] */
} mc_gram;

/*
 * Whether making it costs less than it saves for `count` targets, it fits the memory of the
 * machine, and no product overflows.
 */
bool mc_gram_pays(const mc_points *points, const mc_norms *norms, size_t count, size_t terms);

/* Borrows points and norms. Free with mc_gram_free, also after a failure. */
mc_status mc_gram_fill(const mc_points *points, const mc_norms *norms, const mc_lapack *lapack,
                       int threads, mc_gram *out, mc_error *error);
void mc_gram_free(mc_gram *gram);

/*
 * The largest possible error of a product in float32 of a vector of length 1 and a point of block
 * `block`, after `more` sums of such products; infinite where products may overflow.
 */
double mc_product_error(const mc_points *points, const mc_norms *norms, size_t block, size_t more);

/* A combination of points that is taken from a target of length 1. */
typedef struct mc_gram_terms {
    const uint32_t *points;
    const double *weights;
    size_t count;
} mc_gram_terms;

/*
 * products[p] ≈ point p · (target − Σ_k weights[k] · points[k]), from `initial`, the products of
 * the target in float32. bounds[b]: the largest possible error of those of block b. Both arrays
 * of products have `stride` elements.
 */
void mc_gram_update(const mc_gram *gram, const mc_gram_terms *terms, const float *initial,
                    float *products, double *bounds);

#endif
