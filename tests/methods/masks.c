/*
 * The random masks of dare_linear, dare_ties, della and della_linear: shares, variances,
 * independence between models, tensors, seeds and neighbours, and the rescaling. Seeds are fixed,
 * so that a limit of four standard deviations never fails by chance.
 */
#include <mergecraft/mergecraft.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 128, COLUMNS = 1024, COUNT = ROWS * COLUMNS, MODELS = 2, PARTS = 8 };

static const double density = 0.4, epsilon = 0.3, sigmas = 4;
static const char *const methods[] = {"dare_linear", "dare_ties", "della", "della_linear"};
enum { METHODS = sizeof methods / sizeof *methods };

static float models[MODELS][COUNT], base[COUNT], out[COUNT];

static bool ranked(const char *method)
{
    return strncmp(method, "della", 5) == 0;
}

/* The rank of an element's magnitude in its row: another order in each row and model. */
static size_t rank_of(size_t model, size_t i)
{
    return (i % COLUMNS * 517 + i / COLUMNS * 77 + model * 31) % COLUMNS;
}

/* The probability that an element is kept. */
static double chance_of(const char *method, size_t model, size_t i)
{
    return ranked(method)
               ? density - epsilon + 2 * epsilon * (double)rank_of(model, i) / (COLUMNS - 1)
               : density;
}

static int set_up(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODELS; m++)
        for (size_t i = 0; i < COUNT; i++)
            models[m][i] = 1 + (float)rank_of(m, i) / COLUMNS;
    return 0;
}

/* What is kept of one model's task vector. */
static const float *kept(const char *method, size_t model, const char *tensor, uint64_t seed,
                         bool rescale)
{
    const float *const both[] = {models[0], models[1]};
    const int64_t shape[] = {ROWS, COLUMNS};
    const char *const params[] = {model == 0 ? "weight=1,0" : "weight=0,1", "density=0.4",
                                  "normalize=false", rescale ? "rescale=true" : "rescale=false",
                                  "epsilon=0.3"};
    char name[64];
    snprintf(name, sizeof name, "mergekit:%s", method);
    const mc_layer_test test = {.method = mc_method_find(name),
                                .name = tensor,
                                .models = both,
                                .model_count = MODELS,
                                .base = base,
                                .rank = 2,
                                .shape = shape,
                                .params = params,
                                .param_count = ranked(method) ? 5 : 4,
                                .seed = seed};
    mc_error error = MC_ERROR_NONE;
    if (mc_test_layer(&test, out, &error) != MC_OK) {
        char line[1024];
        fail_msg("%s: %s", method, mc_error_message(&error, line, sizeof line));
    }
    return out;
}

/* How far an element's mask is from its expectation, in standard deviations. */
static void deviations(const char *method, size_t model, const char *tensor, uint64_t seed,
                       double *found)
{
    const float *const values = kept(method, model, tensor, seed, false);
    for (size_t i = 0; i < COUNT; i++) {
        const double chance = chance_of(method, model, i);
        assert_true(values[i] == 0 || values[i] == models[model][i]);
        found[i] = ((values[i] != 0) - chance) / sqrt(chance * (1 - chance));
    }
}

/* Shares of elements of small to large rank, and of the first to the last rows. */
static void test_share(void **state)
{
    (void)state;
    double *const found = calloc(COUNT, sizeof *found);
    for (size_t n = 0; n < METHODS; n++) {
        double by_rank[PARTS] = {0}, by_place[PARTS] = {0};
        deviations(methods[n], 0, "a", 1, found);
        for (size_t i = 0; i < COUNT; i++) {
            by_rank[rank_of(0, i) * PARTS / COLUMNS] += found[i];
            by_place[i * PARTS / COUNT] += found[i];
        }
        for (size_t p = 0; p < PARTS; p++) {
            assert_true(fabs(by_rank[p]) < sigmas * sqrt((double)COUNT / PARTS));
            assert_true(fabs(by_place[p]) < sigmas * sqrt((double)COUNT / PARTS));
        }
    }
    free(found);
}

