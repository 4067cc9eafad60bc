#include "tokenizer/buffer.h"

#include "base/memory.h"

bool mc_buffer_reserve(mc_buffer *buffer, size_t size)
{
    if (size <= buffer->capacity)
        return true;
    /* Not mc_realloc: the contents are not needed, so nothing is copied. */
    char *const bytes = mc_alloc(size);
    if (!bytes)
        return false;
    mc_free(buffer->bytes);
    *buffer = (mc_buffer){.bytes = bytes, .capacity = size};
    return true;
}

bool mc_ids_grow(mc_ids *ids)
{
    ids->failed |= !MC_GROW(ids->items, ids->count, ids->capacity);
    return !ids->failed;
}
