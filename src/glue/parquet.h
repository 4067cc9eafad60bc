/* The description of columns in a Parquet file: types shared by the parts of the reader. */
#ifndef MC_GLUE_PARQUET_H
#define MC_GLUE_PARQUET_H

#include "glue/table.h"

/* Physical types. */
typedef enum mc_parquet_type {
    MC_PARQUET_BOOLEAN,
    MC_PARQUET_INT32,
    MC_PARQUET_INT64,
    MC_PARQUET_INT96,
    MC_PARQUET_FLOAT,
    MC_PARQUET_DOUBLE,
    MC_PARQUET_BYTE_ARRAY,
    MC_PARQUET_FIXED_LEN_BYTE_ARRAY,
    MC_PARQUET_TYPES
} mc_parquet_type;

/* Returns e.g. "INT32"; "an unknown type" for other numbers. */
const char *mc_parquet_type_name(int64_t type);

/* Bytes in memory. */
typedef struct mc_span {
    const unsigned char *bytes;
    size_t size;
} mc_span;

/* A column of the schema's top level. */
typedef struct mc_parquet_column {
    const char *name;
    size_t leaf;       /* index of its chunk in a row group */
    int64_t type;      /* mc_parquet_type; −1 for a group */
    int64_t converted; /* meaning of the type: ConvertedType, and … */
    int64_t logical;   /* … number of the LogicalType; −1: not given */
    bool optional, repeated;
} mc_parquet_column;

/* The part of a column in a row group. */
typedef struct mc_parquet_chunk {
    int64_t type, codec, values, bytes;
    int64_t data_page, dictionary_page; /* offsets; dictionary_page 0: none */
    bool there, elsewhere, encrypted;
} mc_parquet_chunk;

/* Adds the cells of a chunk to the table's column. `file` is the part before the footer. */
mc_status mc_parquet_read_chunk(mc_table *table, mc_column *out, mc_span file,
                                const mc_parquet_column *column, const mc_parquet_chunk *chunk,
                                mc_error *error);

#endif
