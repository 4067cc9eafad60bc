/* Decompositions are put together again, and compared with values that are known in closed form. */
#include "linalg/linalg.h"

#include "base/memory.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static mc_error error;

/* Uniform in −1 … 1, always the same. */
static double *random_matrix(size_t count)
{
    uint64_t x = 88172645463325252u;
    double *const a = malloc((count + 1) * sizeof *a);
    assert_non_null(a);
    for (size_t i = 0; i < count; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        a[i] = (double)(x >> 11) * 0x1p-52 - 1;
    }
    return a;
}

static double *zeros(size_t count)
{
    double *const a = calloc(count + 1, sizeof *a);
    assert_non_null(a);
    return a;
}

static double *copy_of(const double *a, size_t count)
{
    double *const b = zeros(count);
    memcpy(b, a, count * sizeof *a);
    return b;
}

/* A product by definition. */
static void multiply(size_t m, size_t n, size_t k, const double *a, const double *b, double *c)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += a[i * k + p] * b[p * n + j];
            c[i * n + j] = sum;
        }
}

static double *transposed(const double *a, size_t m, size_t n)
{
    double *const t = zeros(m * n);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            t[j * m + i] = a[i * n + j];
    return t;
}

static double distance(const double *a, const double *b, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

/* How far the columns of q [m, k] are from orthonormal; those of `rank` on must be zero. */
static double skew(const double *q, size_t m, size_t k, size_t rank)
{
    double *const t = transposed(q, m, k), *const g = zeros(k * k);
    double worst = 0;
    multiply(k, k, m, t, q, g);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            worst = fmax(worst, fabs(g[i * k + j] - (i == j && i < rank)));
    free(t);
    free(g);
    return worst;
}

static void products(void **state)
{
    (void)state;
    enum { M = 5, N = 7, K = 3 };
    double *const a = random_matrix(M * K), *const b = random_matrix(K * N);
    double *const at = transposed(a, M, K), *const bt = transposed(b, K, N);
    double expected[M * N], found[M * N];
    multiply(M, N, K, a, b, expected);
    for (int ta = 0; ta < 2; ta++)
        for (int tb = 0; tb < 2; tb++) {
            memset(found, 0xff, sizeof found); /* NaN: beta 0 must not read it */
            assert_int_equal(mc_product(ta ? MC_TRANSPOSED : MC_PLAIN,
                                        tb ? MC_TRANSPOSED : MC_PLAIN, M, N, K, 1, ta ? at : a,
                                        tb ? bt : b, 0, found, &error),
                             MC_OK);
            assert_true(distance(expected, found, M * N) < 1e-14);
        }
    assert_int_equal(mc_product(MC_PLAIN, MC_PLAIN, M, N, K, -2, a, b, 2, found, &error), MC_OK);
    for (size_t i = 0; i < M * N; i++)
        assert_true(fabs(found[i]) < 1e-14);
    free(a);
    free(b);
    free(at);
    free(bt);
}

static void products_f32(void **state)
{
    (void)state;
    const float a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {1, 0, 2, -1, 3, 1}; /* [2, 3], [3, 2] */
    const float expected[4] = {14, 1, 32, 1}, *const bt = (float[]){1, 2, 3, 0, -1, 1};
    float c[4] = {0};
    assert_int_equal(mc_product_f32(MC_PLAIN, MC_PLAIN, 2, 2, 3, 1, a, b, 0, c, &error), MC_OK);
    assert_memory_equal(c, expected, sizeof c);
    /* Adding it again and taking it away twice leaves nothing. */
    assert_int_equal(mc_product_f32(MC_PLAIN, MC_TRANSPOSED, 2, 2, 3, 1, a, bt, 1, c, &error),
                     MC_OK);
    assert_int_equal(mc_product_f32(MC_PLAIN, MC_PLAIN, 2, 2, 3, -2, a, b, 1, c, &error), MC_OK);
    for (size_t i = 0; i < 4; i++)
        assert_true(c[i] == 0);
}

static void check_svd(mc_svd_kind kind, size_t m, size_t n, const double *a, size_t rank,
                      double tolerance)
{
    const size_t k = m < n ? m : n;
    double *const input = copy_of(a, m * n), *const u = zeros(m * k), *const s = zeros(k),
                  *const vt = zeros(k * n), *const again = zeros(m * n),
                  *const work = zeros(mc_svd_work(m, n, kind));
    assert_int_equal(mc_svd(kind, m, n, k, input, u, s, vt, work, &error), MC_OK);
    for (size_t i = 1; i < k; i++)
        assert_true(s[i] <= s[i - 1]);
    assert_int_equal(mc_svd_rank(s, k, m, n, kind == MC_SVD_EXACT ? 1e-15 : 1e-9), rank);
    double *const v = transposed(vt, k, n);
    const size_t known = kind == MC_SVD_EXACT ? k : rank;
    if (known == k || kind == MC_SVD_EXACT) {
        assert_true(skew(u, m, k, k) < tolerance);
        assert_true(skew(v, n, k, k) < tolerance);
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < k; j++)
            u[i * k + j] *= s[j];
    multiply(m, n, k, u, vt, again);
    assert_true(distance(a, again, m * n) < tolerance);
    free(input);
    free(u);
    free(s);
    free(vt);
    free(again);
    free(work);
    free(v);
}

static const size_t shapes[][2] = {{1, 1}, {1, 9}, {9, 1}, {8, 8}, {40, 23}, {23, 40}, {130, 70}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void singular_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        const size_t m = shapes[i][0], n = shapes[i][1];
        double *const a = random_matrix(m * n);
        check_svd(MC_SVD_EXACT, m, n, a, m < n ? m : n, 1e-12);
        check_svd(MC_SVD_GRAM, m, n, a, m < n ? m : n, 1e-9);
        free(a);
    }
}

