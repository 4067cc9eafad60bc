/* Data sets from bytes, for mc_glue_load and for the fuzz targets. */
#ifndef MC_GLUE_DATA_H
#define MC_GLUE_DATA_H

#include "base/error.h"

#include <mergecraft/glue.h>

typedef enum mc_glue_format {
    MC_GLUE_PARQUET,
    MC_GLUE_TSV,
    MC_GLUE_CSV,
    MC_GLUE_JSONL
} mc_glue_format;

/* Parquet by how the file begins; the others by the ending of its name, or else by its first line. */
mc_glue_format mc_glue_format_of(const char *name, const char *bytes, size_t size);

/* A data set without examples, which takes at most as many bytes of texts and rows; mc_glue_data_free. */
mc_status mc_glue_data_new(const mc_glue_task *task, size_t byte_limit, size_t row_limit,
                           mc_glue_data **out, mc_error *error);

/*
 * Adds the examples of a file, of which `bytes` (from mc_alloc) has `size` and one more: they are taken over, also when it
 * fails. Errors name no file.
 */
mc_status mc_glue_data_add(mc_glue_data *data, mc_glue_format format, char *bytes, size_t size,
                           mc_error *error);

#endif
