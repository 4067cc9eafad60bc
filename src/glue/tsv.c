/* Tab-separated values as in GLUE's archives: a header line, no quoting. */
#include "base/memory.h"
#include "glue/readers.h"

#include <string.h>

/* The rest of the file. */
typedef struct cursor {
    char *at, *end;
    size_t line; /* of what was read last, from 1 */
} cursor;

typedef struct field {
    char *bytes;
    size_t size;
} field;

/* Reads the next line, without its end ("\n" or "\r\n"); false at the end of the file. */
static bool next_line(cursor *c, field *line)
{
    if (c->at == c->end)
        return false;
    char *const end = memchr(c->at, '\n', (size_t)(c->end - c->at));
    *line = (field){c->at, (size_t)((end ? end : c->end) - c->at)};
    c->at = end ? end + 1 : c->end;
    c->line++;
    if (line->size > 0 && line->bytes[line->size - 1] == '\r')
        line->size--;
    return true;
}

/* Removes the first field from the line; false if none is left (bytes is NULL). */
static bool next_field(field *line, field *out)
{
    if (!line->bytes)
        return false;
    char *const tab = memchr(line->bytes, '\t', line->size);
    *out = (field){line->bytes, tab ? (size_t)(tab - line->bytes) : line->size};
    *line = tab ? (field){tab + 1, line->size - out->size - 1} : (field){0};
    return true;
}

static size_t count_fields(field line)
{
    field one;
    size_t count = 0;
    while (next_field(&line, &one))
        count++;
    return count;
}

/*
 * mc_table_choose needs NUL-terminated names: the NUL replaces the tab, the end of the line, or the
 * byte behind the end of the file.
 */
static mc_status choose_by_header(mc_table *table, field header, mc_error *error)
{
    const size_t count = count_fields(header);
    const char **const names = mc_alloc(count * sizeof *names);
    if (!names)
        return mc_fail_memory(error);
    field one;
    for (size_t i = 0; next_field(&header, &one); i++) {
        one.bytes[one.size] = '\0';
        names[i] = one.bytes;
    }
    const mc_status status = mc_table_choose(table, names, count, error);
    mc_free(names);
    return status;
}

/* CoLA's train.tsv and dev.tsv have no header: source, label, the author's judgement, sentence. */
static bool is_cola_line(const mc_table *table, field line)
{
    field source, label;
    return !table->task->own && strcmp(table->task->name, "cola") == 0 && count_fields(line) == 4 &&
           next_field(&line, &source) && next_field(&line, &label) && label.size == 1 &&
           (*label.bytes == '0' || *label.bytes == '1');
}

static mc_status add_row(mc_table *table, field line, size_t number, mc_error *error)
{
    mc_cell cells[MC_COLUMN_ROLES] = {0};
    field one;
    for (size_t i = 0; next_field(&line, &one); i++) {
        const mc_glue_role role = mc_table_role(table, i);
        if (role < MC_COLUMN_ROLES)
            cells[role] = (mc_cell){.kind = MC_CELL_TEXT, .text = {one.bytes, one.size}};
    }
    bool complete = true;
    /* The index may be missing; it only numbers examples. */
    for (mc_glue_role role = 0; role < MC_COLUMN_INDEX; role++)
        complete = complete &&
                   (table->chosen[role] == MC_NO_COLUMN || cells[role].kind != MC_CELL_NULL);
    if (complete)
        return mc_table_add(table, cells, number, error);
    table->skipped++;
    return MC_OK;
}

mc_status mc_tsv_read(mc_table *table, char *bytes, size_t size, mc_error *error)
{
    char *const end = bytes + size;
    bytes += mc_byte_order_mark(bytes, size);
    if (bytes == end)
        return mc_fail(error, MC_FORMAT, "expected examples, found an empty file");
    cursor c = {.at = bytes, .end = end};
    field line = {bytes, 0};
    table->points_into_file = true;
    next_line(&c, &line);
    if (is_cola_line(table, line)) {
        const char *const names[] = {"source", "label", "judgement", "sentence"};
        MC_TRY(mc_table_choose(table, names, 4, error));
        /* The first line is an example, too. */
        c = (cursor){.at = bytes, .end = end};
    } else {
        MC_TRY(choose_by_header(table, line, error));
    }
    while (next_line(&c, &line))
        if (line.size > 0)
            MC_TRY(add_row(table, line, c.line, error));
    return MC_OK;
}
