/* Gathered tensors: which row comes from where, in any piece that is read. */
#include "tensor/gather.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { INNER = 3, ROWS = 7, PADDED = 9 };

/* Model 0: three rows of float32; model 1: four of bfloat16; the base: two of float32. */
static const float first[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
static const uint16_t second[] = {0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170,
                                  0x4180, 0x4188, 0x4190, 0x4198, 0x41a0, 0x41a8};
static const float base[] = {-1, -2, -3, -4, -5, -6};
static const int32_t ids[3][ROWS] = {
    {2, 0, -1, 1, -1, -1, 0}, {3, -1, 2, 0, -1, 1, 1}, {1, -1, -1, -1, -1, 0, -1}};

static mc_source *wrap(mc_dtype dtype, int64_t rows, const void *data)
{
    mc_source *source = NULL;
    assert_int_equal(
        mc_source_wrap(dtype, 2, (const int64_t[]){rows, INNER}, data, NULL, NULL, &source, NULL),
        MC_OK);
    return source;
}

/* Row 5: the base stands in for model 0. Row 6: forced to zeros. Row 4: row 1 of model 0. */
static const mc_gather_rule rules[] = {{4, 0, 1, false}, {6, MC_GATHER_ZERO, 0, true}};

static void make(mc_source **out)
{
    mc_source *const sources[] = {wrap(MC_F32, 3, first), wrap(MC_BF16, 4, second),
                                  wrap(MC_F32, 2, base)};
    mc_gather_input inputs[3];
    for (int i = 0; i < 3; i++)
        inputs[i] = (mc_gather_input){sources[i], ids[i]};
    const mc_gather gather = {0, inputs, 3, 2, ROWS, PADDED, rules, 2, MC_F32};
    assert_int_equal(mc_gather_new(&gather, out, NULL), MC_OK);
    for (int i = 0; i < 3; i++)
        mc_source_unref(sources[i]);
}

static const float expected[3][ROWS][INNER] = {
    {{7, 8, 9}, {1, 2, 3}, {16, 17, 18}, {4, 5, 6}, {4, 5, 6}, {-1, -2, -3}, {0}},
    {{19, 20, 21}, {1, 2, 3}, {16, 17, 18}, {10, 11, 12}, {4, 5, 6}, {13, 14, 15}, {0}},
    /* Row 3 is the mean of the models' rows. */
    {{-4, -5, -6}, {1, 2, 3}, {16, 17, 18}, {7, 8, 9}, {4, 5, 6}, {-1, -2, -3}, {0}}};

static void unref(mc_source **made)
{
    for (int i = 0; i < 3; i++)
        mc_source_unref(made[i]);
}

static void test_rows(void **state)
{
    (void)state;
    mc_source *made[3];
    float out[PADDED * INNER];
    make(made);
    for (int m = 0; m < 3; m++) {
        assert_int_equal(mc_source_shape(made[m])[0], PADDED);
        assert_int_equal(mc_source_read_f32(made[m], 0, PADDED * INNER, out, NULL), MC_OK);
        for (int i = 0; i < ROWS * INNER; i++)
            assert_true(out[i] == expected[m][i / INNER][i % INNER]);
        for (int i = ROWS * INNER; i < PADDED * INNER; i++) {
            double mean = 0;
            for (int r = 0; r < ROWS; r++)
                mean += (double)expected[m][r][i % INNER] / ROWS;
            assert_true(fabs((double)out[i] - mean) <= 1e-6);
        }
    }
    unref(made);
}

/* Every range gives the same elements, and every range of bytes the same bytes. */
static void test_ranges(void **state)
{
    (void)state;
    mc_source *made[3];
    float all[PADDED * INNER], part[PADDED * INNER];
    unsigned char bytes[PADDED * INNER * 4], some[PADDED * INNER * 4];
    make(made);
    for (int m = 0; m < 3; m++) {
        const int64_t count = mc_source_count(made[m]), size = mc_source_bytes(made[m]);
        assert_int_equal(mc_source_read_f32(made[m], 0, count, all, NULL), MC_OK);
        assert_int_equal(mc_source_read_raw(made[m], 0, size, bytes, NULL), MC_OK);
        for (int64_t at = 0; at < count; at++)
            for (int64_t n = 0; at + n <= count; n++) {
                assert_int_equal(mc_source_read_f32(made[m], at, n, part, NULL), MC_OK);
                assert_memory_equal(part, all + at, (size_t)n * sizeof *part);
            }
        for (int64_t at = 0; at < size; at++)
            for (int64_t n = 0; at + n <= size; n += 5) {
                assert_int_equal(mc_source_read_raw(made[m], at, n, some, NULL), MC_OK);
                assert_memory_equal(some, bytes + at, (size_t)n);
            }
        mc_dtype_to_f32(mc_source_dtype(made[m]), part, bytes, (size_t)count);
        for (int64_t i = 0; i < count; i++)
            assert_true(fabsf(part[i] - all[i]) <= fabsf(all[i]) / 128);
    }
    unref(made);
}

/* The second dimension as rows: BART's [1, tokens], here with two of the first. */
static void test_axis(void **state)
{
    (void)state;
    static const float values[] = {1, 2, 3, 4, 5, 6};
    mc_source *source = NULL, *made = NULL;
    float out[8];
    assert_int_equal(
        mc_source_wrap(MC_F32, 2, (const int64_t[]){2, 3}, values, NULL, NULL, &source, NULL),
        MC_OK);
    const mc_gather_input input = {source, (const int32_t[]){2, -1, 0, 1}};
    const mc_gather gather = {1, &input, 1, 1, 4, 4, NULL, 0, MC_F32};
    assert_int_equal(mc_gather_new(&gather, &made, NULL), MC_OK);
    assert_int_equal(mc_source_read_f32(made, 0, 8, out, NULL), MC_OK);
    static const float wanted[] = {3, 0, 1, 2, 6, 0, 4, 5};
    assert_memory_equal(out, wanted, sizeof wanted);
    assert_true(mc_gather_hash(made) != 0 && mc_gather_hash(source) == 0);
    mc_source_unref(made);
    mc_source_unref(source);
}

static void test_errors(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    mc_source *made = NULL;
    mc_source *const source = wrap(MC_F32, 3, first);
    const mc_gather_input input = {source, (const int32_t[]){0, 3}};
    mc_gather gather = {0, &input, 1, 1, 2, 2, NULL, 0, MC_F32};
    assert_int_equal(mc_gather_new(&gather, &made, &error), MC_MISMATCH);
    assert_string_equal(error.text, "expected row 3 of input 0, found 3 rows");
    gather.axis = 2;
    assert_int_equal(mc_gather_new(&gather, &made, &error), MC_UNSUPPORTED);
    mc_source_unref(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_ranges),
                                       cmocka_unit_test(test_axis), cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
