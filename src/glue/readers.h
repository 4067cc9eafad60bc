/*
 * Readers of file formats. Each takes a whole file in memory and fills a table, whose texts may
 * point into the file. Readers of text formats change the bytes and need room for one more behind
 * the end. They skip a byte-order mark.
 */
#ifndef MC_GLUE_READERS_H
#define MC_GLUE_READERS_H

#include "glue/table.h"

/* Returns the length of a UTF-8 byte-order mark at the beginning: 3 or 0. */
static inline size_t mc_byte_order_mark(const char *bytes, size_t size)
{
    return size >= 3 && (unsigned char)bytes[0] == 0xef && (unsigned char)bytes[1] == 0xbb &&
                   (unsigned char)bytes[2] == 0xbf
               ? 3
               : 0;
}

mc_status mc_parquet_read(mc_table *table, const unsigned char *bytes, size_t size,
                          mc_error *error);

/* Lines of fields separated by tabs, without quoting. */
mc_status mc_tsv_read(mc_table *table, char *bytes, size_t size, mc_error *error);

/* RFC 4180, with a header. */
mc_status mc_csv_read(mc_table *table, char *bytes, size_t size, mc_error *error);

/* One JSON object per line. */
mc_status mc_jsonl_read(mc_table *table, char *bytes, size_t size, mc_error *error);

#endif
