/*
 * Symmetric matrices, row-major and in double: the largest eigenvalues with their vectors, and the
 * inverse root. Both reduce the matrix to tridiagonal form and do as little as possible with that.
 * Only its upper triangle is read. As in linalg.h, nothing allocates. The caller checks sizes.
 *
 * Errors of all: MC_UNSUPPORTED  LAPACK cannot index work arrays of this size
 *                MC_FORMAT       LAPACK did not converge
 */
#ifndef MC_LINALG_SYMMETRIC_H
#define MC_LINALG_SYMMETRIC_H

#include "linalg/lapack.h"

/*
 * All eigenvalues of A [n, n], which is positive semidefinite, descending, and the eigenvectors of
 * the `count` largest as rows of `vectors` [count, n]. Eigenvalues up to DBL_EPSILON · n · w[0] are
 * rounding: they and their vectors become zero. `a` is overwritten.
 */
size_t mc_leading_work(size_t n);
mc_status mc_leading(const mc_lapack *lapack, size_t n, size_t count, double *a, double *w,
                     double *vectors, double *work, mc_error *error);

/*
 * The inverse root of A [n, n] over its eigenvalues above share · the largest one, and in *trace
 * the sum of the roots of its eigenvalues. `share` ≥ DBL_EPSILON · n. `a` is overwritten.
 */
size_t mc_inverse_root_work(size_t n);
mc_status mc_inverse_root(const mc_lapack *lapack, size_t n, double share, double *a, double *root,
                          double *trace, double *work, mc_error *error);

#endif
