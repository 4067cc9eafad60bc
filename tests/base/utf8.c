/* UTF-8: what is valid, what becomes of the rest. Expectations are Python's, errors="replace". */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *bytes;
    size_t valid; /* bytes of the longest valid beginning */
    const char *repaired;
} cases[] = {
    {"plain", 5, "plain"},
    {"gr\xc3\xb6\xc3\x9f"
     "e, \xe9\x87\x8d",
     12,
     "gr\xc3\xb6\xc3\x9f"
     "e, \xe9\x87\x8d"},
    {"\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80"},
    {"a\xff"
     "b",
     1,
     "a\xef\xbf\xbd"
     "b"},
    {"\xc0\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong NUL */
    {"\xe0\x80\xaf", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong '/' */
    {"\xed\xa0\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
    {"\xf4\x90\x80\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"12345678\xe9\x87", 8, "12345678\xef\xbf\xbd"}, /* cut: one character */
    {"\x80", 0, "\xef\xbf\xbd"},
    {"", 0, ""},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        const size_t size = strlen(cases[i].bytes);
        assert_int_equal(mc_utf8_valid(cases[i].bytes, size), cases[i].valid);
        out[mc_utf8_repair(cases[i].bytes, size, out)] = '\0';
        assert_string_equal(out, cases[i].repaired);
    }
}

static bool is_surrogate(uint32_t code)
{
    return code >= 0xd800 && code < 0xe000;
}

/* Every code point: written, valid, read, and found from behind. */
static void test_all(void **state)
{
    (void)state;
    for (uint32_t code = 1; code < 0x110000; code++) {
        char text[8];
        size_t length = 0;
        char *const end = mc_utf8_put(text, code);
        const size_t size = (size_t)(end - text);
        if (is_surrogate(code)) {
            assert_int_equal(mc_utf8_valid(text, size), 0);
            continue;
        }
        assert_int_equal(mc_utf8_valid(text, size), size);
        assert_int_equal(mc_utf8_next(text, &length), code);
        assert_int_equal(length, size);
        assert_ptr_equal(mc_utf8_before(end), text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_all)};
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
