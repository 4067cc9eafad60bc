/*
 * Conversions between dtypes, by the CPU's level; the public ones of dtype.h and one that needs no
 * second buffer.
 */
#ifndef MC_TENSOR_CONVERT_H
#define MC_TENSOR_CONVERT_H

#include <mergecraft/dtype.h>

/*
 * Widens in place: `count` elements of `from` lie at the END of the buffer of count elements of
 * `to` (F32 or F64, wider than or as wide as `from`), and are spread over all of it.
 */
void mc_widen_in_place(mc_dtype from, mc_dtype to, void *buffer, size_t count);

/*
 * Every NaN among count values of `real` (F32 or F64) becomes the same quiet one, so that results
 * are the same bits whichever of several NaNs a computation kept. Returns whether all are finite.
 */
bool mc_unify_nan(mc_dtype real, void *values, size_t count);

/* Whether none of count values of `real` is NaN or infinite. */
bool mc_are_finite(mc_dtype real, const void *values, size_t count);

/*
 * Counts the finite values of `real` that are infinite or NaN in `out`, where they lie as dtype
 * `to`.
 */
int64_t mc_count_overflow(mc_dtype to, mc_dtype real, const void *out, const void *values,
                          size_t count);

#endif
