#include <mergecraft/glue.h>

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Predictions and labels of the examples that have a label. */
typedef struct pairs {
    double *predictions, *labels;
    size_t count;
} pairs;

static double accuracy(const pairs *p)
{
    size_t right = 0;
    for (size_t i = 0; i < p->count; i++)
        right += p->predictions[i] == p->labels[i];
    return p->count > 0 ? (double)right / (double)p->count : NAN;
}

static double f1(const pairs *p)
{
    size_t right = 0, ones = 0;
    for (size_t i = 0; i < p->count; i++) {
        right += p->predictions[i] == 1 && p->labels[i] == 1;
        ones += (size_t)(p->predictions[i] == 1) + (size_t)(p->labels[i] == 1);
    }
    return ones > 0 ? 2 * (double)right / (double)ones : 0;
}

/* Labels 0, 1, 2, and whatever else. */
enum { CLASSES = 4 };

static size_t class_of(double label)
{
    return label == 0 ? 0 : label == 1 ? 1 : label == 2 ? 2 : 3;
}

/* The correlation of two indicator matrices [examples][classes] (Gorodkin's R_K), from how often each class occurs. */
static double matthews_correlation(const pairs *p)
{
    double predicted[CLASSES] = {0}, true_[CLASSES] = {0}, right = 0;
    for (size_t i = 0; i < p->count; i++) {
        const size_t x = class_of(p->predictions[i]), y = class_of(p->labels[i]);
        predicted[x]++;
        true_[y]++;
        right += x == y;
    }
    const double n = (double)p->count;
    double both = right * n, x = n * n, y = n * n;
    for (size_t k = 0; k < CLASSES; k++) {
        both -= predicted[k] * true_[k];
        x -= predicted[k] * predicted[k];
        y -= true_[k] * true_[k];
    }
    return x * y > 0 ? both / sqrt(x * y) : 0;
}

/* Subtracts the mean and divides by the length; false where all values are the same. */
static bool normalise(double *values, size_t count)
{
    double sum = 0, largest = 0, squares = 0;
    bool constant = true;
    for (size_t i = 0; i < count; i++) {
        constant = constant && values[i] == values[0];
        sum += values[i];
    }
    for (size_t i = 0; i < count; i++) {
        values[i] -= sum / (double)count;
        largest = fmax(largest, fabs(values[i]));
    }
    /* Squares neither overflow nor vanish. */
    for (size_t i = 0; i < count; i++)
        squares += (values[i] / largest) * (values[i] / largest);
    for (size_t i = 0; i < count; i++)
        values[i] /= largest * sqrt(squares);
    return !constant;
}

/* Changes the values. */
static double pearson(pairs *p)
{
    if (p->count < 2 || !normalise(p->predictions, p->count) || !normalise(p->labels, p->count))
        return NAN;
    double sum = 0;
    for (size_t i = 0; i < p->count; i++)
        sum += p->predictions[i] * p->labels[i];
    return isnan(sum) ? NAN : fmax(-1, fmin(1, sum));
}

typedef struct ranked {
    double value;
    size_t place;
} ranked;

static int compare_values(const void *a, const void *b)
{
    const ranked *const x = a, *const y = b;
    return (x->value > y->value) - (x->value < y->value);
}

/* Replaces values by their ranks; `sorted` is room for as many. */
static void rank(double *values, size_t count, ranked *sorted)
{
    for (size_t i = 0; i < count; i++)
        sorted[i] = (ranked){values[i], i};
    qsort(sorted, count, sizeof *sorted, compare_values);
    for (size_t first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && sorted[end].value == sorted[first].value;)
            end++;
        for (size_t i = first; i < end; i++)
            values[sorted[i].place] = (double)(first + end - 1) / 2;
    }
}

/* Changes the values; false without memory. */
static bool spearman(pairs *p, double *out)
{
    ranked *const sorted = mc_alloc(p->count * sizeof *sorted);
    if (!sorted)
        return false;
    rank(p->predictions, p->count, sorted);
    rank(p->labels, p->count, sorted);
    mc_free(sorted);
    *out = pearson(p);
    return true;
}

static void copy_labelled(const double *predictions, const double *labels, size_t count, pairs *out)
{
    out->labels = out->predictions + count;
    out->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(labels[i]))
            continue;
        out->predictions[out->count] = predictions[i];
        out->labels[out->count++] = labels[i];
    }
}

static bool has_nan(const pairs *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (isnan(p->predictions[i]))
            return true;
    return false;
}

static bool compute(const char *name, pairs *p, double *value)
{
    if (strcmp(name, "accuracy") == 0)
        *value = accuracy(p);
    else if (p->count == 0 || has_nan(p))
        *value = NAN;
    else if (strcmp(name, "f1") == 0)
        *value = f1(p);
    else if (strcmp(name, "matthews_correlation") == 0)
        *value = matthews_correlation(p);
    else if (strcmp(name, "pearson") == 0)
        *value = pearson(p);
    else
        return spearman(p, value);
    return true;
}

size_t mc_glue_score(const mc_glue_task *task, const double *predictions, const double *labels,
                     size_t count, mc_metric out[MC_GLUE_METRICS])
{
    pairs p = {.predictions = mc_alloc_zero(count, 2 * sizeof *p.predictions)};
    size_t done = 0;
    bool ok = p.predictions;
    for (; ok && task->metrics[done]; done += ok) {
        copy_labelled(predictions, labels, count, &p);
        out[done].name = task->metrics[done];
        ok = compute(out[done].name, &p, &out[done].value);
    }
    mc_free(p.predictions);
    return ok ? done : 0;
}
