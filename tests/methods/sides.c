/*
 * Methods with side inputs, against what their definitions say: fisher against a sum over models,
 * regmean against its normal equations. tests/real/research_methods.py compares them with what
 * their authors' code computes.
 */
#include <mergecraft/merge.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MODELS = 3, ROWS = 7, COLUMNS = 5, SIZE = ROWS * COLUMNS };

/* Models, and a side input, of one layer "w" (and a vector "b" without one). */
typedef struct fixture {
    double values[MODELS][SIZE], sides[MODELS][SIZE];
    mc_state_dict *models[MODELS], *items[MODELS];
    mc_side_dicts side;
    mc_merge_input input;
} fixture;

static double number(unsigned *state)
{
    *state = *state * 1664525U + 1013904223U;
    return (double)(*state >> 8) / (double)(1 << 23) - 1;
}

static void add(mc_state_dict *dict, const char *name, int rank, const int64_t *shape,
                const double *data)
{
    mc_source *source = NULL;
    assert_int_equal(mc_source_wrap(MC_F64, rank, shape, data, NULL, NULL, &source, NULL), MC_OK);
    assert_int_equal(mc_state_dict_set(dict, name, source, NULL), MC_OK);
    mc_source_unref(source);
}

/* A Gram matrix of 4 rows of inputs, so that one alone is singular. */
static void make_gram(double *gram, unsigned *state)
{
    double x[4][COLUMNS];
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < COLUMNS; i++)
            x[r][i] = number(state);
    for (int i = 0; i < COLUMNS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            gram[i * COLUMNS + j] = 0;
            for (int r = 0; r < 4; r++)
                gram[i * COLUMNS + j] += x[r][i] * x[r][j] / 4;
        }
}

static void set_up(fixture *f, const char *side, bool gram)
{
    static const int64_t shape[] = {ROWS, COLUMNS}, square[] = {COLUMNS, COLUMNS}, one[] = {ROWS};
    unsigned state = 7;
    for (int m = 0; m < MODELS; m++) {
        for (int i = 0; i < SIZE; i++) {
            f->values[m][i] = number(&state);
            f->sides[m][i] = fabs(number(&state));
        }
        if (gram)
            make_gram(f->sides[m], &state);
        assert_int_equal(mc_state_dict_new(&f->models[m], NULL), MC_OK);
        assert_int_equal(mc_state_dict_new(&f->items[m], NULL), MC_OK);
        add(f->models[m], "block.0.w", 2, shape, f->values[m]);
        add(f->models[m], "block.0.b", 1, one, f->values[m]);
        add(f->items[m], "block.0.w", 2, gram ? square : shape, f->sides[m]);
    }
    f->side = (mc_side_dicts){side, (const mc_state_dict *const *)f->items, MODELS};
    f->input = (mc_merge_input){.models = (const mc_state_dict *const *)f->models,
                                .model_count = MODELS,
                                .sides = &f->side,
                                .side_count = 1};
}

static void tear_down(fixture *f)
{
    for (int m = 0; m < MODELS; m++) {
        mc_state_dict_free(f->models[m]);
        mc_state_dict_free(f->items[m]);
    }
}

static void merge(fixture *f, const char *method, const char *const *params, size_t count,
                  const char *name, double *out)
{
    mc_state_dict *merged = NULL;
    mc_error error = MC_ERROR_NONE;
    f->input.params = params;
    f->input.param_count = count;
    const mc_status status = mc_model_merge(mc_method_find(method), &f->input, &merged, NULL,
                                            &error);
    if (status != MC_OK)
        fail_msg("%s", error.text);
    const mc_source *const source = mc_state_dict_find(merged, name);
    assert_int_equal(mc_source_read_f64(source, 0, mc_source_count(source), out, &error), MC_OK);
    mc_state_dict_free(merged);
}

static double mean_of(const fixture *f, int i)
{
    double sum = 0;
    for (int m = 0; m < MODELS; m++)
        sum += f->values[m][i];
    return sum / MODELS;
}

static void close_to(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-12 * (1 + fabs(expected))))
        fail_msg("expected %.17g, found %.17g", expected, found);
}

