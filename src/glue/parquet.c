/*
 * Parquet for flat tables. A file is read from its end:
 *
 *     "PAR1" │ row group 0: pages of column 0, pages of column 1, … │ row group 1: … │
 *     footer │ size of the footer, 4 bytes │ "PAR1"
 *
 * The footer is a Thrift struct: the schema, then per row group the place of each column's chunk,
 * which parquet_page.c reads. Two passes: the first reads the schema, by which columns are chosen;
 * the second reads the row groups, of which nothing is kept.
 */
#include "glue/parquet.h"

#include "base/memory.h"
#include "glue/readers.h"
#include "glue/thrift.h"

#include <string.h>

enum { MAGIC_BYTES = 4, TAIL_BYTES = 8, FOOTER_LIMIT = 8 * 1024 * 1024 };

static const char *const type_names[MC_PARQUET_TYPES] = {
    "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"};

const char *mc_parquet_type_name(int64_t type)
{
    return type >= 0 && type < MC_PARQUET_TYPES ? type_names[type] : "an unknown type";
}

/* The result of the first pass. Names are in one block of memory. */
typedef struct footer {
    mc_span span;  /* of the footer */
    mc_span pages; /* of the file before it */
    mc_parquet_column *columns;
    char *names;
    size_t column_count, leaf_count;
    int64_t row_count;
    bool encrypted;
} footer;

/* ---- footer ---- */

static uint32_t get32(const unsigned char *b)
{
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static mc_status find_footer(const unsigned char *bytes, size_t size, footer *f, mc_error *error)
{
    /* PARE begins a file with an encrypted footer. */
    if (size < MAGIC_BYTES || (memcmp(bytes, "PAR1", 4) != 0 && memcmp(bytes, "PARE", 4) != 0))
        return mc_fail(error, MC_FORMAT,
                       "expected a Parquet file, which begins with PAR1, found %s",
                       size == 0 ? "an empty file" : "something else");
    if (memcmp(bytes, "PARE", 4) == 0)
        return mc_fail(error, MC_UNSUPPORTED, "the Parquet file is encrypted");
    if (size < MAGIC_BYTES + TAIL_BYTES || memcmp(bytes + size - 4, "PAR1", 4) != 0)
        return mc_fail(error, MC_FORMAT,
                       "expected PAR1 at the end of the Parquet file; it is truncated");
    const size_t length = get32(bytes + size - TAIL_BYTES);
    /*
     * The footer lies between the first magic and its own length. The limit bounds what a crafted
     * file makes this reader allocate.
     */
    if (length > size - MAGIC_BYTES - TAIL_BYTES || length > FOOTER_LIMIT)
        return mc_fail(error, MC_FORMAT,
                       "expected a Parquet footer within %zu bytes, found a length of %zu", size,
                       length);
    f->pages = (mc_span){bytes, size - TAIL_BYTES - length};
    f->span = (mc_span){bytes + f->pages.size, length};
    return MC_OK;
}

static mc_status footer_status(const mc_thrift *t, mc_error *error)
{
    return t->problem ? mc_fail(error, MC_FORMAT, "malformed footer: %s", t->problem) : MC_OK;
}

/* ---- schema ---- */

typedef struct element {
    const char *name;
    size_t name_size;
    int64_t type, repetition, children, converted, logical;
} element;

/* A logical type is a union: a struct of one field, whose number is the type. */
static int64_t read_logical_type(mc_thrift *t, const mc_thrift_field *field)
{
    mc_thrift_field one = {0};
    int64_t found = -1;
    mc_thrift_struct(t, field);
    while (mc_thrift_next(t, &one)) {
        found = one.id;
        mc_thrift_skip(t, one.type);
    }
    return found;
}

static element read_element(mc_thrift *t)
{
    element e = {.type = -1, .converted = -1, .logical = -1};
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field)) {
        /* Numbers of fields are those of SchemaElement in parquet.thrift. */
        if (field.id == 1)
            e.type = mc_thrift_integer(t, &field);
        else if (field.id == 3)
            e.repetition = mc_thrift_integer(t, &field);
        else if (field.id == 4)
            e.name = mc_thrift_text(t, &field, &e.name_size);
        else if (field.id == 5)
            e.children = mc_thrift_integer(t, &field);
        else if (field.id == 6)
            e.converted = mc_thrift_integer(t, &field);
        else if (field.id == 10)
            e.logical = read_logical_type(t, &field);
        else
            mc_thrift_skip(t, field.type);
    }
    return e;
}

