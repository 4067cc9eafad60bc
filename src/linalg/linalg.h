/*
 * Dense linear algebra on row-major matrices, in double unless stated otherwise, for methods that
 * need singular vectors or solve systems. Nothing here allocates: each function takes a work array,
 * and its twin `…_work` returns how many doubles that must hold. Functions are thread-safe and give
 * the same bits whatever other threads do. Across CPUs results differ by rounding, since BLAS picks
 * its kernels by CPU.
 *
 * Errors of all: MC_UNSUPPORTED  LAPACK is not installed
 *                MC_FORMAT       the input holds NaN or infinities, or LAPACK did not converge
 */
#ifndef MC_LINALG_LINALG_H
#define MC_LINALG_LINALG_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether the library that everything here needs is installed; loads it. */
mc_status mc_linalg_check(mc_error *error);

/* C [m, n] = alpha · op(A) · op(B) + beta · C; op(A) is [m, k], op(B) is [k, n]. */
typedef enum mc_transpose { MC_PLAIN, MC_TRANSPOSED } mc_transpose;
mc_status mc_product(mc_transpose ta, mc_transpose tb, size_t m, size_t n, size_t k, double alpha,
                     const double *a, const double *b, double beta, double *c, mc_error *error);

/* The same in float, at twice the speed: for values that are rounded to float32 afterwards. */
mc_status mc_product_f32(mc_transpose ta, mc_transpose tb, size_t m, size_t n, size_t k,
                         float alpha, const float *a, const float *b, float beta, float *c,
                         mc_error *error);

/*
 * The rounding error of a product grows with the norms of its factors. Those of orthonormal factors
 * are as small as they can be; up to this many times their product, the result in float32 is still
 * right to 3e-6 of its norm. A singular value decomposition in float32 is not better.
 */
#define MC_NEAR_ORTHONORMAL 4.0

/* Multiplies column j of A [m, n] by s[j]. */
void mc_scale_columns(double *a, const double *s, size_t m, size_t n);

/* Rounds an array to float32 in place, for such a product. Returns the same address. */
float *mc_narrow(double *a, size_t count);

/*
 * How singular values are found.
 *
 * MC_SVD_EXACT: LAPACK's dgesdd on the matrix itself; small singular values are right to
 * 1e-16 · s[0].
 * MC_SVD_GRAM: eigenvalues of AᵀA or AAᵀ, whichever is smaller: five times faster, but values below
 * 1e-8 · s[0] are noise. That is enough for weights stored as float32 or less, whose own rounding
 * is larger.
 */
typedef enum mc_svd_kind { MC_SVD_EXACT, MC_SVD_GRAM } mc_svd_kind;

/*
 * The kind for a layer: exact for float64 weights and for small matrices, where both are fast.
 * `wide`: whether the weights are float64.
 */
mc_svd_kind mc_svd_kind_for(size_t m, size_t n, int wide);

/*
 * Singular values at most this factor · max(m, n) · s[0] belong to rounding: their singular vectors
 * are arbitrary, and callers drop them. The machine epsilon of float32, or of float64 if `wide`.
 */
double mc_svd_epsilon(int wide);

/* How many of s[count], descending, are above epsilon · max(m, n) · s[0]. */
size_t mc_svd_rank(const double *s, size_t count, size_t m, size_t n, double epsilon);

/*
 * Thin singular value decomposition A [m, n] = U diag(s) Vt, k = min(m, n): all singular values s
 * [k], descending, and the vectors of the `count` ≤ k largest: u [m, count], vt [count, n]. `a` is
 * overwritten. With MC_SVD_GRAM, vectors of zero singular values are zero. Where a method needs few
 * vectors, a small count saves a third of the time.
 */
size_t mc_svd_work(size_t m, size_t n, mc_svd_kind kind);
mc_status mc_svd(mc_svd_kind kind, size_t m, size_t n, size_t count, double *a, double *u,
                 double *s, double *vt, double *work, mc_error *error);

/*
 * The nearest partial isometry: out [m, n] = U Vᵀ over the singular values of A that are above
 * epsilon · max(m, n) · s[0]. If `sum` is not NULL, *sum is the sum of all singular values. With
 * MC_SVD_GRAM and the epsilon of float32, all steps after the tridiagonal form are in float32,
 * unless A is badly conditioned in more than a few directions. Then *narrow becomes true, and `out`
 * holds floats; if it is NULL, they are converted. `a` is overwritten; out must not overlap it.
 */
size_t mc_polar_work(size_t m, size_t n, mc_svd_kind kind);
mc_status mc_polar(mc_svd_kind kind, size_t m, size_t n, double *a, double epsilon, double *out,
                   bool *narrow, double *sum, double *work, mc_error *error);

/*
 * What makes A [m, n] that isometry, found as with MC_SVD_GRAM: of its columns, root [n, n] =
 * (AᵀA)^(−½) with U Vᵀ = A root; of its rows, root [m, m] = (AAᵀ)^(−½) with U Vᵀ = root A.
 */
typedef enum mc_gram_of { MC_COLUMNS, MC_ROWS } mc_gram_of;
size_t mc_polar_root_work(mc_gram_of side, size_t m, size_t n);
mc_status mc_polar_root(mc_gram_of side, size_t m, size_t n, const double *a, double epsilon,
                        double *root, double *sum, double *work, mc_error *error);

/* Eigenvalues of a symmetric A [n, n], ascending; row i of a becomes the eigenvector of w[i]. */
size_t mc_eigen_work(size_t n);
mc_status mc_eigen(size_t n, double *a, double *w, double *work, mc_error *error);

/* A [m, n] = Q R with m ≥ n: a becomes Q [m, n], r [n, n] is upper triangular. */
size_t mc_qr_work(size_t m, size_t n);
mc_status mc_qr(size_t m, size_t n, double *a, double *r, double *work, mc_error *error);

/*
 * X [m, n] of X A = B for a symmetric A [n, n] that may be singular, and whose elements are rounded
 * by up to `rounding` · √(A_ii A_jj). By Cholesky if A, scaled to ones on its diagonal, is regular
 * beyond rounding; in float if `rounding` is float's own, or more, and the lowest eigenvalue of the
 * scaled A is far from 0. Else by eigenvalues without those up to rounding · √n · max A_ii. `a` is
 * overwritten, b [m, n] becomes X. *lowest: the lowest eigenvalue; 0 if Cholesky was enough.
 */
size_t mc_semidefinite_work(size_t m, size_t n);
mc_status mc_solve_semidefinite(size_t m, size_t n, double *a, double *b, double rounding,
                                double *lowest, double *work, mc_error *error);

#endif
