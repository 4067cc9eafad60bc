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

#include <stdbool.h>

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

/*
 * The same for a product in float, whose rounding error grows with the norm of the root. The root
 * is in float if its norm is at most `limit`. If the norm is larger, the vectors of the lowest
 * eigenvalues, which dominate it, are set apart if that is enough:
 *
 *     A^(−½) = root + Σ factors[i] vᵢ vᵢᵀ with vᵢ in row i of vectors [apart, n].
 *
 * The caller provides both arrays if limit > 0. *out: whether `root` holds floats, and how many
 * vectors are apart: MC_ROOT_APART or none. If not narrow, `root` is as mc_inverse_root leaves it.
 * A random square matrix of 768 rows, of which A is the Gram matrix, needs some 20 vectors apart.
 */
enum { MC_ROOT_APART = 32 };
typedef struct mc_narrow_root {
    double *vectors, *factors;
    size_t apart;
    bool narrow;
} mc_narrow_root;
mc_status mc_inverse_root_f32(const mc_lapack *lapack, size_t n, double share, double limit,
                              double *a, double *root, double *trace, mc_narrow_root *out,
                              double *work, mc_error *error);

#endif
