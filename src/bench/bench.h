/* The result of a benchmark, as the table writes it. */
#ifndef MC_BENCH_BENCH_H
#define MC_BENCH_BENCH_H

#include "bench/suite.h"

/* A row with its own memory. */
typedef struct mc_bench_line {
    mc_bench_row row; /* points to what follows */
    char *name;
    mc_bench_score *scores; /* [tasks] */
    char **chosen;          /* [seeds] */
} mc_bench_line;

struct mc_bench_result {
    char **tasks, **seeds, **metrics;
    size_t task_count, seed_count;
    double validation;
    mc_bench_line *lines;
    size_t count, capacity;
};

#endif
