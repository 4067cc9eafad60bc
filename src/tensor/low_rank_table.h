/* The loops of low-rank sources as one CPU level has them; low_rank.c chooses. */
#ifndef MC_TENSOR_LOW_RANK_TABLE_H
#define MC_TENSOR_LOW_RANK_TABLE_H

#include <stddef.h>

/*
 * The right factor lies in strips of columns, so that what one step of the loops needs is together
 * in the nearest cache: [strips, rank, strip]. A strip has this many bytes; the last one is filled
 * with zeros.
 */
enum { MC_LOW_RANK_STRIP_BYTES = 256 };

/*
 * The extent of a block [rows, count]: columns first … first + count − 1 of a matrix. Its rows are
 * `stride` elements apart.
 */
typedef struct mc_low_rank_block {
    size_t rows, first, count, stride, rank;
} mc_low_rank_block;

/*
 * x[i, j] += scale · Σ_k left[i, k] · right[k, j] with left [rows, rank] and right [rank, columns]
 * in strips. `right` is the whole factor, x begins at the block. The sum runs over k in order, from
 * zero, without fused operations, so every level gives the same bits.
 */
typedef struct mc_low_rank_table {
    void (*add_f32)(const mc_low_rank_block *block, const float *left, const float *right,
                    float scale, float *x);
    void (*add_f64)(const mc_low_rank_block *block, const double *left, const double *right,
                    double scale, double *x);
} mc_low_rank_table;

extern const mc_low_rank_table mc_low_rank_scalar, mc_low_rank_avx2, mc_low_rank_avx512;

#endif
