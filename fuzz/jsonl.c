/* JSON lines. */
#include "glue.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    fuzz_glue("mnli", MC_GLUE_JSONL, data, size);
}
