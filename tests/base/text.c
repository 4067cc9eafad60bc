/* Texts: growing ones, numbers, sizes, suggestions, paths. */
#include "base/text.h"

#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_growing(void **state)
{
    (void)state;
    mc_text text = {0};
    for (int i = 0; i < 1000; i++)
        mc_text_add(&text, "%d,", i);
    mc_text_append(&text, "a\0b", 3);
    assert_false(text.failed);
    assert_int_equal(text.length, 10 * 2 + 90 * 3 + 900 * 4 + 3);
    assert_memory_equal(text.data, "0,1,2,", 6);
    assert_memory_equal(text.data + text.length - 4, ",a\0b", 5);
    mc_text_free(&text);
    assert_null(text.data);
}

static void test_without_memory(void **state)
{
    (void)state;
    mc_text text = {0};
    mc_text_add(&text, "kept");
    mc_memory_fail_after(0);
    for (int i = 0; i < 100; i++)
        mc_text_add(&text, "more than fits");
    mc_memory_fail_after(-1);
    assert_true(text.failed);
    mc_text_free(&text);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},
                {"-1.5", -1.5},
                {"1e3", 1000},
                {".25", .25},
                {"+2", 2},
                {"1e400", (double)INFINITY},
                {"-inf", -(double)INFINITY},
                {"5e-324", 5e-324}};
    static const char *const bad[] = {"", " 1", "1 ", "1x", "0x10", "1,5", "--1", "e5", "."};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double value = 99;
        assert_true(mc_parse_number(good[i].text, &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double value;
        if (mc_parse_number(bad[i], &value))
            fail_msg("'%s' was read as %g", bad[i], value);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},           {999, "999 B"},        {1000, "1.0 KB"},      {999499, "999 KB"},
        {999500, "1.0 MB"},   {12345678, "12.3 MB"}, {99940000, "99.9 MB"}, {99960000, "100 MB"},
        {INT64_MAX, "9.2 EB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buffer[16];
        assert_string_equal(mc_format_bytes(cases[i].bytes, buffer, sizeof buffer), cases[i].text);
    }
}

static void test_suggestions(void **state)
{
    (void)state;
    static const char *const words[] = {"soup", "median", "slerp", "trimmed_mean"};
    assert_string_equal(mc_suggest("medain", words, 4), "median"); /* swapped */
    assert_string_equal(mc_suggest("soups", words, 4), "soup");
    assert_string_equal(mc_suggest("trimed_men", words, 4), "trimmed_mean");
    assert_string_equal(mc_suggest("Trimmed-Mean", words, 4), "trimmed_mean");
    assert_string_equal(mc_suggest("model_soup", words, 4), "soup");
    assert_string_equal(mc_suggest("median_of_rows", words, 4), "median");
    assert_string_equal(mc_suggest("soup-trimmed_mean-weights", words, 4), "trimmed_mean");
    assert_null(mc_suggest("soupspoon_rest", words, 4));
    assert_null(mc_suggest("xyzzy", words, 4));
    assert_null(mc_suggest("s", words, 4));
    assert_null(mc_suggest("soup", words, 0));
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a/b//", "a/b"}, {"/", "/"}, {"//", "/"}, {"a", "a"}, {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *const plain = mc_without_slashes(cases[i][0]);
        assert_string_equal(plain, cases[i][1]);
        mc_free(plain);
    }
    assert_true(mc_ends_with("model.bin", ".bin"));
    assert_true(mc_ends_with("x", ""));
    assert_false(mc_ends_with("n", "bin"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growing),     cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_numbers),     cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_suggestions), cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