/* By hand: Σ w F̂ θ / Σ w F̂ with F̂ = F / norm + floor · the mean of F / norm. */
static void test_fisher(void **state)
{
    (void)state;
    static const char *const kinds[] = {"normalize=none", "normalize=tensor", "normalize=model"};
    for (int kind = 0; kind < 3; kind++) {
        fixture f;
        double out[SIZE], norms[MODELS], mean = 0;
        const double weights[MODELS] = {1, 2, .5};
        set_up(&f, "fishers", false);
        f.sides[0][3] = f.sides[1][3] = f.sides[2][3] = 0;
        for (int m = 0; m < MODELS; m++) {
            norms[m] = 0;
            for (int i = 0; i < SIZE; i++)
                norms[m] += f.sides[m][i] * f.sides[m][i];
            norms[m] = kind ? sqrt(norms[m]) : 1;
            for (int i = 0; i < SIZE; i++)
                mean += f.sides[m][i] / norms[m] / (MODELS * SIZE);
        }
        const char *const params[] = {kinds[kind], "floor=.01", "weights=1,2,.5"};
        merge(&f, "fisher", params, 3, "block.0.w", out);
        for (int i = 0; i < SIZE; i++) {
            double sum = 0, total = 0;
            for (int m = 0; m < MODELS; m++) {
                const double w = weights[m] * (f.sides[m][i] / norms[m] + .01 * mean);
                sum += w * f.values[m][i];
                total += w;
            }
            close_to(out[i], sum / total);
        }
        tear_down(&f);
    }
}

static void test_fisher_without_information(void **state)
{
    (void)state;
    fixture f;
    double out[SIZE];
    set_up(&f, "fishers", false);
    for (int m = 0; m < MODELS; m++)
        for (int i = 0; i < SIZE; i++)
            f.sides[m][i] = i < 4 ? 0 : 1;
    merge(&f, "fisher", NULL, 0, "block.0.w", out);
    for (int i = 0; i < SIZE; i++) /* equal information: the mean, too */
        close_to(out[i], mean_of(&f, i));
    static const char *const clamped[] = {"floor_mode=clamp_sum", "floor=1e-8"};
    merge(&f, "fisher", clamped, 2, "block.0.w", out);
    close_to(out[0], 0);
    merge(&f, "fisher", NULL, 0, "block.0.b", out); /* in no side input: averaged */
    for (int i = 0; i < ROWS; i++)
        close_to(out[i], mean_of(&f, i));
    tear_down(&f);
}

/* X Σ G̃ = Σ W G̃, for all factors of the off-diagonal. */
static void test_regmean(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } reduce[] = {{"reduce=0", 0}, {"reduce=.5", .5}, {"reduce=.9", .9}, {"reduce=1", 1}};
    for (size_t k = 0; k < sizeof reduce / sizeof *reduce; k++) {
        fixture f;
        double x[SIZE];
        set_up(&f, "grams", true);
        const char *const params[] = {reduce[k].text, "weights=1,2,.5"};
        const double weights[MODELS] = {1, 2, .5};
        merge(&f, "regmean", params, 2, "block.0.w", x);
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLUMNS; j++) {
                double left = 0, right = 0;
                for (int m = 0; m < MODELS; m++)
                    for (int l = 0; l < COLUMNS; l++) {
                        const double g = weights[m] * f.sides[m][l * COLUMNS + j] *
                                         (l == j ? 1 : reduce[k].value);
                        left += x[i * COLUMNS + l] * g;
                        right += f.values[m][i * COLUMNS + l] * g;
                    }
                assert_true(fabs(left - right) < 1e-12);
            }
        tear_down(&f);
    }
}

/* Equal Gram matrices, singular ones included, and inputs that are always 0: the mean. */
static void test_regmean_is_mean(void **state)
{
    (void)state;
    fixture f;
    double x[SIZE];
    set_up(&f, "grams", true);
    for (int i = 0; i < COLUMNS; i++)
        f.sides[0][i] = f.sides[0][i * COLUMNS] = 0;
    for (int m = 1; m < MODELS; m++)
        memcpy(f.sides[m], f.sides[0], sizeof f.sides[0]);
    static const char *const params[] = {"reduce=1"};
    merge(&f, "regmean", params, 1, "block.0.w", x);
    for (int i = 0; i < SIZE; i++)
        close_to(x[i], mean_of(&f, i));
    merge(&f, "regmean", NULL, 0, "block.0.b", x);
    for (int i = 0; i < ROWS; i++)
        close_to(x[i], mean_of(&f, i));
    tear_down(&f);
}

