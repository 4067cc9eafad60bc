#include "tokenizer/unicode.h"

#include "tokenizer/unicode_tables.h"

/* Sorted code points, and the start of each one's replacement in `texts`. */
typedef struct mapping {
    const uint32_t *codes, *texts;
    const uint16_t *starts;
    size_t count;
} mapping;

static const uint32_t *replacement(const mapping *map, uint32_t code, size_t *count)
{
    size_t low = 0, high = map->count;
    /* The caller asks only for characters with the flag, so the code is in the table. */
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (map->codes[middle] <= code)
            low = middle;
        else
            high = middle;
    }
    *count = (size_t)(map->starts[low + 1] - map->starts[low]);
    return map->texts + map->starts[low];
}

const uint32_t *mc_unicode_stripped(uint32_t code, size_t *count)
{
    static const mapping map = {stripped_codes, stripped_texts, stripped_starts,
                                sizeof stripped_codes / sizeof *stripped_codes};
    return replacement(&map, code, count);
}

const uint32_t *mc_unicode_lowered(uint32_t code, size_t *count)
{
    static const mapping map = {lowered_codes, lowered_texts, lowered_starts,
                                sizeof lowered_codes / sizeof *lowered_codes};
    return replacement(&map, code, count);
}
