/*
 * safetensors. An input that begins with a brace is a header: it gets the length in front and some data behind, so that mutations
 * need not keep the length right.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH = 8, DATA = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] != '{') {
        fuzz_reader(&mc_reader_safetensors, data, size);
        return 0;
    }
    unsigned char *const whole = calloc(1, LENGTH + size + DATA);
    for (int i = 0; i < LENGTH; i++)
        whole[i] = (unsigned char)((uint64_t)size >> 8 * i);
    memcpy(whole + LENGTH, data, size);
    fuzz_reader(&mc_reader_safetensors, whole, LENGTH + size + DATA);
    free(whole);
    return 0;
}
