/*
 * RegMean: the weights that, for every linear layer, come closest to the outputs of all models on
 * their own inputs: W = (Σ W_t G_t) (Σ G_t)⁻¹ for W [out, in] and the inputs' Gram matrices
 * G_t = XᵀX / rows [in, in].
 */
#ifndef MC_METHODS_REGMEAN_H
#define MC_METHODS_REGMEAN_H

#include "linalg/gemm.h"
#include "methods/matrix.h"
#include "methods/weights.h"

/* The parameters; `reduce_`: the default of the first. WEIGHTS: the index of that parameter. */
#define REGMEAN_PARAMS(reduce_)                                                                    \
    MC_PARAMS({"reduce", MC_NUMBER, "factor of the Gram matrices' off-diagonal elements",          \
               .fallback = (reduce_), .maximum = 1},                                               \
              {"weights", MC_NUMBER, "weight of each model", .fallback = 1, .per_input = true},    \
              {"layout", MC_CHOICE,                                                                \
               "layout of the weights; auto: by the Gram matrix and the model type",               \
               .choices = MC_NAMES("auto", "out_in", "in_out")})
#if defined(MC_REAL_IS_DOUBLE)
#define PRODUCT mc_gemm_f64
#define RUN mc_gemm_run_f64
#define WORK mc_gemm_work_f64
#else
#define PRODUCT mc_gemm_f32
#define RUN mc_gemm_run_f32
#define WORK mc_gemm_work_f32
#endif

enum { WEIGHTS = 1 };
enum { AUTO, OUT_IN, IN_OUT }; /* layout */

/* Of a layer that has Gram matrices: W is [m, n], n the side that they belong to. */
typedef struct problem {
    size_t m, n;
    bool transposed; /* the tensor is Wᵀ, as a Conv1D stores it */
} problem;

static bool has_gram(const mc_layer *layer)
{
    return layer->side_count > 0 && layer->rank == 2;
}

static problem problem_of(const mc_layer *layer)
{
    const size_t rows = (size_t)layer->shape[0], columns = (size_t)layer->shape[1];
    const double layout = mc_number(layer, "layout");
    const bool square = rows == columns;
    const int64_t *const gram = layer->sides[0].shape;
    const bool only_rows = !square && layer->sides[0].rank == 2 && gram[0] == layer->shape[0] &&
                           gram[1] == layer->shape[0];
    const bool transposed = layout == AUTO ? only_rows || (square && layer->transposed)
                                           : layout == IN_OUT;
    return transposed ? (problem){columns, rows, true} : (problem){rows, columns, false};
}

/* Scratch of two phases: the sums in the layer's type, then the solution. */
static size_t phase_bytes(size_t m, size_t n)
{
    const size_t collecting = (n * n + 2 * m * n + WORK(&(PRODUCT){.m = m, .k = n}, 1, 1)) *
                              sizeof(mc_real);
    const size_t solving = mc_semidefinite_work(m, n) * sizeof(double);
    return collecting > solving ? collecting : solving;
}

/* Nothing for layers without a Gram matrix, such as embeddings. */
static size_t scratch_bytes(const mc_layer *layer)
{
    if (!has_gram(layer))
        return 0;
    const problem p = problem_of(layer);
    return (p.n * p.n + 2 * p.m * p.n) * sizeof(double) + phase_bytes(p.m, p.n);
}

/* Whether no model has a Gram matrix with a value: the solution is then the mean. */
static bool is_zero(const mc_layer *layer)
{
    const mc_side *const grams = &layer->sides[0];
    for (size_t t = 0; t < layer->model_count; t++)
        for (size_t i = 0; i < grams->count; i++)
            if (grams->tiles[t][i] != 0)
                return false;
    return true;
}

static mc_status check_gram(const mc_layer *layer, problem p)
{
    const mc_side *const grams = &layer->sides[0];
    if (grams->rank == 2 && grams->shape[0] == grams->shape[1] && grams->shape[0] == (int64_t)p.n)
        return MC_OK;
    return mc_fail(layer->error, MC_MISMATCH,
                   "side input '%s': expected [%zu, %zu], the layer's inputs, found [%lld, %lld]",
                   grams->name, p.n, p.n, (long long)(grams->rank > 0 ? grams->shape[0] : 1),
                   (long long)(grams->rank > 1 ? grams->shape[1] : 1));
}

/* The weighted mean, of layers without a Gram matrix and of inputs that are 0 in all models. */
static double mean_at(const mc_layer *layer, const double *weights, double total, size_t i)
{
    double sum = 0;
    for (size_t t = 0; t < layer->model_count; t++)
        sum += weights[t] * (double)layer->models[t][i];
    return sum / total;
}

