/* The plain mean of tensors, for layers that the method does not merge. */
#ifndef MC_MERGE_MEAN_H
#define MC_MERGE_MEAN_H

#include "tensor/source.h"

/*
 * Creates the mean of float tensors of one shape, lazily; its dtype is the widest of theirs. `name`
 * is that of the output tensor. Takes its own references; the caller owns *out.
 */
mc_status mc_mean_new(const char *name, mc_source *const *tensors, size_t count, mc_source **out,
                      mc_error *error);

#endif
