/*
 * What merge/compare.c finds of one layer: sums over its elements, of the task vectors (model −
 * base) of n models. One flat array, so that sums of several layers are added in the same way.
 */
#ifndef MC_METHODS_COMPARE_H
#define MC_METHODS_COMPARE_H

#include <stddef.h>

/* Indices into the array of doubles; counts are exact up to 2^53. */
enum {
    COMPARE_ELEMENTS,
    COMPARE_AGREE,        /* elements where all task vectors that are not zero have one sign */
    COMPARE_CONFLICT,     /* elements where two task vectors have opposite signs */
    COMPARE_BASE_SQUARES, /* Σ base² */
    COMPARE_MODELS        /* then, per model, five numbers … */
};
enum {
    COMPARE_DIFFERENT, /* elements that are not those of the base */
    COMPARE_ABSOLUTE,  /* Σ |task vector| */
    COMPARE_LARGEST,   /* max |task vector| */
    COMPARE_RANKS,     /* Σ effective rank of matrices, if asked for … */
    COMPARE_MATRICES,  /* … and how many they are */
    COMPARE_PER_MODEL
};

/* … and then Σ τᵢ·τⱼ as an [n, n] matrix, of which i ≤ j is filled. */
static inline size_t compare_products(size_t models)
{
    return COMPARE_MODELS + COMPARE_PER_MODEL * models;
}

static inline size_t compare_size(size_t models)
{
    return compare_products(models) + models * models;
}

/* The larger of two; NaN if one of them is. */
static inline double compare_larger(double a, double b)
{
    return b > a || b != b ? b : a;
}

/* Adds sums; the largest is the larger of two. */
static inline void compare_add(double *into, const double *from, size_t models)
{
    for (size_t i = 0; i < compare_size(models); i++) {
        const size_t place = i - COMPARE_MODELS;
        const int is_largest = i >= COMPARE_MODELS && i < compare_products(models) &&
                               place % COMPARE_PER_MODEL == COMPARE_LARGEST;
        if (!is_largest)
            into[i] += from[i];
        else
            into[i] = compare_larger(into[i], from[i]);
    }
}

#endif
