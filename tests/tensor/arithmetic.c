/*
 * Lazy arithmetic: trees with shared parts, of both types, longer than a block, read in any pieces.
 */
#include "merge/fixtures.h"

#include "tensor/source.h"

enum { COUNT = 20000 };

static mc_source *vector(mc_dtype dtype, uint64_t seed)
{
    mc_state_dict *const dict = dict_new();
    dict_add(dict, "x", dtype, SHAPE(COUNT), seed);
    mc_source *const source = mc_source_ref(mc_state_dict_find(dict, "x"));
    mc_state_dict_free(dict);
    return source;
}

/* Both take over their operands. */
static mc_source *combine(mc_operator op, mc_source *a, mc_source *b)
{
    mc_source *out = NULL;
    assert_done(mc_source_combine(op, a, b, &out, &error));
    mc_source_unref(a);
    mc_source_unref(b);
    return out;
}

static mc_source *with_number(mc_operator op, mc_source *a, double number, bool first)
{
    mc_source *out = NULL;
    assert_done(mc_source_combine_number(op, a, number, first, &out, &error));
    mc_source_unref(a);
    return out;
}

static float *read_all(const mc_source *source)
{
    float *const values = malloc(COUNT * sizeof *values);
    assert_done(mc_source_read_f32(source, 0, COUNT, values, &error));
    return values;
}

/* Pieces of odd lengths are what the whole is. */
static void check_pieces(const mc_source *source, const float *all)
{
    static float piece[COUNT];
    for (int64_t first = 0, n = 1; first < COUNT; first += n, n = n * 7 + 3) {
        n = COUNT - first < n ? COUNT - first : n;
        assert_done(mc_source_read_f32(source, first, n, piece, &error));
        assert_memory_equal(piece, all + first, (size_t)n * sizeof *piece);
    }
}

/* base + .4 · ((a − base) + (b − base)), each step rounded to float. */
static void test_task_vectors(void **state)
{
    mc_source *const base = vector(MC_F32, 0), *const a = vector(MC_F32, 1);
    mc_source *const b = vector(MC_BF16, 2);
    (void)state;
    float *const x = read_all(base), *const y = read_all(a), *const z = read_all(b);
    mc_source *const left = combine(MC_SUBTRACT, mc_source_ref(a), mc_source_ref(base));
    mc_source *const right = combine(MC_SUBTRACT, mc_source_ref(b), mc_source_ref(base));
    mc_source *const scaled = with_number(MC_MULTIPLY, combine(MC_ADD, left, right), .4, true);
    mc_source *const sum = combine(MC_ADD, mc_source_ref(base), scaled);
    float *const found = read_all(sum);
    for (size_t i = 0; i < COUNT; i++) {
        const float first = y[i] - x[i], second = z[i] - x[i], both = first + second;
        const float part = .4f * both, expected = x[i] + part;
        assert_memory_equal(&found[i], &expected, sizeof expected);
    }
    check_pieces(sum, found);
    mc_source_unref(base), mc_source_unref(a), mc_source_unref(b), mc_source_unref(sum);
    free(x), free(y), free(z), free(found);
}

/* Every operator, with the number on either side. */
static void test_operators(void **state)
{
    mc_source *const a = vector(MC_F32, 1), *const b = vector(MC_F32, 2);
    float *const x = read_all(a), *const y = read_all(b);
    (void)state;
    for (int op = MC_ADD; op <= MC_DIVIDE; op++) {
        mc_source *const sources[] = {
            combine((mc_operator)op, mc_source_ref(a), mc_source_ref(b)),
            with_number((mc_operator)op, mc_source_ref(a), .7, false),
            with_number((mc_operator)op, mc_source_ref(a), .7, true),
        };
        for (size_t k = 0; k < 3; k++) {
            float *const found = read_all(sources[k]);
            for (size_t i = 0; i < COUNT; i++) {
                const float left = k == 2 ? .7f : x[i], right = k == 0 ? y[i] : k == 1 ? .7f : x[i];
                const float expected = op == MC_ADD        ? left + right
                                       : op == MC_SUBTRACT ? left - right
                                       : op == MC_MULTIPLY ? left * right
                                                           : left / right;
                assert_memory_equal(&found[i], &expected, sizeof expected);
            }
            free(found);
            mc_source_unref(sources[k]);
        }
    }
    free(x), free(y);
    mc_source_unref(a), mc_source_unref(b);
}

/* A part in float64 makes what it enters float64; a part in float32 stays what it is. */
static void test_types(void **state)
{
    mc_source *const a = vector(MC_F32, 1), *const wide = vector(MC_F64, 2);
    static double values[COUNT], found[COUNT];
    (void)state;
    float *const x = read_all(a);
    assert_done(mc_source_read_f64(wide, 0, COUNT, values, &error));
    mc_source *const narrow = with_number(MC_MULTIPLY, mc_source_ref(a), .1, true);
    mc_source *const sum = combine(MC_ADD, narrow, mc_source_ref(wide));
    assert_int_equal(mc_source_dtype(sum), MC_F64);
    assert_done(mc_source_read_f64(sum, 0, COUNT, found, &error));
    for (size_t i = 0; i < COUNT; i++) {
        const float part = .1f * x[i];
        assert_true(found[i] == (double)part + values[i]);
    }
    mc_source_unref(a), mc_source_unref(wide), mc_source_unref(sum);
    free(x);
}

/* Parts that occur twice at each of 60 levels are computed once. */
static void test_shared(void **state)
{
    mc_source *sum = vector(MC_F32, 1);
    (void)state;
    float *const x = read_all(sum);
    for (int level = 0; level < 60; level++)
        sum = combine(MC_ADD, sum, mc_source_ref(sum));
    float *const found = read_all(sum);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(found[i] == x[i] * 0x1p60f);
    free(x), free(found);
    mc_source_unref(sum);
}

/* A balanced tree needs as many registers as it has levels, a chain two. */
static void test_many(void **state)
{
    enum { LEAVES = 64 };
    mc_source *nodes[LEAVES];
    (void)state;
    static float expected[LEAVES][COUNT];
    for (size_t n = 0; n < LEAVES; n++) {
        nodes[n] = vector(MC_F32, n);
        assert_done(mc_source_read_f32(nodes[n], 0, COUNT, expected[n], &error));
    }
    for (size_t step = 1; step < LEAVES; step *= 2)
        for (size_t n = 0; n < LEAVES; n += 2 * step) {
            nodes[n] = combine(MC_ADD, nodes[n], nodes[n + step]);
            for (size_t i = 0; i < COUNT; i++)
                expected[n][i] += expected[n + step][i];
        }
    float *const found = read_all(nodes[0]);
    assert_memory_equal(found, expected[0], sizeof expected[0]);
    check_pieces(nodes[0], found);
    free(found);
    mc_source_unref(nodes[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_vectors), cmocka_unit_test(test_operators),
        cmocka_unit_test(test_types),        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests_name("arithmetic", tests, NULL, NULL);
}
