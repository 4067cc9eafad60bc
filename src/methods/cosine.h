/* The cosine of two tensors as statistics: shared by the methods that weigh models by it. */
#ifndef MC_METHODS_COSINE_H
#define MC_METHODS_COSINE_H

#include <mergecraft/method.h>

typedef struct cosine_sums {
    double dot, a_squares, b_squares;
} cosine_sums;

static inline size_t cosine_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(cosine_sums);
}

static inline void cosine_combine(const mc_layer *layer, void *into, const void *from)
{
    (void)layer;
    cosine_sums *const sums = into;
    const cosine_sums *const more = from;
    sums->dot += more->dot;
    sums->a_squares += more->a_squares;
    sums->b_squares += more->b_squares;
}

static inline void cosine_add(cosine_sums *sums, const mc_real *a, const mc_real *b, size_t count)
{
    sums->dot += mc_tile_dot(a, b, count);
    sums->a_squares += mc_tile_squares(a, count);
    sums->b_squares += mc_tile_squares(b, count);
}

/* 0 if one of the two is zero everywhere; NaN if a sum is not finite. */
static inline double cosine_of(const cosine_sums *sums)
{
    const double size = sqrt(sums->a_squares) * sqrt(sums->b_squares);
    return size == 0 ? 0 : sums->dot / size;
}

#endif
