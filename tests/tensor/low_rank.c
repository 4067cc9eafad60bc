/* Low-rank updates against their definition, in any range, on several threads and CPU levels. */
#include "tensor/low_rank.h"

#include "base/cpu.h"
#include "base/memory.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static mc_error error;

static float *random_floats(size_t count, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    float *const a = malloc(count * sizeof *a);
    assert_non_null(a);
    for (size_t i = 0; i < count; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        a[i] = (float)((double)(x >> 11) * 0x1p-52 - 1);
    }
    return a;
}

static mc_source *source_of(mc_dtype dtype, int rank, const int64_t *shape, void *data)
{
    mc_source *source = NULL;
    assert_int_equal(mc_source_wrap(dtype, rank, shape, data, free, data, &source, &error), MC_OK);
    return source;
}

static mc_source *random_source(int rank, const int64_t *shape, uint64_t seed)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    return source_of(MC_F32, rank, shape, random_floats(count, seed));
}

static const float *values_of(const mc_source *source)
{
    return mc_source_data(source);
}

static void unref_parts(const mc_low_rank *parts)
{
    mc_source_unref(parts->weight);
    mc_source_unref(parts->a);
    mc_source_unref(parts->b);
    mc_source_unref(parts->magnitude);
}

/* The updated weight by its definition, in double, as [experts, rows, columns]. */
static double *expected_of(const mc_low_rank *p, int64_t rows, int64_t columns, int64_t rank)
{
    const int64_t experts = p->experts, in = p->transposed ? rows : columns;
    const float *const w = values_of(p->weight), *const a = values_of(p->a),
                       *const b = values_of(p->b);
    double *const out = malloc((size_t)(experts * rows * columns) * sizeof *out);
    assert_non_null(out);
    for (int64_t e = 0; e < experts; e++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                const int64_t o = p->transposed ? j : i, n = p->transposed ? i : j;
                double sum = 0;
                for (int64_t k = 0; k < rank; k++)
                    sum += (double)b[o * rank * experts + k * experts + e] *
                           (double)a[(e * rank + k) * in + n];
                const int64_t at = (e * rows + i) * columns + j;
                out[at] = (double)w[at] + p->scale * sum;
            }
    return out;
}

static void scale_outputs(const mc_low_rank *p, double *w, int64_t rows, int64_t columns)
{
    const float *const m = values_of(p->magnitude);
    const int64_t outputs = p->transposed ? columns : rows, in = p->transposed ? rows : columns;
    const int64_t step = p->transposed ? columns : 1, from = p->transposed ? 1 : columns;
    for (int64_t o = 0; o < outputs; o++) {
        double squares = 0;
        for (int64_t n = 0; n < in; n++)
            squares += w[o * from + n * step] * w[o * from + n * step];
        for (int64_t n = 0; n < in; n++)
            w[o * from + n * step] *= (double)m[o] / sqrt(squares);
    }
}

/* Reads the whole and in pieces of odd sizes: the same bits; and near what is expected. */
static void check(const mc_low_rank *parts, int64_t rows, int64_t columns, int64_t rank)
{
    mc_source *low = NULL;
    assert_int_equal(mc_source_low_rank(parts, &low, &error), MC_OK);
    const size_t count = (size_t)low->count;
    float *const whole = malloc(count * sizeof *whole), *const pieces = malloc(count *
                                                                               sizeof *pieces);
    assert_int_equal(mc_source_read_f32(low, 0, low->count, whole, &error), MC_OK);
    for (int64_t first = 0, n = 1; first < low->count; first += n, n = n * 2 + 1) {
        n = n < low->count - first ? n : low->count - first;
        assert_int_equal(mc_source_read_f32(low, first, n, pieces + first, &error), MC_OK);
    }
    assert_memory_equal(whole, pieces, count * sizeof *whole);
    double *const expected = expected_of(parts, rows, columns, rank);
    if (parts->magnitude)
        scale_outputs(parts, expected, rows, columns);
    /* rank + 1 roundings of terms of at most 1 · 1, and one of the sum */
    for (size_t i = 0; i < count; i++)
        assert_true(fabs((double)whole[i] - expected[i]) <=
                    1.2e-7 * (double)(rank + 2) * fmax(1, fabs(parts->scale)));
    free(whole);
    free(pieces);
    free(expected);
    mc_source_unref(low);
}

static mc_low_rank matrix_parts(int64_t rows, int64_t columns, int64_t rank, bool transposed)
{
    const int64_t in = transposed ? rows : columns, out = transposed ? columns : rows;
    return (mc_low_rank){
        .weight = random_source(2, (int64_t[]){rows, columns}, 1),
        .a = random_source(2, (int64_t[]){rank, in}, 2),
        .b = random_source(2, (int64_t[]){out, rank}, 3),
        .scale = .75,
        .transposed = transposed,
        .experts = 1,
    };
}

