/*
 * Elementary functions in double that give the same bits on every machine: the C library's differ
 * in the last place from version to version, and a merge must not. Each is a series or an iteration
 * of exactly rounded operations, with errors of a few units in the last place.
 */
#ifndef MC_METHODS_ELEMENTARY_H
#define MC_METHODS_ELEMENTARY_H

#include <mergecraft/method.h>

#include <math.h>

#define ELEMENTARY_PI 0x1.921fb54442d18p+1
#define ELEMENTARY_PI_REST 0x1.1a62633145c07p-53

/* sin(x) for |x| ≤ π/2 by its series. */
static inline double sine_near_zero(double x)
{
    double sum = 1;
    for (int n = 22; n > 0; n -= 2)
        sum = 1 - x * x / (n * (n + 1)) * sum;
    return x * sum;
}

/* sin(x) for |x| up to some thousands: whole multiples of π are taken off in two steps. */
static inline double elementary_sin(double x)
{
    const double turns = nearbyint(x / ELEMENTARY_PI);
    const double rest = (x - turns * ELEMENTARY_PI) - turns * ELEMENTARY_PI_REST;
    const double value = sine_near_zero(rest);
    return fmod(turns, 2) != 0 ? -value : value;
}

static inline double elementary_cos(double x)
{
    return elementary_sin(x + ELEMENTARY_PI / 2);
}

/*
 * The angle of a cosine from 0 to 1: twice the one whose sine is √((1 − c) / 2), by Newton's
 * method.
 */
static inline double angle_of_positive(double cosine)
{
    const double half_sine = sqrt((1 - cosine) / 2);
    double half = half_sine;
    for (int step = 0; step < 6; step++) { /* the error is squared each time */
        const double s = sine_near_zero(half);
        half += (half_sine - s) / sqrt(1 - s * s);
    }
    return 2 * half;
}

/* acos(c), c taken to be in [−1, 1]. */
static inline double elementary_acos(double cosine)
{
    const double c = cosine < -1 ? -1 : cosine > 1 ? 1 : cosine;
    return c < 0 ? ELEMENTARY_PI - angle_of_positive(-c) : angle_of_positive(c);
}

#define ELEMENTARY_LN2 0x1.62e42fefa39efp-1
/* 32 bits of ln 2, whose multiples are exact, and the rest of it. */
#define ELEMENTARY_LN2_HIGH 0x1.62e42feep-1
#define ELEMENTARY_LN2_LOW 0x1.a39ef35793c76p-33
/* Adding it rounds to a whole number, which the lowest bits then hold: loops of this vectorise. */
#define ELEMENTARY_ROUND 0x1.8p52

static inline uint64_t elementary_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double elementary_double(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* exp(x) for x ≤ 700; smaller values than −700 count as −700. */
static inline double elementary_exp(double x)
{
    static const double inverse[] = {1.0 / 13, 1.0 / 12, 1.0 / 11, 1.0 / 10, 1.0 / 9,
                                     1.0 / 8,  1.0 / 7,  1.0 / 6,  1.0 / 5,  1.0 / 4,
                                     1.0 / 3,  1.0 / 2,  1};
    const double bounded = x < -700 ? -700 : x;
    const double shifted = bounded * (1 / ELEMENTARY_LN2) + ELEMENTARY_ROUND;
    const double power = shifted - ELEMENTARY_ROUND;
    const double rest = (bounded - power * ELEMENTARY_LN2_HIGH) - power * ELEMENTARY_LN2_LOW;
    double sum = 1;
    for (size_t n = 0; n < sizeof inverse / sizeof *inverse; n++)
        sum = 1 + rest * inverse[n] * sum;
    return sum * elementary_double((elementary_bits(shifted) + 1023) << 52);
}

/* log(x) for normal x > 0: 2 · artanh((m − 1) / (m + 1)) of the mantissa m in [√½, √2). */
static inline double elementary_log(double x)
{
    const uint64_t root_half = UINT64_C(0x3fe6a09e667f3bcd), bias = UINT64_C(1024);
    const uint64_t power = (elementary_bits(x) - root_half + (bias << 52)) >> 52;
    const double mantissa = elementary_double(elementary_bits(x) - ((power - bias) << 52));
    const double exponent = elementary_double(power | UINT64_C(0x4330000000000000)) -
                            (0x1p52 + (double)bias);
    const double z = (mantissa - 1) / (mantissa + 1), square = z * z;
    double sum = 0;
    for (int n = 21; n > 0; n -= 2)
        sum = 1.0 / n + square * sum;
    return 2 * z * sum + exponent * ELEMENTARY_LN2;
}

/* tanh(x): a continued fraction near zero, where 1 − exp(−2x) would lose digits. */
static inline double elementary_tanh(double x)
{
    const double size = fabs(x);
    if (size < .5) {
        double fraction = 15;
        for (int n = 13; n > 0; n -= 2)
            fraction = n + x * x / fraction;
        return x / fraction;
    }
    const double e = elementary_exp(-2 * size), value = (1 - e) / (1 + e);
    return x < 0 ? -value : value;
}

#endif
