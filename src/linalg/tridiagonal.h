/*
 * A symmetric tridiagonal matrix T [n, n], given by its diagonal d [n] and the elements e [n − 1]
 * beside it: some of its eigenvectors, and its inverse root. LAPACK computes all eigenvectors at
 * once, which takes as long as reducing a full matrix to T. Functions return false where they do
 * not apply, or where their result would not be accurate to rounding; the caller then takes
 * LAPACK's way.
 */
#ifndef MC_LINALG_TRIDIAGONAL_H
#define MC_LINALG_TRIDIAGONAL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Row i of z [count, n]: the eigenvector of the eigenvalue w[i], by inverse iteration. The caller
 * must check that the rows are orthogonal: those of very close eigenvalues are not. False if a
 * vector is not an eigenvector to rounding. `work`: mc_tridiagonal_vectors_work(n) doubles.
 */
size_t mc_tridiagonal_vectors_work(size_t n);
bool mc_tridiagonal_vectors(size_t n, const double *d, const double *e, size_t count,
                            const double *w, double *z, double *work);

/*
 * T^(−½) over the eigenvalues above share · the largest one: the upper triangle of `root` [n, n] by
 * rows; its other elements are unchanged. *trace: the sum of the roots of all eigenvalues above
 * rounding. False if more than a few eigenvalues are not above that bound, or if they are so close
 * that their vectors are not orthogonal. 1e-15 ≤ share < 1.
 */
size_t mc_tridiagonal_root_work(size_t n);
bool mc_tridiagonal_root(size_t n, const double *d, const double *e, double share, double *root,
                         double *trace, double *work);

/*
 * The `count` lowest eigenvalues above share · the largest one, ascending, and their vectors, as
 * mc_tridiagonal_vectors finds them.
 */
bool mc_tridiagonal_lowest(size_t n, const double *d, const double *e, double share, size_t count,
                           double *w, double *z, double *work);

#endif