/* Appends a copy of the name. */
static const char *keep_name(footer *f, const element *e, size_t *used)
{
    char *const name = f->names + *used;
    if (e->name_size > 0)
        memcpy(name, e->name, e->name_size);
    name[e->name_size] = '\0';
    *used += e->name_size + 1;
    return name;
}

static bool is_group(const element *e)
{
    return e->children > 0 || e->type < 0;
}

/* Counts the leaves of a group, whose elements follow, parents before children. */
static size_t skip_group(mc_thrift *t, int64_t children, size_t *left)
{
    size_t leaves = 0;
    /*
     * The schema is a tree in preorder: a group states how many children follow it. `open` counts
     * the elements that are still to come; *left, those that the list has.
     */
    for (uint64_t open = children > 0 ? (uint64_t)children : 0; open > 0 && *left > 0;
         open--, (*left)--) {
        const element e = read_element(t);
        leaves += !is_group(&e);
        if (e.children > 0)
            open += (uint64_t)e.children;
    }
    return leaves;
}

static void read_columns(mc_thrift *t, footer *f, size_t left)
{
    size_t used = 0;
    while (left > 0 && !t->problem) {
        const element e = read_element(t);
        const bool group = is_group(&e);
        left--;
        f->columns[f->column_count++] = (mc_parquet_column){
            .name = keep_name(f, &e, &used),
            /*
             * A row group has a chunk per leaf, also for leaves of nested columns: those are
             * counted, not read.
             */
            .leaf = f->leaf_count,
            .type = group ? -1 : e.type,
            .converted = e.converted,
            .logical = e.logical,
            .optional = e.repetition == 1,
            .repeated = e.repetition == 2,
        };
        f->leaf_count += group ? skip_group(t, e.children, &left) : 1;
    }
}

static mc_status read_schema(mc_thrift *t, const mc_thrift_field *field, footer *f, mc_error *error)
{
    const size_t count = mc_thrift_structs(t, field);
    if (t->problem || f->columns || count == 0)
        return t->problem ? MC_OK : mc_fail(error, MC_FORMAT, "expected one schema in the footer");
    read_element(t); /* the root */
    f->columns = mc_alloc(count * sizeof *f->columns);
    /* Names need no more bytes here than in the footer, where each has a length byte. */
    f->names = mc_alloc(f->span.size + count);
    if (!f->columns || !f->names)
        return mc_fail_memory(error);
    read_columns(t, f, count - 1);
    return MC_OK;
}

static mc_status read_footer(footer *f, mc_error *error)
{
    mc_thrift t = {.at = f->span.bytes, .end = f->span.bytes + f->span.size};
    mc_thrift_field field = {0};
    f->row_count = -1;
    while (mc_thrift_next(&t, &field)) {
        if (field.id == 2)
            MC_TRY(read_schema(&t, &field, f, error));
        else if (field.id == 3)
            f->row_count = mc_thrift_integer(&t, &field);
        else
            mc_thrift_skip(&t, field.type);
        /* Field 8 is encryption_algorithm: columns are encrypted, the footer is not. */
        f->encrypted = f->encrypted || field.id == 8;
    }
    MC_TRY(footer_status(&t, error));
    if (!f->columns || f->row_count < 0)
        return mc_fail(error, MC_FORMAT, "expected a schema and a number of rows in the footer");
    return MC_OK;
}

/* ---- selected columns ---- */

