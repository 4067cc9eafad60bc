/*
 * The streaming executor: computes the tensors of a list, tile by tile on several threads, and
 * writes their bytes to a sink in order. Memory is bounded whatever the size of the tensors. Only a
 * method that must see a whole tensor takes more, if a single tensor needs more than the bound.
 */
#ifndef MC_MERGE_EXECUTE_H
#define MC_MERGE_EXECUTE_H

#include <mergecraft/merge.h>

#include "merge/sink.h"
#include "tensor/source.h"

/* What to compute. Everything is borrowed. */
typedef struct mc_execution {
    mc_source *const *tensors;
    size_t count;
    mc_sink *sink;
    /*
     * The part of the stream of all tensors' bytes that the sink wants. Inside a tensor, `begin` is
     * rounded down and `end` up to what the tensor's method can compute alone.
     */
    int64_t begin, end; /* INT64_MAX: to the end of the stream */
    /*
     * Statistics that are known already, one state per tensor; NULL where they are not, and if none
     * are.
     */
    const void *const *states;
    bool scan; /* count NaN and infinities of the inputs */
} mc_execution;

/*
 * Runs until the sink has every byte. Sets *result, also after a failure, except what was found:
 * the sink gets that. Returns the error of the first piece that failed.
 */
mc_status mc_execute(const mc_execution *what, const mc_run_options *how, mc_run_result *result,
                     mc_error *error);

/* The largest number of bytes that tiles of these tensors take at the same time. */
int64_t mc_execute_memory(mc_source *const *tensors, size_t count, const mc_run_options *how);

#endif
