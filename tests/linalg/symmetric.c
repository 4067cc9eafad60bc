/*
 * The leading eigenvectors and the inverse root of symmetric matrices: against closed forms, and
 * against LAPACK's decomposition of the whole matrix, also where eigenvalues are equal, close or
 * zero, and where the tridiagonal form splits.
 */
#include "linalg/symmetric.h"

#include "linalg/linalg.h"
#include "linalg/tridiagonal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 90 };

static const double pi = 3.14159265358979323846;
static mc_error error;
static const mc_lapack *lapack;

static double *zeros(size_t count)
{
    double *const a = calloc(count + 1, sizeof *a);
    assert_non_null(a);
    return a;
}

/* C [n, n] = A B, or A Bᵀ. */
static void multiply(size_t n, mc_transpose tb, const double *a, const double *b, double *c)
{
    assert_int_equal(mc_product(MC_PLAIN, tb, n, n, n, 1, a, b, 0, c, &error), MC_OK);
}

static double distance(const double *a, const double *b, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

/* Orthonormal rows, always the same. */
static void draw_rotation(size_t n, double *q)
{
    uint64_t x = 88172645463325252u;
    double *const r = zeros(n * n), *const work = zeros(mc_qr_work(n, n));
    for (size_t i = 0; i < n * n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        q[i] = (double)(x >> 11) * 0x1p-52 - 1;
    }
    assert_int_equal(mc_qr(n, n, q, r, work, &error), MC_OK);
    free(r);
    free(work);
}

/* A = Σ values[i] qᵢ qᵢᵀ of the rows of q. */
static void put_together(size_t n, const double *q, const double *values, double *a)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += values[k] * q[k * n + i] * q[k * n + j];
            a[i * n + j] = sum;
        }
}

/* Eigenvalue i of the second difference matrix, ascending, and element j of its eigenvector. */
static double difference_value(size_t n, size_t i)
{
    const double s = sin((double)(i + 1) * pi / (double)(2 * n + 2));
    return 4 * s * s;
}

static double difference_vector(size_t n, size_t i, size_t j)
{
    return sqrt(2 / (double)(n + 1)) *
           sin((double)(i + 1) * (double)(j + 1) * pi / (double)(n + 1));
}

static void vectors_of_differences(void **state)
{
    (void)state;
    enum { COUNT = 21 };
    double d[N], e[N],
        w[COUNT], *const z = zeros(COUNT * N), *const work = zeros(mc_tridiagonal_vectors_work(N));
    for (size_t i = 0; i < N; i++) {
        d[i] = 2;
        e[i] = -1;
    }
    for (size_t i = 0; i < COUNT; i++)
        w[i] = difference_value(N, N - 1 - i);
    assert_true(mc_tridiagonal_vectors(N, d, e, COUNT, w, z, work));
    for (size_t i = 0; i < COUNT; i++) {
        const double sign = z[i * N] * difference_vector(N, N - 1 - i, 0) < 0 ? -1 : 1;
        for (size_t j = 0; j < N; j++)
            assert_true(fabs(sign * z[i * N + j] - difference_vector(N, N - 1 - i, j)) < 1e-12);
    }
    w[COUNT - 1] += 1e-6; /* not an eigenvalue */
    assert_false(mc_tridiagonal_vectors(N, d, e, COUNT, w, z, work));
    w[COUNT - 1] = (double)NAN;
    assert_false(mc_tridiagonal_vectors(N, d, e, COUNT, w, z, work));
    free(z);
    free(work);
}

/* Element (i, j) of the inverse root of the second difference matrix without `dropped` values. */
static double difference_root(size_t dropped, size_t i, size_t j)
{
    double sum = 0;
    for (size_t k = dropped; k < N; k++)
        sum += difference_vector(N, k, i) * difference_vector(N, k, j) /
               sqrt(difference_value(N, k));
    return sum;
}

/* Scales whose squares leave a float's range; up to eight of the lowest values are dropped. */
static void root_of_differences(void **state)
{
    (void)state;
    static const double scales[] = {1, 1e-9, 1e20};
    for (size_t s = 0; s < 27; s++) {
        const double scale = scales[s % 3];
        const size_t dropped = s / 3;
        double d[N], e[N], trace,
            sum = 0, *const root = zeros(N * N), *const work = zeros(mc_tridiagonal_root_work(N));
        for (size_t i = 0; i < N; i++) {
            d[i] = 2 * scale;
            e[i] = -scale;
            sum += sqrt(scale * difference_value(N, i));
        }
        const double highest = difference_value(N, N - 1);
        const double above = dropped ? difference_value(N, dropped - 1) / highest : 1e-12;
        assert_true(mc_tridiagonal_root(N, d, e, above * (1 + 1e-9), root, &trace, work));
        assert_true(fabs(trace - sum) < 1e-12 * sum);
        for (size_t i = 0; i < N; i++)
            for (size_t j = i; j < N; j++)
                assert_true(fabs(root[i * N + j] * sqrt(scale) - difference_root(dropped, i, j)) <
                            1e-11 * highest);
        assert_false(mc_tridiagonal_root(N, d, e, difference_value(N, 8) / highest * (1 + 1e-9),
                                         root, &trace, work));
        free(root);
        free(work);
    }
}

