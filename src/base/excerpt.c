#include "base/excerpt.h"

#include "base/memory.h"

#include <string.h>

typedef struct part {
    int64_t offset, size;
} part;

/* At least doubled: n parts cost O(n) copies in total. */
static bool reserve(mc_excerpt *excerpt, size_t more)
{
    const size_t wanted = excerpt->size + more;
    if (wanted <= excerpt->capacity)
        return true;
    const size_t capacity = wanted > 2 * excerpt->capacity ? wanted : 2 * excerpt->capacity;
    char *const larger = mc_realloc(excerpt->bytes, capacity);
    if (!larger)
        return false;
    excerpt->bytes = larger;
    excerpt->capacity = capacity;
    return true;
}

mc_status mc_excerpt_add(mc_excerpt *excerpt, int64_t offset, const void *bytes, size_t size,
                         mc_error *error)
{
    const part p = {offset, (int64_t)size};
    if (!reserve(excerpt, sizeof p + size))
        return mc_fail_memory(error);
    memcpy(excerpt->bytes + excerpt->size, &p, sizeof p);
    memcpy(excerpt->bytes + excerpt->size + sizeof p, bytes, size);
    excerpt->size += sizeof p + size;
    return MC_OK;
}

/* Looks at the parts that begin in [first, end). */
static bool find(mc_excerpt *excerpt, size_t first, size_t end, int64_t offset, void *out,
                 size_t size)
{
    for (size_t at = first; at < end;) {
        part p;
        memcpy(&p, excerpt->bytes + at, sizeof p);
        const char *const bytes = excerpt->bytes + at + sizeof p;
        at += sizeof p + (size_t)p.size;
        if (offset < p.offset || offset + (int64_t)size > p.offset + p.size)
            continue;
        memcpy(out, bytes + (offset - p.offset), size);
        excerpt->at = at;
        return true;
    }
    return false;
}

bool mc_excerpt_find(mc_excerpt *excerpt, int64_t offset, void *out, size_t size)
{
    return find(excerpt, excerpt->at, excerpt->size, offset, out, size) ||
           find(excerpt, 0, excerpt->at, offset, out, size);
}

void mc_excerpt_free(mc_excerpt *excerpt)
{
    mc_free(excerpt->bytes);
    *excerpt = (mc_excerpt){0};
}
