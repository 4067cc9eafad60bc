/*
 * A weight with a low-rank update (LoRA: Hu et al. 2021, arXiv:2106.09685), computed where it is
 * read: W + scale · B·A. The full product never exists.
 */
#ifndef MC_TENSOR_LOW_RANK_H
#define MC_TENSOR_LOW_RANK_H

#include "tensor/source.h"

/*
 * The parts; all are borrowed, the source takes its own references.
 *
 * A weight of rank 2 is [out, in], or [in, out] if `transposed` (Conv1D, embeddings). One of higher
 * rank (convolutions) is [out, …] and counts as a matrix [out, product of the rest]. With
 * experts > 1 it is [experts, out, in], or [experts, in, out] if `transposed`.
 *
 *     a  [r · experts, in]   expert e has rows e · r … e · r + r − 1
 *     b  [out, r · experts]  expert e has columns e, e + experts, e + 2 · experts, …
 */
typedef struct mc_low_rank {
    mc_source *weight, *a, *b;
    /*
     * DoRA (Liu et al. 2024, arXiv:2402.09353): [out], the norms that the rows of the updated
     * weight are scaled to. NULL for plain LoRA. Not with experts.
     */
    mc_source *magnitude;
    double scale;
    bool transposed;
    int64_t experts;
} mc_low_rank;

/*
 * The dtype is the weight's; values are computed in float32 (float64 if the weight is) and are the
 * same bits for any range, thread and CPU. The factors are read at the first read and kept, within
 * a bound that all low-rank sources share (64 MiB, or what is in use).
 *
 * Errors: MC_MISMATCH     shapes do not fit together
 *         MC_UNSUPPORTED  not floats
 */
mc_status mc_source_low_rank(const mc_low_rank *parts, mc_source **out, mc_error *error);

#endif