/* One eigenvalue is zero, alone in its block. */
static void root_of_split(void **state)
{
    (void)state;
    double d[N], e[N], trace,
        sum = 0, *const root = zeros(N * N), *const work = zeros(mc_tridiagonal_root_work(N));
    for (size_t i = 0; i < N; i++) {
        d[i] = 1 + (double)i;
        e[i] = 0;
        sum += sqrt(d[i]);
    }
    sum -= sqrt(d[N / 2]);
    d[N / 2] = 0;
    assert_true(mc_tridiagonal_root(N, d, e, 1e-12, root, &trace, work));
    assert_true(fabs(trace - sum) < 1e-12 * sum);
    for (size_t i = 0; i < N; i++)
        for (size_t j = i; j < N; j++) {
            const double expected = i == j && i != N / 2 ? 1 / sqrt(d[i]) : 0;
            assert_true(fabs(root[i * N + j] - expected) < 1e-12);
        }
    d[N / 2 + 1] = 0; /* equal values: their vectors are not orthogonal */
    d[N / 2 + 2] = 0;
    assert_false(mc_tridiagonal_root(N, d, e, 1e-12, root, &trace, work));
    free(root);
    free(work);
}

/* Rows in all combinations that matter: spread over 12 digits, equal, close, zero. */
typedef struct spectrum {
    const char *name;
    double step;  /* factor from an eigenvalue to the next */
    size_t equal; /* so many of the largest are equal up to `close` */
    double close;
    size_t nonzero; /* the others are zero */
    bool split;     /* A has blocks on its diagonal, two of which are the same */
} spectrum;

static const spectrum spectra[] = {
    {"spread", .9, 1, 0, N, false},     {"graded", .73, 1, 0, N, false},
    {"equal", 1, N, 0, N, false},       {"some equal", .9, 5, 0, N, false},
    {"close", .9, 5, 1e-14, N, false},  {"rather close", .9, 5, 1e-9, N, false},
    {"rank 7", .8, 1, 0, 7, false},     {"rank 7, equal", 1, 7, 0, 7, false},
    {"rank 60", .95, 1, 0, 60, false},  {"zero", 1, 1, 0, 0, false},
    {"split", .9, 1, 0, N, true},       {"split, rank 60", .95, 1, 0, 60, true},
    {"split, equal", 1, N, 0, N, true}, {"one", 1, 1, 0, 1, false},
};
enum { SPECTRA = sizeof spectra / sizeof *spectra };

/* The matrix [N, N] of a spectrum, of norm `scale`. */
static double *make(const spectrum *s, double scale)
{
    const size_t n = s->split ? N / 3 : N;
    double values[N], *const q = zeros(n * n), *const part = zeros(n * n), *const a = zeros(N * N);
    for (size_t i = 0; i < n; i++) {
        values[i] = scale * pow(s->step, i < s->equal ? 0 : (double)(i - s->equal + 1));
        values[i] *= i < s->equal ? 1 + s->close * (double)i : 1;
        values[i] *= i < s->nonzero * n / N || (i < s->nonzero && !s->split);
    }
    draw_rotation(n, q);
    put_together(n, q, values, part);
    for (size_t block = 0; block < N / n; block++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) /* the last block is another one */
                a[(block * n + i) * N + block * n + j] = part[i * n + j] * (block < 2 ? 1 : .7);
    free(q);
    free(part);
    return a;
}

/* The decomposition that LAPACK makes of the whole matrix, ascending. */
static void decompose(const double *a, double *w, double *vectors)
{
    double *const work = zeros(mc_eigen_work(N));
    memcpy(vectors, a, N * N * sizeof *a);
    assert_int_equal(mc_eigen(N, vectors, w, work, &error), MC_OK);
    free(work);
}

