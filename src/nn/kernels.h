/*
 * What is computed beside matrix products: plain C, compiled for each CPU level. Elsewhere in the library the bits do not depend
 * on the level; here they do, as multiplications and additions are fused where the CPU can, and sums have the width of its vectors.
 */
#ifndef MC_NN_KERNELS_H
#define MC_NN_KERNELS_H

#include "nn/onednn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One head of one sequence: rows of `size` numbers, `stride` apart, in queries[query_count], keys[key_count] and values[key_count]. */
typedef struct mc_attention {
    const float *queries, *keys, *values;
    size_t query_count, key_count;
    size_t size, stride;
} mc_attention;

/* What belongs to each column of a product of int8 numbers. */
typedef struct mc_int8_columns {
    const float *scales;  /* of the weights */
    const int32_t *zeros; /* 128 × the sum of the weights */
    const float *bias;
} mc_int8_columns;

typedef struct mc_nn_kernels {
    /*
     * out[query_count], rows like those of `a`, = softmax(queries · keysᵀ / √size) · values. scratch: mc_attention_scratch floats, aligned
     * to 64 bytes.
     */
    void (*attention)(const mc_attention *a, float *out, float *scratch);
    /*
     * Each row of out = (x − mean) / √(variance + epsilon) · gain + shift, with x = in + added (NULL: in alone). out may be in or added.
     */
    void (*normalize)(float *out, const float *in, const float *added, size_t rows, size_t width,
                      const float *gain, const float *shift, float epsilon);
    /* out += in */
    void (*add)(float *out, const float *in, size_t count);
    /*
     * Rows as unsigned int8: x = (out − 128) · scale, and the row's largest |x| is 127 · scale. Of a row with NaN or infinity the scale is one.
     * out may begin where in does.
     */
    void (*quantize)(uint8_t *out, float *scales, const float *in, size_t rows, size_t width);
    /* A product of such rows with int8 weights, in float32: out = activation((sums − zeros) · scales of row and column + bias). */
    void (*dequantize)(float *out, const int32_t *sums, const float *row_scales, size_t rows,
                       const mc_int8_columns *columns, size_t width, mc_activation activation);
    /* Neither NaN nor infinity among them. */
    bool (*finite)(const float *values, size_t count);
} mc_nn_kernels;

extern const mc_nn_kernels mc_nn_kernels_scalar, mc_nn_kernels_avx2, mc_nn_kernels_avx512;

/* Those of the current level (mc_cpu). */
const mc_nn_kernels *mc_nn_kernels_now(void);

size_t mc_attention_scratch(size_t key_count, size_t size);

#endif
