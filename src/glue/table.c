#include "glue/table.h"

#include "base/memory.h"

#include <string.h>

void mc_table_free(mc_table *table)
{
    for (size_t i = 0; i < table->block_count; i++)
        mc_free(table->blocks[i]);
    mc_free(table->blocks);
    for (size_t i = 0; i < MC_COLUMN_ROLES; i++)
        mc_free(table->columns[i].cells);
    mc_free(table->lines.cells);
    *table = (mc_table){0};
}

/* Columns that the user names are matched exactly: a file may have both "text" and "Text". */
static bool is_name(const mc_glue_task *task, const char *name, const char *expected)
{
    return task->own ? strcmp(name, expected) == 0
                     : mc_glue_same_name(name, strlen(name), expected);
}

static mc_status find_column(const mc_table *table, mc_glue_role role, const char *const *names,
                             size_t count, size_t *found, mc_error *error)
{
    const char *wanted[MC_COLUMN_NAMES];
    mc_glue_column_names(table->task, role, wanted);
    *found = MC_NO_COLUMN;
    /* Names in the order of preference: the Hub's, then those of other files. */
    for (size_t w = 0; *found == MC_NO_COLUMN && wanted[w]; w++)
        for (size_t i = 0; i < count; i++) {
            if (!is_name(table->task, names[i], wanted[w]))
                continue;
            /* The first of two would be a guess. */
            if (*found != MC_NO_COLUMN)
                return mc_fail(error, MC_FORMAT, "expected one column '%s', found two", wanted[w]);
            *found = i;
        }
    return MC_OK;
}

static mc_status fail_missing(const mc_table *table, mc_glue_role role, const char *const *names,
                              size_t count, mc_error *error)
{
    const char *wanted[MC_COLUMN_NAMES];
    mc_text text = {0};
    mc_text_add(&text, "expected a column '%s'", mc_glue_column_names(table->task, role, wanted));
    for (size_t w = 1; wanted[w]; w++)
        mc_text_add(&text, " or '%s'", wanted[w]);
    if (!table->task->own)
        mc_text_add(&text, " for task %s", table->task->name);
    mc_text_add(&text, ", found %s", count > 0 ? "" : "none");
    /* Errors have a fixed size. */
    for (size_t i = 0; i < count && text.length < 4096; i++)
        mc_text_add(&text, "%s'%s'", i > 0 ? ", " : "", names[i]);
    const mc_status status = text.failed ? mc_fail_memory(error)
                                         : mc_fail(error, MC_FORMAT, "%s", text.data);
    mc_text_free(&text);
    return status;
}

mc_status mc_table_choose(mc_table *table, const char *const *names, size_t count, mc_error *error)
{
    for (mc_glue_role role = 0; role < MC_COLUMN_ROLES; role++) {
        size_t *const chosen = &table->chosen[role];
        const bool needed = role <= MC_COLUMN_PAIR    ? table->task->columns[role] != NULL
                            : role == MC_COLUMN_LABEL ? table->task->label_column != NULL
                                                      : false;
        MC_TRY(find_column(table, role, names, count, chosen, error));
        if (needed && *chosen == MC_NO_COLUMN)
            return fail_missing(table, role, names, count, error);
    }
    return MC_OK;
}

mc_glue_role mc_table_role(const mc_table *table, size_t column)
{
    mc_glue_role role = 0;
    while (role < MC_COLUMN_ROLES && table->chosen[role] != column)
        role++;
    return role;
}

/* The limit counts decompressed bytes: a small file may claim to hold any amount of text. */
mc_status mc_table_alloc(mc_table *table, size_t size, void **out, mc_error *error)
{
    if (size > table->byte_limit)
        return mc_fail(error, MC_FORMAT,
                       "the texts need more memory than a data set may (%zu bytes)",
                       MC_TABLE_BYTES);
    if (!MC_GROW(table->blocks, table->block_count, table->block_capacity))
        return mc_fail_memory(error);
    *out = table->blocks[table->block_count] = mc_alloc(size);
    if (!*out)
        return mc_fail_memory(error);
    table->block_count++;
    table->byte_limit -= size;
    return MC_OK;
}

/* Doubling, not growing by chunks: files of many small row groups would cost n² otherwise. */
mc_status mc_table_reserve(mc_table *table, mc_column *column, size_t count, mc_cell **out,
                           mc_error *error)
{
    if (count > table->row_limit - column->count)
        return mc_fail(error, MC_FORMAT, "expected at most %zu rows, found more", table->row_limit);
    const size_t needed = column->count + count;
    if (needed > column->capacity || !column->cells) {
        /* Parquet adds whole pages, text files one row: at least doubled, exact for large pages. */
        const size_t doubled = 2 * column->capacity;
        const size_t capacity = needed > doubled ? needed : doubled;
        mc_cell *const cells = mc_realloc(column->cells, capacity * sizeof *cells);
        if (!cells)
            return mc_fail_memory(error);
        column->cells = cells;
        column->capacity = capacity;
    }
    *out = column->cells + column->count;
    return MC_OK;
}

static mc_status add_cell(mc_table *table, mc_column *column, mc_cell cell, mc_error *error)
{
    mc_cell *place = NULL;
    MC_TRY(mc_table_reserve(table, column, 1, &place, error));
    *place = cell;
    column->count++;
    return MC_OK;
}

mc_status mc_table_add(mc_table *table, const mc_cell cells[MC_COLUMN_ROLES], size_t line,
                       mc_error *error)
{
    const mc_cell number = {.kind = MC_CELL_INTEGER, .integer = (int64_t)line};
    MC_TRY(add_cell(table, &table->lines, number, error));
    for (size_t role = 0; role < MC_COLUMN_ROLES; role++)
        MC_TRY(add_cell(table, &table->columns[role], cells[role], error));
    table->row_count++;
    return MC_OK;
}

mc_status mc_at_line(mc_error *error, size_t line, mc_status status)
{
    if (status == MC_OK || status == MC_NO_MEMORY || !error)
        return status;
    char text[sizeof error->text];
    memcpy(text, error->text, sizeof text);
    return mc_fail_at(error, status, NULL, NULL, -1, "line %zu: %s", line, text);
}
