/*
 * Where computed tensors go: the bytes of all tensors, one after the other, as one stream in order.
 */
#ifndef MC_MERGE_SINK_H
#define MC_MERGE_SINK_H

#include "base/error.h"
#include "merge/found.h"

typedef struct mc_sink mc_sink;

struct mc_sink {
    /*
     * The next `size` bytes of the stream, at `offset`, and what computing them has found. Called
     * by one thread at a time, offsets without gaps.
     */
    mc_status (*write)(mc_sink *sink, int64_t offset, const void *bytes, size_t size,
                       const mc_found *found, mc_error *error);
};

#endif
