/*
 * Low-rank approximation of an update: A matrix that is computed by rows, or the product of two
 * factors. Everything is in double.
 *
 * A matrix is read in panels of mc_panel_rows rows, always the same ones: the bits of a matrix
 * product may depend on the number of rows that BLAS computes at a time.
 */
#ifndef MC_LORA_TRUNCATE_H
#define MC_LORA_TRUNCATE_H

#include <mergecraft/lora.h>

#include "base/error.h"

/* Embedded at the beginning of what the rows are computed from. */
typedef struct mc_matrix {
    int64_t rows, columns;
    /* Writes rows first … first + count − 1. Only whole panels, or what is left at the end. */
    mc_status (*read)(const struct mc_matrix *self, int64_t first, int64_t count, double *out,
                      mc_error *error);
} mc_matrix;

/* Rows of a panel: about 2 MB of doubles. */
int64_t mc_panel_rows(int64_t columns);

/* B [rows, rank] with its columns scaled by the singular values, and A [rank, columns]. */
typedef struct mc_truncated {
    double *b, *a;
    int64_t rank;
    double total, kept; /* sums of squared values: of the matrix, and of B·A */
} mc_truncated;

void mc_truncated_free(mc_truncated *truncated);

/*
 * The most bytes that mc_truncate and mc_truncate_product allocate, including their result. With an
 * energy, the bound holds for any rank.
 */
int64_t mc_truncate_memory(int64_t rows, int64_t columns, const mc_lora_rank *how);
int64_t mc_truncate_product_memory(int64_t rows, int64_t columns, int64_t inner,
                                   const mc_lora_rank *how);

/* The bytes of so many doubles; INT64_MAX if they are more. */
int64_t mc_bytes_of_doubles(double count);

/*
 * Finds the best approximation of a matrix under `how`, or one close to it (mc_lora_rank.exact).
 * The rank is at most rows and columns. `name` keys the random directions. Free *out.
 */
mc_status mc_truncate(const mc_matrix *matrix, const mc_lora_rank *how, const char *name,
                      mc_truncated *out, mc_error *error);

/*
 * The best approximation of the product b [rows, inner] · a [inner, columns], which is not formed:
 * QR of the factors, then a decomposition of [inner, inner]. Overwrites both.
 */
mc_status mc_truncate_product(int64_t rows, int64_t columns, int64_t inner, double *b, double *a,
                              const mc_lora_rank *how, mc_truncated *out, mc_error *error);

#endif
