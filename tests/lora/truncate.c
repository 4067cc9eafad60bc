/* Truncation against the singular values that a matrix was made of. */
#include "lora/truncate.h"

#include "base/memory.h"
#include "linalg/linalg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static mc_error error;

typedef struct dense {
    mc_matrix matrix;
    const double *values;
} dense;

static mc_status read_dense(const mc_matrix *self, int64_t first, int64_t count, double *out,
                            mc_error *unused)
{
    (void)unused;
    memcpy(out, ((const dense *)self)->values + first * self->columns,
           (size_t)(count * self->columns) * sizeof *out);
    return MC_OK;
}

static double noise(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(int64_t)(*state ^ (*state >> 29)) * 0x1p-63;
}

/* Orthonormal columns [size, count]. */
static double *orthonormal(int64_t size, int64_t count, uint64_t seed)
{
    double *const q = malloc((size_t)(size * count) * sizeof *q);
    double *const r = malloc((size_t)(count * count) * sizeof *r);
    double *const work = malloc(mc_qr_work((size_t)size, (size_t)count) * sizeof *work);
    for (int64_t i = 0; i < size * count; i++)
        q[i] = noise(&seed);
    assert_int_equal(mc_qr((size_t)size, (size_t)count, q, r, work, &error), MC_OK);
    free(r);
    free(work);
    return q;
}

/* U diag(s) Vᵀ [m, n] of `count` singular values. */
static double *make(int64_t m, int64_t n, int64_t count, const double *s)
{
    double *const u = orthonormal(m, count, 1), *const v = orthonormal(n, count, 2);
    double *const a = malloc((size_t)(m * n) * sizeof *a);
    for (int64_t i = 0; i < m; i++)
        for (int64_t k = 0; k < count; k++)
            u[i * count + k] *= s[k];
    assert_int_equal(mc_product(MC_PLAIN, MC_TRANSPOSED, (size_t)m, (size_t)n, (size_t)count, 1, u,
                                v, 0, a, &error),
                     MC_OK);
    free(u);
    free(v);
    return a;
}

/* ‖A − B·A‖² of the factors. */
static double lost(const double *a, int64_t m, int64_t n, const mc_truncated *t)
{
    double *const rest = malloc((size_t)(m * n) * sizeof *rest), sum = 0;
    memcpy(rest, a, (size_t)(m * n) * sizeof *rest);
    assert_int_equal(mc_product(MC_PLAIN, MC_PLAIN, (size_t)m, (size_t)n, (size_t)t->rank, -1, t->b,
                                t->a, 1, rest, &error),
                     MC_OK);
    for (int64_t i = 0; i < m * n; i++)
        sum += rest[i] * rest[i];
    free(rest);
    return sum;
}

static double tail(const double *s, int64_t count, int64_t rank)
{
    double sum = 0;
    for (int64_t i = rank; i < count; i++)
        sum += s[i] * s[i];
    return sum;
}

enum { COUNT = 60 };

/* The error that is reported is the error, and near that of the best approximation. */
static void check(int64_t m, int64_t n, const double *s, const mc_lora_rank *how, double tolerance)
{
    double *const a = make(m, n, COUNT, s);
    const dense d = {{m, n, read_dense}, a};
    mc_truncated t;
    assert_int_equal(mc_truncate(&d.matrix, how, "layer", &t, &error), MC_OK);
    const double total = tail(s, COUNT, 0), best = tail(s, COUNT, t.rank);
    const double measured = lost(a, m, n, &t);
    assert_true(fabs(t.total - total) < 1e-10 * total);
    assert_true(fabs(t.total - t.kept - measured) < 1e-9 * total);
    assert_true(measured <= best * (1 + tolerance) + 1e-12 * total);
    if (how->energy > 0)
        assert_true(t.kept >= how->energy * total);
    else
        assert_int_equal(t.rank, how->rank);
    mc_truncated_free(&t);
    free(a);
}

