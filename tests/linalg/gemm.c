/*
 * Products beside the definition in double: every CPU level, shapes that tiles and blocks do not
 * divide, both layouts of each operand; the same bits for any number of threads, and alone or in a
 * run with others.
 */
#include "linalg/gemm.h"

#include "base/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static mc_error error;

enum { ROW = 1, SQUARES = 2, UPPER = 4, KINDS = 8 };
enum { PAST = 3 }; /* numbers of each row of C that are not part of it */

typedef struct shape {
    size_t m, n, k, parts;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1},      {1, 5, 3, 3},      {12, 32, 7, 2},    {13, 33, 65, 4},    {5, 129, 40, 1},
    {25, 16, 385, 25}, {100, 131, 17, 5}, {770, 140, 20, 3}, {140, 257, 400, 8}, {7, 40, 2100, 3},
};

/* Uniform in −1 … 1, always the same for a seed. */
static double number(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return (double)(*x >> 11) * 0x1p-52 - 1;
}

/* Parts of different lengths, none of which is empty. */
static void cut(const shape *s, size_t *ends)
{
    for (size_t i = 0; i < s->parts; i++)
        ends[i] = i + 1 == s->parts ? s->k : (i + 1) * (i + 1) * s->k / (s->parts * s->parts + 1);
    for (size_t i = 0; i < s->parts; i++)
        if (ends[i] < i + 1)
            ends[i] = i + 1;
}

#define DEFINE_TEST(S_, REAL_, EPSILON_)                                                           \
    static REAL_ *numbers_##S_(size_t count, uint64_t seed)                                        \
    {                                                                                              \
        REAL_ *const a = malloc((count + 1) * sizeof *a);                                          \
        assert_non_null(a);                                                                        \
        for (size_t i = 0; i < count; i++)                                                         \
            a[i] = (REAL_)number(&seed);                                                           \
        return a;                                                                                  \
    }                                                                                              \
                                                                                                   \
    /* Element (i, j) by definition; *size: what rounding is relative to. */                       \
    static double expected_##S_(const mc_gemm_##S_ *g, double start, size_t i, size_t j,           \
                                double *size)                                                      \
    {                                                                                              \
        const size_t whole[] = {g->k}, *const ends = g->ends ? g->ends : whole;                    \
        double total = g->row ? (double)g->row[j] : start;                                         \
        *size = fabs(total);                                                                       \
        for (size_t part = 0, p = 0; part < (g->ends ? g->parts : 1); part++) {                    \
            double sum = 0, absolute = 0;                                                          \
            for (; p < ends[part]; p++) {                                                          \
                const double x = (double)g->a[i * g->a_row + p * g->a_inner] *                     \
                                 (double)g->b[j * g->b_column + p * g->b_inner];                   \
                sum += x;                                                                          \
                absolute += fabs(x);                                                               \
            }                                                                                      \
            total += g->ends ? sum * sum : sum;                                                    \
            *size += g->ends ? absolute * absolute : absolute;                                     \
        }                                                                                          \
        return total;                                                                              \
    }                                                                                              \
                                                                                                   \
    static void check_##S_(const mc_gemm_##S_ *g, const REAL_ *start)                              \
    {                                                                                              \
        for (size_t i = 0; i < g->m; i++)                                                          \
            for (size_t j = 0; j < g->stride; j++) {                                               \
                const size_t at = i * g->stride + j;                                               \
                if (j >= g->n) {                                                                   \
                    assert_true(g->c[at] == start[at]);                                            \
                } else if (!g->upper || i <= j) {                                                  \
                    double size;                                                                   \
                    const double x = expected_##S_(g, (double)start[at], i, j, &size);             \
                    assert_true(fabs((double)g->c[at] - x) <=                                      \
                                (double)EPSILON_ * size * (4 + sqrt((double)g->k)));               \
                }                                                                                  \
            }                                                                                      \
    }                                                                                              \
                                                                                                   \
    static void run_##S_(const mc_gemm_##S_ *g, const REAL_ *start, mc_team *team, int threads)    \
    {                                                                                              \
        const size_t size = mc_gemm_work_##S_(g, 1, threads);                                      \
        /* Exactly as large as asked for: memory checkers see what is beyond. */                   \
        REAL_ *const work = malloc(size * sizeof *work);                                           \
        assert_non_null(work);                                                                     \
        memcpy(g->c, start, g->m * g->stride * sizeof *g->c);                                      \
        assert_int_equal(mc_gemm_run_##S_(g, 1, team, work, &error), MC_OK);                       \
        free(work);                                                                                \
    }                                                                                              \
                                                                                                   \
    static void try_##S_(const shape *s, int kind, bool a_inner, bool b_inner, mc_team *team)      \
    {                                                                                              \
        size_t ends[32];                                                                           \
        cut(s, ends);                                                                              \
        const size_t stride = s->n + PAST, count = s->m * stride;                                  \
        REAL_ *const a = numbers_##S_(s->m * s->k, 1), *const b = numbers_##S_(s->n * s->k, 2);    \
        REAL_ *const start = numbers_##S_(count, 3), *const row = numbers_##S_(s->n, 4);           \
        REAL_ *const one = numbers_##S_(count, 5), *const many = numbers_##S_(count, 6);           \
        mc_gemm_##S_ g = {.m = s->m,                                                               \
                          .n = s->n,                                                               \
                          .k = s->k,                                                               \
                          .a = a,                                                                  \
                          .a_row = a_inner ? s->k : 1,                                             \
                          .a_inner = a_inner ? 1 : s->m,                                           \
                          .b = b,                                                                  \
                          .b_column = b_inner ? s->k : 1,                                          \
                          .b_inner = b_inner ? 1 : s->n,                                           \
                          .c = one,                                                                \
                          .stride = stride,                                                        \
                          .ends = kind & SQUARES ? ends : NULL,                                    \
                          .parts = s->parts,                                                       \
                          .row = kind & ROW ? row : NULL,                                          \
                          .upper = kind & UPPER};                                                  \
        run_##S_(&g, start, NULL, 1);                                                              \
        check_##S_(&g, start);                                                                     \
        g.c = many;                                                                                \
        run_##S_(&g, start, team, mc_team_size(team));                                             \
        assert_memory_equal(one, many, count * sizeof *one);                                       \
        free(a);                                                                                   \
        free(b);                                                                                   \
        free(start);                                                                               \
        free(row);                                                                                 \
        free(one);                                                                                 \
        free(many);                                                                                \
    }

