/*
 * Five pickles one after the other, and storages: one of the pickles is changed, or a number behind
 * them.
 */
#include "mutate.h"

#include <string.h>

enum { PICKLES = 5, OBJECT = 3, SPARE = 512 };

/* Where the pickles end, as far as there are any; the others end there, too. */
static void find_pickles(const uint8_t *data, size_t size, size_t ends[PICKLES])
{
    size_t at = 0;
    for (int i = 0; i < PICKLES; i++) {
        bool stopped = false;
        while (!stopped && at < size) {
            stopped = data[at] == '.';
            at += fuzz_instruction_size(data + at, size - at);
        }
        ends[i] = at;
    }
}

static size_t mutate_one(uint8_t *data, size_t size, size_t max_size, size_t begin, size_t end,
                         fuzz_random *random)
{
    static uint8_t changed[1 << 16];
    const size_t length = end - begin;
    if (length + SPARE > sizeof changed)
        return size;
    memcpy(changed, data + begin, length);
    const size_t now = fuzz_mutate_pickle(changed, length, length + SPARE, random);
    return fuzz_splice(data, size, max_size, begin, length, changed, now);
}

static size_t mutate_storages(uint8_t *data, size_t size, size_t max_size, size_t begin,
                              fuzz_random *random)
{
    uint8_t number[8];
    fuzz_set(number, sizeof number, fuzz_draw_number(random));
    const size_t at = begin + fuzz_draw(random, size - begin + 1);
    const size_t left = size - at, replaced = left < sizeof number ? left : sizeof number;
    /* The first count stands where the pickles end. */
    if (fuzz_draw(random, 2) == 0 && size - begin >= sizeof number)
        return fuzz_splice(data, size, max_size, begin, sizeof number, number, sizeof number);
    return fuzz_splice(data, size, max_size, at, fuzz_draw(random, 2) ? replaced : 0, number,
                       sizeof number);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    fuzz_random random = {seed};
    size_t ends[PICKLES];
    find_pickles(data, size, ends);
    const uint32_t choice = fuzz_draw(&random, 8);
    if (choice == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (choice == 1)
        return mutate_storages(data, size, max_size, ends[PICKLES - 1], &random);
    const size_t which = choice < 6 ? OBJECT : fuzz_draw(&random, PICKLES);
    return mutate_one(data, size, max_size, which > 0 ? ends[which - 1] : 0, ends[which], &random);
}
