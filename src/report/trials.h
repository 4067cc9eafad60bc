/* The journal of a search, read for a report (docs/search.md describes the format). */
#ifndef MC_REPORT_TRIALS_H
#define MC_REPORT_TRIALS_H

#include "base/error.h"

#include <jansson.h>

typedef struct mc_dimension {
    const char *name;
    bool log;
    const json_t *choices; /* NULL: a number */
    double low, high;      /* of a number; of choices 0 and their count − 1 */
} mc_dimension;

typedef struct mc_trial {
    int64_t number, same_as; /* same_as: 0 if no earlier trial is the same */
    double score;            /* NaN: it failed */
    double standard_error;   /* of a trial with one score; otherwise NaN */
    double seconds;          /* NaN: not known */
    double *values;          /* per dimension; of choices their index; NaN: none */
    bool stopped;
    const char *failure; /* NULL: it did not fail */
    const json_t *line;
} mc_trial;

typedef struct mc_trials {
    json_t *lines;        /* of the journal, which own every text here */
    const json_t *header; /* the first of them */
    const json_t *result; /* the last line of this type; NULL: the search is not finished */
    mc_dimension *dimensions;
    size_t dimension_count;
    mc_trial *items;
    size_t count, capacity;
    bool minimize;
    size_t best; /* index of the best trial; count: none */
} mc_trials;

/*
 * Reads a journal. A last line without a line feed was cut short by a crash and is left out.
 *
 * Errors: MC_FORMAT  a line is not JSON, or the first one does not describe a search
 */
mc_status mc_trials_read(const char *path, mc_trials *out, mc_error *error);
void mc_trials_free(mc_trials *trials);

/* Whether the score may be compared with others: not failed, not stopped early. */
bool mc_trial_counts(const mc_trial *trial);

/* Whether score a is better than b. */
bool mc_trials_better(const mc_trials *trials, double a, double b);

/* A number of a JSON object; NaN if it is missing, null or not a number. */
double mc_member_number(const json_t *object, const char *name);

#endif