/* to [m, n] = W_t − the mean, in the layout [out, in] */
static void take_difference(const mc_layer *layer, problem p, size_t t, const double *mean,
                            mc_real *to)
{
    const mc_real *const model = layer->models[t];
    for (size_t i = 0; i < p.m; i++)
        for (size_t j = 0; j < p.n; j++) {
            const size_t at = p.transposed ? j * p.m + i : i * p.n + j;
            to[i * p.n + j] = (mc_real)((double)model[at] - mean[at]);
        }
}

/* sum += the model's Gram matrix with its off-diagonal scaled by `reduce`, times its weight. */
static void add_gram(const mc_layer *layer, problem p, size_t t, double *sum)
{
    const mc_real *const gram = layer->sides[0].tiles[t];
    const double weight = mc_numbers(layer, "weights")[t];
    const double off = weight * mc_number(layer, "reduce");
    for (size_t i = 0; i < p.n; i++) {
        for (size_t j = 0; j < p.n; j++)
            sum[i * p.n + j] += off * (double)gram[i * p.n + j];
        sum[i * p.n + i] += (weight - off) * (double)gram[i * p.n + i];
    }
}

/*
 * The model whose Gram matrix is taken from all: of those with the largest weight the last. So it
 * has its share in the sum of the matrices, and its size does not enlarge rounding errors.
 */
static size_t reference_of(const mc_layer *layer)
{
    const double *const weights = mc_numbers(layer, "weights");
    size_t found = 0;
    for (size_t t = 1; t < layer->model_count; t++)
        found = weights[t] >= weights[found] ? t : found;
    return found;
}

/* to = the model's Gram matrix minus that of the reference, scaled as in add_gram. */
static void take_gram(const mc_layer *layer, problem p, size_t t, size_t reference, mc_real *to)
{
    const mc_real *const gram = layer->sides[0].tiles[t];
    const mc_real *const other = layer->sides[0].tiles[reference];
    const double weight = mc_numbers(layer, "weights")[t];
    const double off = weight * mc_number(layer, "reduce");
    for (size_t i = 0; i < p.n; i++) {
        const size_t at = i * p.n;
        for (size_t j = 0; j < p.n; j++)
            to[at + j] = (mc_real)(off * ((double)gram[at + j] - (double)other[at + j]));
        to[at + i] = (mc_real)(weight * ((double)gram[at + i] - (double)other[at + i]));
    }
}

/* c += a b for a symmetric b, in the type of the layer. */
static mc_status add_product(const mc_layer *layer, problem p, const mc_real *a, const mc_real *b,
                             mc_real *c, mc_real *work)
{
    const PRODUCT g = {.m = p.m,
                       .n = p.n,
                       .k = p.n,
                       .a = a,
                       .a_row = p.n,
                       .a_inner = 1,
                       .b = b,
                       .b_column = 1,
                       .b_inner = p.n,
                       .c = c,
                       .stride = p.n};
    return RUN(&g, 1, NULL, work, layer->error);
}

/*
 * sum = Σ G_t and right = Σ (W_t − mean) G_t: the solution is then the mean plus a correction,
 * which is 0 for an input that no model has ever seen. Products are computed in the layer's type:
 * in float32 their error is relative to the differences, which are small beside the weights that
 * the authors' code multiplies.
 *
 * The weighted differences add up to 0. So one model's Gram matrix can be taken from all of them,
 * which saves one product: right = Σ (W_t − mean) (G_t − G_reference).
 */
static mc_status collect(const mc_layer *layer, problem p, const double *mean, double *sum,
                         double *right, mc_real *scratch)
{
    const size_t reference = reference_of(layer);
    mc_real *const gram = scratch, *const difference = gram + p.n * p.n;
    mc_real *const products = difference + p.m * p.n, *const work = products + p.m * p.n;
    memset(sum, 0, p.n * p.n * sizeof *sum);
    memset(products, 0, p.m * p.n * sizeof *products);
    for (size_t t = 0; t < layer->model_count; t++)
        add_gram(layer, p, t, sum);
    for (size_t t = 0; t < layer->model_count; t++) {
        if (t == reference)
            continue;
        take_gram(layer, p, t, reference, gram);
        take_difference(layer, p, t, mean, difference);
        MC_TRY(add_product(layer, p, difference, gram, products, work));
    }
    for (size_t i = 0; i < p.m * p.n; i++)
        right[i] = (double)products[i];
    return MC_OK;
}

