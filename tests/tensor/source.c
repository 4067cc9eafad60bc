/* Sources: in memory, computed, cast, arithmetic; ranges, bytes and values of any part. */
#include "tensor/source.h"
#include "tensor/cast.h"

#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static mc_error error = MC_ERROR_NONE;

static mc_source *wrap(mc_dtype dtype, int64_t count, const void *data)
{
    mc_source *source = NULL;
    assert_int_equal(mc_source_wrap(dtype, 1, &count, data, NULL, NULL, &source, &error), MC_OK);
    return source;
}

static float value_at(const mc_source *source, int64_t at)
{
    float value = -1;
    assert_int_equal(mc_source_read_f32(source, at, 1, &value, &error), MC_OK);
    return value;
}

static const float values[] = {1, -2, 3.5f, 1e-3f, 65504};

/* ---- shapes and ranges ---- */

static void test_shapes(void **state)
{
    (void)state;
    static const struct {
        mc_dtype dtype;
        int rank;
        int64_t shape[3];
        int64_t count, bytes; /* -1: refused */
    } cases[] = {
        {MC_F32, 0, {0}, 1, 4},
        {MC_F32, 2, {2, 3}, 6, 24},
        {MC_F32, 2, {0, INT64_MAX}, 0, 0},
        {MC_F32, 1, {-1}, -1, -1},
        {MC_F32, 2, {INT64_C(1) << 40, INT64_C(1) << 40}, -1, -1},
        {MC_U8, 1, {INT64_C(1) << 62}, -1, -1},
        {MC_F4, 1, {6}, 6, 3},
        {MC_F4, 1, {5}, -1, -1},
        {MC_F6_E2M3, 2, {2, 2}, 4, 3},
        {MC_F6_E2M3, 1, {2}, -1, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t count = -1, bytes = -1;
        const mc_status status = mc_shape_count(cases[i].dtype, cases[i].rank, cases[i].shape,
                                                &count, &bytes, &error);
        assert_int_equal(status, cases[i].count < 0 ? MC_FORMAT : MC_OK);
        assert_int_equal(count, cases[i].count);
        assert_int_equal(bytes, cases[i].bytes);
    }
    char text[32];
    const int64_t many[] = {1000000, 1000000, 1000000, 1000000, 1000000};
    assert_string_equal(mc_shape_text(2, many, text, sizeof text), "[1000000, 1000000]");
    assert_string_equal(mc_shape_text(5, many, text, sizeof text) + 26, ", ..]");
}

static void test_ranges(void **state)
{
    (void)state;
    mc_source *const source = wrap(MC_F32, 5, values);
    float out[8];
    static const int64_t bad[][2] = {{-1, 1}, {0, 6},         {5, 1},        {6, 0},
                                     {0, -1}, {INT64_MAX, 1}, {1, INT64_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(mc_source_read_f32(source, bad[i][0], bad[i][1], out, &error), MC_USAGE);
    assert_int_equal(mc_source_read_f32(source, 5, 0, out, &error), MC_OK);
    assert_int_equal(mc_source_read_raw(source, 20, 1, out, &error), MC_USAGE);
    mc_source *const integers = wrap(MC_I32, 5, values);
    assert_int_equal(mc_source_read_f32(integers, 0, 1, out, &error), MC_USAGE);
    assert_int_equal(mc_source_read_raw(integers, 1, 19, out, &error), MC_OK);
    assert_memory_equal(out, (const char *)values + 1, 19);
    mc_source_unref(source);
    mc_source_unref(integers);
}

/* ---- kinds ---- */

static void count_release(void *cookie)
{
    ++*(int *)cookie;
}

static void test_references(void **state)
{
    (void)state;
    int released = 0;
    const int64_t count = 5;
    mc_source *source = NULL, *sum = NULL;
    assert_int_equal(
        mc_source_wrap(MC_F32, 1, &count, values, count_release, &released, &source, &error),
        MC_OK);
    assert_ptr_equal(mc_source_data(source), values);
    assert_int_equal(mc_source_combine(MC_ADD, source, source, &sum, &error), MC_OK);
    mc_source_unref(source);
    assert_int_equal(released, 0);
    assert_true(value_at(sum, 2) == 7);
    mc_source_unref(sum);
    assert_int_equal(released, 1);
    const int64_t negative = -1;
    assert_int_equal(
        mc_source_wrap(MC_F32, 1, &negative, values, count_release, &released, &source, &error),
        MC_FORMAT);
    assert_int_equal(released, 1); /* not after a failure */
}

static mc_status squares(void *cookie, int64_t first, int64_t count, void *out, mc_error *e)
{
    (void)cookie, (void)e;
    for (int64_t i = 0; i < count; i++)
        ((float *)out)[i] = (float)((first + i) * (first + i));
    return MC_OK;
}

/* Bytes of a computed source come in any pieces, and are rounded to its dtype. */
static void test_computed(void **state)
{
    (void)state;
    enum { COUNT = 1500 };
    const int64_t shape[] = {3, COUNT / 3};
    static uint16_t whole[COUNT], rounded[COUNT];
    static float exact[COUNT];
    mc_source *source = NULL;
    assert_int_equal(mc_source_compute(MC_BF16, 2, shape, squares, NULL, NULL, &source, &error),
                     MC_OK);
    assert_int_equal(mc_source_read_f32(source, 0, COUNT, exact, &error), MC_OK);
    mc_dtype_from_f32(MC_BF16, rounded, exact, COUNT);
    assert_int_equal(mc_source_read_raw(source, 0, sizeof whole, whole, &error), MC_OK);
    assert_memory_equal(whole, rounded, sizeof whole);
    for (int64_t first = 0; first < 2 * COUNT; first += 7) {
        char part[13];
        const int64_t left = 2 * COUNT - first, size = left < 13 ? left : 13;
        assert_int_equal(mc_source_read_raw(source, first, size, part, &error), MC_OK);
        assert_memory_equal(part, (const char *)rounded + first, (size_t)size);
    }
    mc_source_unref(source);
    assert_int_equal(mc_source_compute(MC_I32, 2, shape, squares, NULL, NULL, &source, &error),
                     MC_UNSUPPORTED);
}

static void test_casts(void **state)
{
    (void)state;
    mc_source *const source = wrap(MC_F32, 5, values);
    mc_source *half = NULL, *same = NULL;
    uint16_t bits[5];
    assert_int_equal(mc_source_cast(source, MC_F16, &half, &error), MC_OK);
    assert_int_equal(mc_source_dtype(half), MC_F16);
    assert_int_equal(mc_source_bytes(half), 10);
    assert_int_equal(mc_source_read_raw(half, 0, 10, bits, &error), MC_OK);
    /* numpy.float32([1, -2, 3.5, 1e-3, 65504]).astype(numpy.float16).view(numpy.uint16) */
    static const uint16_t expected[] = {0x3c00, 0xc000, 0x4300, 0x1419, 0x7bff};
    assert_memory_equal(bits, expected, sizeof bits);
    assert_ptr_equal(mc_source_uncast(half), source);
    assert_ptr_equal(mc_source_uncast(source), source);
    assert_int_equal(mc_source_cast(source, MC_F32, &same, &error), MC_OK);
    assert_true(value_at(same, 2) == 3.5f);
    mc_source_unref(source);
    mc_source_unref(half);
    mc_source_unref(same);
}

static void test_arithmetic(void **state)
{
    (void)state;
    static const float other[] = {2, 2, 0, NAN, INFINITY};
    mc_source *const a = wrap(MC_F32, 5, values), *const b = wrap(MC_F32, 5, other);
    static const float expected[][5] = {
        [MC_ADD] = {3, 0, 3.5f, NAN, INFINITY},
        [MC_SUBTRACT] = {-1, -4, 3.5f, NAN, -INFINITY},
        [MC_MULTIPLY] = {2, -4, 0, NAN, INFINITY},
        [MC_DIVIDE] = {.5f, -1, INFINITY, NAN, 0},
    };
    for (int op = MC_ADD; op <= MC_DIVIDE; op++) {
        mc_source *result = NULL;
        assert_int_equal(mc_source_combine((mc_operator)op, a, b, &result, &error), MC_OK);
        for (int64_t i = 0; i < 5; i++) {
            const float found = value_at(result, i), wanted = expected[op][i];
            assert_true(found == wanted || (isnan(found) && isnan(wanted)));
        }
        mc_source_unref(result);
    }
    mc_source_unref(a);
    mc_source_unref(b);
}

static void test_zeros(void **state)
{
    (void)state;
    mc_source *const like = wrap(MC_I64, 3, (const int64_t[]){1, 2, 3});
    mc_source *zeros = NULL;
    char bytes[24], none[24] = {0};
    assert_int_equal(mc_source_zeros_like(like, &zeros, &error), MC_OK);
    assert_int_equal(mc_source_dtype(zeros), MC_I64);
    assert_int_equal(mc_source_read_raw(zeros, 0, 24, bytes, &error), MC_OK);
    assert_memory_equal(bytes, none, 24);
    assert_null(mc_source_data(zeros));
    mc_source_unref(like);
    mc_source_unref(zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),     cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_references), cmocka_unit_test(test_computed),
        cmocka_unit_test(test_casts),      cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_zeros),
    };
    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
