/* Output for people and programs: messages, tables, JSON. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "options.h"

#include <jansson.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/*
 * Prints the error to standard error (with --json also an object to standard output) and returns
 * the exit status. `self` is the subcommand that failed.
 */
int report_failure(const subcommand *self, const common_options *common, const mc_error *error);

/* Prints a line to standard error with a label, "warning" or "note". */
void say(const char *label, const char *text);

/*
 * Prints an object on one line and releases it. NULL, jansson's result without memory, is an error.
 */
void print_json(json_t *object);
/* A JSON string; bytes that are not UTF-8 become U+FFFD. NULL gives null. */
json_t *json_text(const char *text);
json_t *json_texts(const char *const *texts, size_t count);
/* An object with the output folder and the members of a plan; `plan` is freed. NULL: no memory. */
json_t *json_of_plan(const char *output, char *plan);
json_t *json_shape(int rank, const int64_t *shape);

/* "s" unless count is 1. */
const char *plural(int64_t count);

/*
 * The text with control characters as \xNN: names from files must not send escape sequences to the
 * terminal. The caller frees it.
 */
char *visible_text(const char *text);

/* Escape sequences; "" if NO_COLOR is set or the stream is not a terminal. */
const char *bold(FILE *stream);
const char *plain(FILE *stream);

/* A table, aligned when printed. Zero-initialise all but titles and columns. */
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
/* Prints and empties the table. */
void table_finish(table *rows, FILE *out);

/* Flushes standard output; prints a message and returns false if that fails. */
bool finish_output(void);

/* malloc and realloc that end the program if memory is exhausted. */
void *allocate(size_t size);
void *reallocate(void *memory, size_t size);
/* printf into new memory, which the caller frees. */
char *format_text(const char *format, ...) MC_PRINTF(1, 2);

#endif
