/*
 * The conversions, in plain C: included by convert_LEVEL.c, which is compiled for its CPU level and
 * names the table (MC_CONVERT_TABLE). Where the compiler has F16C or AVX-512, float16 is converted
 * by its instructions: the results are the same, that of NaN included.
 *
 * Bits of the formats (sign, exponent, mantissa):
 *
 *     float32      1 8 23    float16  1 5 10    bfloat16   1 8 7
 *     float8_e5m2  1 5 2     float8_e4m3fn  1 4 3: no infinity, NaN is all ones
 */
#include "tensor/convert_table.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

/* Tensors lie in files at any address. */
typedef uint16_t __attribute__((aligned(1), may_alias)) half_bits;

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- one number: to float32, exact --------------------------------------------------------- */

/*
 * A format with a 5-bit exponent and infinities, its bits at the top of 16. 112 is the difference
 * of the biases, 127 − 15; subnormal numbers are multiples of 2^−24. A NaN becomes quiet, as F16C
 * does it.
 */
static inline float from_f16(uint32_t half)
{
    const uint32_t sign = (half & 0x8000) << 16, rest = half & 0x7fff;
    const uint32_t normal = (rest << 13) + (112u << 23);
    const uint32_t subnormal = bits_of((float)(int32_t)rest * 0x1p-24f);
    const uint32_t quiet = rest > 0x7c00 ? 1u << 22 : 0;
    const uint32_t infinite = (rest << 13) | (255u << 23) | quiet;
    return float_of(sign | (rest >= 0x7c00 ? infinite : rest >= 0x0400 ? normal : subnormal));
}

static inline float from_bf16(uint32_t half)
{
    return float_of(half << 16);
}

static inline float from_e5m2(uint32_t byte)
{
    return from_f16(byte << 8);
}

static inline float from_e4m3(uint32_t byte)
{
    /* 120 is the difference of the biases, 127 − 7; subnormal numbers are multiples of 2^−9. */
    const uint32_t sign = (byte & 0x80) << 24, rest = byte & 0x7f;
    const uint32_t normal = (rest << 20) + (120u << 23);
    const uint32_t subnormal = bits_of((float)(int32_t)rest * 0x1p-9f);
    return float_of(sign | (rest == 0x7f ? 0x7fc00000 : rest >= 8 ? normal : subnormal));
}

/* ---- one number: from float32, to nearest, ties to even ------------------------------------- */

/*
 * The magnitude of a float32 in a format with `mantissa` bits whose smallest normal number is 2^(1
 * − bias), without regard to overflow and NaN. Normal numbers round in integers, with the carry
 * going into the exponent; subnormal ones by the addition of a power of two whose last bit is their
 * last bit.
 */
static inline uint32_t rounded(uint32_t rest, uint32_t mantissa, uint32_t bias)
{
    const uint32_t shift = 23 - mantissa, odd = (rest >> shift) & 1;
    const uint32_t normal = (rest - ((127 - bias) << 23) + (1u << (shift - 1)) - 1 + odd) >> shift;
    const uint32_t magic = (127 - bias + 1 + shift) << 23;
    const uint32_t subnormal = bits_of(float_of(rest) + float_of(magic)) - magic;
    return rest >= (128 - bias) << 23 ? normal : subnormal;
}

static inline uint16_t to_f16(float x)
{
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    const uint32_t finite = rounded(rest, 10, 15), nan = 0x7e00 | (rest >> 13 & 0x3ff);
    /*
     * From 2^16 on the result is infinite. Below, rounding up from the largest number carries into
     * infinity.
     */
    const uint32_t limited = rest >= 0x47800000 ? 0x7c00 : finite;
    return (uint16_t)(sign | (rest > 0x7f800000 ? nan : limited));
}

static inline uint16_t to_bf16(float x)
{
    const uint32_t bits = bits_of(x), odd = bits >> 16 & 1;
    /* The quiet bit is set: a NaN whose payload is all in the low half would become infinity. */
    const uint32_t finite = (bits + 0x7fff + odd) >> 16, nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : finite);
}

static inline uint8_t to_e5m2(float x)
{
    const uint32_t bits = bits_of(x), sign = bits >> 24 & 0x80, rest = bits & 0x7fffffff;
    const uint32_t finite = rounded(rest, 2, 15), nan = 0x7e | (rest >> 21 & 3);
    const uint32_t limited = rest >= 0x47800000 ? 0x7c : finite;
    return (uint8_t)(sign | (rest > 0x7f800000 ? nan : limited));
}

/*
 * Everything above 464, half-way between the largest number, 448, and what would be the next, is
 * NaN.
 */
static inline uint8_t to_e4m3(float x)
{
    const uint32_t bits = bits_of(x), sign = bits >> 24 & 0x80, rest = bits & 0x7fffffff;
    return (uint8_t)(sign | (rest > 0x43e80000 ? 0x7f : rounded(rest, 3, 7)));
}

/*
 * A float64 as float32 rounded "to odd": cut, with the last bit set if anything was lost. Rounding
 * that once more, to a format at least two bits narrower, gives what rounding the float64 at once
 * would have given.
 */
