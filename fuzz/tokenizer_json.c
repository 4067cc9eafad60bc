/* tokenizer.json. */
#include "encode.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    fuzz_put("model/tokenizer.json", data, size);
    fuzz_tokenizer(data, size);
}