/* No dates, times, decimals. New writers give the logical type only, old ones the converted. */
static bool is_plain_type(const mc_parquet_column *column)
{
    enum { NONE = -1, UTF8 = 0, ENUM = 4, UINT_8 = 11, JSON = 19 };
    enum { STRING = 1, LOGICAL_ENUM = 4, INTEGER = 10, ALWAYS_NULL = 11, LOGICAL_JSON = 12 };
    const int64_t c = column->converted, l = column->logical;
    return (c == NONE || c == UTF8 || c == ENUM || (c >= UINT_8 && c <= JSON)) &&
           (l == NONE || l == STRING || l == LOGICAL_ENUM || l == INTEGER || l == ALWAYS_NULL ||
            l == LOGICAL_JSON);
}

static mc_status check_column(const mc_parquet_column *column, mc_error *error)
{
    if (column->type < 0 || column->repeated)
        return mc_fail(error, MC_UNSUPPORTED, "column '%s' is nested: expected a flat one",
                       column->name);
    if (column->type >= MC_PARQUET_TYPES || column->type == MC_PARQUET_INT96 ||
        column->type == MC_PARQUET_FIXED_LEN_BYTE_ARRAY)
        return mc_fail(error, MC_UNSUPPORTED,
                       "column '%s' is of type %s: expected a text or a number", column->name,
                       mc_parquet_type_name(column->type));
    if (!is_plain_type(column))
        return mc_fail(
            error, MC_UNSUPPORTED,
            "column '%s' is a date, a time or a decimal (converted type %lld, logical type "
            "%lld): expected a text or a number",
            column->name, (long long)column->converted, (long long)column->logical);
    return MC_OK;
}

static mc_status choose_columns(mc_table *table, const footer *f, mc_error *error)
{
    const char **const names = mc_alloc(f->column_count * sizeof *names);
    if (!names)
        return mc_fail_memory(error);
    for (size_t i = 0; i < f->column_count; i++)
        names[i] = f->columns[i].name;
    const mc_status status = mc_table_choose(table, names, f->column_count, error);
    mc_free(names);
    MC_TRY(status);
    for (mc_glue_role role = 0; role < MC_COLUMN_ROLES; role++)
        if (table->chosen[role] != MC_NO_COLUMN)
            MC_TRY(check_column(&f->columns[table->chosen[role]], error));
    return MC_OK;
}

/* ---- row groups ---- */

static void read_chunk_metadata(mc_thrift *t, mc_parquet_chunk *chunk)
{
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field)) {
        if (field.id == 1)
            chunk->type = mc_thrift_integer(t, &field);
        else if (field.id == 4)
            chunk->codec = mc_thrift_integer(t, &field);
        else if (field.id == 5)
            chunk->values = mc_thrift_integer(t, &field);
        else if (field.id == 7)
            chunk->bytes = mc_thrift_integer(t, &field);
        else if (field.id == 9)
            chunk->data_page = mc_thrift_integer(t, &field);
        else if (field.id == 11)
            chunk->dictionary_page = mc_thrift_integer(t, &field);
        else
            mc_thrift_skip(t, field.type);
    }
    chunk->there = true;
}

static mc_parquet_chunk read_chunk(mc_thrift *t)
{
    mc_parquet_chunk chunk = {0};
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field)) {
        if (field.id == 3) {
            mc_thrift_struct(t, &field);
            read_chunk_metadata(t, &chunk);
            continue;
        }
        chunk.elsewhere = chunk.elsewhere || field.id == 1;
        chunk.encrypted = chunk.encrypted || field.id == 8;
        mc_thrift_skip(t, field.type);
    }
    return chunk;
}

/* Reads the chunks of the selected columns, and the number of rows. */
typedef struct group {
    mc_parquet_chunk chunks[MC_COLUMN_ROLES];
    size_t chunk_count;
    int64_t rows;
} group;

