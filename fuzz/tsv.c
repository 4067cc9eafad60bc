/* GLUE's own files, whose columns and labels differ from task to task; and how a format is told. */
#include "glue.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_glue_format_of("-", (const char *)data, size);
    fuzz_glue("cola", MC_GLUE_TSV, data, size);
    fuzz_glue("mrpc", MC_GLUE_TSV, data, size);
    fuzz_glue("stsb", MC_GLUE_TSV, data, size);
    fuzz_glue("mnli", MC_GLUE_TSV, data, size);
}
