/* Arcs between two tensors. */
#ifndef MC_METHODS_MERGEKIT_SPHERE_H
#define MC_METHODS_MERGEKIT_SPHERE_H

#include <mergecraft/method.h>

/* Inner products of two vectors. */
typedef struct pair_sums {
    double dot, a_squares, b_squares;
} pair_sums;

/* How much of either is in a point of the arc. */
typedef struct arc {
    double first, second;
} arc;

static inline size_t arc_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(arc);
}

static inline size_t pair_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(pair_sums);
}

static inline void pair_combine(const mc_layer *layer, void *into, const void *from)
{
    (void)layer;
    pair_sums *const sums = into;
    const pair_sums *const more = from;
    sums->dot += more->dot;
    sums->a_squares += more->a_squares;
    sums->b_squares += more->b_squares;
}

static inline void pair_add(pair_sums *sums, const mc_real *a, const mc_real *b, size_t count)
{
    sums->dot += mc_tile_dot(a, b, count);
    sums->a_squares += mc_tile_squares(a, count);
    sums->b_squares += mc_tile_squares(b, count);
}

#endif
