/*
 * The solves of RegMean alone, on one thread: solve ROWS COLUMNS prints the seconds of X A = B with
 * B [ROWS, COLUMNS], the best of three, in float and in double. For observe.py.
 */
#include "linalg/linalg.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUNS = 3 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double *numbers(size_t count)
{
    double *const a = malloc(count * sizeof *a);
    if (!a) {
        fprintf(stderr, "solve: no memory\n");
        exit(1);
    }
    for (size_t i = 0; i < count; i++)
        a[i] = rand() / (double)RAND_MAX;
    return a;
}

/* A definite matrix with small elements beside its diagonal. */
static void fill(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            a[i * n + j] = a[j * n + i] = i == j ? 5 : rand() / (double)RAND_MAX * .02;
}

static double best_time(size_t m, size_t n, double rounding)
{
    double *const a = numbers(n * n), *const b = numbers(m * n);
    double *const work = numbers(mc_semidefinite_work(m, n));
    double best = 0, lowest;
    mc_error error = MC_ERROR_NONE;
    for (int run = 0; run < RUNS; run++) {
        fill(a, n);
        const double start = now();
        if (mc_solve_semidefinite(m, n, a, b, rounding, &lowest, work, &error) != MC_OK) {
            fprintf(stderr, "solve: %s\n", error.text);
            exit(1);
        }
        const double seconds = now() - start;
        best = run == 0 || seconds < best ? seconds : best;
    }
    free(a);
    free(b);
    free(work);
    return best;
}

int main(int argc, char **argv)
{
    const long m = argc == 3 ? atol(argv[1]) : 0, n = argc == 3 ? atol(argv[2]) : 0;
    if (m < 1 || n < 1) {
        fprintf(stderr, "usage: solve ROWS COLUMNS\n");
        return 2;
    }
    printf("%.4f %.4f\n", best_time((size_t)m, (size_t)n, (double)FLT_EPSILON),
           best_time((size_t)m, (size_t)n, DBL_EPSILON));
    return 0;
}
