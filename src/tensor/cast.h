/* Lazy conversion of a source to another float dtype. */
#ifndef MC_TENSOR_CAST_H
#define MC_TENSOR_CAST_H

#include "tensor/source.h"

/* Rounds the values to another float dtype, once, when they are read as bytes. */
mc_status mc_source_cast(mc_source *source, mc_dtype dtype, mc_source **out, mc_error *error);
/* The same source, rounded to its dtype whenever it is read, as if it were stored. */
mc_status mc_source_round(mc_source *source, mc_source **out, mc_error *error);

/* What a cast was made of; any other source itself. */
const mc_source *mc_source_uncast(const mc_source *source);

#endif
