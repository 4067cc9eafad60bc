/*
 * YAML 1.1 as PyYAML's safe_load reads it: libyaml's events, composed into nodes that know their
 * line and column.
 *
 * What PyYAML does and a reader of YAML 1.2 would not expect: `1e-5` and `-.5` are strings, `010`
 * is eight, `1:30` is ninety, `off` is a bool, `2024-01-05` is a date. A plain scalar therefore
 * keeps its text, and fields convert it to what they need (coerce.h).
 *
 * Everything is bounded, because a recipe may come from anywhere: see the limits below.
 */
#ifndef MC_RECIPE_YAML_H
#define MC_RECIPE_YAML_H

#include "base/error.h"

/* Limits: an error names the one that was exceeded. */
enum {
    MC_YAML_LARGEST_FILE = 1 << 20,
    MC_YAML_DEEPEST = 64,
    /* Nodes of a file, aliases written out: bounds every walk over a document. */
    MC_YAML_MOST_NODES = 100000,
    MC_YAML_LONGEST_KEY = 1024,
    /* Both are searched one after the other. */
    MC_YAML_MOST_KEYS = 4096,
    MC_YAML_MOST_ANCHORS = 1024,
    MC_YAML_MOST_WARNINGS = 1000, /* further ones are not kept */
};

typedef enum mc_yaml_kind {
    MC_YAML_NULL,
    MC_YAML_BOOL,
    MC_YAML_INTEGER,
    MC_YAML_NUMBER,
    MC_YAML_STRING,
    MC_YAML_DATE, /* PyYAML makes a date of it; no field of a recipe takes one */
    MC_YAML_LIST,
    MC_YAML_MAP
} mc_yaml_kind;

typedef struct mc_yaml mc_yaml;

typedef struct mc_yaml_pair {
    const mc_yaml *key; /* a scalar */
    const mc_yaml *value;
} mc_yaml_pair;

/* A node. Aliases of a node are the node itself, so that the line is that of its definition. */
struct mc_yaml {
    mc_yaml_kind kind;
    unsigned line, column; /* from 1; columns count characters */
    size_t index;          /* in mc_yaml_file.nodes */
    char *text;            /* scalars: as written, escapes resolved; NUL-terminated */
    double number;         /* MC_YAML_INTEGER, _NUMBER; MC_YAML_BOOL: 0 or 1 */
    const mc_yaml **items; /* MC_YAML_LIST [count] */
    mc_yaml_pair *pairs;   /* MC_YAML_MAP [count]: merge keys resolved, each key once */
    size_t count;
};

/* A remark about a line, such as a key that is written twice. */
typedef struct mc_yaml_warning {
    unsigned line, column;
    char *text;
} mc_yaml_warning;

typedef struct mc_yaml_file {
    const mc_yaml **documents;
    size_t document_count;
    mc_yaml_warning *warnings;
    size_t warning_count;
    mc_yaml **nodes; /* all of them, for mc_yaml_free */
    size_t node_count, node_capacity, document_capacity, warning_capacity;
} mc_yaml_file;

/*
 * Parses every document of a text of `size` bytes. `name` is the file in errors, which read
 * "NAME:LINE:COLUMN: …". mc_yaml_free the result.
 *
 * Errors: MC_FORMAT       not YAML, or beyond a limit
 *         MC_UNSUPPORTED  a tag that a recipe has no use for
 *         MC_NO_MEMORY
 */
mc_status mc_yaml_parse(const char *name, const char *text, size_t size, mc_yaml_file **out,
                        mc_error *error);
void mc_yaml_free(mc_yaml_file *file); /* accepts NULL */

/* Adds a warning about a line. */
mc_status mc_yaml_warn(mc_yaml_file *file, unsigned line, unsigned column, mc_error *error,
                       const char *format, ...) MC_PRINTF(5, 6);

/* Fills *error with "NAME:LINE:COLUMN: …" and returns the status. */
mc_status mc_yaml_fail(mc_error *error, mc_status status, const char *name, unsigned line,
                       unsigned column, const char *format, ...) MC_PRINTF(6, 7);

/* Gives a failure that names no file yet the place of a node, NAME:LINE:COLUMN; returns status. */
mc_status mc_yaml_in_node(mc_error *error, const char *name, const mc_yaml *at, mc_status status);

/* The value of a key of a map that is the string `key`; NULL if there is none, or no map. */
const mc_yaml *mc_yaml_get(const mc_yaml *map, const char *key);

/* "a list", "a map", "a date", …: what an error says was found. Static storage. */
const char *mc_yaml_kind_text(mc_yaml_kind kind);

#endif
