#include "mutate.h"

#include "base/hash.h"

#include <string.h>

uint32_t fuzz_draw(fuzz_random *random, size_t below)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mc_hash_mix(random->state) % below);
}

uint64_t fuzz_draw_number(fuzz_random *random)
{
    const unsigned bits = fuzz_draw(random, 64);
    const uint64_t around = fuzz_draw(random, 5);
    switch (fuzz_draw(random, 4)) {
    case 0:
        return fuzz_draw(random, 20);
    case 1:
        return (UINT64_C(1) << bits) + around - 2;
    case 2:
        return 0 - around;
    default:
        return mc_hash_mix(++random->state) >> bits;
    }
}

uint64_t fuzz_get(const uint8_t *bytes, size_t width)
{
    uint64_t number = 0;
    for (size_t i = width; i > 0; i--)
        number = number << 8 | bytes[i - 1];
    return number;
}

void fuzz_set(uint8_t *bytes, size_t width, uint64_t number)
{
    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(number >> 8 * i);
}

size_t fuzz_splice(uint8_t *data, size_t size, size_t max_size, size_t at, size_t removed,
                   const void *bytes, size_t count)
{
    if (size - removed + count > max_size)
        return size;
    memmove(data + at + count, data + at + removed, size - at - removed);
    if (count > 0)
        memcpy(data + at, bytes, count);
    return size - removed + count;
}
