/*
 * Products of row-major matrices on our own kernels, for what BLAS does not offer: a team of
 * threads that share one product with the same bits for any number of them, half of a symmetric
 * product, and sums of squares of many thin products without storing each. Bits depend on the CPU
 * level, as multiplications and additions are fused if the CPU can.
 *
 * Both operands are copied into panels first: as many rows of A, or columns of B, as a tile of
 * registers holds, padded with zeros. For each of them the numbers of a panel follow each other in
 * the order in which the innermost loop reads them.
 */
#ifndef MC_LINALG_GEMM_H
#define MC_LINALG_GEMM_H

#include "base/team.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * C [m, n] += A [m, k] B [k, n] with A(i, p) = a[i · a_row + p · a_inner] and
 * B(p, j) = b[j · b_column + p · b_inner]. One stride of each operand is 1.
 *
 * ends: NULL; or where each of `parts` consecutive parts of k ends: C += Σ over parts of the
 *       squares, element by element, of the product of this part alone.
 * row:  NULL; or C [m, n] = row [n] + A B, whatever C was.
 * upper: only elements on and above the diagonal are wanted; what lies below is undefined.
 */
#define MC_GEMM_OF(S_, REAL_)                                                                      \
    typedef struct mc_gemm_##S_ {                                                                  \
        size_t m, n, k;                                                                            \
        const REAL_ *a;                                                                            \
        size_t a_row, a_inner;                                                                     \
        const REAL_ *b;                                                                            \
        size_t b_column, b_inner;                                                                  \
        REAL_ *c;                                                                                  \
        size_t stride; /* of C's rows */                                                           \
        const size_t *ends;                                                                        \
        size_t parts;                                                                              \
        const REAL_ *row;                                                                          \
        bool upper;                                                                                \
    } mc_gemm_##S_;                                                                                \
    size_t mc_gemm_work_##S_(const mc_gemm_##S_ *g, size_t count, int threads);                    \
    mc_status mc_gemm_run_##S_(const mc_gemm_##S_ *g, size_t count, mc_team *team, REAL_ *work,    \
                               mc_error *error);

/* Products of one run. */
enum { MC_GEMM_MOST = 8 };

/*
 * mc_gemm_run   computes `count` products, none of which reads or writes the result of another,
 *               with the members of `team` (NULL: on the calling thread), which wait for each other
 *               twice per run. `work` holds mc_gemm_work numbers. Thread-safe except for the team.
 * mc_gemm_work  for a team of at most `threads` members.
 */
MC_GEMM_OF(f32, float)
MC_GEMM_OF(f64, double)

#endif