/* out [m, n] = the sum of the `count` largest parts of a decomposition into `count` of them. */
static void leading_parts(mc_svd_kind kind, size_t m, size_t n, size_t count, size_t parts,
                          const double *a, double *out)
{
    double *const input = copy_of(a, m * n), *const u = zeros(m * count), *const s = zeros(m + n),
                  *const vt = zeros(count * n), *const some = zeros(m * parts),
                  *const work = zeros(mc_svd_work(m, n, kind));
    assert_int_equal(mc_svd(kind, m, n, count, input, u, s, vt, work, &error), MC_OK);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < parts; j++)
            some[i * parts + j] = u[i * count + j] * s[j];
    multiply(m, n, parts, some, vt, out);
    free(input);
    free(u);
    free(s);
    free(vt);
    free(some);
    free(work);
}

static void few_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        const size_t m = shapes[i][0], n = shapes[i][1], k = m < n ? m : n, few = (k + 2) / 3;
        double *const a = random_matrix(m * n), *const all = zeros(m * n),
                      *const some = zeros(m * n);
        leading_parts(MC_SVD_EXACT, m, n, k, few, a, all);
        leading_parts(MC_SVD_EXACT, m, n, few, few, a, some);
        assert_true(distance(all, some, m * n) < 1e-12);
        leading_parts(MC_SVD_GRAM, m, n, few, few, a, some);
        assert_true(distance(all, some, m * n) < 1e-9);
        free(a);
        free(all);
        free(some);
    }
}

/* Rank 3 of 20: what is null must not come out as directions of its own. */
static void rank_deficient(void **state)
{
    (void)state;
    enum { M = 30, N = 20, R = 3 };
    double *const left = random_matrix(M * R), *const right = random_matrix(R * N),
                  *const a = zeros(M * N);
    multiply(M, N, R, left, right, a);
    check_svd(MC_SVD_EXACT, M, N, a, R, 1e-12);
    check_svd(MC_SVD_GRAM, M, N, a, R, 1e-9);
    double *const t = transposed(a, M, N);
    check_svd(MC_SVD_GRAM, N, M, t, R, 1e-9);
    free(left);
    free(right);
    free(a);
    free(t);
}

/* A rotation by 30 degrees, stretched by 5 and 2: its polar factor is the rotation. */
static void polar_of_rotation(void **state)
{
    (void)state;
    const double c = sqrt(.75), s = .5;
    const double rotation[4] = {c, -s, s, c};
    const double stretched[4] = {c * 5, -s * 2, s * 5, c * 2};
    for (int kind = 0; kind < 2; kind++) {
        double a[4], out[4], sum, *const work = zeros(mc_polar_work(2, 2, (mc_svd_kind)kind));
        memcpy(a, stretched, sizeof a);
        assert_int_equal(mc_polar((mc_svd_kind)kind, 2, 2, a, 1e-9, out, NULL, &sum, work, &error),
                         MC_OK);
        assert_true(distance(rotation, out, 4) < 1e-12);
        assert_true(fabs(sum - 7) < 1e-12);
        free(work);
    }
}