/*
 * Puts `value` on the diagonal of inputs that are 0 in all models: their row and column are zero,
 * and the mean stays.
 */
static void fix_dead_inputs(double *sum, size_t n, double value)
{
    for (size_t i = 0; i < n; i++)
        if (sum[i * n + i] == 0)
            sum[i * n + i] = value;
}

/* The first place below the diagonal whose mirrored element differs; by blocks, for the cache. */
static bool find_asymmetry(const double *a, size_t n, size_t *row, size_t *column)
{
    enum { BLOCK = 64 };
    /* Of the product of both diagonal elements: rounding in float32 is far below. */
    static const double tolerance = 1e-3 * 1e-3;
    for (size_t first = 0; first < n; first += BLOCK)
        for (size_t from = 0; from <= first; from += BLOCK)
            for (size_t i = first; i < n && i < first + BLOCK; i++)
                for (size_t j = from; j < i && j < from + BLOCK; j++) {
                    const double difference = a[i * n + j] - a[j * n + i];
                    const double size = fabs(a[i * n + i] * a[j * n + j]);
                    if (difference * difference > tolerance * size) {
                        *row = i;
                        *column = j;
                        return true;
                    }
                }
    return false;
}

static mc_status check_symmetry(const mc_layer *layer, const double *sum, size_t n)
{
    size_t i, j;
    if (!find_asymmetry(sum, n, &i, &j))
        return MC_OK;
    return mc_fail(
        layer->error, MC_FORMAT,
        "side input '%s': expected symmetric matrices, found %g at [%zu, %zu] of the sum "
        "and %g at [%zu, %zu]",
        layer->sides[0].name, sum[i * n + j], i, j, sum[j * n + i], j, i);
}

/*
 * Solves X · sum = right into `right`. Of fewer token rows than inputs, and with reduce = 1, the
 * sum is singular, and what its elements lose when they are rounded to the layer's type makes it
 * look regular. The correction has no part in directions within rounding, which no model has seen,
 * so the mean stays there.
 */
static mc_status solve(const mc_layer *layer, problem p, double *sum, double *right, double *work)
{
    double largest = 0, lowest;
    MC_TRY(check_symmetry(layer, sum, p.n));
    for (size_t i = 0; i < p.n; i++)
        largest = sum[i * p.n + i] > largest ? sum[i * p.n + i] : largest;
    fix_dead_inputs(sum, p.n, largest > 0 ? largest : 1);
    MC_TRY(mc_solve_semidefinite(p.m, p.n, sum, right, mc_svd_epsilon(matrix_wide), &lowest, work,
                                 layer->error));
    if (lowest < -1e-4 * largest)
        return mc_fail(layer->error, MC_FORMAT,
                       "expected a positive semidefinite sum of Gram matrices, found the "
                       "eigenvalue %g: statistics and weights must not be negative",
                       lowest);
    return MC_OK;
}

static mc_status regmean_check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weights(&values[WEIGHTS], error);
}

static void write(const mc_layer *layer, problem p, const double *mean, const double *correction)
{
    for (size_t i = 0; i < p.m; i++)
        for (size_t j = 0; j < p.n; j++) {
            const size_t at = p.transposed ? j * p.m + i : i * p.n + j;
            layer->out[at] = (mc_real)(mean[at] + correction[i * p.n + j]);
        }
}

static mc_status regmean_apply(const mc_layer *layer)
{
    const double *const weights = mc_numbers(layer, "weights");
    const double total = sum_of_weights(layer, weights);
    if (!has_gram(layer)) {
        for (size_t i = 0; i < layer->count; i++)
            layer->out[i] = (mc_real)mean_at(layer, weights, total, i);
        return MC_OK;
    }
    const problem p = problem_of(layer);
    double *scratch = layer->scratch;
    if (is_zero(layer))
        mc_layer_averaged(layer, "its Gram matrices are zero in all models");
    double *const mean = matrix_take(&scratch, p.m * p.n);
    double *const right = matrix_take(&scratch, p.m * p.n);
    double *const sum = matrix_take(&scratch, p.n * p.n);
    MC_TRY(check_gram(layer, p));
    for (size_t i = 0; i < layer->count; i++)
        mean[i] = mean_at(layer, weights, total, i);
    MC_TRY(collect(layer, p, mean, sum, right, (mc_real *)(void *)scratch));
    MC_TRY(solve(layer, p, sum, right, scratch));
    write(layer, p, mean, right);
    return MC_OK;
}

#endif
