/*
 * A column chunk is a sequence of pages: a dictionary if there is one, then data pages. A page has
 * a Thrift header and data: definition levels (which values are null) if the column is optional,
 * then the values that are not null.
 */
#include "base/memory.h"
#include "glue/decompress.h"
#include "glue/parquet_values.h"
#include "glue/thrift.h"

#include <string.h>
#include <zlib.h>

typedef enum page_type { DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 } page_type;

/* The header of a page with the needed fields of its type's struct. */
typedef struct page_header {
    int64_t type, size, stored_size, crc;
    bool has_crc;
    int64_t values, encoding, level_encoding;
    int64_t nulls, rows, level_bytes, repetition_bytes;
    bool compressed; /* version 2: whether the values are compressed */
    bool has_details;
} page_header;

/* The state of reading a chunk. */
typedef struct reader {
    mc_table *table;
    mc_column *out;
    const mc_parquet_column *column;
    const mc_parquet_chunk *chunk;
    size_t left; /* values of the chunk still to be read */
    mc_cell *dictionary;
    size_t dictionary_count;
} reader;

/* ---- headers ---- */

static void read_v1(mc_thrift *t, page_header *h)
{
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field)) {
        if (field.id == 1)
            h->values = mc_thrift_integer(t, &field);
        else if (field.id == 2)
            h->encoding = mc_thrift_integer(t, &field);
        else if (field.id == 3 && field.type != MC_THRIFT_TRUE && field.type != MC_THRIFT_FALSE)
            h->level_encoding = mc_thrift_integer(t, &field);
        else
            mc_thrift_skip(t, field.type);
    }
}

static void read_v2(mc_thrift *t, page_header *h)
{
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field)) {
        if (field.id == 1)
            h->values = mc_thrift_integer(t, &field);
        else if (field.id == 2)
            h->nulls = mc_thrift_integer(t, &field);
        else if (field.id == 3)
            h->rows = mc_thrift_integer(t, &field);
        else if (field.id == 4)
            h->encoding = mc_thrift_integer(t, &field);
        else if (field.id == 5)
            h->level_bytes = mc_thrift_integer(t, &field);
        else if (field.id == 6)
            h->repetition_bytes = mc_thrift_integer(t, &field);
        else if (field.id == 7)
            h->compressed = mc_thrift_bool(t, &field);
        else
            mc_thrift_skip(t, field.type);
    }
}

/* The number of the field with the details of a page type. */
static int64_t details_of(int64_t type)
{
    return type == DATA_PAGE ? 5 : type == DICTIONARY_PAGE ? 7 : type == DATA_PAGE_V2 ? 8 : 0;
}

static void read_header(mc_thrift *t, page_header *h)
{
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field)) {
        /* The type comes before the details, as fields are in the order of their numbers. */
        if (field.id >= 5 && field.id == details_of(h->type)) {
            mc_thrift_struct(t, &field);
            (h->type == DATA_PAGE_V2 ? read_v2 : read_v1)(t, h);
            h->has_details = true;
        } else if (field.id == 1) {
            h->type = mc_thrift_integer(t, &field);
        } else if (field.id == 2) {
            h->size = mc_thrift_integer(t, &field);
        } else if (field.id == 3) {
            h->stored_size = mc_thrift_integer(t, &field);
        } else if (field.id == 4) {
            h->crc = mc_thrift_integer(t, &field);
            h->has_crc = true;
        } else {
            mc_thrift_skip(t, field.type);
        }
    }
}