/*
 * Sums of independent deviations over runs of elements have the variance of their number: rows, and
 * runs of 16 elements, which one block of the generator makes.
 */
static void test_variance(void **state)
{
    (void)state;
    double *const found = calloc(COUNT, sizeof *found);
    for (size_t n = 0; n < METHODS; n++)
        for (size_t run = 16; run <= COLUMNS; run *= 64) {
            double squares = 0;
            deviations(methods[n], 1, "a", 2, found);
            for (size_t start = 0; start < COUNT; start += run) {
                double sum = 0;
                for (size_t i = 0; i < run; i++)
                    sum += found[start + i];
                squares += sum * sum / (double)run;
            }
            const double runs = (double)COUNT / (double)run;
            /* The kurtosis of unlikely events widens that of chi square, by less than a half. */
            assert_true(fabs(squares - runs) < 1.5 * sigmas * sqrt(2 * runs));
        }
    free(found);
}

static void assert_independent(const double *a, const double *b, size_t count)
{
    double product = 0;
    for (size_t i = 0; i < count; i++)
        product += a[i] * b[i];
    assert_true(fabs(product) < sigmas * sqrt((double)count));
}

static void test_independence(void **state)
{
    (void)state;
    double *const found = calloc(COUNT, sizeof *found), *const other = calloc(COUNT, sizeof *other);
    for (size_t n = 0; n < METHODS; n++) {
        deviations(methods[n], 0, "a", 3, found);
        for (size_t lag = 1; lag <= 4096; lag *= 2)
            assert_independent(found, found + lag, COUNT - lag);
        deviations(methods[n], 1, "a", 3, other);
        assert_independent(found, other, COUNT);
        deviations(methods[n], 0, "b", 3, other);
        assert_independent(found, other, COUNT);
        deviations(methods[n], 0, "a", 4, other);
        assert_independent(found, other, COUNT);
    }
    free(found);
    free(other);
}

/* Kept elements are enlarged by one factor, so that their magnitudes sum up to the whole. */
static void test_rescale(void **state)
{
    (void)state;
    for (size_t n = 0; n < METHODS; n++) {
        const float *const values = kept(methods[n], 0, "a", 5, true);
        double whole = 0, sum = 0, factor = 0;
        for (size_t i = 0; i < COUNT; i++) {
            whole += (double)models[0][i];
            sum += (double)values[i];
            const double ratio = (double)values[i] / (double)models[0][i];
            factor = factor == 0 ? ratio : factor;
            assert_true(ratio == 0 || fabs(ratio / factor - 1) < 1e-6);
        }
        assert_true(factor > 1);
        assert_true(fabs(sum / whole - 1) < 1e-6);
    }
}

/* Chances outside of 0 … 1 are rejected, whichever end of the ranks they belong to. */
static void test_limits(void **state)
{
    (void)state;
    static const char *const epsilons[] = {"epsilon=0.4", "epsilon=-0.4", "epsilon=0.7",
                                           "epsilon=-0.7"};
    const float *const one[] = {models[0]};
    const int64_t shape[] = {ROWS, COLUMNS};
    for (size_t i = 0; i < sizeof epsilons / sizeof *epsilons; i++) {
        const char *const params[] = {"weight=1", "density=0.4", epsilons[i]};
        const mc_layer_test test = {.method = mc_method_find("mergekit:della"),
                                    .name = "a",
                                    .models = one,
                                    .model_count = 1,
                                    .base = base,
                                    .rank = 2,
                                    .shape = shape,
                                    .params = params,
                                    .param_count = 3};
        mc_error error = MC_ERROR_NONE;
        assert_int_equal(mc_test_layer(&test, out, &error), MC_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_share),
        cmocka_unit_test(test_variance), cmocka_unit_test(test_independence),
        cmocka_unit_test(test_rescale),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
