/*
 * The factors of one module, or of one of its experts, in all adapters: stacked, and combined in a
 * space of few dimensions.
 */
#ifndef MC_LORA_SPACE_H
#define MC_LORA_SPACE_H

#include "lora/combine.h"
#include "lora/truncate.h"

/* Of one adapter: the update is scale · b·a, and counts `weight` times. */
typedef struct mc_factors {
    int64_t rank;
    double weight, scale;
    double *b, *a; /* [rows, rank], [rank, columns] */
} mc_factors;

typedef struct mc_expert {
    int64_t rows, columns;
    size_t count;
    mc_factors *members;
} mc_expert;

void mc_expert_free(mc_expert *expert);

/*
 * All factors side by side, whose product is the weighted sum of the updates. The weights go to A,
 * as in PEFT's cat. Sets total and kept to 0: nothing is lost.
 */
mc_status mc_expert_stack(const mc_expert *expert, mc_truncated *out, mc_error *error);

/* The weighted sum of the updates, truncated. */
mc_status mc_expert_product(const mc_expert *expert, const mc_lora_rank *how, mc_truncated *out,
                            mc_error *error);

/*
 * KnOTS (Stoica et al. 2024, arXiv:2410.19735): with U the left singular vectors of all updates
 * side by side, combines the coordinates Uᵀ·updateᵢ (the paper's Σ·Vᵢ); the result is U times that.
 */
mc_status mc_expert_knots(const mc_expert *expert, const mc_combining *combining,
                          const mc_lora_rank *how, mc_truncated *out, mc_error *error);

/*
 * Core Space (Panariello et al. 2025, arXiv:2509.17786): with U the left singular vectors of all B
 * side by side and V the right ones of all A below each other, combines Uᵀ·updateᵢ·V.
 */
mc_status mc_expert_core(const mc_expert *expert, const mc_combining *combining,
                         const mc_lora_rank *how, mc_truncated *out, mc_error *error);

/* Ascending. */
void mc_sort_doubles(double *values, int64_t count);

#endif