/* Consumes a page: its header, and its data as stored. */
static mc_status take_page(mc_span *in, page_header *h, mc_span *data, mc_error *error)
{
    mc_thrift t = {.at = in->bytes, .end = in->bytes + in->size};
    *h = (page_header){.type = -1, .level_encoding = MC_PARQUET_RLE, .compressed = true};
    read_header(&t, h);
    if (t.problem)
        return mc_fail(error, MC_FORMAT, "malformed header: %s", t.problem);
    const size_t left = (size_t)(t.end - t.at);
    if (h->size < 0 || h->stored_size < 0 || (uint64_t)h->stored_size > left)
        return mc_fail(
            error, MC_FORMAT,
            "expected at most %zu bytes of data, the header says %lld (%lld when they are "
            "decompressed)",
            left, (long long)h->stored_size, (long long)h->size);
    *data = (mc_span){t.at, (size_t)h->stored_size};
    *in = (mc_span){t.at + h->stored_size, left - (size_t)h->stored_size};
    /* The checksum is that of the data as stored, compressed. */
    if (h->has_crc && crc32_z(0, data->bytes, data->size) != (uint32_t)h->crc)
        return mc_fail(error, MC_FORMAT, "checksum mismatch of a page");
    if (h->type != INDEX_PAGE && !h->has_details)
        return mc_fail(error, MC_FORMAT, "expected a data page or a dictionary, found type %lld",
                       (long long)h->type);
    return MC_OK;
}

/* ---- data ---- */

/* Uncompressed data are used in place. */
static mc_status decompress(const reader *r, bool compressed, mc_span stored, size_t size,
                            mc_span *out, mc_error *error)
{
    void *memory = NULL;
    if (!compressed || r->chunk->codec == 0) {
        if (stored.size != size)
            return mc_fail(error, MC_FORMAT,
                           "expected %zu bytes, as it is not compressed, found %zu", size,
                           stored.size);
        r->table->points_into_file = true;
        *out = stored;
        return MC_OK;
    }
    MC_TRY(mc_table_alloc(r->table, size, &memory, error));
    *out = (mc_span){memory, size};
    /* Some writers store nothing for empty data. */
    return size == 0
               ? MC_OK
               : mc_decompress(r->chunk->codec, stored.bytes, stored.size, memory, size, error);
}

static mc_parquet_page page_of(const mc_parquet_column *column, int64_t encoding)
{
    enum { UINT_32 = 13 };
    return (mc_parquet_page){.type = (mc_parquet_type)column->type,
                             .is_unsigned = column->converted == UINT_32,
                             .encoding = encoding};
}

static mc_status read_dictionary(reader *r, const page_header *h, mc_span stored, mc_error *error)
{
    mc_parquet_page page = page_of(r->column, MC_PARQUET_PLAIN);
    if (r->dictionary)
        return mc_fail(error, MC_FORMAT, "expected one dictionary, found a second");
    if (h->encoding != MC_PARQUET_PLAIN && h->encoding != MC_PARQUET_PLAIN_DICTIONARY)
        return mc_fail(error, MC_UNSUPPORTED, "unsupported encoding %s (%lld) of a dictionary",
                       mc_parquet_encoding_name(h->encoding), (long long)h->encoding);
    MC_TRY(decompress(r, true, stored, (size_t)h->size, &page.values, error));
    /* Each value takes at least one byte. */
    if (h->values < 0 || (uint64_t)h->values > page.values.size ||
        (uint64_t)h->values > r->table->row_limit)
        return mc_fail(error, MC_FORMAT, "a dictionary of %zu bytes cannot hold %lld values",
                       page.values.size, (long long)h->values);
    r->dictionary_count = (size_t)h->values;
    r->dictionary = mc_alloc(r->dictionary_count * sizeof *r->dictionary);
    if (!r->dictionary)
        return mc_fail_memory(error);
    return mc_parquet_decode(r->table, &page, r->dictionary_count, r->dictionary, error);
}

/*
 * Splits a page of version 1 into definition levels, which their size precedes, and values.
 *
 * Data pages of both versions; [ ] is compressed:
 *
 *   version 1   header │ [ size of levels │ levels │ values ]   both only if optional
 *   version 2   header │ levels │ [ values ]                 the header has the size of levels
 */
