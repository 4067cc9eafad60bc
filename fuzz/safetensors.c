/*
 * safetensors. An input that begins with a brace is a header: it gets the length in front and some
 * data behind, so that mutations need not keep the length right.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH = 8, DATA = 64 };

static void read_whole(const void *data, size_t size)
{
    const mc_reader *found = NULL;
    if (fuzz_reader(&mc_reader_safetensors, data, size, &found) == MC_OK)
        fuzz_require(found == &mc_reader_safetensors, "it is known for what it is");
}

void fuzz_input(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] != '{') {
        read_whole(data, size);
        return;
    }
    unsigned char *const whole = calloc(1, LENGTH + size + DATA);
    for (int i = 0; i < LENGTH; i++)
        whole[i] = (unsigned char)((uint64_t)size >> 8 * i);
    memcpy(whole + LENGTH, data, size);
    read_whole(whole, LENGTH + size + DATA);
    free(whole);
}
