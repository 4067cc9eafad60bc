/* Comma-separated values. */
#include "glue.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    fuzz_glue("rte", MC_GLUE_CSV, data, size);
}
