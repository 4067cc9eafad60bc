/* The encodings of the values in a Parquet page. */
#ifndef MC_GLUE_PARQUET_VALUES_H
#define MC_GLUE_PARQUET_VALUES_H

#include "glue/parquet.h"

/* Parquet's Encoding. */
enum {
    MC_PARQUET_PLAIN = 0,
    MC_PARQUET_PLAIN_DICTIONARY = 2,
    MC_PARQUET_RLE = 3,
    MC_PARQUET_DELTA_BINARY_PACKED = 5,
    MC_PARQUET_DELTA_LENGTH_BYTE_ARRAY = 6,
    MC_PARQUET_DELTA_BYTE_ARRAY = 7,
    MC_PARQUET_RLE_DICTIONARY = 8,
    MC_PARQUET_BYTE_STREAM_SPLIT = 9
};

/* Returns e.g. "PLAIN"; "unknown" for encodings not listed above. */
const char *mc_parquet_encoding_name(int64_t encoding);

/* The values of a page and how they are encoded. */
typedef struct mc_parquet_page {
    mc_parquet_type type;
    bool is_unsigned; /* INT32 from 0 to 2^32 − 1 */
    int64_t encoding;
    mc_span values;            /* texts point into it */
    const mc_cell *dictionary; /* NULL: none */
    size_t dictionary_count;
} mc_parquet_page;

/* Decodes `count` values without nulls. Assembled texts are allocated from the table. */
mc_status mc_parquet_decode(mc_table *table, const mc_parquet_page *page, size_t count,
                            mc_cell *out, mc_error *error);

/*
 * Reads the hybrid of run lengths and packed bits that levels, dictionary indices and bools are
 * stored in: `count` numbers of `width` (0 to 32) bits.
 */
mc_status mc_parquet_read_runs(mc_span in, unsigned width, size_t count, uint32_t *out,
                               mc_error *error);

#endif
