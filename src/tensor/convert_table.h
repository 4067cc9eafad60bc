/* The conversions as one CPU level has them; convert.c chooses. */
#ifndef MC_TENSOR_CONVERT_TABLE_H
#define MC_TENSOR_CONVERT_TABLE_H

#include <mergecraft/dtype.h>

#include <stdbool.h>

/* Arrays of formats narrower than float32 may lie at any address. */
typedef struct mc_convert_table {
    void (*widen[MC_DTYPE_COUNT])(float *out, const void *in, size_t count);
    void (*narrow[MC_DTYPE_COUNT])(void *out, const float *in, size_t count);
    void (*to_double)(double *out, const float *in, size_t count);
    void (*to_float)(float *out, const double *in, size_t count);
    void (*to_float_odd)(float *out, const double *in, size_t count); /* before narrowing */
    /*
     * Every NaN becomes the same one: which of several a computation keeps depends on the compiler.
     * Returns whether all values are finite.
     */
    bool (*unify_nan_f32)(float *values, size_t count);
    bool (*unify_nan_f64)(double *values, size_t count);
    /* Whether no value is NaN or infinite. */
    bool (*are_finite_f32)(const float *values, size_t count);
    bool (*are_finite_f64)(const double *values, size_t count);
    /* Whether a magnitude, infinity included, is above the limit. */
    bool (*exceeds_f32)(const float *values, size_t count, float limit);
    bool (*exceeds_f64)(const double *values, size_t count, double limit);
} mc_convert_table;

extern const mc_convert_table mc_convert_scalar, mc_convert_avx2, mc_convert_avx512;

#endif
