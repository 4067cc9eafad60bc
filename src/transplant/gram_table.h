/* The loop over a table of products as one CPU level has it; gram.c chooses. */
#ifndef MC_TRANSPLANT_GRAM_TABLE_H
#define MC_TRANSPLANT_GRAM_TABLE_H

#include <stdint.h>

/* Points whose products are computed together, and share a scale. */
enum { MC_GRAM_BLOCK = 1024 };

/* x[i] −= Σ_k weights[k] · rows[k][i], of four rows and a block of columns. */
typedef struct mc_gram_table {
    void (*subtract)(const int8_t *const rows[4], const float weights[4], float *x);
} mc_gram_table;

extern const mc_gram_table mc_gram_scalar, mc_gram_avx2, mc_gram_avx512;

#endif
