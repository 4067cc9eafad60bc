/*
 * The streaming executor: computes the tensors of a list, tile by tile on several threads, and
 * writes their bytes to a sink in order. Memory is bounded whatever the size of the tensors. Only a
 * method that must see a whole tensor takes more, if a single tensor needs more than the bound.
 */
#ifndef MC_MERGE_EXECUTE_H
#define MC_MERGE_EXECUTE_H

#include <mergecraft/merge.h>

#include "merge/nonfinite.h"
#include "merge/sink.h"
#include "tensor/source.h"

/*
 * Runs until the sink has every byte. Sets *result, also after a failure. Returns the error of the
 * first piece that failed. `found` receives the NaN and infinities in the inputs of merged layers;
 * NULL: they are not counted.
 */
mc_status mc_execute(mc_source *const *tensors, size_t count, mc_sink *sink,
                     const mc_run_options *options, mc_nonfinite *found, mc_run_result *result,
                     mc_error *error);

/* The largest number of bytes that tiles of these tensors take at the same time. */
int64_t mc_execute_memory(mc_source *const *tensors, size_t count, const mc_run_options *options);

#endif
