#include <mergecraft/glue.h>

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Standard errors are those of the delete-one jackknife: with θ(i) the metric without example i,
 *
 *     SE² = (n − 1)/n · Σ (θ(i) − mean θ(i))²
 *
 * It needs no assumption on the distribution, no random numbers, and for accuracy it equals
 * sqrt(p (1 − p)/(n − 1)), the standard error of a mean.
 */

/* Predictions and labels of the examples that have a label. */
typedef struct pairs {
    double *predictions, *labels;
    size_t count;
} pairs;

/* Mean and sum of squared deviations of values that are added one by one (Welford). */
typedef struct moments {
    double mean, squares;
    size_t count;
} moments;

static void add_value(moments *m, double value)
{
    /* One pass, and no difference of large sums, which would lose digits. */
    const double before = value - m->mean;
    m->mean += before / (double)++m->count;
    m->squares += before * (value - m->mean);
}

static double jackknife_error(const moments *m)
{
    const double n = (double)m->count;
    return n > 1 ? sqrt((n - 1) / n * m->squares) : NAN;
}

/* ---- metrics of classes ---- */

static void accuracy(const pairs *p, mc_metric *out)
{
    size_t right = 0;
    for (size_t i = 0; i < p->count; i++)
        right += p->predictions[i] == p->labels[i];
    const double n = (double)p->count;
    out->value = p->count > 0 ? (double)right / n : NAN;
    out->standard_error = p->count > 1 ? sqrt(out->value * (1 - out->value) / (n - 1)) : NAN;
}

/* How often each class is predicted, is the label, and both. */
typedef struct class_counts {
    double *predicted, *labelled, *right;
    size_t classes;
    double total;
} class_counts;

/* The last class stands for everything that is not a label of the task. */
static size_t class_of(double label, size_t classes)
{
    return label >= 0 && label < (double)(classes - 1) && label == floor(label) ? (size_t)label
                                                                                : classes - 1;
}

static void count_example(class_counts *c, double prediction, double label, double weight)
{
    const size_t x = class_of(prediction, c->classes), y = class_of(label, c->classes);
    c->predicted[x] += weight;
    c->labelled[y] += weight;
    c->right[x] += x == y ? weight : 0;
    c->total += weight;
}

static double f1_of(const class_counts *c, size_t class)
{
    /*
     * 2 · right / (predicted + labelled) is the harmonic mean of precision and recall. Without any
     * such example it counts as 0, as in scikit-learn.
     */
    const double all = c->predicted[class] + c->labelled[class];
    return all > 0 ? 2 * c->right[class] / all : 0;
}

static double f1(const class_counts *c)
{
    return f1_of(c, 1);
}

/* The mean over all classes that are predicted or are a label. */
static double f1_macro(const class_counts *c)
{
    double sum = 0, used = 0;
    for (size_t k = 0; k < c->classes; k++) {
        used += c->predicted[k] + c->labelled[k] > 0;
        sum += f1_of(c, k);
    }
    return used > 0 ? sum / used : 0;
}

/* The correlation of two indicator matrices [examples][classes] (Gorodkin 2004, R_K). */
static double matthews_correlation(const class_counts *c)
{
    const double n = c->total;
    double both = 0, x = n * n, y = n * n;
    for (size_t k = 0; k < c->classes; k++)
        both += c->right[k];
    both *= n;
    for (size_t k = 0; k < c->classes; k++) {
        both -= c->predicted[k] * c->labelled[k];
        x -= c->predicted[k] * c->predicted[k];
        y -= c->labelled[k] * c->labelled[k];
    }
    /* Predictions or labels of one class only: no correlation, 0 by convention. */
    return x * y > 0 ? both / sqrt(x * y) : 0;
}

/* Computes a metric that depends on the counts only. Returns false if there is no memory. */
static bool score_classes(const pairs *p, size_t label_count,
                          double (*metric)(const class_counts *), mc_metric *out)
{
    class_counts c = {.classes = label_count + 1};
    moments left_out = {0};
    c.predicted = mc_alloc_zero(c.classes, 3 * sizeof *c.predicted);
    if (!c.predicted)
        return false;
    c.labelled = c.predicted + c.classes;
    c.right = c.labelled + c.classes;
    for (size_t i = 0; i < p->count; i++)
        count_example(&c, p->predictions[i], p->labels[i], 1);
    out->value = metric(&c);
    for (size_t i = 0; i < p->count; i++) {
        /*
         * Weights are whole numbers, so that taking an example out and in again leaves the counts
         * exact.
         */
        count_example(&c, p->predictions[i], p->labels[i], -1);
        add_value(&left_out, metric(&c));
        count_example(&c, p->predictions[i], p->labels[i], 1);
    }
    out->standard_error = jackknife_error(&left_out);
    mc_free(c.predicted);
    return true;
}

