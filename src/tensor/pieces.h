/*
 * Parts of a tensor, and concatenated tensors, as lazy sources: one library stores a tensor per
 * expert, another one tensor of all experts.
 */
#ifndef MC_TENSOR_PIECES_H
#define MC_TENSOR_PIECES_H

#include "tensor/source.h"

/*
 * The elements of `whole` from `first` on, in its order, as a tensor of another shape. Takes its
 * own reference.
 *
 * Errors: MC_MISMATCH  the shape reaches beyond the tensor
 */
mc_status mc_source_window(mc_source *whole, int64_t first, int rank, const int64_t *shape,
                           mc_source **out, mc_error *error);

/*
 * The elements of all parts, one part behind another, as a tensor of `shape`. Parts have one dtype.
 * Takes its own references.
 *
 * Errors: MC_MISMATCH  dtypes differ, or the parts do not have as many elements as the shape
 */
mc_status mc_source_join(mc_source *const *parts, size_t count, int rank, const int64_t *shape,
                         mc_source **out, mc_error *error);

#endif
