/* What people and programs read: messages, tables, JSON. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "options.h"

#include <jansson.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/*
 * Says on standard error why the work could not be done (with --json also as an object on standard output) and
 * returns the exit status. `self` is what the user called.
 */
int report_failure(const subcommand *self, const common_options *common, const mc_error *error);

/* A line on standard error with a label, "warning" or "note". */
void say(const char *label, const char *text);

/* Writes an object on one line and drops it; also NULL, which is what jansson makes of exhausted memory. */
void print_json(json_t *object);
/* A JSON string of any bytes: those that are not UTF-8 become U+FFFD. NULL gives null. */
json_t *json_text(const char *text);
json_t *json_texts(const char *const *texts, size_t count);
json_t *json_shape(int rank, const int64_t *shape);

/* "s" unless there is one. */
const char *plural(int64_t count);

/* Text with its control characters as \xNN, so that a name from a file cannot steer a terminal. The caller frees it. */
char *visible_text(const char *text);

/* Colours: "" unless the stream is a terminal and NO_COLOR is not set. */
const char *bold(FILE *stream);
const char *plain(FILE *stream);

/* Rows of cells, aligned when printed. Zero-initialise but for titles and columns. */
typedef struct table {
    const char *const *titles; /* NULL: no title row */
    size_t columns;
    unsigned right; /* bit i: column i is aligned to the right */
    size_t indent;
    char **cells;
    size_t count, capacity;
} table;

void table_add(table *rows, const char *format, ...) MC_PRINTF(2, 3);
void table_add_shape(table *rows, int rank, const int64_t *shape);
/* Prints and empties it. */
void table_finish(table *rows, FILE *out);

/* Writes out what standard output still holds: false, after a message, if that fails. */
bool finish_output(void);

/* malloc and realloc that end the program when there is no memory. */
void *allocate(size_t size);
void *reallocate(void *memory, size_t size);
/* printf into memory that the caller frees. */
char *format_text(const char *format, ...) MC_PRINTF(1, 2);

#endif
