/* Inputs made of integer hashes, as tests/data/methods/make_methods.py makes them. */
#ifndef MC_TESTS_METHODS_INPUTS_H
#define MC_TESTS_METHODS_INPUTS_H

#include <mergecraft/dtype.h>
#include <mergecraft/method.h>

#include <stdlib.h>

enum { BASE = 255 };

/*
 * PLAIN; ZEROS: with zeros of both signs and models that equal the base in places; SPECIAL: with
 * infinities and NaN as well.
 */
typedef enum inputs_kind { PLAIN, ZEROS, SPECIAL } inputs_kind;

static inline uint64_t inputs_bits(uint64_t seed, uint64_t model, uint64_t element)
{
    return mc_random_mix(element + (seed << 48) + (model << 40) + UINT64_C(0x9e3779b97f4a7c15));
}

static inline double inputs_number(uint64_t bits)
{
    const double fraction = (double)(bits >> 40 & 0xffffff) / 0x1p23 - 1;
    return ldexp(fraction, -(int)(bits >> 1 & 7));
}

static inline double inputs_sprinkle(uint64_t bits, double value, inputs_kind kind)
{
    static const double special[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    if (kind == SPECIAL && (bits >> 20 & 31) < 3)
        return special[bits >> 20 & 31];
    if (kind != PLAIN && (bits >> 4 & 3) == 0)
        return bits >> 12 & 1 ? -0. : 0.;
    return value;
}

static inline double inputs_value(uint64_t seed, uint64_t model, uint64_t element, inputs_kind kind)
{
    const uint64_t base_bits = inputs_bits(seed, BASE, element);
    const uint64_t bits = inputs_bits(seed, model, element);
    const double base = inputs_number(base_bits);
    if (model == BASE)
        return inputs_sprinkle(base_bits, base, kind);
    const bool same = kind != PLAIN && (bits >> 6 & 3) == 0;
    return inputs_sprinkle(bits, same ? base : base + inputs_number(bits) / 8, kind);
}

/*
 * A model (or BASE) of `count` elements, rounded to `dtype`: floats, or doubles if it is F64. New
 * memory.
 */
static inline void *inputs_make(uint64_t seed, uint64_t model, inputs_kind kind, mc_dtype dtype,
                                size_t count)
{
    double *const values = malloc((count + 1) * sizeof *values);
    char *const rounded = malloc((count + 1) * sizeof(double));
    for (size_t i = 0; i < count; i++)
        values[i] = inputs_value(seed, model, i, kind);
    mc_dtype_from_f64(dtype, rounded, values, count);
    if (dtype == MC_F64)
        mc_dtype_to_f64(dtype, values, rounded, count);
    else
        mc_dtype_to_f32(dtype, (float *)(void *)values, rounded, count);
    free(rounded);
    return values;
}

#endif
