/* The table of dtypes. */
#include <mergecraft/dtype.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    for (mc_dtype dtype = 0; dtype < MC_DTYPE_COUNT; dtype++) {
        mc_dtype found = MC_DTYPE_COUNT;
        assert_true(mc_dtype_from_name(mc_dtype_name(dtype), &found));
        assert_int_equal(found, dtype);
        assert_true(mc_dtype_parse(mc_dtype_torch_name(dtype), &found));
        assert_int_equal(found, dtype);
    }
}

static void test_table(void **state)
{
    (void)state;
    assert_string_equal(mc_dtype_name(MC_BF16), "BF16");
    assert_string_equal(mc_dtype_torch_name(MC_BF16), "bfloat16");
    assert_int_equal(mc_dtype_bits(MC_F4), 4);
    assert_int_equal(mc_dtype_bits(MC_F64), 64);
    assert_int_equal(mc_dtype_kind_of(MC_BOOL), MC_KIND_INTEGER);
    assert_int_equal(mc_dtype_kind_of(MC_C64), MC_KIND_OPAQUE);
}

static void test_bytes(void **state)
{
    (void)state;
    assert_int_equal(mc_dtype_bytes(MC_F32, 5), 20);
    assert_int_equal(mc_dtype_bytes(MC_BOOL, 0), 0);
    assert_int_equal(mc_dtype_block(MC_F6_E2M3), 4);
    assert_int_equal(mc_dtype_bytes(MC_F6_E2M3, 8), 6);
    assert_int_equal(mc_dtype_bytes(MC_F6_E2M3, 6), -1);
    assert_int_equal(mc_dtype_bytes(MC_F4, INT64_MAX), -1);
    assert_int_equal(mc_dtype_bytes(MC_F64, INT64_MAX / 8), INT64_MAX / 8 * 8);
    assert_int_equal(mc_dtype_bytes(MC_F64, INT64_MAX / 8 + 1), -1);
}

static void test_parse(void **state)
{
    mc_dtype dtype = MC_F64;
    (void)state;
    assert_true(mc_dtype_parse("bf16", &dtype));
    assert_int_equal(dtype, MC_BF16);
    assert_true(mc_dtype_parse("Float16", &dtype));
    assert_int_equal(dtype, MC_F16);
    assert_false(mc_dtype_parse("f", &dtype));
    assert_false(mc_dtype_parse("", &dtype));
    assert_false(mc_dtype_from_name("bf16", &dtype));
    assert_int_equal(dtype, MC_F16);
}

static void test_widest(void **state)
{
    static const struct {
        mc_dtype a, b, widest;
    } cases[] = {
        {MC_F16, MC_F16, MC_F16},         {MC_F16, MC_BF16, MC_F32},
        {MC_F64, MC_F8_E5M2, MC_F64},     {MC_F32, MC_BF16, MC_F32},
        {MC_F8_E4M3, MC_F16, MC_F16},     {MC_F8_E5M2, MC_BF16, MC_BF16},
        {MC_F8_E4M3, MC_F8_E5M2, MC_F16}, {MC_F8_E4M3, MC_F8_E4M3, MC_F8_E4M3},
        {MC_F64, MC_F32, MC_F64},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(mc_dtype_widest(cases[i].a, cases[i].b), cases[i].widest);
        assert_int_equal(mc_dtype_widest(cases[i].b, cases[i].a), cases[i].widest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_table),  cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_parse), cmocka_unit_test(test_widest),
    };
    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
