/*
 * How PEFT's add_weighted_adapter combines arrays: of factors, of whole updates, or of coordinates
 * in a common basis.
 *
 *     linear            Σ wᵢ xᵢ
 *     magnitude_prune   Σ wᵢ pᵢ, pᵢ: the largest int(density · n) of xᵢ by magnitude
 *     dare_linear       Σ wᵢ dᵢ, dᵢ: each element of xᵢ with probability `density`, divided by it
 *     ties              the mean of wᵢ pᵢ over those that agree with the elected sign
 *     dare_ties         the same of dᵢ
 *
 * The sign of an element is elected by the sum of pᵢ (or dᵢ; without weights), or by the number of
 * each sign ("frequency"); a draw is positive. Of equal magnitudes the first are kept.
 */
#ifndef MC_LORA_COMBINE_H
#define MC_LORA_COMBINE_H

#include "base/error.h"

#include <stdbool.h>

typedef enum mc_combination {
    MC_COMBINE_LINEAR,
    MC_COMBINE_PRUNE,
    MC_COMBINE_DARE_LINEAR,
    MC_COMBINE_TIES,
    MC_COMBINE_DARE_TIES
} mc_combination;

typedef struct mc_combining {
    mc_combination how;
    double density;
    bool frequency; /* signs are elected by their number */
    uint64_t key;   /* of the random numbers; the stream is the array's index plus `stream` */
    uint32_t stream;
} mc_combining;

/* What is kept of an array by magnitude: values above `above`, and equal ones before `before`. */
typedef struct mc_cut {
    float above;
    int64_t before;
} mc_cut;

/* Finds the cut of a whole array; magnitudes and scratch have `count` elements. */
mc_cut mc_find_cut(const float *magnitudes, float *scratch, int64_t count, double density);

/*
 * Combines elements first … first + count − 1 of `arrays` (each of them holds only these, and is
 * changed). `cuts` may be NULL unless arrays are pruned by magnitude.
 */
void mc_combine(const mc_combining *c, double *const *arrays, const double *weights, size_t n,
                const mc_cut *cuts, int64_t first, int64_t count, double *out);

/* The same of whole arrays, whose cuts it finds. */
mc_status mc_combine_whole(const mc_combining *c, double *const *arrays, const double *weights,
                           size_t n, int64_t count, double *out, mc_error *error);

/* Whether the combination prunes by magnitude at this density. */
bool mc_needs_cuts(const mc_combining *c);

#endif
