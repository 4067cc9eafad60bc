/*
 * Comma-separated values (RFC 4180): quoted fields may hold commas, line ends and doubled quotes.
 * Quotes inside unquoted fields are ordinary characters.
 */
#include "base/memory.h"
#include "glue/readers.h"

#include <string.h>

typedef struct field {
    char *bytes;
    size_t size;
} field;

/* The rest of the file. */
typedef struct cursor {
    char *at, *end;
    size_t line;    /* of `at`, from 1 */
    bool in_record; /* the last field was followed by a comma */
} cursor;

/*
 * Consumes what ends a field: a comma, or the end of line or file. False for anything else.
 *
 * "\r" alone is not an end of line, so it stays in the field.
 */
static bool end_field(cursor *c)
{
    if (c->at < c->end && *c->at == '\r' && (c->at + 1 == c->end || c->at[1] == '\n'))
        c->at++;
    if (c->at == c->end) {
        c->in_record = false;
        return true;
    }
    const char found = *c->at;
    if (found != ',' && found != '\n')
        return false;
    c->in_record = found == ',';
    c->line += found == '\n';
    c->at++;
    return true;
}

/* Moves the text before the next quote to `to` and stops at the quote; false if there is none. */
static bool move_to_quote(cursor *c, char **to)
{
    char *const quote = memchr(c->at, '"', (size_t)(c->end - c->at));
    const size_t size = (size_t)((quote ? quote : c->end) - c->at);
    /* Quoted fields may hold line ends; error texts count lines of the file. */
    for (const char *b = c->at; (b = memchr(b, '\n', (size_t)(c->at + size - b))); b++)
        c->line++;
    /*
     * The text becomes shorter with each doubled quote, so it is moved to the left, over bytes that
     * have been read.
     */
    memmove(*to, c->at, size);
    *to += size;
    c->at += size;
    return quote;
}

/* Unquotes in place. */
static mc_status read_quoted(cursor *c, field *out, mc_error *error)
{
    /* An open quote runs to the end of the file: the line where it begins is the one to look at. */
    const size_t first_line = c->line;
    char *to = ++c->at;
    *out = (field){to, 0};
    while (move_to_quote(c, &to) && c->at + 1 < c->end && c->at[1] == '"') {
        *to++ = '"';
        c->at += 2;
    }
    if (c->at == c->end)
        return mc_at_line(error, first_line,
                          mc_fail(error, MC_FORMAT, "expected a closing quote, found the end"));
    c->at++;
    out->size = (size_t)(to - out->bytes);
    if (!end_field(c))
        return mc_at_line(error, c->line,
                          mc_fail(error, MC_FORMAT,
                                  "expected a comma or the end of the line after a closing quote, "
                                  "found '%c'",
                                  *c->at));
    return MC_OK;
}

static mc_status read_field(cursor *c, field *out, mc_error *error)
{
    if (c->at < c->end && *c->at == '"')
        return read_quoted(c, out, error);
    char *const begin = c->at;
    while (c->at < c->end && *c->at != ',' && *c->at != '\n')
        c->at++;
    size_t size = (size_t)(c->at - begin);
    const bool last = c->at == c->end || *c->at == '\n';
    if (last && size > 0 && begin[size - 1] == '\r')
        size--;
    *out = (field){begin, size};
    end_field(c);
    return MC_OK;
}

static bool skip_blank_lines(cursor *c)
{
    /* Files often end with blank lines. */
    for (; c->at < c->end && (*c->at == '\n' || *c->at == '\r'); c->at++)
        c->line += *c->at == '\n';
    return c->at < c->end;
}

/* The fields of a record; the array is reused. */
typedef struct record {
    field *fields;
    size_t count, capacity;
} record;

static mc_status read_record(cursor *c, record *r, mc_error *error)
{
    r->count = 0;
    do {
        if (!MC_GROW(r->fields, r->count, r->capacity))
            return mc_fail_memory(error);
        MC_TRY(read_field(c, &r->fields[r->count], error));
        r->count++;
    } while (c->in_record);
    return MC_OK;
}

static mc_status choose_by_header(mc_table *table, const record *header, mc_error *error)
{
    const char **const names = mc_alloc(header->count * sizeof *names);
    if (!names)
        return mc_fail_memory(error);
    /* The separators have been read: NUL may replace them. */
    for (size_t i = 0; i < header->count; i++) {
        header->fields[i].bytes[header->fields[i].size] = '\0';
        names[i] = header->fields[i].bytes;
    }
    const mc_status status = mc_table_choose(table, names, header->count, error);
    mc_free(names);
    return status;
}

static mc_status add_row(mc_table *table, const record *row, size_t line, mc_error *error)
{
    mc_cell cells[MC_COLUMN_ROLES] = {0};
    for (mc_glue_role role = 0; role < MC_COLUMN_ROLES; role++) {
        if (table->chosen[role] == MC_NO_COLUMN)
            continue;
        const field *const one = &row->fields[table->chosen[role]];
        cells[role] = (mc_cell){.kind = MC_CELL_TEXT, .text = {one->bytes, one->size}};
    }
    return mc_table_add(table, cells, line, error);
}

static mc_status read_rows(mc_table *table, cursor *c, record *r, mc_error *error)
{
    if (!skip_blank_lines(c))
        return mc_fail(error, MC_FORMAT, "expected a line of column names, found an empty file");
    MC_TRY(read_record(c, r, error));
    const size_t count = r->count;
    MC_TRY(choose_by_header(table, r, error));
    while (skip_blank_lines(c)) {
        const size_t line = c->line;
        MC_TRY(read_record(c, r, error));
        if (r->count != count)
            return mc_at_line(error, line,
                              mc_fail(error, MC_FORMAT,
                                      "expected %zu fields as in the header, found %zu", count,
                                      r->count));
        MC_TRY(add_row(table, r, line, error));
    }
    return MC_OK;
}

mc_status mc_csv_read(mc_table *table, char *bytes, size_t size, mc_error *error)
{
    cursor c = {.at = bytes + mc_byte_order_mark(bytes, size), .end = bytes + size, .line = 1};
    record r = {0};
    table->points_into_file = true;
    const mc_status status = read_rows(table, &c, &r, error);
    mc_free(r.fields);
    return status;
}