static void matrices(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {
        {1, 1, 1}, {3, 5, 2}, {40, 700, 8}, {513, 31, 7}, {9, 300, 33}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int transposed = 0; transposed < 2; transposed++) {
            mc_low_rank parts = matrix_parts(sizes[i][0], sizes[i][1], sizes[i][2], transposed);
            check(&parts, sizes[i][0], sizes[i][1], sizes[i][2]);
            parts.magnitude = random_source(1, (int64_t[]){transposed ? sizes[i][1] : sizes[i][0]},
                                            4);
            check(&parts, sizes[i][0], sizes[i][1], sizes[i][2]);
            unref_parts(&parts);
        }
}

static void convolution(void **state)
{
    (void)state;
    const mc_low_rank parts = {.weight = random_source(4, (int64_t[]){6, 5, 3, 3}, 1),
                               .a = random_source(4, (int64_t[]){4, 5, 3, 3}, 2),
                               .b = random_source(4, (int64_t[]){6, 4, 1, 1}, 3),
                               .scale = 2,
                               .experts = 1};
    check(&parts, 6, 45, 4);
    unref_parts(&parts);
}

static void experts(void **state)
{
    (void)state;
    for (int transposed = 0; transposed < 2; transposed++) {
        const int64_t in = transposed ? 10 : 7, out = transposed ? 7 : 10;
        const mc_low_rank parts = {.weight = random_source(3, (int64_t[]){3, 10, 7}, 1),
                                   .a = random_source(2, (int64_t[]){3 * 4, in}, 2),
                                   .b = random_source(2, (int64_t[]){out, 3 * 4}, 3),
                                   .scale = .5,
                                   .transposed = transposed,
                                   .experts = 3};
        check(&parts, 10, 7, 4);
        unref_parts(&parts);
    }
}

/* Two adapters on one weight, the outer one with norms that read through the inner one. */
static void on_top_of_each_other(void **state)
{
    (void)state;
    mc_low_rank inner = matrix_parts(12, 20, 3, false);
    mc_source *first = NULL, *second = NULL;
    assert_int_equal(mc_source_low_rank(&inner, &first, &error), MC_OK);
    mc_low_rank outer = matrix_parts(12, 20, 2, false);
    mc_source_unref(outer.weight);
    outer.weight = first;
    outer.magnitude = random_source(1, (int64_t[]){12}, 5);
    assert_int_equal(mc_source_low_rank(&outer, &second, &error), MC_OK);
    float row[20];
    assert_int_equal(mc_source_read_f32(second, 40, 20, row, &error), MC_OK);
    double squares = 0;
    for (int i = 0; i < 20; i++)
        squares += (double)row[i] * (double)row[i];
    assert_true(fabs(sqrt(squares) - fabs((double)values_of(outer.magnitude)[2])) < 1e-5);
    mc_source_unref(second);
    unref_parts(&inner);
    unref_parts(&outer);
}

/* The values of a source, in memory. */
static mc_source *stored(mc_source *low)
{
    float *const values = malloc((size_t)low->count * sizeof *values);
    assert_int_equal(mc_source_read_f32(low, 0, low->count, values, &error), MC_OK);
    return source_of(MC_F32, low->rank, low->shape, values);
}

/*
 * Updates that are added together give the bits of one after the other: plain ones, DoRA, plain
 * ones.
 */
static void several(void **state)
{
    (void)state;
    enum { ROWS = 21, COLUMNS = 200, UPDATES = 5, SCALED = 2 };
    mc_source *lazy = random_source(2, (int64_t[]){ROWS, COLUMNS}, 1), *step = mc_source_ref(lazy);
    for (int i = 0; i < UPDATES; i++) {
        mc_source *next = NULL;
        mc_low_rank parts = {
            .weight = lazy,
            .a = random_source(2, (int64_t[]){3 + i, COLUMNS}, (uint64_t)(10 + i)),
            .b = random_source(2, (int64_t[]){ROWS, 3 + i}, (uint64_t)(20 + i)),
            .magnitude = i == SCALED ? random_source(1, (int64_t[]){ROWS}, 4) : NULL,
            .scale = .75,
            .experts = 1,
        };
        assert_int_equal(mc_source_low_rank(&parts, &next, &error), MC_OK);
        mc_source_unref(lazy);
        lazy = next;
        parts.weight = step;
        assert_int_equal(mc_source_low_rank(&parts, &next, &error), MC_OK);
        mc_source_unref(step);
        step = stored(next);
        mc_source_unref(next);
        parts.weight = NULL;
        unref_parts(&parts);
    }
    float found[ROWS * COLUMNS];
    for (int64_t first = 0, n = 1; first < lazy->count; first += n, n = n * 2 + 1) {
        n = n < lazy->count - first ? n : lazy->count - first;
        assert_int_equal(mc_source_read_f32(lazy, first, n, found + first, &error), MC_OK);
    }
    assert_memory_equal(found, values_of(step), sizeof found);
    mc_source_unref(lazy);
    mc_source_unref(step);
}

