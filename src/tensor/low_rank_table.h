/* The loops of low-rank sources as one CPU level has them; low_rank.c chooses. */
#ifndef MC_TENSOR_LOW_RANK_TABLE_H
#define MC_TENSOR_LOW_RANK_TABLE_H

#include <stddef.h>

/*
 * x[j] += scale · Σ_k left[k] · right[k · stride + j] for j < count. The sum runs over k in order,
 * from zero, without fused operations, so every level gives the same bits.
 */
typedef struct mc_low_rank_table {
    void (*add_f32)(float *x, const float *left, const float *right, size_t stride, size_t rank,
                    float scale, size_t count);
    void (*add_f64)(double *x, const double *left, const double *right, size_t stride, size_t rank,
                    double scale, size_t count);
} mc_low_rank_table;

extern const mc_low_rank_table mc_low_rank_scalar, mc_low_rank_avx2, mc_low_rank_avx512;

#endif
