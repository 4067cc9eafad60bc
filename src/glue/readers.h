/*
 * The file formats. Each reader takes a whole file in memory and fills a table, whose texts may point into the file. Those of text
 * change the file's bytes, and need one more behind its end.
 */
#ifndef MC_GLUE_READERS_H
#define MC_GLUE_READERS_H

#include "glue/table.h"

mc_status mc_parquet_read(mc_table *table, const unsigned char *bytes, size_t size,
                          mc_error *error);

/* Lines of fields between tabs; quotes mean nothing. */
mc_status mc_tsv_read(mc_table *table, char *bytes, size_t size, mc_error *error);

/* RFC 4180, with a header. */
mc_status mc_csv_read(mc_table *table, char *bytes, size_t size, mc_error *error);

/* A JSON object a line. */
mc_status mc_jsonl_read(mc_table *table, char *bytes, size_t size, mc_error *error);

#endif
