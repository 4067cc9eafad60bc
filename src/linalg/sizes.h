/* Sizes of work arrays, for the files of this folder. */
#ifndef MC_LINALG_SIZES_H
#define MC_LINALG_SIZES_H

#include <stddef.h>

/* LAPACK blocks its loops by at most this many columns; work arrays are sized for it. */
enum { MC_LAPACK_BLOCK = 64 };

static inline size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Doubles that hold this many ints: one work array serves both types. */
static inline size_t ints(size_t count)
{
    return (count * sizeof(int) + sizeof(double) - 1) / sizeof(double);
}

#endif
