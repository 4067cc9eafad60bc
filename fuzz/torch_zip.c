/* torch's zip files, as they are: no checksum is looked at, so that plain mutation reaches the pickle in them. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_reader(&mc_reader_torch_zip, data, size);
    return 0;
}
