/* Data sets from bytes in memory, for mc_glue_load and for the fuzz targets. */
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

/* Recognises Parquet by its first bytes, other formats by suffix or first line. */
mc_glue_format mc_glue_format_of(const char *name, const char *bytes, size_t size);

/* Creates an empty data set with limits; free it with mc_glue_data_free. */
mc_status mc_glue_data_new(const mc_glue_task *task, size_t byte_limit, size_t row_limit,
                           mc_glue_data **out, mc_error *error);

/*
 * Adds the examples of a file. Takes `bytes` (from mc_alloc, with room for size + 1) also if it
 * fails. Errors do not name a file.
 */
mc_status mc_glue_data_add(mc_glue_data *data, mc_glue_format format, char *bytes, size_t size,
                           mc_error *error);

#endif
