/*
 * Approximating vectors by few others, the points: orthogonal matching pursuit and nearest
 * neighbours. The products of targets and points are computed in float32 by BLAS, everything else
 * in double. The same bits for any number of threads on one machine.
 */
#ifndef MC_TRANSPLANT_PURSUIT_H
#define MC_TRANSPLANT_PURSUIT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mc_points {
    const float *rows; /* [count, width], finite */
    size_t count, width;
} mc_points;

/*
 * Sparse combinations: for each target `terms` points and their weights. Fewer terms end with
 * points of weight 0.
 */
typedef struct mc_combinations {
    size_t terms;
    uint32_t *points; /* [targets, terms] */
    double *weights;
} mc_combinations;

/*
 * Orthogonal matching pursuit (Pati, Rezaiifar, Krishnaprasad 1993): the point whose product with
 * what is left of the target is largest is added, and the weights of all points so far are those
 * of least squares. Ends early when nothing is left, or when the next point depends on the others.
 * `out` has memory for all targets; terms ≤ points->count.
 *
 * Errors: MC_UNSUPPORTED  LAPACK is not installed
 */
mc_status mc_pursue(const mc_points *points, const float *targets, size_t count, int threads,
                    mc_combinations *out, mc_error *error);

/* The nearest points by Euclidean distance, weighted by its inverse (Shepard's interpolation). */
mc_status mc_nearest(const mc_points *points, const float *targets, size_t count, int threads,
                     mc_combinations *out, mc_error *error);

#endif