static void every_level(void **state)
{
    (void)state;
    const mc_low_rank parts = matrix_parts(17, 300, 9, false); /* no multiples of a register */
    float plain[17 * 300], other[17 * 300];
    mc_source *low = NULL;
    assert_int_equal(mc_source_low_rank(&parts, &low, &error), MC_OK);
    for (int level = 0; level < MC_CPU_LEVELS; level++) {
        if (!mc_cpu_force((mc_cpu_level)level))
            continue;
        assert_int_equal(mc_source_read_f32(low, 0, low->count, level ? other : plain, &error),
                         MC_OK);
        if (level)
            assert_memory_equal(plain, other, sizeof plain);
    }
    mc_source_unref(low);
    unref_parts(&parts);
}

/* More factors than stay in memory, read by several threads: every read gives the same bits. */
enum { SOURCES = 40, SIDE = 1024, RANK = 256, THREADS = 4 };

typedef struct crowd {
    mc_source *low[SOURCES];
    float expected[SOURCES];
    int wrong;
} crowd;

static void *read_crowd(void *argument)
{
    crowd *const c = argument;
    mc_error mine = MC_ERROR_NONE;
    for (int i = 0; i < 2 * SOURCES; i++) {
        float value;
        const int at = i * 7 % SOURCES;
        if (mc_source_read_f32(c->low[at], 0, 1, &value, &mine) != MC_OK ||
            value != c->expected[at])
            __atomic_add_fetch(&c->wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    crowd c = {0};
    pthread_t threads[THREADS];
    const mc_low_rank parts = matrix_parts(SIDE, SIDE, RANK, false);
    for (int i = 0; i < SOURCES; i++) {
        mc_low_rank each = parts;
        each.scale = i;
        assert_int_equal(mc_source_low_rank(&each, &c.low[i], &error), MC_OK);
        assert_int_equal(mc_source_read_f32(c.low[i], 0, 1, &c.expected[i], &error), MC_OK);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_crowd, &c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(c.wrong, 0);
    for (int i = 0; i < SOURCES; i++)
        mc_source_unref(c.low[i]);
    unref_parts(&parts);
}

static void wrong_shapes(void **state)
{
    (void)state;
    mc_source *low = NULL;
    mc_low_rank parts = matrix_parts(6, 5, 2, false);
    parts.transposed = true;
    assert_int_equal(mc_source_low_rank(&parts, &low, &error), MC_MISMATCH);
    assert_non_null(strstr(error.text, "lora_A: expected [2, 6], found [2, 5]"));
    parts.transposed = false;
    parts.experts = 3;
    assert_int_equal(mc_source_low_rank(&parts, &low, &error), MC_MISMATCH);
    parts.experts = 1;
    parts.magnitude = random_source(1, (int64_t[]){5}, 4);
    assert_int_equal(mc_source_low_rank(&parts, &low, &error), MC_MISMATCH);
    assert_non_null(strstr(error.text, "expected 6 values, found 5"));
    unref_parts(&parts);
    mc_low_rank whole = matrix_parts(6, 5, 2, false);
    mc_source_unref(whole.a);
    int64_t *const numbers = calloc(10, sizeof *numbers);
    whole.a = source_of(MC_I64, 2, (int64_t[]){2, 5}, numbers);
    assert_int_equal(mc_source_low_rank(&whole, &low, &error), MC_UNSUPPORTED);
    unref_parts(&whole);
    assert_null(low);
}

/* Memory fails at every allocation in turn: nothing leaks, and the next read works. */
static void memory(void **state)
{
    (void)state;
    mc_low_rank parts = matrix_parts(6, 5, 2, false);
    parts.magnitude = random_source(1, (int64_t[]){6}, 4);
    for (long n = 0;; n++) {
        mc_source *low = NULL;
        float value;
        mc_memory_fail_after(n);
        mc_status status = mc_source_low_rank(&parts, &low, &error);
        if (status == MC_OK)
            status = mc_source_read_f32(low, 7, 1, &value, &error);
        mc_memory_fail_after(-1);
        if (low)
            assert_int_equal(mc_source_read_f32(low, 7, 1, &value, &error), MC_OK);
        mc_source_unref(low);
        if (status == MC_OK)
            break;
        assert_int_equal(status, MC_NO_MEMORY);
    }
    unref_parts(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices),     cmocka_unit_test(convolution),
        cmocka_unit_test(experts),      cmocka_unit_test(on_top_of_each_other),
        cmocka_unit_test(several),      cmocka_unit_test(every_level),
        cmocka_unit_test(many_threads), cmocka_unit_test(wrong_shapes),
        cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
