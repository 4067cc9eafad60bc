/* Tensors that lie in a file. */
#ifndef MC_CHECKPOINT_STORED_H
#define MC_CHECKPOINT_STORED_H

#include <mergecraft/source.h>

#include "base/file.h"

/*
 * Makes the source of a tensor whose first element is at byte `offset` of the file. `strides` (in
 * elements, one per dimension, not negative) may be NULL for row-major. Checks that the tensor lies
 * inside the bytes [begin, end) of the file (a storage). Takes its own reference to the file.
 */
mc_status mc_stored_new(mc_file *file, int64_t begin, int64_t end, int64_t offset, mc_dtype dtype,
                        int rank, const int64_t *shape, const int64_t *strides, mc_source **out,
                        mc_error *error);

/* Returns whether two sources are the same elements of the same file, as tied tensors are. */
bool mc_stored_same(const mc_source *a, const mc_source *b);

/* Orders stored tensors so that those that are the same are neighbours; 0 if they are the same. */
int mc_stored_compare(const mc_source *a, const mc_source *b);

/* Returns the file of a stored tensor; NULL if the source is of another kind. */
mc_file *mc_stored_file(const mc_source *source);

#endif
