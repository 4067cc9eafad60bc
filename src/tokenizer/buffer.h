/* Memory that grows while texts are encoded, and is used again. Zero-initialise. */
#ifndef MC_TOKENIZER_BUFFER_H
#define MC_TOKENIZER_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mc_buffer {
    char *bytes;
    size_t capacity;
} mc_buffer;

/* Makes room for `size` bytes; what was in it is lost. False if there is no memory. */
bool mc_buffer_reserve(mc_buffer *buffer, size_t size);

typedef struct mc_ids {
    int32_t *items;
    size_t count, capacity;
    bool failed; /* out of memory; checked at the end */
} mc_ids;

/* Makes room for one more. */
bool mc_ids_grow(mc_ids *ids);

static inline void mc_ids_add(mc_ids *ids, int32_t id)
{
    if (ids->count < ids->capacity || mc_ids_grow(ids))
        ids->items[ids->count++] = id;
}

#endif
