#include "checkpoint/writer.h"

#include "base/memory.h"

#include <stdlib.h>

void mc_layout_free(mc_layout *layout)
{
    for (size_t i = 0; i < layout->count; i++) {
        mc_free(layout->shards[i].name);
        mc_free(layout->shards[i].header);
    }
    mc_free(layout->shards);
    mc_free(layout->slots);
    mc_free(layout->index_name);
    free(layout->index); /* jansson's */
    *layout = (mc_layout){0};
}

/*
 * Converts a position in the stream of all tensors to one in a file. Tensors of the shard that
 * begin behind the position are not written yet.
 */
int64_t mc_layout_end(const mc_layout *layout, const mc_shard *shard, int64_t position)
{
    int64_t end = (int64_t)shard->header_size;
    const int64_t stop = shard->start + shard->bytes;
    const int64_t written = position < stop ? position : stop;
    for (size_t i = shard->first; i < shard->first + shard->count; i++)
        if (layout->slots[i].start < written) {
            const bool last = i + 1 == shard->first + shard->count;
            const int64_t next = last ? stop : layout->slots[i + 1].start;
            end = layout->slots[i].offset + (next < written ? next : written) -
                  layout->slots[i].start;
        }
    return end;
}
