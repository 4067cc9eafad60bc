/*
 * JSON as Python's json module reads and writes it. What must come out was written by
 * json.dumps(json.loads(text), indent=2), but for digits of reals, where both are shortest.
 */
#include "base/json.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static json_t *parsed(const char *text)
{
    json_t *value = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_json_parse(text, strlen(text), &value, &error) != MC_OK)
        fail_msg("%s: %s", text, error.text);
    return value;
}

static void expect_written(const char *text, const char *expected)
{
    json_t *const value = parsed(text);
    char *const written = mc_json_write(value, JSON_COMPACT);
    assert_string_equal(written, expected);
    mc_free(written);
    json_decref(value);
}

static void test_written_as_read(void **state)
{
    (void)state;
    static const char *const same[] = {
        "{\"time_step_limit\":[0.0,Infinity]}",
        "[NaN,-Infinity,Infinity]",
        "{\"a\":{\"b\":[{\"c\":NaN}]}}",
        "[1000000000000000019884624838656]",
        "[-170141183460469231731687303715884105728,9223372036854775807,-9223372036854775808]",
        "[1e400,-1e999]",
        "[\"NaN\",\"Infinity\",\"number:1\",\"a\\\"Infinity\\\\\"]",
        "[0.1,-2.5,1e400]",
        "{\"Infinity\":1}",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        expect_written(same[i], same[i]);
    expect_written(" [ NaN , 1 ] ", "[NaN,1]");
    expect_written("[0.10,0.30000000000000004]", "[0.1,0.30000000000000004]");
}

/* Of a name that repeats, the last value at the first place. */
static void test_repeated_names(void **state)
{
    (void)state;
    expect_written("{\"a\":1,\"b\":2,\"a\":[Infinity]}", "{\"a\":[Infinity],\"b\":2}");
    json_t *value = NULL;
    assert_int_equal(mc_json_parse_unique("{\"a\":1,\"a\":2}", 13, &value, NULL), MC_FORMAT);
    assert_int_equal(mc_json_parse_unique("{\"a\":NaN,\"a\":2}", 15, &value, NULL), MC_FORMAT);
}

static void test_number_text(void **state)
{
    (void)state;
    json_t *const value = parsed("[Infinity,\"Infinity\",1,99999999999999999999]");
    assert_string_equal(mc_json_number_text(json_array_get(value, 0)), "Infinity");
    assert_null(mc_json_number_text(json_array_get(value, 1)));
    assert_null(mc_json_number_text(json_array_get(value, 2)));
    assert_string_equal(mc_json_number_text(json_array_get(value, 3)), "99999999999999999999");
    json_decref(value);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "[nan]",
                                      "[infinity]",
                                      "[+Infinity]",
                                      "[-NaN]",
                                      "[01]",
                                      "[1.]",
                                      "[Infinity1]",
                                      "NaNNaN",
                                      "{NaN:1}",
                                      "[1e]",
                                      "[0x10]",
                                      "[NaN",
                                      "[\"NaN]",
                                      "[--1]",
                                      "[99999999999999999999.]",
                                      "[\"\\u0001number:1\"]",
                                      "[Infinity,]",
                                      "[1 2]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *value = NULL;
        mc_error error = MC_ERROR_NONE;
        if (mc_json_parse(bad[i], strlen(bad[i]), &value, &error) == MC_OK)
            fail_msg("'%s' was read", bad[i]);
        assert_true(error.text[0] != '\0');
    }
}

/* The error is that of the text as it is, not of what it was changed into. */
static void test_place_of_error(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    json_t *value = NULL;
    assert_int_equal(mc_json_parse("[Infinity, x]", 13, &value, &error), MC_FORMAT);
    assert_true(error.offset >= 1 && error.offset <= 13);
}

static void test_byte_order_mark(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    json_t *value = NULL;
    assert_int_equal(mc_json_parse("\xEF\xBB\xBF{}", 5, &value, &error), MC_FORMAT);
    assert_string_equal(error.text, "expected JSON without a byte order mark, found one");
}

static void test_without_memory(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[Infinity,1,{\"b\":NaN}]}";
    mc_status status = MC_NO_MEMORY;
    for (long allowed = 0; status == MC_NO_MEMORY; allowed++) {
        json_t *value = NULL;
        mc_memory_fail_after(allowed);
        status = mc_json_parse(text, sizeof text - 1, &value, NULL);
        mc_memory_fail_after(-1);
        json_decref(value);
        assert_true(allowed < 100);
    }
    assert_int_equal(status, MC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_as_read), cmocka_unit_test(test_repeated_names),
        cmocka_unit_test(test_number_text),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_place_of_error),  cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