DEFINE_TEST(f32, float, 0x1p-23)
DEFINE_TEST(f64, double, 0x1p-52)

static void test_products(void **state)
{
    (void)state;
    const mc_cpu_level best = mc_cpu();
    mc_team *team = NULL;
    assert_int_equal(mc_team_new(3, &team, &error), MC_OK);
    for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level); level++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int kind = 0; kind < KINDS; kind++)
                for (int layout = 0; layout < 4; layout++) {
                    if (layout == (kind & 3) || shapes[s].m < 100)
                        try_f32(&shapes[s], kind, layout & 1, layout & 2, team);
                    if (layout == (kind & 3))
                        try_f64(&shapes[s], kind, layout & 1, layout & 2, team);
                }
    assert_true(mc_cpu_force(best));
    mc_team_free(team);
}

/* Product `i` of those below: sums, rows and squares, and one of them empty. */
static mc_gemm_f32 product(size_t i, const float *numbers, const size_t *ends, float *c)
{
    const shape *const s = &shapes[i];
    return (mc_gemm_f32){.m = i == 4 ? 0 : s->m,
                         .n = s->n,
                         .k = s->k,
                         .a = numbers,
                         .a_row = s->k,
                         .a_inner = 1,
                         .b = numbers,
                         .b_column = 1,
                         .b_inner = s->n,
                         .c = c,
                         .stride = s->n,
                         .ends = i % 3 == 0 ? ends : NULL,
                         .parts = s->parts,
                         .row = i % 3 == 1 ? numbers : NULL};
}

/* Products of one run have the bits that each has alone. */
static void test_together(void **state)
{
    (void)state;
    enum { FROM = 2, NUMBERS = 1 << 17 };
    mc_gemm_f32 alone[MC_GEMM_MOST], together[MC_GEMM_MOST];
    size_t ends[MC_GEMM_MOST][32];
    float *const numbers = numbers_f32(NUMBERS, 1);
    mc_team *team = NULL;
    assert_int_equal(mc_team_new(3, &team, &error), MC_OK);
    for (size_t i = 0; i < MC_GEMM_MOST; i++) {
        const size_t at = FROM + i, size = shapes[at].m * shapes[at].n;
        cut(&shapes[at], ends[i]);
        alone[i] = product(at, numbers, ends[i], numbers_f32(size, 2));
        together[i] = product(at, numbers, ends[i], numbers_f32(size, 2));
        float *const work = malloc(mc_gemm_work_f32(&alone[i], 1, 1) * sizeof *work);
        assert_non_null(work);
        assert_int_equal(mc_gemm_run_f32(&alone[i], 1, NULL, work, &error), MC_OK);
        free(work);
    }
    float *const work = malloc(mc_gemm_work_f32(together, MC_GEMM_MOST, 3) * sizeof *work);
    assert_non_null(work);
    assert_int_equal(mc_gemm_run_f32(together, MC_GEMM_MOST, team, work, &error), MC_OK);
    for (size_t i = 0; i < MC_GEMM_MOST; i++) {
        const size_t size = shapes[FROM + i].m * shapes[FROM + i].n;
        assert_memory_equal(alone[i].c, together[i].c, size * sizeof(float));
        free(alone[i].c);
        free(together[i].c);
    }
    free(work);
    free(numbers);
    mc_team_free(team);
}

static void test_nothing(void **state)
{
    (void)state;
    float c[] = {1, 2, 3, 4}, work[1];
    const float row[] = {5, 6};
    const mc_gemm_f32 empty = {.m = 0, .n = 2, .k = 3, .c = c, .stride = 2};
    assert_int_equal(mc_gemm_run_f32(&empty, 1, NULL, work, &error), MC_OK);
    const mc_gemm_f32 no_columns = {.m = 2, .n = 0, .k = 3, .c = c, .stride = 2, .row = row};
    assert_int_equal(mc_gemm_run_f32(&no_columns, 1, NULL, work, &error), MC_OK);
    assert_true(c[0] == 1 && c[1] == 2 && c[2] == 3 && c[3] == 4);
    /* Sums of nothing. */
    const float a[1] = {0}, *const b = a;
    mc_gemm_f32 no_sum = {
        .m = 2, .n = 2, .a = a, .a_inner = 1, .b = b, .b_inner = 1, .c = c, .stride = 2};
    float *const room = malloc(mc_gemm_work_f32(&no_sum, 1, 1) * sizeof *room);
    assert_int_equal(mc_gemm_run_f32(&no_sum, 1, NULL, room, &error), MC_OK);
    assert_true(c[0] == 1 && c[1] == 2 && c[2] == 3 && c[3] == 4);
    no_sum.row = row;
    assert_int_equal(mc_gemm_run_f32(&no_sum, 1, NULL, room, &error), MC_OK);
    assert_true(c[0] == 5 && c[1] == 6 && c[2] == 5 && c[3] == 6);
    free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products),
                                       cmocka_unit_test(test_together),
                                       cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