/*
 * Fewer token rows than inputs, in all models together: input 3 always equals input 0, and input 4
 * is −1 times input 1. The normal equations hold, and the correction of the mean has no part in the
 * two directions that no model has seen: without a cutoff, rounding would decide about them.
 */
static void test_regmean_of_few_rows(void **state)
{
    (void)state;
    fixture f;
    double x[SIZE];
    unsigned seed = 3;
    set_up(&f, "grams", true);
    for (int m = 0; m < MODELS; m++) {
        double row[COLUMNS] = {number(&seed), number(&seed), number(&seed)};
        row[3] = row[0];
        row[4] = -row[1];
        for (int i = 0; i < COLUMNS; i++)
            for (int j = 0; j < COLUMNS; j++)
                f.sides[m][i * COLUMNS + j] = row[i] * row[j];
    }
    static const char *const params[] = {"reduce=1"};
    merge(&f, "regmean", params, 1, "block.0.w", x);
    for (int i = 0; i < ROWS; i++) {
        const double *const out = x + i * COLUMNS;
        double mean[COLUMNS];
        for (int j = 0; j < COLUMNS; j++)
            mean[j] = mean_of(&f, i * COLUMNS + j);
        for (int j = 0; j < COLUMNS; j++) {
            double left = 0, right = 0;
            for (int m = 0; m < MODELS; m++)
                for (int l = 0; l < COLUMNS; l++) {
                    const double g = f.sides[m][l * COLUMNS + j];
                    left += out[l] * g;
                    right += f.values[m][i * COLUMNS + l] * g;
                }
            assert_true(fabs(left - right) < 1e-11);
        }
        assert_true(fabs((out[3] - mean[3]) - (out[0] - mean[0])) < 1e-11);
        assert_true(fabs((out[4] - mean[4]) + (out[1] - mean[1])) < 1e-11);
    }
    tear_down(&f);
}

/* A model of weight 0 changes nothing, however large its Gram matrix is beside the others. */
static void test_regmean_without_last(void **state)
{
    (void)state;
    fixture f;
    double expected[SIZE], x[SIZE];
    set_up(&f, "grams", true);
    for (int i = 0; i < COLUMNS * COLUMNS; i++)
        f.sides[MODELS - 1][i] *= 1e12;
    static const char *const params[] = {"weights=1,2,0"}, *const fewer[] = {"weights=1,2"};
    merge(&f, "regmean", params, 1, "block.0.w", x);
    f.input.model_count = f.side.count = MODELS - 1;
    merge(&f, "regmean", fewer, 1, "block.0.w", expected);
    for (int i = 0; i < SIZE; i++)
        close_to(x[i], expected[i]);
    tear_down(&f);
}

/*
 * A tensor of many rows, without Gram matrices and with some of its inputs: a matrix of its rows
 * would take 720 GB.
 */
static void test_regmean_of_embeddings(void **state)
{
    (void)state;
    enum { WORDS = 300000 };
    static const int64_t shape[] = {WORDS, 1}, gram[] = {1, 1};
    fixture f;
    double *const values = malloc(WORDS * sizeof *values), *const out = malloc(WORDS * sizeof *out);
    set_up(&f, "grams", true);
    for (int i = 0; i < WORDS; i++)
        values[i] = i;
    for (int m = 0; m < MODELS; m++)
        add(f.models[m], "embeddings.weight", 2, shape, values);
    for (int with_grams = 0; with_grams < 2; with_grams++) {
        for (int m = 0; with_grams && m < MODELS; m++)
            add(f.items[m], "embeddings.weight", 2, gram, &values[1]);
        merge(&f, "regmean", NULL, 0, "embeddings.weight", out);
        for (int i = 0; i < WORDS; i++)
            close_to(out[i], i);
    }
    tear_down(&f);
    free(values);
    free(out);
}

