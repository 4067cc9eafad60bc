/*
 * The streaming executor: computes the tensors of a list, tile by tile on several threads, and hands their bytes to a
 * sink in order. Memory is bounded whatever the size of the tensors (but for methods that must see a whole one).
 */
#ifndef MC_MERGE_EXECUTE_H
#define MC_MERGE_EXECUTE_H

#include <mergecraft/merge.h>

#include "merge/sink.h"
#include "tensor/source.h"

/* Runs until the sink has every byte. result->tensors, bytes_read, bytes_written, bytes_resumed and seconds are set. */
mc_status mc_execute(mc_source *const *tensors, size_t count, mc_sink *sink,
                     const mc_run_options *options, mc_run_result *result, mc_error *error);

/* The bytes that tiles of these tensors take at most at a time. */
int64_t mc_execute_memory(mc_source *const *tensors, size_t count, const mc_run_options *options);

#endif
