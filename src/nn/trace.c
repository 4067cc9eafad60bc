#include "nn/trace.h"

size_t mc_trace_group(const mc_batch *batch, size_t first, size_t tokens)
{
    size_t end = first + 1;
    while (end < batch->count && batch->starts[end + 1] - batch->starts[first] <= tokens)
        end++;
    return end;
}
