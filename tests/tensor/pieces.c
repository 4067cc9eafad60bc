/* Windows of tensors and tensors one behind another, in any range and dtype. */
#include "tensor/pieces.h"
#include "tensor/cast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static mc_error error;

static mc_source *floats(int rank, const int64_t *shape, const float *values)
{
    mc_source *source = NULL;
    assert_int_equal(
        mc_source_wrap(MC_F32, rank, shape, (void *)(uintptr_t)values, NULL, NULL, &source, &error),
        MC_OK);
    return source;
}

static void assert_elements(const mc_source *source, const float *expected)
{
    float values[32];
    for (int64_t first = 0; first <= source->count; first++)
        for (int64_t count = 0; first + count <= source->count; count++) {
            assert_int_equal(mc_source_read_f32(source, first, count, values, &error), MC_OK);
            assert_memory_equal(values, expected + first, (size_t)count * sizeof(float));
            assert_int_equal(mc_source_read_raw(source, first * 4, count * 4, values, &error),
                             MC_OK);
            assert_memory_equal(values, expected + first, (size_t)count * sizeof(float));
            mc_source_read_ahead(source, first * 4, count * 4);
        }
    /* raw bytes may begin and end inside an element */
    if (source->bytes > 8) {
        char bytes[128];
        assert_int_equal(mc_source_read_raw(source, 3, source->bytes - 5, bytes, &error), MC_OK);
        assert_memory_equal(bytes, (const char *)expected + 3, (size_t)source->bytes - 5);
    }
    assert_int_equal(mc_source_check(source, &error), MC_OK);
}

static const float numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static void test_window(void **state)
{
    (void)state;
    const int64_t cube[] = {2, 2, 3}, square[] = {2, 3}, large[] = {3, 3};
    mc_source *const whole = floats(3, cube, numbers), *part = NULL;
    assert_int_equal(mc_source_window(whole, 6, 2, square, &part, &error), MC_OK);
    assert_int_equal(part->rank, 2);
    assert_elements(part, numbers + 6);
    mc_source_unref(part);
    assert_int_equal(mc_source_window(whole, 6, 2, large, &part, &error), MC_MISMATCH);
    assert_int_equal(mc_source_window(whole, -1, 2, square, &part, &error), MC_MISMATCH);
    mc_source_unref(whole);
}

static void test_join(void **state)
{
    (void)state;
    const int64_t two[] = {2}, none[] = {0}, five[] = {5}, cube[] = {3, 2, 2}, short_[] = {11};
    mc_source *const parts[] = {floats(1, five, numbers), floats(1, none, numbers),
                                floats(1, two, numbers + 5), floats(1, five, numbers + 7)};
    mc_source *joined = NULL;
    assert_int_equal(mc_source_join(parts, 4, 3, cube, &joined, &error), MC_OK);
    assert_elements(joined, numbers);
    mc_source_unref(joined);
    assert_int_equal(mc_source_join(parts, 4, 1, short_, &joined, &error), MC_MISMATCH);
    assert_int_equal(mc_source_join(parts, 0, 1, none, &joined, &error), MC_MISMATCH);
    mc_source *half = NULL;
    assert_int_equal(mc_source_cast(parts[0], MC_F16, &half, &error), MC_OK);
    mc_source *const mixed[] = {parts[0], half};
    assert_int_equal(mc_source_join(mixed, 2, 1, (const int64_t[]){10}, &joined, &error),
                     MC_MISMATCH);
    mc_source_unref(half);
    for (size_t i = 0; i < 4; i++)
        mc_source_unref(parts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_window), cmocka_unit_test(test_join)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