static void read_chunks(mc_thrift *t, const mc_thrift_field *field, const mc_table *table,
                        const footer *f, group *g)
{
    g->chunk_count = mc_thrift_structs(t, field);
    for (size_t i = 0; i < g->chunk_count && !t->problem; i++) {
        const mc_parquet_chunk chunk = read_chunk(t);
        for (mc_glue_role role = 0; role < MC_COLUMN_ROLES; role++)
            if (table->chosen[role] != MC_NO_COLUMN && f->columns[table->chosen[role]].leaf == i)
                g->chunks[role] = chunk;
    }
}

static group read_group_metadata(mc_thrift *t, const mc_table *table, const footer *f)
{
    group g = {.rows = -1};
    mc_thrift_field field = {0};
    while (mc_thrift_next(t, &field)) {
        if (field.id == 1)
            read_chunks(t, &field, table, f, &g);
        else if (field.id == 3)
            g.rows = mc_thrift_integer(t, &field);
        else
            mc_thrift_skip(t, field.type);
    }
    return g;
}

static mc_status check_group(const mc_table *table, const footer *f, const group *g,
                             mc_error *error)
{
    /* The place in the list decides the column: chunks are in the order of the leaves. */
    if (g->chunk_count != f->leaf_count)
        return mc_fail(error, MC_FORMAT,
                       "expected %zu columns in a row group, as in the schema, found %zu",
                       f->leaf_count, g->chunk_count);
    if (g->rows < 0 || (uint64_t)g->rows > table->row_limit - table->row_count)
        return mc_fail(error, MC_FORMAT, "expected at most %zu rows, found a row group of %lld",
                       table->row_limit - table->row_count, (long long)g->rows);
    return MC_OK;
}

static mc_status read_group(mc_table *table, const footer *f, const group *g, mc_error *error)
{
    MC_TRY(check_group(table, f, g, error));
    for (mc_glue_role role = 0; role < MC_COLUMN_ROLES; role++) {
        if (table->chosen[role] == MC_NO_COLUMN)
            continue;
        const mc_parquet_column *const column = &f->columns[table->chosen[role]];
        const mc_parquet_chunk *const chunk = &g->chunks[role];
        if (chunk->values != g->rows)
            return mc_fail(error, MC_FORMAT,
                           "column '%s': expected %lld values, one per row, found %lld",
                           column->name, (long long)g->rows, (long long)chunk->values);
        MC_TRY(mc_parquet_read_chunk(table, &table->columns[role], f->pages, column, chunk, error));
    }
    table->row_count += (size_t)g->rows;
    return MC_OK;
}

/* The second pass. */
static mc_status read_groups(mc_table *table, const footer *f, mc_error *error)
{
    mc_thrift t = {.at = f->span.bytes, .end = f->span.bytes + f->span.size};
    mc_thrift_field field = {0};
    while (mc_thrift_next(&t, &field)) {
        if (field.id != 4) {
            mc_thrift_skip(&t, field.type);
            continue;
        }
        for (size_t left = mc_thrift_structs(&t, &field); left > 0 && !t.problem; left--) {
            const group g = read_group_metadata(&t, table, f);
            if (!t.problem)
                MC_TRY(read_group(table, f, &g, error));
        }
    }
    return footer_status(&t, error);
}

static mc_status read_all(mc_table *table, footer *f, mc_error *error)
{
    MC_TRY(read_footer(f, error));
    if (f->encrypted)
        return mc_fail(error, MC_UNSUPPORTED, "the Parquet file has encrypted columns");
    MC_TRY(choose_columns(table, f, error));
    MC_TRY(read_groups(table, f, error));
    if ((uint64_t)f->row_count != table->row_count)
        return mc_fail(error, MC_FORMAT, "expected %lld rows by the footer, found %zu",
                       (long long)f->row_count, table->row_count);
    return MC_OK;
}

mc_status mc_parquet_read(mc_table *table, const unsigned char *bytes, size_t size, mc_error *error)
{
    footer f = {0};
    MC_TRY(find_footer(bytes, size, &f, error));
    const mc_status status = read_all(table, &f, error);
    mc_free(f.columns);
    mc_free(f.names);
    return status;
}
