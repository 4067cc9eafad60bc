/* Scanning JSON: what is accepted, what a string decodes to, and where an error is. */
#include "base/json_scan.h"

#include "base/json.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool is_accepted(const char *text)
{
    mc_scan scan = mc_scan_begin(text, 0, strlen(text));
    mc_scan_skip(&scan);
    mc_scan_end(&scan);
    return !scan.problem;
}

/* jansson decides. */
static void test_accepted(void **state)
{
    (void)state;
    static const char *const all[] = {
        "1",
        "-0",
        "01",
        "1.",
        "1.5",
        ".5",
        "1e5",
        "1E+5",
        "1e",
        "-",
        "+1",
        "0x1",
        "1 2",
        "",
        " [ ] ",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{}",
        "{\"a\":1}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "[[[]]]",
        "[}",
        "{]",
        "[",
        "{",
        "]",
        "[1]]",
        "true",
        "truer",
        "tru",
        "null",
        "false",
        "[true,false,null]",
        "\"",
        "\"a\"",
        "\"\\n\"",
        "\"\\x\"",
        "\"\\u00e9\"",
        "\"\\u00g9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\u0000\"",
        "\"\t\"",
        "\"\303\251\"",
        "\"\303\"",
        "\"\355\240\200\"",
        "\"\377\"",
        "\"\\\"",
        "[\"a\" : 1]",
        "{\"a\":{\"b\":[1,{\"c\":[]}]}}",
        "\v1",
        "1\f",
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[128];
        json_t *value = NULL;
        /* jansson takes lists and objects only. */
        snprintf(text, sizeof text, "[%s]", all[i]);
        const bool expected = mc_json_parse(text, strlen(text), &value, NULL) == MC_OK;
        json_decref(value);
        if (is_accepted(text) != expected)
            fail_msg("%s: expected %s", text, expected ? "accepted" : "rejected");
    }
    /* What Python writes. */
    assert_true(is_accepted("[NaN, Infinity, -Infinity]"));
    assert_false(is_accepted("[-NaN]"));
}

static void test_depth(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *const text = mc_alloc(2 * DEPTH + 1);
    memset(text, '[', DEPTH);
    memset(text + DEPTH, ']', DEPTH);
    text[2 * DEPTH] = '\0';
    assert_false(is_accepted(text));
    assert_true(is_accepted(text + DEPTH - 2000) == false); /* closed too often */
    text[DEPTH + 2000] = '\0';
    assert_true(is_accepted(text + DEPTH - 2000));
    mc_free(text);
}

static void check_string(const char *text, const char *expected)
{
    char out[64] = {0};
    mc_scan scan = mc_scan_begin(text, 0, strlen(text));
    const mc_scan_text string = mc_scan_string(&scan);
    assert_null(scan.problem);
    out[mc_scan_decode(string, out)] = '\0';
    assert_string_equal(out, expected);
    /* Written, it is read as the same. */
    mc_text written = {0};
    mc_text_add(&written, "[");
    mc_json_add_text(&written, out);
    json_t *value = NULL;
    mc_text_add(&written, "]");
    assert_int_equal(mc_json_parse(written.data, written.length, &value, NULL), MC_OK);
    assert_string_equal(json_string_value(json_array_get(value, 0)), expected);
    json_decref(value);
    mc_text_free(&written);
}

static void test_strings(void **state)
{
    (void)state;
    check_string("\"\"", "");
    check_string("\"plain \303\251\"", "plain \303\251");
    check_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
    check_string("\"\\u0120a\\u00E9\"", "\304\240a\303\251");
    check_string("\"\\ud83d\\ude00!\"", "\360\237\230\200!");
    check_string("\"\\u001f\\u007f\"", "\037\177");
}

static void test_members(void **state)
{
    (void)state;
    static const char text[] = " { \"a\" : [1, 22, 333] , \"b\" : {} } ";
    mc_scan scan = mc_scan_begin(text, 0, strlen(text));
    mc_scan *const s = &scan;
    int64_t sum = 0, members = 0;
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}'), members++) {
        if (mc_scan_is(mc_scan_name(s), "a"))
            for (bool item = mc_scan_open(s, '['); item; item = mc_scan_next(s, ']'))
                sum += mc_scan_integer(mc_scan_number(s), 1000);
        else
            assert_false(mc_scan_open(s, '{'));
    }
    mc_scan_end(s);
    assert_null(scan.problem);
    assert_int_equal(sum, 356);
    assert_int_equal(members, 2);
}

static int64_t integer(const char *text, int64_t most)
{
    return mc_scan_integer((mc_scan_text){text, strlen(text), false}, most);
}

static void test_integers(void **state)
{
    (void)state;
    assert_int_equal(integer("7", 7), 7);
    assert_int_equal(integer("8", 7), -1);
    assert_int_equal(integer("99999999999999999999999", 7), -1);
    assert_int_equal(integer("-1", 7), -1);
    assert_int_equal(integer("1.0", 7), -1);
    assert_int_equal(integer("", 7), -1);
}

static void test_errors(void **state)
{
    (void)state;
    static const char text[] = "[1, }";
    mc_error error = MC_ERROR_NONE;
    mc_scan scan = mc_scan_begin(text, 0, strlen(text));
    mc_scan_skip(&scan);
    assert_int_equal(mc_scan_check(&scan, &error), MC_FORMAT);
    assert_string_equal(error.text, "not valid JSON at byte 4: expected a value");
    /* Nothing is read after an error. */
    assert_int_equal(mc_scan_peek(&scan), 0);
    assert_false(mc_scan_open(&scan, '{'));
    assert_int_equal(mc_scan_string(&scan).size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_strings),  cmocka_unit_test(test_members),
        cmocka_unit_test(test_integers), cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