static void polar_kinds_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        const size_t m = shapes[i][0], n = shapes[i][1], k = m < n ? m : n;
        double *const a = random_matrix(m * n), *const first = zeros(m * n),
                      *const second = zeros(m * n), *const one = copy_of(a, m * n),
                      *const two = copy_of(a, m * n),
                      *const work = zeros(mc_polar_work(m, n, MC_SVD_EXACT) +
                                          mc_polar_work(m, n, MC_SVD_GRAM));
        double sums[2];
        assert_int_equal(
            mc_polar(MC_SVD_EXACT, m, n, one, 1e-9, first, NULL, &sums[0], work, &error), MC_OK);
        assert_int_equal(
            mc_polar(MC_SVD_GRAM, m, n, two, 1e-9, second, NULL, &sums[1], work, &error), MC_OK);
        assert_true(distance(first, second, m * n) < 1e-9);
        assert_true(fabs(sums[0] - sums[1]) < 1e-9 * (double)k);
        free(a);
        free(first);
        free(second);
        free(one);
        free(two);
        free(work);
    }
}

static void polar_of_zero(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        double a[6] = {0}, out[6],
               sum = 1, *const work = zeros(mc_polar_work(2, 3, (mc_svd_kind)kind));
        assert_int_equal(mc_polar((mc_svd_kind)kind, 2, 3, a, 1e-9, out, NULL, &sum, work, &error),
                         MC_OK);
        for (size_t i = 0; i < 6; i++)
            assert_true(out[i] == 0);
        assert_true(sum == 0);
        free(work);
    }
}

/* The second difference matrix has the eigenvalues 2 − 2 cos(iπ/(n + 1)). */
static void eigenvalues(void **state)
{
    (void)state;
    enum { N = 12 };
    double a[N * N] = {0}, w[N], *const work = zeros(mc_eigen_work(N));
    for (size_t i = 0; i < N; i++) {
        a[i * N + i] = 2;
        if (i + 1 < N)
            a[i * N + i + 1] = a[(i + 1) * N + i] = -1;
    }
    assert_int_equal(mc_eigen(N, a, w, work, &error), MC_OK);
    for (size_t i = 0; i < N; i++)
        assert_true(fabs(w[i] - (2 - 2 * cos((double)(i + 1) * M_PI / (N + 1)))) < 1e-13);
    double *const columns = transposed(a, N, N);
    assert_true(skew(columns, N, N, N) < 1e-13);
    free(columns);
    free(work);
}

static void qr(void **state)
{
    (void)state;
    enum { M = 33, N = 6 };
    double *const a = random_matrix(M * N), *const q = copy_of(a, M * N),
                  r[N * N], *const again = zeros(M * N), *const work = zeros(mc_qr_work(M, N));
    assert_int_equal(mc_qr(M, N, q, r, work, &error), MC_OK);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(r[i * N + j] == 0);
    assert_true(skew(q, M, N, N) < 1e-13);
    multiply(M, N, N, q, r, again);
    assert_true(distance(a, again, M * N) < 1e-13);
    free(a);
    free(q);
    free(again);
    free(work);
}

/*
 * The largest error of X, relative to its largest element, of the system with `diagonal` added to a
 * matrix of rank 1 and trace 1, and a solution of size `scale`; rounding is float's.
 */
static double error_of_system(double diagonal, double scale)
{
    enum { M = 4, N = 9 };
    double *const x = random_matrix(M * N), *const a = zeros(N * N), *const b = zeros(M * N),
                  *const work = zeros(mc_semidefinite_work(M, N)), lowest, largest = 0;
    for (size_t i = 0; i < N * N; i++)
        a[i] = 1. / N + (i % (N + 1) ? 0 : diagonal);
    for (size_t i = 0; i < M * N; i++) {
        x[i] *= scale;
        largest = fmax(largest, fabs(x[i]));
    }
    multiply(M, N, N, x, a, b);
    assert_int_equal(mc_solve_semidefinite(M, N, a, b, (double)FLT_EPSILON, &lowest, work, &error),
                     MC_OK);
    assert_true(lowest == 0); /* Cholesky was enough */
    const double found = distance(x, b, M * N) / largest;
    free(x);
    free(a);
    free(b);
    free(work);
    return found;
}

/* In float where that is accurate enough, and in double where it is not. */
static void systems_in_float(void **state)
{
    (void)state;
    const double in_float = error_of_system(1, 1);
    assert_true(in_float > 1e-9 && in_float < 1e-6);
    assert_true(error_of_system(1e-3, 1) < 1e-12);
    assert_true(error_of_system(1, 1e60) < 1e-14); /* beyond float's range */
}

/* Elements off the diagonal that no sum of squares has, up to where scaling overflows. */
static void indefinite_systems(void **state)
{
    (void)state;
    static const double diagonals[] = {1, 1e-300}, others[] = {2, 1e30, 1e300},
                        roundings[] = {1e-10, 1e-6};
    for (size_t i = 0; i < 12; i++) {
        const double d = diagonals[i % 2], e = others[i / 2 % 3];
        double a[] = {d, e, e, d}, b[] = {1, 2},
               lowest, *const work = zeros(mc_semidefinite_work(1, 2));
        assert_int_equal(mc_solve_semidefinite(1, 2, a, b, roundings[i / 6], &lowest, work, &error),
                         MC_OK);
        assert_true(fabs(lowest / (d - e) - 1) < 1e-12);
        free(work);
    }
}

