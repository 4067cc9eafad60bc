/*
 * What the readers of the file formats fill: the columns of a task, as cells. Texts point into the file's bytes or into memory that the
 * table keeps.
 */
#ifndef MC_GLUE_TABLE_H
#define MC_GLUE_TABLE_H

#include "base/error.h"
#include "base/text.h"
#include "glue/tasks.h"

typedef enum mc_cell_kind {
    MC_CELL_NULL,
    MC_CELL_TEXT,
    MC_CELL_INTEGER,
    MC_CELL_REAL
} mc_cell_kind;

typedef struct mc_cell {
    mc_cell_kind kind;
    union {
        struct {
            const char *bytes;
            size_t size;
        } text;
        int64_t integer;
        double real;
    };
} mc_cell;

typedef struct mc_column {
    mc_cell *cells;
    size_t count, capacity;
} mc_column;

#define MC_NO_COLUMN SIZE_MAX

/* Zero-initialise, set task and limits; free with mc_table_free. */
typedef struct mc_table {
    const mc_glue_task *task;
    size_t byte_limit; /* of memory for texts */
    size_t row_limit;
    size_t chosen
        [MC_ROLES]; /* the file's number of each column, MC_NO_COLUMN if it has none (mc_table_choose) */
    mc_column
        columns[MC_ROLES]; /* row_count cells each, or none where the file has no such column */
    mc_column lines;       /* the line that a row begins at, from 1; none for Parquet */
    size_t row_count;
    size_t skipped;        /* lines that were too short */
    bool points_into_file; /* the file's bytes have to stay as long as the table */
    void **blocks;         /* what texts point into */
    size_t block_count, block_capacity;
} mc_table;

#define MC_TABLE_BYTES ((size_t)1 << 30)
#define MC_TABLE_ROWS ((size_t)1 << 22)

void mc_table_free(mc_table *table);

/*
 * Finds the task's columns among the names of a file's columns, NUL-terminated. MC_FORMAT if one of the texts is missing, or a name that is
 * wanted is there twice.
 */
mc_status mc_table_choose(mc_table *table, const char *const *names, size_t count, mc_error *error);

/* The role of the file's column, MC_ROLES if it is none that is wanted. */
mc_glue_role mc_table_role(const mc_table *table, size_t column);

/* Memory that lives as long as the table, counted against the limit. */
mc_status mc_table_alloc(mc_table *table, size_t size, void **out, mc_error *error);

/* Room for `count` more cells in a column, at *out; they count once column->count is raised. */
mc_status mc_table_reserve(mc_table *table, mc_column *column, size_t count, mc_cell **out,
                           mc_error *error);

/* Adds a row of a text format: a cell for each role (null where there is no such column), and the line that it begins at. */
mc_status mc_table_add(mc_table *table, const mc_cell cells[MC_ROLES], size_t line,
                       mc_error *error);

/* Puts the line's number before the text of an error; returns status, so that it can wrap a call. */
mc_status mc_at_line(mc_error *error, size_t line, mc_status status);

#endif