/* ---- correlations ---- */

/* Subtracts the mean and divides by the length; false if all values are equal. */
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
    /* Squares of scaled values neither overflow nor underflow. */
    for (size_t i = 0; i < count; i++)
        squares += (values[i] / largest) * (values[i] / largest);
    for (size_t i = 0; i < count; i++)
        values[i] /= largest * sqrt(squares);
    return !constant;
}

static bool is_constant_without(const double *values, size_t count, size_t left)
{
    const double first = values[left == 0 ? 1 : 0];
    for (size_t i = 0; i < count; i++)
        if (i != left && values[i] != first)
            return false;
    return true;
}

static double mean_without(const double *values, size_t count, size_t left)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += i != left ? values[i] : 0;
    return sum / (double)(count - 1);
}

/* The correlation of all examples but one, in two passes. */
static double correlation_without(const pairs *p, size_t left)
{
    const double *const x = p->predictions, *const y = p->labels;
    double xy = 0, xx = 0, yy = 0;
    if (is_constant_without(x, p->count, left) || is_constant_without(y, p->count, left))
        return NAN;
    const double x_mean = mean_without(x, p->count, left), y_mean = mean_without(y, p->count, left);
    for (size_t i = 0; i < p->count; i++) {
        if (i == left)
            continue;
        xy += (x[i] - x_mean) * (y[i] - y_mean);
        xx += (x[i] - x_mean) * (x[i] - x_mean);
        yy += (y[i] - y_mean) * (y[i] - y_mean);
    }
    return fmax(-1, fmin(1, xy / sqrt(xx) / sqrt(yy)));
}

/*
 * The same from the sums over all examples of normalised values: without example i the means move
 * by −x/(n−1), which takes x²/(n−1) more off the squares. Where one example has nearly all of the
 * variance, too few digits of the rest are left, and two passes follow; that is so of two at most.
 */
static double correlation_update(const pairs *p, double sum, size_t left)
{
    const double part = (double)p->count / (double)(p->count - 1);
    const double x = p->predictions[left], y = p->labels[left];
    const double xx = 1 - part * x * x, yy = 1 - part * y * y;
    if (xx < 1e-3 || yy < 1e-3)
        return correlation_without(p, left);
    return fmax(-1, fmin(1, (sum - part * x * y) / sqrt(xx * yy)));
}

/* Changes the values. */
static void pearson(pairs *p, mc_metric *out)
{
    double *const x = p->predictions, *const y = p->labels, sum = 0;
    moments left_out = {0};
    out->value = out->standard_error = NAN;
    if (p->count < 2 || !normalise(x, p->count) || !normalise(y, p->count))
        return;
    for (size_t i = 0; i < p->count; i++)
        sum += x[i] * y[i];
    /* Rounding may leave a value a little outside of −1 to 1. */
    out->value = isnan(sum) ? NAN : fmax(-1, fmin(1, sum));
    for (size_t i = 0; i < p->count && p->count > 2; i++)
        add_value(&left_out, correlation_update(p, sum, i));
    out->standard_error = p->count > 2 ? jackknife_error(&left_out) : NAN;
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

/* Replaces values by their ranks from 0; equal values share the mean of their ranks. */
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

/* How much a rank falls if an example of rank `removed` is left out. */
static double rank_loss(double rank, double removed)
{
    return rank > removed ? 1 : rank == removed ? .5 : 0;
}

/* The correlation of the ranks that remain without example `left`. */
static double rank_correlation_without(const pairs *p, size_t left)
{
    const double *const x = p->predictions, *const y = p->labels;
    /* Ranks from 0 to n − 1 have this mean, also with ties. */
    const double n = (double)p->count - 1, mean = (n - 1) / 2;
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (i == left)
            continue;
        const double a = x[i] - rank_loss(x[i], x[left]) - mean;
        const double b = y[i] - rank_loss(y[i], y[left]) - mean;
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    return xx > 0 && yy > 0 ? fmax(-1, fmin(1, xy / sqrt(xx * yy))) : NAN;
}

/* Changes the values; false without memory. */
static bool spearman(pairs *p, mc_metric *out)
{
    /* The jackknife takes n² steps: half a second for so many examples. */
    enum { MOST_EXAMPLES = 20000 };
    moments left_out = {0};
    ranked *const sorted = mc_alloc(p->count * sizeof *sorted);
    if (!sorted)
        return false;
    rank(p->predictions, p->count, sorted);
    rank(p->labels, p->count, sorted);
    mc_free(sorted);
    for (size_t i = 0; i < p->count && p->count <= MOST_EXAMPLES; i++)
        add_value(&left_out, rank_correlation_without(p, i));
    /*
     * Spearman's correlation is Pearson's of the ranks. It changes them, so the jackknife comes
     * first.
     */
    pearson(p, out);
    out->standard_error = left_out.count > 2 && !isnan(out->value) ? jackknife_error(&left_out)
                                                                   : NAN;
    return true;
}

/* ---- scores of a task ---- */

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

/* Fills value and standard error of the metric that out->name names; false without memory. */
static bool compute(const mc_glue_task *task, pairs *p, mc_metric *out)
{
    const char *const name = out->name;
    out->value = out->standard_error = NAN;
    if (strcmp(name, "accuracy") == 0)
        accuracy(p, out);
    else if (p->count == 0 || has_nan(p))
        return true;
    else if (strcmp(name, "f1") == 0)
        return score_classes(p, task->label_count, f1, out);
    else if (strcmp(name, "f1_macro") == 0)
        return score_classes(p, task->label_count, f1_macro, out);
    else if (strcmp(name, "matthews_correlation") == 0)
        return score_classes(p, task->label_count, matthews_correlation, out);
    else if (strcmp(name, "pearson") == 0)
        pearson(p, out);
    else
        return spearman(p, out);
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
        ok = compute(task, &p, &out[done]);
    }
    mc_free(p.predictions);
    return ok ? done : 0;
}

