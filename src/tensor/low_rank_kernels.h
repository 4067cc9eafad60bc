/* Compiled once for each CPU level, with MC_LOW_RANK_TABLE as the name of its table. */
#include "tensor/low_rank_table.h"

#include <string.h>

/* Columns whose sums stay in registers or the nearest cache while k runs. */
enum { COLUMNS = 256 };

/*
 * Four k at a time, so that `sum` is loaded and stored once for four products. The parentheses keep
 * the order of additions that the plain loop has.
 */
#define DEFINE_ADD(real_, suffix_)                                                                 \
    static void sum_##suffix_(real_ *restrict sum, const real_ *left, const real_ *right,          \
                              size_t stride, size_t rank, size_t count)                            \
    {                                                                                              \
        memset(sum, 0, COLUMNS * sizeof *sum);                                                     \
        size_t k = 0;                                                                              \
        for (; k + 4 <= rank; k += 4) {                                                            \
            const real_ *restrict const r0 = right + k * stride, *restrict const r1 = r0 + stride, \
                                        *restrict const r2 = r1 + stride,                          \
                                        *restrict const r3 = r2 + stride;                          \
            for (size_t j = 0; j < count; j++)                                                     \
                sum[j] = (((sum[j] + left[k] * r0[j]) + left[k + 1] * r1[j]) +                     \
                          left[k + 2] * r2[j]) +                                                   \
                         left[k + 3] * r3[j];                                                      \
        }                                                                                          \
        for (; k < rank; k++)                                                                      \
            for (size_t j = 0; j < count; j++)                                                     \
                sum[j] = sum[j] + left[k] * right[k * stride + j];                                 \
    }                                                                                              \
                                                                                                   \
    static void add_##suffix_(real_ *x, const real_ *left, const real_ *right, size_t stride,      \
                              size_t rank, real_ scale, size_t count)                              \
    {                                                                                              \
        real_ sum[COLUMNS];                                                                        \
        for (size_t at = 0; at < count; at += COLUMNS) {                                           \
            const size_t length = count - at < COLUMNS ? count - at : COLUMNS;                     \
            sum_##suffix_(sum, left, right + at, stride, rank, length);                            \
            for (size_t j = 0; j < length; j++)                                                    \
                x[at + j] += scale * sum[j];                                                       \
        }                                                                                          \
    }

DEFINE_ADD(float, f32)
DEFINE_ADD(double, f64)

const mc_low_rank_table MC_LOW_RANK_TABLE = {.add_f32 = add_f32, .add_f64 = add_f64};
