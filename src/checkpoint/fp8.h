/* FP8 weights with scales, read as the values that they stand for. */
#ifndef MC_CHECKPOINT_FP8_H
#define MC_CHECKPOINT_FP8_H

#include <mergecraft/source.h>

/*
 * Makes a lazy source of weight × scale, computed in float32 and rounded once to `dtype`. The last
 * two dimensions of the scale divide those of the weight into blocks: of `block` (rows, columns)
 * elements where that gives the scale's shape, else of 128, else equal ones; the last block may be
 * partial. A scale of one element is for the whole tensor, one of rank 1 per row. Scales of dtype
 * F8_E8M0 or U8 are powers of two. Takes its own references.
 * Errors: MC_UNSUPPORTED  the scale's dtype
 *         MC_FORMAT       the shapes do not fit
 */
mc_status mc_fp8_source(mc_source *weight, mc_source *scale, const int64_t block[2], mc_dtype dtype,
                        mc_source **out, mc_error *error);

#endif