/* A of rank R: X is what B has in the range of A, and lies in it. */
static void singular_systems(void **state)
{
    (void)state;
    enum { M = 4, N = 9, R = 5 };
    double *const rows = random_matrix(R * N), *const t = transposed(rows, R, N),
                  *const a = zeros(N * N), *const y = random_matrix(M * R), *const x = zeros(M * N),
                  *const b = zeros(M * N), *const copy = zeros(N * N),
                  *const work = zeros(mc_semidefinite_work(M, N));
    double lowest;
    multiply(N, N, R, t, rows, a);
    multiply(M, N, R, y, rows, x); /* in the range of A */
    multiply(M, N, N, x, a, b);
    memcpy(copy, a, N * N * sizeof *a);
    assert_int_equal(mc_solve_semidefinite(M, N, copy, b, 1e-10, &lowest, work, &error), MC_OK);
    assert_true(distance(x, b, M * N) < 1e-9);
    assert_true(fabs(lowest) < 1e-12);
    for (size_t i = 0; i < N; i++)
        a[i * N + i] += 1;
    multiply(M, N, N, x, a, b);
    assert_int_equal(mc_solve_semidefinite(M, N, a, b, 1e-10, &lowest, work, &error), MC_OK);
    assert_true(distance(x, b, M * N) < 1e-11);
    assert_true(lowest == 0); /* Cholesky was enough */
    /* Inputs of very different sizes are no reason to drop the small ones. */
    for (size_t i = 0; i < N * N; i++)
        copy[i] = (i % (N + 1) ? .1 : 1) * pow(4, -(double)(i % N) - (double)(i / N));
    multiply(M, N, N, x, copy, b);
    assert_int_equal(mc_solve_semidefinite(M, N, copy, b, 1e-7, &lowest, work, &error), MC_OK);
    assert_true(distance(x, b, M * N) < 1e-9);
    assert_true(lowest == 0);
    free(rows);
    free(t);
    free(a);
    free(y);
    free(x);
    free(b);
    free(copy);
    free(work);
}

static void not_finite(void **state)
{
    (void)state;
    const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    double a[4], out[4], w[2], *const work = zeros(8192);
    for (size_t i = 0; i < 24; i++) {
        const mc_svd_kind kind = i / 12 ? MC_SVD_EXACT : MC_SVD_GRAM;
        for (size_t j = 0; j < 4; j++)
            a[j] = j == i % 4 ? bad[i / 4 % 3] : 1;
        assert_int_equal(mc_polar(kind, 2, 2, a, 0, out, NULL, NULL, work, &error), MC_FORMAT);
        assert_int_equal(mc_svd(kind, 2, 2, 2, a, out, w, out, work, &error), MC_FORMAT);
        assert_int_equal(mc_polar_root(MC_ROWS, 2, 2, a, 0, out, NULL, work, &error), MC_FORMAT);
        assert_int_equal(mc_polar_root(MC_COLUMNS, 2, 2, a, 0, out, NULL, work, &error), MC_FORMAT);
        assert_int_equal(mc_eigen(2, a, w, work, &error), MC_FORMAT);
    }
    free(work);
}

static void empty(void **state)
{
    (void)state;
    double none[1] = {0}, sum = 1, work[4096];
    assert_int_equal(mc_svd(MC_SVD_EXACT, 0, 3, 0, none, none, none, none, work, &error), MC_OK);
    assert_int_equal(mc_polar(MC_SVD_GRAM, 3, 0, none, 0, none, NULL, &sum, work, &error), MC_OK);
    assert_true(sum == 0);
    assert_int_equal(mc_eigen(0, none, none, work, &error), MC_OK);
    assert_int_equal(mc_solve_semidefinite(0, 0, none, none, 0, &sum, work, &error), MC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(products_f32),
        cmocka_unit_test(singular_values),
        cmocka_unit_test(few_vectors),
        cmocka_unit_test(rank_deficient),
        cmocka_unit_test(polar_of_rotation),
        cmocka_unit_test(polar_kinds_agree),
        cmocka_unit_test(polar_of_zero),
        cmocka_unit_test(eigenvalues),
        cmocka_unit_test(qr),
        cmocka_unit_test(systems_in_float),
        cmocka_unit_test(indefinite_systems),
        cmocka_unit_test(singular_systems),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