static mc_status split_v1(const reader *r, const page_header *h, mc_span stored, mc_span *levels,
                          mc_span *values, mc_error *error)
{
    MC_TRY(decompress(r, true, stored, (size_t)h->size, values, error));
    if (!r->column->optional)
        return MC_OK;
    if (h->level_encoding != MC_PARQUET_RLE)
        return mc_fail(error, MC_UNSUPPORTED, "unsupported encoding %s (%lld) of definition levels",
                       mc_parquet_encoding_name(h->level_encoding), (long long)h->level_encoding);
    const unsigned char *const b = values->bytes;
    const size_t length = values->size < 4
                              ? SIZE_MAX
                              : b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
    if (values->size < 4 || length > values->size - 4)
        return mc_fail(error, MC_FORMAT, "the definition levels reach beyond the end of the page");
    *levels = (mc_span){b + 4, length};
    *values = (mc_span){b + 4 + length, values->size - 4 - length};
    return MC_OK;
}

/* Version 2: the header has the levels' size, and they are not compressed. */
static mc_status split_v2(const reader *r, const page_header *h, mc_span stored, mc_span *levels,
                          mc_span *values, mc_error *error)
{
    const size_t length = (size_t)h->level_bytes;
    if (h->repetition_bytes != 0 || h->level_bytes < 0 || length > stored.size ||
        h->level_bytes > h->size)
        return mc_fail(
            error, MC_FORMAT,
            "expected definition levels within %zu bytes and no repetition levels, found "
            "%lld and %lld bytes",
            stored.size, (long long)h->level_bytes, (long long)h->repetition_bytes);
    if (h->rows != h->values)
        return mc_fail(error, MC_FORMAT, "expected as many rows as values, found %lld and %lld",
                       (long long)h->rows, (long long)h->values);
    *levels = (mc_span){stored.bytes, length};
    return decompress(r, h->compressed, (mc_span){stored.bytes + length, stored.size - length},
                      (size_t)h->size - length, values, error);
}

static mc_status count_values(const uint32_t *levels, size_t count, size_t *present,
                              mc_error *error)
{
    *present = 0;
    for (size_t i = 0; i < count; i++) {
        if (levels[i] > 1)
            return mc_fail(error, MC_FORMAT, "expected definition levels 0 and 1, found %u",
                           levels[i]);
        *present += levels[i];
    }
    return MC_OK;
}

/* Moves the values from the front to their rows, with nulls in between. */
static void spread(const uint32_t *levels, size_t count, size_t present, mc_cell *cells)
{
    /*
     * From the end: each value moves to the right or stays, and none is overwritten before it has
     * moved.
     */
    for (size_t i = count; i-- > 0;)
        cells[i] = levels[i] ? cells[--present] : (mc_cell){.kind = MC_CELL_NULL};
}

static mc_status read_optional(const reader *r, const page_header *h, const mc_parquet_page *page,
                               mc_span in, uint32_t *levels, mc_cell *cells, mc_error *error)
{
    const size_t count = (size_t)h->values;
    size_t present = 0;
    MC_TRY(mc_parquet_read_runs(in, 1, count, levels, error));
    MC_TRY(count_values(levels, count, &present, error));
    if (h->type == DATA_PAGE_V2 && h->nulls != (int64_t)(count - present))
        return mc_fail(error, MC_FORMAT, "expected %lld nulls, found %zu", (long long)h->nulls,
                       count - present);
    MC_TRY(mc_parquet_decode(r->table, page, present, cells, error));
    spread(levels, count, present, cells);
    return MC_OK;
}

static mc_status read_values(const reader *r, const page_header *h, const mc_parquet_page *page,
                             mc_span levels, mc_cell *cells, mc_error *error)
{
    const size_t count = (size_t)h->values;
    if (!r->column->optional)
        return mc_parquet_decode(r->table, page, count, cells, error);
    uint32_t *const room = mc_alloc(count * sizeof *room);
    if (!room)
        return mc_fail_memory(error);
    const mc_status status = read_optional(r, h, page, levels, room, cells, error);
    mc_free(room);
    return status;
}

