#include "search/sobol.h"

#include "base/hash.h"

enum { BITS = 32, MOST_DEGREE = 7 };

/* A primitive polynomial, its inner coefficients as bits, and the first direction numbers. */
typedef struct polynomial {
    unsigned degree, coefficients;
    uint32_t first[MOST_DEGREE];
} polynomial;

/* Dimension 0 needs none: its direction numbers are 1. */
static const polynomial polynomials[MC_SOBOL_DIMENSIONS - 1] = {
    {1, 0, {1}},
    {2, 1, {1, 3}},
    {3, 1, {1, 3, 1}},
    {3, 2, {1, 1, 1}},
    {4, 1, {1, 1, 3, 3}},
    {4, 4, {1, 3, 5, 13}},
    {5, 2, {1, 1, 5, 5, 17}},
    {5, 4, {1, 1, 5, 5, 5}},
    {5, 7, {1, 1, 7, 11, 19}},
    {5, 11, {1, 1, 5, 1, 1}},
    {5, 13, {1, 1, 1, 3, 11}},
    {5, 14, {1, 3, 5, 5, 31}},
    {6, 1, {1, 3, 3, 9, 7, 49}},
    {6, 13, {1, 1, 1, 15, 21, 21}},
    {6, 16, {1, 3, 1, 13, 27, 49}},
    {6, 19, {1, 1, 1, 15, 7, 5}},
    {6, 22, {1, 3, 1, 15, 13, 25}},
    {6, 25, {1, 1, 5, 5, 19, 61}},
    {7, 1, {1, 3, 7, 11, 23, 15, 103}},
    {7, 4, {1, 3, 7, 13, 13, 15, 69}},
};

/* The direction numbers of a dimension: bit 31 is the half, bit 30 the quarter, … */
static void directions(size_t dimension, uint32_t out[BITS])
{
    if (dimension == 0) {
        for (unsigned i = 0; i < BITS; i++)
            out[i] = UINT32_C(1) << (BITS - 1 - i);
        return;
    }
    const polynomial *const p = &polynomials[dimension - 1];
    for (unsigned i = 0; i < p->degree; i++)
        out[i] = p->first[i] << (BITS - 1 - i);
    /* The recurrence of the polynomial, equation 3 of the paper. */
    for (unsigned i = p->degree; i < BITS; i++) {
        out[i] = out[i - p->degree] ^ (out[i - p->degree] >> p->degree);
        for (unsigned k = 1; k < p->degree; k++)
            if (p->coefficients >> (p->degree - 1 - k) & 1)
                out[i] ^= out[i - k];
    }
}

static uint32_t random_word(uint64_t seed, size_t dimension, uint64_t index)
{
    return (uint32_t)(mc_hash_mix(mc_hash_mix(mc_hash_mix(seed + 1) + dimension) + index) >> 32);
}

static uint32_t word_at(uint64_t seed, uint32_t index, size_t dimension)
{
    uint32_t numbers[BITS], word = 0;
    if (dimension >= MC_SOBOL_DIMENSIONS)
        return random_word(seed, dimension, (uint64_t)index + 1);
    directions(dimension, numbers);
    /* In the order of the Gray code, as other programs list the sequence. */
    const uint32_t gray = index ^ (index >> 1);
    for (unsigned i = 0; i < BITS; i++)
        if (gray >> i & 1)
            word ^= numbers[i];
    return seed == MC_SOBOL_PLAIN ? word : word ^ random_word(seed, dimension, 0);
}

void mc_sobol_point(uint64_t seed, uint32_t index, double *out, size_t count)
{
    for (size_t d = 0; d < count; d++)
        out[d] = (double)word_at(seed, index, d) * 0x1p-32;
}