/* Eigenvalues, orthonormal vectors, and A v = λ v: that pins down all there is. */
static void check_leading(const double *a, size_t count)
{
    double w[N],
        expected[N], *const copy = zeros(N * N), *const vectors = zeros(N * N),
                            *const all = zeros(N * N), *const work = zeros(mc_leading_work(N));
    decompose(a, expected, all);
    memcpy(copy, a, N * N * sizeof *a);
    assert_int_equal(mc_leading(lapack, N, count, copy, w, vectors, work, &error), MC_OK);
    for (size_t i = 0; i < N; i++) {
        assert_true(fabs(w[i] - expected[N - 1 - i]) <= 1e-13 * expected[N - 1]);
        assert_true(w[i] >= 0 && (i == 0 || w[i] <= w[i - 1]));
    }
    for (size_t i = 0; i < count; i++) {
        const double *const v = vectors + i * N;
        for (size_t j = 0; j <= i; j++) {
            double product = 0;
            for (size_t k = 0; k < N; k++)
                product += v[k] * vectors[j * N + k];
            assert_true(fabs(product - (i == j && w[i] > 0)) < 1e-9);
        }
        for (size_t k = 0; k < N; k++) {
            double product = 0;
            for (size_t l = 0; l < N; l++)
                product += a[k * N + l] * v[l];
            assert_true(fabs(product - w[i] * v[k]) <= 1e-12 * w[0]);
        }
    }
    free(copy);
    free(vectors);
    free(all);
    free(work);
}

static void leading_vectors(void **state)
{
    (void)state;
    static const double scales[] = {1, 1e-12, 1e100};
    for (size_t i = 0; i < SPECTRA; i++)
        for (size_t s = 0; s < 3; s++) {
            double *const a = make(&spectra[i], scales[s]);
            check_leading(a, 0);
            check_leading(a, 1);
            check_leading(a, N / 5);
            check_leading(a, N / 2);
            check_leading(a, N);
            free(a);
        }
}

/* From LAPACK's vectors: over the eigenvalues above share · the largest one. */
static double root_by_vectors(const double *a, double share, double *root)
{
    double w[N], factors[N], sum = 0, *const vectors = zeros(N * N);
    decompose(a, w, vectors);
    for (size_t i = 0; i < N; i++) {
        factors[i] = w[i] > share * w[N - 1] ? 1 / sqrt(w[i]) : 0;
        sum += w[i] > 1e-14 * w[N - 1] ? sqrt(w[i]) : 0;
    }
    put_together(N, vectors, factors, root);
    free(vectors);
    return sum;
}

static void inverse_roots(void **state)
{
    (void)state;
    static const double scales[] = {1, 1e-12, 1e100};
    for (size_t i = 0; i < 3 * SPECTRA; i++) {
        const double scale = scales[i % 3], share = 1e-9;
        double trace, *const a = make(&spectra[i / 3], scale), *const copy = zeros(N * N),
                             *const root = zeros(N * N), *const expected = zeros(N * N),
                             *const work = zeros(mc_inverse_root_work(N));
        const double sum = root_by_vectors(a, share, expected);
        memcpy(copy, a, N * N * sizeof *a);
        assert_int_equal(mc_inverse_root(lapack, N, share, copy, root, &trace, work, &error),
                         MC_OK);
        assert_true(fabs(trace - sum) <= 1e-5 * sum);
        /* Its norm is at most 1 / √(share · scale); rounding is relative to the lowest value. */
        assert_true(distance(root, expected, N * N) <= 1e-6 / sqrt(share * scale));
        free(a);
        free(copy);
        free(root);
        free(expected);
        free(work);
    }
}

/* Of a diagonal matrix, at all ratios of eigenvalues that the function takes: each to rounding. */
static void root_of_diagonal(void **state)
{
    (void)state;
    double d[N],
        e[N] = {0},
        trace, *const root = zeros(N * N), *const work = zeros(mc_tridiagonal_root_work(N));
    for (double digits = 1; digits <= 15; digits += .5) {
        double sum = 0;
        for (size_t i = 0; i < N; i++) {
            d[i] = pow(10, -digits * (double)i / N);
            sum += sqrt(d[i]);
        }
        assert_true(mc_tridiagonal_root(N, d, e, pow(10, -digits), root, &trace, work));
        assert_true(fabs(trace / sum - 1) < 1e-12);
        for (size_t i = 0; i < N; i++)
            for (size_t j = i; j < N; j++)
                assert_true(fabs(root[i * N + j] * sqrt(d[i]) - (i == j)) < 1e-12);
    }
    free(root);
    free(work);
}

/*
 * The inverse root of a matrix with `low` small eigenvalues, in float, and what is set apart; the
 * limit is that of a matrix without them.
 */
