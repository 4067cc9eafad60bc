/*
 * Everything but matrix products, in plain C that is compiled for each CPU level. As in
 * linalg/gemm.h, and nowhere else in the library, the bits depend on the level: multiplications and
 * additions are fused if the CPU can, and sums are as wide as its vectors.
 */
#ifndef MC_NN_KERNELS_H
#define MC_NN_KERNELS_H

#include "nn/onednn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One head of one sequence: queries[query_count], keys[key_count] and values[key_count] are rows of
 * `size` numbers, `stride` apart.
 */
typedef struct mc_attention {
    const float *queries, *keys, *values;
    size_t query_count, key_count;
    size_t size, stride;
} mc_attention;

/* Per column of a product of int8. */
typedef struct mc_int8_columns {
    const float *scales;  /* of the weights */
    const int32_t *zeros; /* 128 × the sum of the weights */
    const float *bias;
} mc_int8_columns;

typedef struct mc_nn_kernels {
    /*
     * out[query_count] = softmax(queries · keysᵀ / √size) · values, rows `stride` apart. scratch:
     * mc_attention_scratch floats, aligned to 64 bytes.
     */
    void (*attention)(const mc_attention *a, float *out, float *scratch);
    /*
     * Each row of out = (x − mean) / √(variance + epsilon) · gain + shift, where x = in + added, or
     * in alone if added is NULL. out may be in or added.
     */
    void (*normalize)(float *out, const float *in, const float *added, size_t rows, size_t width,
                      const float *gain, const float *shift, float epsilon);
    /* out += in */
    void (*add)(float *out, const float *in, size_t count);
    /*
     * Rounds rows to unsigned int8: x = (out − 128) · scale, where 127 · scale is the row's largest
     * magnitude. A row with NaN or infinity has such a scale. out may start where in does.
     */
    void (*quantize)(uint8_t *out, float *scales, const float *in, size_t rows, size_t width);
    /*
     * Converts a product of such rows and int8 weights to float32:
     * out = activation((sums − zeros) · scale of row · scale of column + bias).
     */
    void (*dequantize)(float *out, const int32_t *sums, const float *row_scales, size_t rows,
                       const mc_int8_columns *columns, size_t width, mc_activation activation);
    /* Whether there is neither NaN nor infinity. */
    bool (*finite)(const float *values, size_t count);
    /* out = activation(in); gradient *= the activation's derivative at `in`. */
    void (*activate)(float *out, const float *in, size_t count, mc_activation activation);
    void (*activate_back)(float *gradient, const float *in, size_t count, mc_activation activation);
    /* Each of `rows` rows of `count` numbers, `stride` apart, becomes its softmax. */
    void (*softmax)(float *x, size_t rows, size_t count, size_t stride);
    /* out += in² */
    void (*add_squares)(float *out, const float *in, size_t count);
    /*
     * The derivatives of one row of `normalize` with dy those of its result. x becomes (in + added)
     * standardised, dx the derivatives of in and of added; those of gain and shift are added to
     * gains and shifts. With g = dy·gain:
     *
     *   d gain = dy·x      d shift = dy      dx = (g − mean(g) − x·mean(g·x)) / deviation
     */
    void (*normalize_back)(float *dx, float *x, float *gains, float *shifts, const float *in,
                           const float *added, const float *dy, const float *gain, size_t width,
                           float epsilon);
    /* dp becomes p ∘ (dp − the row's mean of dp under p) · scale. */
    void (*softmax_back)(float *dp, const float *p, size_t rows, size_t count, float scale);
} mc_nn_kernels;

extern const mc_nn_kernels mc_nn_kernels_scalar, mc_nn_kernels_avx2, mc_nn_kernels_avx512;

/* The kernels of the current level (mc_cpu). */
const mc_nn_kernels *mc_nn_kernels_now(void);

size_t mc_attention_scratch(size_t key_count, size_t size);

#endif
