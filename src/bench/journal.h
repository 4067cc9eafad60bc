/*
 * The journal of a benchmark: one line of JSON per finished merge, in results.jsonl. A line counts
 * if its key is that of the merge: a hash of everything that the scores depend on. A line that was
 * cut short by a crash is not JSON, and is left out.
 */
#ifndef MC_BENCH_JOURNAL_H
#define MC_BENCH_JOURNAL_H

#include "bench/score.h"

#include <jansson.h>

/* A method's merge at one point of its grid, for one seed. */
typedef struct mc_bench_point {
    mc_part_score *scores; /* [tasks] */
    double seconds;
    char *parameters; /* as JSON */
    json_t *warnings; /* what was reported of its merges: {"parameters": …, "text": …} each */
} mc_bench_point;

typedef struct mc_bench_journal {
    char *path;    /* NULL: there is no journal */
    json_t *known; /* from keys to lines */
} mc_bench_journal;

/* Reads an existing journal; creates the folder, which may be NULL. */
mc_status mc_bench_journal_open(const char *folder, mc_bench_journal *out, mc_error *error);
void mc_bench_journal_close(mc_bench_journal *journal);

/* Fills a point from the journal; false if it is not in it. */
bool mc_bench_journal_find(const mc_bench_journal *journal, uint64_t key, const mc_suite *suite,
                           mc_bench_point *out);

/* Appends a line and flushes it. */
mc_status mc_bench_journal_add(mc_bench_journal *journal, uint64_t key, const char *method,
                               const char *seed, const mc_suite *suite, const mc_bench_point *point,
                               mc_error *error);

/* Allocates the scores of a point. */
mc_status mc_bench_point_new(const mc_suite *suite, mc_bench_point *out, mc_error *error);
void mc_bench_point_free(mc_bench_point *point);

#endif
