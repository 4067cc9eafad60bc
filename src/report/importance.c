#include "report/importance.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

enum { LEAST_TRIALS = 8, MOST_BINS = 8, TRIALS_PER_BIN = 4 };

typedef struct pair {
    double value, score;
} pair;

static int compare_pairs(const void *a, const void *b)
{
    const double x = ((const pair *)a)->value, y = ((const pair *)b)->value;
    return (x > y) - (x < y);
}

static double mean_score(const pair *pairs, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += pairs[i].score;
    return sum / (double)count;
}

static double squares(const pair *pairs, size_t count)
{
    const double mean = mean_score(pairs, count);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (pairs[i].score - mean) * (pairs[i].score - mean);
    return sum;
}

/* Sorted pairs. Equal values stay in one bin, so that choices and grids have a bin per value. */
static double explained(const pair *pairs, size_t count)
{
    const size_t wanted = count / TRIALS_PER_BIN;
    const size_t bins = wanted > MOST_BINS ? MOST_BINS : wanted;
    double within = 0;
    size_t used = 0;
    for (size_t start = 0, end; start < count; start = end) {
        end = count * (used + 1) / bins;
        end = end <= start ? start + 1 : end;
        while (end < count && pairs[end].value == pairs[end - 1].value)
            end++;
        within += squares(pairs + start, end - start);
        used++;
    }
    const double total = squares(pairs, count);
    if (used < 2 || used >= count || total <= 0)
        return NAN;
    const double left = within / (double)(count - used) / (total / (double)(count - 1));
    return left < 1 ? 1 - left : 0;
}

mc_status mc_importance(const double *values, const double *scores, size_t count, double *share,
                        mc_error *error)
{
    *share = NAN;
    if (count < LEAST_TRIALS)
        return MC_OK;
    pair *const pairs = mc_alloc(count * sizeof *pairs);
    if (!pairs)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        pairs[i] = (pair){values[i], scores[i]};
    qsort(pairs, count, sizeof *pairs, compare_pairs);
    *share = explained(pairs, count);
    mc_free(pairs);
    return MC_OK;
}