/* Merges everything, and checks how many tensors the method reports as averaged. */
static void assert_averaged(const fixture *f, const char *method, size_t expected,
                            const char *reason)
{
    mc_state_dict *lazy = NULL, *merged = NULL;
    mc_run_result result;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(mc_model_merge(mc_method_find(method), &f->input, &lazy, NULL, &error), MC_OK);
    if (mc_state_dict_materialize(lazy, NULL, &merged, &result, &error) != MC_OK)
        fail_msg("%s", error.text);
    assert_int_equal(result.averaged_tensors, expected);
    assert_string_equal(result.averaged_reason, reason);
    mc_state_dict_free(merged);
    mc_state_dict_free(lazy);
}

/* Statistics without a value make a mean, which is reported; also if an add-on follows. */
static void test_averaged(void **state)
{
    (void)state;
    static const char *const methods[] = {"regmean", "fisher"}, *const sides[] = {"grams",
                                                                                  "fishers"};
    static const char *const reasons[] = {"its Gram matrices are zero in all models",
                                          "its Fisher information is zero in all models"};
    const mc_method *const then[] = {mc_method_find("lines")};
    for (int k = 0; k < 2; k++) {
        fixture f;
        set_up(&f, sides[k], k == 0);
        assert_averaged(&f, methods[k], 0, "");
        for (int m = 0; m < MODELS; m++)
            memset(f.sides[m], 0, sizeof f.sides[m]);
        assert_averaged(&f, methods[k], 1, reasons[k]);
        f.input.base = f.models[0];
        f.input.then = then;
        f.input.then_count = 1;
        assert_averaged(&f, methods[k], 1, reasons[k]);
        f.sides[1][0] = 1;
        assert_averaged(&f, methods[k], 0, "");
        tear_down(&f);
    }
}

static void fails(const fixture *f, const char *method, mc_status status, const char *text)
{
    mc_state_dict *merged = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status found = mc_model_merge(mc_method_find(method), &f->input, &merged, NULL, &error);
    double out[SIZE];
    if (found == MC_OK)
        found = mc_source_read_f64(mc_state_dict_find(merged, "block.0.w"), 0, SIZE, out, &error);
    mc_state_dict_free(merged);
    assert_int_equal(found, status);
    if (!strstr(error.text, text))
        fail_msg("expected '%s', found '%s'", text, error.text);
}

static void test_errors(void **state)
{
    (void)state;
    fixture f;
    set_up(&f, "grams", false); /* [7, 5] in the place of [5, 5] */
    fails(&f, "regmean", MC_MISMATCH, "expected [5, 5], the layer's inputs, found [7, 5]");
    tear_down(&f);
    set_up(&f, "grams", true);
    f.sides[1][COLUMNS] += .1;
    fails(&f, "regmean", MC_FORMAT, "side input 'grams': expected symmetric matrices, found");
    tear_down(&f);
    static const double wrong[] = {-1e-9, (double)NAN, (double)INFINITY};
    for (int i = 0; i < 3; i++) {
        set_up(&f, "fishers", false);
        f.sides[1][SIZE - 1] = wrong[i];
        fails(&f, "fisher", MC_FORMAT, "'fishers' of model 2: expected finite values of at least");
        tear_down(&f);
    }
    set_up(&f, "grams", true); /* no Gram matrix has a negative eigenvalue */
    for (int m = 0; m < MODELS; m++)
        f.sides[m][1] = f.sides[m][COLUMNS] = 9;
    fails(&f, "regmean", MC_FORMAT, "found the eigenvalue");
    static const char *const only[] = {"block.0.b"};
    for (int m = 0; m < MODELS; m++) {
        mc_state_dict *subset = NULL;
        assert_int_equal(mc_state_dict_subset(f.models[m], only, 1, &subset, NULL), MC_OK);
        mc_state_dict_free(f.items[m]);
        f.items[m] = NULL;
        assert_int_equal(mc_state_dict_new(&f.items[m], NULL), MC_OK);
        mc_state_dict_free(subset);
    }
    fails(&f, "regmean", MC_MISMATCH, "expected tensors with the names of the models, found none");
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fisher),
        cmocka_unit_test(test_fisher_without_information),
        cmocka_unit_test(test_regmean),
        cmocka_unit_test(test_regmean_is_mean),
        cmocka_unit_test(test_regmean_of_few_rows),
        cmocka_unit_test(test_regmean_without_last),
        cmocka_unit_test(test_regmean_of_embeddings),
        cmocka_unit_test(test_averaged),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