static inline float to_odd(double x)
{
    const float nearest = (float)x;
    const uint32_t bits = bits_of(nearest);
    const double size = x < 0 ? -x : x, nearest_size = nearest < 0 ? -(double)nearest : nearest;
    const uint32_t beside = nearest_size > size ? bits - 1 : bits + 1;
    const bool exact = nearest_size == size || x != x;
    /* Of the two float32 numbers around x, one has its last bit set. */
    return float_of(exact || (bits & 1) ? bits : beside);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* type_: that of the bits, through which they are loaded and stored. */
#define WIDEN(name_, type_)                                                                        \
    static void widen_##name_(float *restrict out, const void *restrict in, size_t count)          \
    {                                                                                              \
        const type_ *const from = in;                                                              \
        for (size_t i = 0; i < count; i++)                                                         \
            out[i] = from_##name_(from[i]);                                                        \
    }
#define NARROW(name_, type_)                                                                       \
    static void narrow_##name_(void *restrict out, const float *restrict in, size_t count)         \
    {                                                                                              \
        type_ *const to = out;                                                                     \
        for (size_t i = 0; i < count; i++)                                                         \
            to[i] = to_##name_(in[i]);                                                             \
    }

WIDEN(bf16, half_bits)
WIDEN(e4m3, uint8_t)
WIDEN(e5m2, uint8_t)
NARROW(bf16, half_bits)
NARROW(e4m3, uint8_t)
NARROW(e5m2, uint8_t)

#if defined(__AVX512F__)
static void widen_f16(float *restrict out, const void *restrict in, size_t count)
{
    const half_bits *const from = in;
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(from + i))));
    for (; i < count; i++)
        out[i] = from_f16(from[i]);
}

static void narrow_f16(void *restrict out, const float *restrict in, size_t count)
{
    half_bits *const to = out;
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    size_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm256_storeu_si256((void *)(to + i), _mm512_cvtps_ph(_mm512_loadu_ps(in + i), NEAREST));
    for (; i < count; i++)
        to[i] = to_f16(in[i]);
}
#elif defined(__F16C__)
static void widen_f16(float *restrict out, const void *restrict in, size_t count)
{
    const half_bits *const from = in;
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from + i))));
    for (; i < count; i++)
        out[i] = from_f16(from[i]);
}

static void narrow_f16(void *restrict out, const float *restrict in, size_t count)
{
    half_bits *const to = out;
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((void *)(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; i++)
        to[i] = to_f16(in[i]);
}
#else
WIDEN(f16, half_bits)
NARROW(f16, half_bits)
#endif

static void to_double(double *restrict out, const float *restrict in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = in[i];
}

static void to_float(float *restrict out, const double *restrict in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)in[i];
}

static void to_float_odd(float *restrict out, const double *restrict in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = to_odd(in[i]);
}

/* NaN and infinity fail the comparison with the largest finite number. */
static bool unify_nan_f32(float *values, size_t count)
{
    int finite = 1;
    for (size_t i = 0; i < count; i++) {
        finite &= fabsf(values[i]) <= FLT_MAX;
        values[i] = values[i] != values[i] ? NAN : values[i];
    }
    return finite;
}

static bool unify_nan_f64(double *values, size_t count)
{
    int64_t finite = 1;
    for (size_t i = 0; i < count; i++) {
        finite &= fabs(values[i]) <= DBL_MAX;
        values[i] = values[i] != values[i] ? (double)NAN : values[i];
    }
    return finite;
}

static bool are_finite_f32(const float *values, size_t count)
{
    int finite = 1;
    for (size_t i = 0; i < count; i++)
        finite &= fabsf(values[i]) <= FLT_MAX;
    return finite;
}

static bool are_finite_f64(const double *values, size_t count)
{
    int64_t finite = 1;
    for (size_t i = 0; i < count; i++)
        finite &= fabs(values[i]) <= DBL_MAX;
    return finite;
}

static bool exceeds_f32(const float *values, size_t count, float limit)
{
    int found = 0;
    for (size_t i = 0; i < count; i++)
        found |= fabsf(values[i]) > limit;
    return found;
}

static bool exceeds_f64(const double *values, size_t count, double limit)
{
    int64_t found = 0;
    for (size_t i = 0; i < count; i++)
        found |= fabs(values[i]) > limit;
    return found;
}

const mc_convert_table MC_CONVERT_TABLE = {
    .widen = {[MC_F16] = widen_f16,
              [MC_BF16] = widen_bf16,
              [MC_F8_E4M3] = widen_e4m3,
              [MC_F8_E5M2] = widen_e5m2},
    .narrow = {[MC_F16] = narrow_f16,
               [MC_BF16] = narrow_bf16,
               [MC_F8_E4M3] = narrow_e4m3,
               [MC_F8_E5M2] = narrow_e5m2},
    .to_double = to_double,
    .to_float = to_float,
    .to_float_odd = to_float_odd,
    .unify_nan_f32 = unify_nan_f32,
    .unify_nan_f64 = unify_nan_f64,
    .are_finite_f32 = are_finite_f32,
    .are_finite_f64 = are_finite_f64,
    .exceeds_f32 = exceeds_f32,
    .exceeds_f64 = exceeds_f64,
};
