/*
 * The options of a subcommand: parsing, --help, completion files and manual pages read one table.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <mergecraft/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct text_list {
    const char **items; /* the texts are borrowed */
    size_t count;
} text_list;

typedef enum option_type {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char * */
    OPTION_TEXTS,  /* text_list: may be given more than once */
    OPTION_NUMBER, /* uint64_t from minimum to maximum */
    OPTION_SIZE,   /* int64_t: bytes, written as 5GB or 64MiB */
    /* The same; also as mergekit writes them: 5B are five billion bytes, 500M are 500 million. */
    OPTION_SHARD_SIZE,
    OPTION_SWITCH /* bool: --NAME sets it, --no-NAME clears it; the last one counts */
} option_type;

/*
 * `argument` also decides what shells complete: "DIR" folders; a text that contains FILE, DIR or
 * MODEL files; "TASK" the GLUE tasks; words in lower case separated by bars, "f32|f16", these
 * words.
 */
typedef struct option {
    const char *name; /* without "--"; NULL ends a table */
    char letter;      /* '\0' if there is none */
    option_type type;
    size_t offset;             /* of the value in the subcommand's settings */
    const char *argument;      /* placeholder of the value; NULL for a flag */
    const char *help;          /* a phrase: lower case, no full stop */
    const char *fallback;      /* the default as --help shows it; NULL if there is none to show */
    uint64_t minimum, maximum; /* OPTION_NUMBER */
    const char *details;       /* sentences that only the manual page has; NULL if there are none */
} option;

/* The options of every subcommand, and the first member of its settings. */
typedef struct common_options {
    bool json, quiet, verbose, help, version;
} common_options;

/* Of --memory in merges. */
#define MEMORY_DETAILS                                                                             \
    "Unless it is given, tensors that a method needs as a whole may together take a quarter of "   \
    "the available memory instead. The result does not depend on it."

/*
 * `json_` describes the object that --json prints, for the manual page; NULL: see the subcommand.
 */
#define COMMON_OPTIONS(json_)                                                                      \
    {"json",                                                                                       \
     '\0',                                                                                         \
     OPTION_FLAG,                                                                                  \
     offsetof(common_options, json),                                                               \
     NULL,                                                                                         \
     "print one JSON object to standard output",                                                   \
     .details = json_},                                                                            \
        {"quiet",     'q',                                                                         \
         OPTION_FLAG, offsetof(common_options, quiet),                                             \
         NULL,        "print no messages except errors"},                                          \
        {"verbose",                                                                                \
         'v',                                                                                      \
         OPTION_FLAG,                                                                              \
         offsetof(common_options, verbose),                                                        \
         NULL,                                                                                     \
         "print more messages",                                                                    \
         .details = "Prints progress as lines if standard error is not a terminal."},              \
        {"help", 'h', OPTION_FLAG, offsetof(common_options, help), NULL, "print this help"},       \
    {                                                                                              \
        "version", '\0', OPTION_FLAG, offsetof(common_options, version), NULL, "print the version" \
    }

typedef struct subcommand {
    const char *name;      /* NULL: the command itself */
    const char *arguments; /* for the usage line; completion offers files for MODEL, and so on */
    const char *help;      /* one sentence */
    const char *text;      /* more lines for --help; NULL if there are none */
    const char *example;   /* commands that work as pasted in the repository's root */
    const option *options;
    void (*more_help)(FILE *out); /* the part of --help that is known only at run time, or NULL */
    /* Does the work and returns the exit status. `arguments` follow the name and end with NULL. */
    int (*run)(const struct subcommand *self, const char *const *arguments);
} subcommand;

/*
 * Sorts arguments into settings (zero-initialised, beginning with common_options) and operands.
 * Returns false if nothing is left to do, after an error, --help or --version: *status is then the
 * exit status. Call free_options in either case.
 */
bool parse_options(const subcommand *self, const char *const *arguments, void *settings,
                   text_list *operands, int *status);
void free_options(const subcommand *self, void *settings, text_list *operands);

/*
 * Returns whether --json is among the arguments: errors in options before it are reported as JSON,
 * too.
 */
bool wants_json(const char *const *arguments);

void print_help(const subcommand *self, FILE *out);

/* Parses "5GB", "64 MiB", "1.5KB" or "4096": true and *bytes > 0, or false. */
bool parse_size(const char *text, int64_t *bytes);
/* Parses the same and "5B", "500M", "200K", in billions, millions and thousands of bytes. */
bool parse_shard_size(const char *text, int64_t *bytes);

#endif
