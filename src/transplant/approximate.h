/* The rows of tokens that a model lacks, approximated when they are first read. */
#ifndef MC_TRANSPLANT_APPROXIMATE_H
#define MC_TRANSPLANT_APPROXIMATE_H

#include "tensor/source.h"

#include <stddef.h>
#include <stdint.h>

typedef enum mc_approximation_method {
    MC_APPROXIMATE_OMP,
    MC_APPROXIMATE_COMMON,
    MC_APPROXIMATE_SUBWORD,
    MC_APPROXIMATE_MEAN,
    MC_APPROXIMATE_ZERO
} mc_approximation_method;

/* Everything is borrowed until the source is made, which copies what it needs. */
typedef struct mc_approximation {
    mc_approximation_method method;
    mc_source *model;       /* [rows, width] */
    mc_source *donor;       /* OMP and COMMON; else NULL */
    size_t count;           /* of tokens that are approximated */
    const int32_t *missing; /* OMP and COMMON: [count], their rows in the donor */
    /* OMP and COMMON: rows of tokens that both have. */
    size_t common;
    const int32_t *model_rows, *donor_rows;
    size_t terms; /* at most `common` */
    /* SUBWORD: rows pieces[offsets[i]] … pieces[offsets[i + 1] − 1] of the model for token i. */
    const size_t *offsets;
    const int32_t *pieces;
    int threads;
} mc_approximation;

/* Makes the source [count, width], of the model's dtype. */
mc_status mc_approximate(const mc_approximation *approximation, mc_source **out, mc_error *error);

#endif
