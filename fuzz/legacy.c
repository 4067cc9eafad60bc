/* torch's older files: pickles and storages. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_reader(&mc_reader_torch_legacy, data, size);
    return 0;
}
