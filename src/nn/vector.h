/*
 * A vector of sixteen floats that the compiler adds, multiplies and compares as a whole, in as many
 * registers as the CPU level needs.
 */
#ifndef MC_NN_VECTOR_H
#define MC_NN_VECTOR_H

#include <stddef.h>
#include <stdint.h>

enum { MC_LANES = 16 };

/* Queries that attention computes at a time, so that each loaded key and value is used as often. */
enum { MC_QUERIES = 4 };

static inline size_t mc_vector_ceil(size_t count)
{
    return (count + MC_LANES - 1) / MC_LANES * MC_LANES;
}

/* At any address, over memory of any type. */
typedef float mc_vector __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t mc_vector_bits __attribute__((vector_size(64), aligned(4), may_alias));

#endif
