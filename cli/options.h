/* The options of a subcommand: one table says what is parsed, what --help prints and what completions know. */
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
    OPTION_TEXTS,  /* text_list: may be given again */
    OPTION_NUMBER, /* uint64_t, minimum … maximum */
    OPTION_SIZE    /* int64_t: bytes, written 5GB or 64MiB */
} option_type;

typedef struct option {
    const char *name; /* without "--"; NULL ends a table */
    char letter;      /* '\0' if there is none */
    option_type type;
    size_t offset;        /* of the value in the subcommand's settings */
    const char *argument; /* what the value is called; NULL for a flag */
    const char *help;
    const char *fallback;      /* the default, as --help shows it; NULL if there is none to show */
    uint64_t minimum, maximum; /* OPTION_NUMBER */
} option;

/* What every subcommand understands; the first member of its settings. */
typedef struct common_options {
    bool json, quiet, verbose, help, version;
} common_options;

#define COMMON_OPTIONS                                                                             \
    {"json",      '\0',                                                                            \
     OPTION_FLAG, offsetof(common_options, json),                                                  \
     NULL,        "print one JSON object on standard output"},                                     \
        {"quiet",     'q',                                                                         \
         OPTION_FLAG, offsetof(common_options, quiet),                                             \
         NULL,        "no messages but errors"},                                                   \
        {"verbose",   'v',                                                                         \
         OPTION_FLAG, offsetof(common_options, verbose),                                           \
         NULL,        "say what is being done"},                                                   \
        {"help", 'h', OPTION_FLAG, offsetof(common_options, help), NULL, "print this text"},       \
    {                                                                                              \
        "version", '\0', OPTION_FLAG, offsetof(common_options, version), NULL, "print the version" \
    }

typedef struct subcommand {
    const char *name;      /* NULL: the command itself */
    const char *arguments; /* for the usage line */
    const char *help;      /* one line */
    const char *text;      /* more lines for --help; NULL if there are none */
    const char *example;   /* lines that work as pasted in the repository's root; NULL if none */
    const option *options;
    void (*more_help)(FILE *out); /* what --help knows only at run time; NULL if nothing */
    /* Does the work and returns the exit status. Arguments are those after the subcommand's name, ending with NULL. */
    int (*run)(const struct subcommand *self, const char *const *arguments);
} subcommand;

extern const subcommand subcommand_merge, subcommand_eval, subcommand_classify, subcommand_methods,
    subcommand_inspect, subcommand_download;

/*
 * Sorts arguments into settings (zero-initialised, beginning with common_options) and operands. False if the
 * subcommand has nothing left to do, because of a mistake or of --help or --version: then *status is what to exit with.
 * free_options releases what was stored in either case.
 */
bool parse_options(const subcommand *self, const char *const *arguments, void *settings,
                   text_list *operands, int *status);
void free_options(const subcommand *self, void *settings, text_list *operands);

/* Whether --json is among the arguments: a mistake may stand before it, and is told as JSON all the same. */
bool wants_json(const char *const *arguments);

void print_help(const subcommand *self, FILE *out);
/* One line for each option, for completions: "--param -p NAME=VALUE"; "-" stands for what is not there. */
void print_option_list(const subcommand *self, FILE *out);

/* Reads "5GB", "64 MiB", "1.5KB" or "4096": true and *bytes > 0, or false. */
bool parse_size(const char *text, int64_t *bytes);

#endif
