/*
 * The columns of a task as cells, which the readers of file formats fill. Texts point into the
 * bytes of the file or into blocks that the table owns.
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
    /* For each role, its column number in the file, or MC_NO_COLUMN (mc_table_choose). */
    size_t chosen[MC_COLUMN_ROLES];
    /* row_count cells each; none if the file has no such column */
    mc_column columns[MC_COLUMN_ROLES];
    mc_column lines; /* the line that a row begins at, from 1; none for Parquet */
    size_t row_count;
    size_t skipped;        /* lines that were too short */
    bool points_into_file; /* the bytes of the file must outlive the table */
    void **blocks;         /* texts point into these */
    size_t block_count, block_capacity;
} mc_table;

#define MC_TABLE_BYTES ((size_t)1 << 30)
#define MC_TABLE_ROWS ((size_t)1 << 22)

void mc_table_free(mc_table *table);

/*
 * Finds the task's columns among the names of a file's columns. MC_FORMAT if a required one is
 * missing, or a needed name occurs twice.
 */
mc_status mc_table_choose(mc_table *table, const char *const *names, size_t count, mc_error *error);

/* The role of a column of the file; MC_COLUMN_ROLES if it is not needed. */
mc_glue_role mc_table_role(const mc_table *table, size_t column);

/* Allocates memory that lives as long as the table; it counts against byte_limit. */
mc_status mc_table_alloc(mc_table *table, size_t size, void **out, mc_error *error);

/* Makes room for `count` more cells at *out. The caller raises column->count. */
mc_status mc_table_reserve(mc_table *table, mc_column *column, size_t count, mc_cell **out,
                           mc_error *error);

/* Adds a row of a text format: one cell per role (null without such a column), and its line. */
mc_status mc_table_add(mc_table *table, const mc_cell cells[MC_COLUMN_ROLES], size_t line,
                       mc_error *error);

/* Prepends "line N: " to the text of an error; returns `status`, so that it can wrap a call. */
mc_status mc_at_line(mc_error *error, size_t line, mc_status status);

#endif