static void approximations(void **state)
{
    static const int64_t shapes[][2] = {{300, 700}, {700, 300}, {100, 40 + COUNT}, {300, 300}};
    (void)state;
    double fast[COUNT], slow[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fast[i] = pow(0.7, i);
        slow[i] = 1 / (1.0 + 0.05 * i);
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t m = shapes[i][0], n = shapes[i][1];
        check(m, n, fast, &(mc_lora_rank){.rank = 8}, 1e-3);
        check(m, n, slow, &(mc_lora_rank){.rank = 8}, 1e-3);
        check(m, n, slow, &(mc_lora_rank){.rank = 8, .exact = true}, 1e-7);
        check(m, n, fast, &(mc_lora_rank){.energy = .99}, 1e-2);
        check(m, n, slow, &(mc_lora_rank){.energy = .9}, 1e-2);
    }
}

static void zeros(void **state)
{
    (void)state;
    double *const a = calloc(400 * 300, sizeof *a);
    const dense d = {{400, 300, read_dense}, a};
    mc_truncated t;
    assert_int_equal(mc_truncate(&d.matrix, &(mc_lora_rank){.rank = 4}, "x", &t, &error), MC_OK);
    assert_true(t.total == 0 && t.kept == 0 && t.rank == 4);
    for (int i = 0; i < 4 * 300; i++)
        assert_true(isfinite(t.a[i]));
    mc_truncated_free(&t);
    a[7] = NAN;
    assert_int_equal(mc_truncate(&d.matrix, &(mc_lora_rank){.rank = 4}, "x", &t, &error),
                     MC_FORMAT);
    free(a);
}

/* By the factors, and as the matrix that they make. */
static void products(void **state)
{
    static const int64_t shapes[][3] = {{40, 30, 8}, {5, 30, 8}, {30, 5, 8}, {8, 8, 8}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
        uint64_t seed = 9;
        double *const b = malloc((size_t)(m * k) * sizeof *b),
                      *const a = malloc((size_t)(k * n) * sizeof *a),
                      *const whole = malloc((size_t)(m * n) * sizeof *whole);
        for (int64_t j = 0; j < m * k; j++)
            b[j] = noise(&seed);
        for (int64_t j = 0; j < k * n; j++)
            a[j] = noise(&seed);
        assert_int_equal(mc_product(MC_PLAIN, MC_PLAIN, (size_t)m, (size_t)n, (size_t)k, 1, b, a, 0,
                                    whole, &error),
                         MC_OK);
        const dense d = {{m, n, read_dense}, whole};
        const mc_lora_rank how = {.rank = 3, .exact = true};
        mc_truncated one, other;
        assert_int_equal(mc_truncate_product(m, n, k, b, a, &how, &one, &error), MC_OK);
        assert_int_equal(mc_truncate(&d.matrix, &how, "x", &other, &error), MC_OK);
        assert_true(fabs(one.total - other.total) < 1e-12 * other.total);
        assert_true(fabs(lost(whole, m, n, &one) - lost(whole, m, n, &other)) <
                    1e-12 * other.total);
        mc_truncated_free(&one);
        mc_truncated_free(&other);
        free(a);
        free(b);
        free(whole);
    }
}

/* Shapes of a hostile file: their products exceed int64_t. */
static void memory_of_huge_shapes(void **state)
{
    (void)state;
    const int64_t sizes[] = {INT64_C(1) << 30, INT64_C(1) << 31, INT64_C(1) << 33, INT64_C(1) << 40,
                             INT64_C(1) << 61};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t n = sizes[i];
        const mc_lora_rank exact = {.rank = 1, .exact = true}, full = {.energy = .9};
        assert_true(mc_truncate_memory(n, n, &exact) == INT64_MAX);
        assert_true(mc_truncate_memory(n, n, &full) == INT64_MAX);
        assert_true(mc_truncate_product_memory(n, n, n, &full) == INT64_MAX);
        assert_true(mc_truncate_product_memory(1, n, 1, &exact) >= n);
    }
    assert_true(mc_bytes_of_doubles(3) == 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(approximations), cmocka_unit_test(zeros),
                                       cmocka_unit_test(products),
                                       cmocka_unit_test(memory_of_huge_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