static mc_status read_data(reader *r, const page_header *h, mc_span stored, mc_error *error)
{
    mc_parquet_page page = page_of(r->column, h->encoding);
    mc_span levels = {0};
    mc_cell *cells = NULL;
    page.dictionary = r->dictionary;
    page.dictionary_count = r->dictionary_count;
    if (h->values < 0 || (uint64_t)h->values > r->left)
        return mc_fail(error, MC_FORMAT, "expected at most %zu values, found %lld", r->left,
                       (long long)h->values);
    MC_TRY(
        (h->type == DATA_PAGE ? split_v1 : split_v2)(r, h, stored, &levels, &page.values, error));
    MC_TRY(mc_table_reserve(r->table, r->out, (size_t)h->values, &cells, error));
    MC_TRY(read_values(r, h, &page, levels, cells, error));
    r->out->count += (size_t)h->values;
    r->left -= (size_t)h->values;
    return MC_OK;
}

/* ---- chunks ---- */

static mc_status check_chunk(const mc_parquet_column *column, const mc_parquet_chunk *chunk,
                             mc_error *error)
{
    if (chunk->encrypted)
        return mc_fail(error, MC_UNSUPPORTED, "it is encrypted");
    if (chunk->elsewhere)
        return mc_fail(error, MC_UNSUPPORTED, "it is in another file");
    if (!chunk->there || chunk->type != column->type)
        return mc_fail(error, MC_FORMAT, "expected data of type %s in the footer, found %s",
                       mc_parquet_type_name(column->type),
                       chunk->there ? mc_parquet_type_name(chunk->type) : "none");
    return mc_codec_check(chunk->codec, error);
}

/* The dictionary precedes the data pages. Some writers give offset 0 if there is none. */
static mc_status find_pages(mc_span file, const mc_parquet_chunk *chunk, mc_span *pages,
                            mc_error *error)
{
    const int64_t d = chunk->dictionary_page;
    const int64_t first = d > 0 && d < chunk->data_page ? d : chunk->data_page;
    if (first < 4 || chunk->bytes < 0 || (uint64_t)first > file.size ||
        (uint64_t)chunk->bytes > file.size - (uint64_t)first)
        return mc_fail(error, MC_FORMAT,
                       "expected its pages between byte 4 and the footer at byte %zu, found %lld "
                       "bytes at byte %lld",
                       file.size, (long long)chunk->bytes, (long long)first);
    *pages = (mc_span){file.bytes + first, (size_t)chunk->bytes};
    return MC_OK;
}

static mc_status read_page(reader *r, mc_span *in, mc_error *error)
{
    page_header header;
    mc_span data;
    MC_TRY(take_page(in, &header, &data, error));
    return header.type == INDEX_PAGE        ? MC_OK
           : header.type == DICTIONARY_PAGE ? read_dictionary(r, &header, data, error)
                                            : read_data(r, &header, data, error);
}

/* Prepends the column and the page's offset to an error text. */
static mc_status at_page(mc_error *error, const mc_parquet_column *column, int64_t offset,
                         mc_status status)
{
    if (status == MC_OK || status == MC_NO_MEMORY || !error)
        return status;
    char text[sizeof error->text];
    memcpy(text, error->text, sizeof text);
    return mc_fail_at(error, status, NULL, NULL, offset, "column '%s', byte %lld: %s", column->name,
                      (long long)offset, text);
}

static mc_status read_pages(reader *r, mc_span file, mc_error *error)
{
    mc_span in = {0};
    MC_TRY(at_page(error, r->column, r->chunk->data_page, check_chunk(r->column, r->chunk, error)));
    r->left = (size_t)r->chunk->values;
    /* Some writers write no pages if there are no rows. */
    if (r->left > 0)
        MC_TRY(
            at_page(error, r->column, r->chunk->data_page, find_pages(file, r->chunk, &in, error)));
    while (r->left > 0) {
        const int64_t offset = in.bytes - file.bytes;
        MC_TRY(at_page(error, r->column, offset, read_page(r, &in, error)));
    }
    return MC_OK;
}

mc_status mc_parquet_read_chunk(mc_table *table, mc_column *out, mc_span file,
                                const mc_parquet_column *column, const mc_parquet_chunk *chunk,
                                mc_error *error)
{
    reader r = {.table = table, .out = out, .column = column, .chunk = chunk};
    const mc_status status = read_pages(&r, file, error);
    mc_free(r.dictionary);
    return status;
}
