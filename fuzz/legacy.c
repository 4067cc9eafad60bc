/* torch's older files: pickles and storages. */
#include "fuzz.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    const mc_reader *found = NULL;
    fuzz_reader(&mc_reader_torch_legacy, data, size, &found);
}