/* ---- loss ---- */

/* −log softmax(logits)[label], from the largest logit, so that nothing overflows. */
static double cross_entropy(const float *logits, size_t label_count, double label)
{
    double largest = -INFINITY, sum = 0;
    if (class_of(label, label_count + 1) == label_count)
        return NAN;
    for (size_t k = 0; k < label_count; k++)
        largest = fmax(largest, (double)logits[k]);
    for (size_t k = 0; k < label_count; k++)
        sum += exp((double)logits[k] - largest);
    return largest + log(sum) - (double)logits[(size_t)label];
}

mc_metric mc_glue_loss(const float *logits, size_t label_count, const double *labels, size_t count)
{
    moments loss = {0};
    for (size_t i = 0; i < count; i++) {
        const double error = (double)logits[i * label_count] - labels[i];
        if (!isnan(labels[i]))
            add_value(&loss, label_count > 1
                                 ? cross_entropy(logits + i * label_count, label_count, labels[i])
                                 : error * error);
    }
    const double n = (double)loss.count;
    return (mc_metric){.name = label_count > 1 ? "cross_entropy" : "mse",
                       .value = loss.count > 0 ? loss.mean : NAN,
                       .standard_error = n > 1 ? sqrt(loss.squares / (n - 1) / n) : NAN};
}

/* ---- comparison of two models ---- */

/* P(X ≤ k) of a binomial distribution with n trials and probability ½. */
static double binomial_half(size_t k, size_t n)
{
    int sign;
    double sum = 0;
    /*
     * By logarithms: n! and 2^n overflow from some 170 and 1,000 on. lgamma_r, since lgamma writes
     * a global variable.
     */
    const double whole = lgamma_r((double)n + 1, &sign) - (double)n * log(2);
    for (size_t i = 0; i <= k; i++)
        sum += exp(whole - lgamma_r((double)i + 1, &sign) - lgamma_r((double)(n - i) + 1, &sign));
    return sum;
}

mc_mcnemar mc_glue_mcnemar(const double *first, const double *second, const double *labels,
                           size_t count)
{
    mc_mcnemar result = {0};
    for (size_t i = 0; i < count; i++) {
        if (isnan(labels[i]))
            continue;
        const bool a = first[i] == labels[i], b = second[i] == labels[i];
        result.both += a && b;
        result.first_only += a && !b;
        result.second_only += !a && b;
        result.neither += !a && !b;
    }
    /*
     * The exact test: if both models are equally good, each example on which they differ is a fair
     * coin.
     */
    const size_t differ = result.first_only + result.second_only;
    const size_t fewer = result.first_only < result.second_only ? result.first_only
                                                                : result.second_only;
    /* Two-sided. With equal halves both tails would count the middle twice, and exceed 1. */
    result.p_value = 2 * fewer >= differ ? 1 : fmin(1, 2 * binomial_half(fewer, differ));
    return result;
}