static void check_narrow(size_t low, bool narrow, size_t apart)
{
    enum { ROWS = 160 };
    const size_t count = (size_t)ROWS * ROWS;
    double values[ROWS], factors[ROWS], trace, sum = 0, worst = 0;
    double *const q = zeros(count), *const a = zeros(count), *const root = zeros(count);
    double *const expected = zeros(count), *const work = zeros(mc_inverse_root_work(ROWS));
    double *const vectors = zeros(MC_ROOT_APART * (ROWS + 1));
    mc_narrow_root out = {.vectors = vectors, .factors = vectors + MC_ROOT_APART * ROWS};
    for (size_t i = 0; i < ROWS; i++) {
        values[i] = i < low ? 1e-6 * (double)(i + 1) : 1 + .01 * (double)i;
        factors[i] = 1 / sqrt(values[i]);
        sum += sqrt(values[i]);
    }
    draw_rotation(ROWS, q);
    put_together(ROWS, q, values, a);
    put_together(ROWS, q, factors, expected);
    assert_int_equal(
        mc_inverse_root_f32(lapack, ROWS, 1e-10, sqrt(ROWS), a, root, &trace, &out, work, &error),
        MC_OK);
    assert_true(fabs(trace - sum) < 1e-9 * sum);
    assert_int_equal(out.narrow, narrow);
    assert_int_equal(out.apart, apart);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < ROWS; j++) {
            double found = narrow ? (double)((const float *)(const void *)root)[i * ROWS + j]
                                  : root[i * ROWS + j];
            for (size_t k = 0; k < apart; k++)
                found += out.factors[k] * vectors[k * ROWS + i] * vectors[k * ROWS + j];
            worst = fmax(worst, fabs(found - expected[i * ROWS + j]));
        }
    assert_true(worst < 2e-6);
    free(q);
    free(a);
    free(root);
    free(expected);
    free(work);
    free(vectors);
}

static void narrow_roots(void **state)
{
    (void)state;
    check_narrow(0, true, 0);
    check_narrow(1, true, MC_ROOT_APART);
    check_narrow(MC_ROOT_APART, true, MC_ROOT_APART);
    check_narrow(MC_ROOT_APART + 1, false, 0);
}

static void lowest_of_differences(void **state)
{
    (void)state;
    enum { COUNT = 19, DROPPED = 2 };
    double d[N], e[N],
        w[COUNT], *const z = zeros(COUNT * N), *const work = zeros(mc_tridiagonal_vectors_work(N));
    for (size_t i = 0; i < N; i++) {
        d[i] = 2;
        e[i] = -1;
    }
    const double share = difference_value(N, DROPPED) / difference_value(N, N - 1) * (1 - 1e-9);
    assert_true(mc_tridiagonal_lowest(N, d, e, share, COUNT, w, z, work));
    for (size_t i = 0; i < COUNT; i++) {
        const size_t at = DROPPED + i;
        const double sign = z[i * N] * difference_vector(N, at, 0) < 0 ? -1 : 1;
        assert_true(fabs(w[i] - difference_value(N, at)) < 1e-14);
        for (size_t j = 0; j < N; j++)
            assert_true(fabs(sign * z[i * N + j] - difference_vector(N, at, j)) < 1e-11);
    }
    assert_false(mc_tridiagonal_lowest(N, d, e, .999, COUNT, w, z, work)); /* too few are left */
    free(z);
    free(work);
}

/* Both ways for sizes around the blocks of reflectors: R A R = 1. */
static void sizes(void **state)
{
    (void)state;
    static const size_t all[] = {1, 2, 3, 8, 63, 64, 65, 66, 129, 200};
    for (size_t s = 0; s < sizeof all / sizeof *all; s++) {
        const size_t n = all[s];
        double trace, *const q = zeros(n * n), *const a = zeros(n * n), *const copy = zeros(n * n),
                             *const root = zeros(n * n), *const product = zeros(n * n),
                             *const work = zeros(mc_inverse_root_work(n)), *const values = zeros(n);
        for (size_t i = 0; i < n; i++)
            values[i] = 1 + (double)(i * i);
        draw_rotation(n, q);
        put_together(n, q, values, a);
        memcpy(copy, a, n * n * sizeof *a);
        assert_int_equal(mc_inverse_root(lapack, n, 1e-10, copy, root, &trace, work, &error),
                         MC_OK);
        multiply(n, MC_PLAIN, root, a, product);
        multiply(n, MC_TRANSPOSED, product, root, copy);
        for (size_t i = 0; i < n * n; i++)
            assert_true(fabs(copy[i] - (i % (n + 1) == 0)) < 1e-10);
        free(q);
        free(a);
        free(copy);
        free(root);
        free(product);
        free(work);
        free(values);
    }
}

static int load(void **state)
{
    (void)state;
    return mc_lapack_get(&lapack, &error) == MC_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_differences), cmocka_unit_test(root_of_differences),
        cmocka_unit_test(root_of_diagonal),       cmocka_unit_test(leading_vectors),
        cmocka_unit_test(inverse_roots),          cmocka_unit_test(sizes),
        cmocka_unit_test(root_of_split),          cmocka_unit_test(narrow_roots),
        cmocka_unit_test(lowest_of_differences),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
