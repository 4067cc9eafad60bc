/* The parts of the command that can be tested without running it. */
#include "options.h"
#include "output.h"
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- sizes ----------------------------------------------------------------------------------- */

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } cases[] = {{"1", 1},
                 {"4096", 4096},
                 {"7B", 7},
                 {"5GB", 5000000000},
                 {"5gb", 5000000000},
                 {"64MiB", 67108864},
                 {"64 MiB", 67108864},
                 {"1.5KB", 1500},
                 {".5KiB", 512},
                 {"2TB", 2000000000000},
                 {"1TiB", 1099511627776},
                 {"3KB", 3000},
                 {"3GiB", 3221225472}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t bytes = 0;
        assert_true(parse_size(cases[i].text, &bytes));
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void test_sizes_that_are_none(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",    "0",       "GB", "-5GB", "+5GB",  "5G",   "5XB",  "0x10",         "1e3", "inf",
        "nan", "1.2.3MB", ".",  " 5GB", "5  GB", "5GB ", "0.1B", "9999999999TB", "5GBs"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t bytes = -1;
        assert_false(parse_size(cases[i], &bytes));
        assert_int_equal(bytes, -1);
    }
}

/* ---- options --------------------------------------------------------------------------------- */

typedef struct settings {
    common_options common;
    const char *text;
    text_list texts;
    uint64_t number;
    int64_t size;
} settings;

static const option options[] = {
    {"text", 't', OPTION_TEXT, offsetof(settings, text), "TEXT", "a text"},
    {"texts", 'm', OPTION_TEXTS, offsetof(settings, texts), "TEXT", "texts"},
    {"number", 'n', OPTION_NUMBER, offsetof(settings, number), "N", "a number", NULL, 1, 9},
    {"size", '\0', OPTION_SIZE, offsetof(settings, size), "SIZE", "a size"},
    COMMON_OPTIONS(NULL),
    {NULL}};
static const subcommand command = {
    .name = "test", .arguments = "", .help = "Tests.", .options = options};

static void test_every_way_to_write_an_option(void **state)
{
    (void)state;
    const char *const arguments[] = {"a",         "--text", "x",  "-tlast", "-qvm", "1",
                                     "--texts=2", "b",      "-",  "-m",     "-t",   "--size=2KB",
                                     "--",        "-q",     "--", NULL};
    settings s = {0};
    text_list operands = {0};
    int status = -1;
    assert_true(parse_options(&command, arguments, &s, &operands, &status));
    assert_string_equal(s.text, "last");
    assert_true(s.common.quiet && s.common.verbose && !s.common.json);
    assert_int_equal(s.texts.count, 3);
    assert_string_equal(s.texts.items[0], "1");
    assert_string_equal(s.texts.items[1], "2");
    assert_string_equal(s.texts.items[2], "-t");
    assert_int_equal(s.size, 2000);
    static const char *const expected[] = {"a", "b", "-", "-q", "--"};
    assert_int_equal(operands.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(operands.items[i], expected[i]);
    free_options(&command, &s, &operands);
}

static void test_values(void **state)
{
    (void)state;
    const char *const arguments[] = {"-n9", "--text=", "--texts==", NULL};
    settings s = {0};
    text_list operands = {0};
    int status = -1;
    assert_true(parse_options(&command, arguments, &s, &operands, &status));
    assert_int_equal(s.number, 9);
    assert_string_equal(s.text, "");
    assert_string_equal(s.texts.items[0], "=");
    free_options(&command, &s, &operands);
}

static void test_json_is_found_behind_a_mistake(void **state)
{
    (void)state;
    const char *const with[] = {"--bogus", "--json", NULL};
    const char *const without[] = {"--bogus", "--", "--json", NULL};
    assert_true(wants_json(with));
    assert_false(wants_json(without));
}

/* ---- progress -------------------------------------------------------------------------------- */

static void test_bar_fits_any_width(void **state)
{
    (void)state;
    const mc_progress cases[] = {{0, 1000000000000, 0, 0, -1},
                                 {999999999999, 1000000000000, 0, 1e9, 1e12},
                                 {5, 5, 5, 1, 0},
                                 {0, 0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t width = 0; width < 400; width++) {
            char line[256];
            progress_line(&cases[i], NULL, 1, width, line, sizeof line);
            assert_true(strlen(line) < (width ? width : 1));
            assert_true(width < 10 || strstr(line, "%"));
        }
}

static void test_bar_says_how_far_it_is(void **state)
{
    (void)state;
    char line[256];
    mc_progress half = {500000000, 1000000000, 0, 1, 4};
    progress_line(&half, NULL, 125e6, 63, line, sizeof line);
    assert_string_equal(line, " 50 %  500 MB of 1.0 GB  125 MB/s  0:04 left [#######........]");
    half.seconds_left = progress_left(&half, 1e5);
    progress_line(&half, NULL, 1e5, 63, line, sizeof line);
    assert_non_null(strstr(line, "1:23:20 left"));
    half.seconds_left = progress_left(&half, 0);
    progress_line(&half, NULL, 0, 50, line, sizeof line);
    assert_string_equal(line, " 50 %  500 MB of 1.0 GB  ... left [######.......]");
    const mc_progress all = {1000000000, 1000000000, 0, 1, 0};
    progress_line(&all, NULL, 1e9, 36, line, sizeof line);
    assert_string_equal(line, "100 %  1.0 GB of 1.0 GB  finishing");
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_names_cannot_steer_a_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown;
    } cases[] = {{"plain", "plain"},
                 {"größe ∑ 🙂", "größe ∑ 🙂"},
                 {"\033[31mred", "\\x1b[31mred"},
                 {"a\nb\tc\177", "a\\x0ab\\x09c\\x7f"},
                 {"\302\233m", "\\xc2\\x9bm"},
                 {"\377\300\200", "\\xff\\xc0\\x80"},
                 {"\355\240\200", "\\xed\\xa0\\x80"},
                 {"cut \342\202", "cut \\xe2\\x82"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *const shown = visible_text(cases[i].text);
        assert_string_equal(shown, cases[i].shown);
        free(shown);
    }
}

static void test_json_of_any_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"größe", "größe"}, {"a\377b", "a\357\277\275b"}, {"\342\202", "\357\277\275\357\277\275"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *const string = json_text(cases[i].text);
        assert_string_equal(json_string_value(string), cases[i].expected);
        json_decref(string);
    }
    assert_true(json_is_null(json_text(NULL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_sizes_that_are_none),
        cmocka_unit_test(test_every_way_to_write_an_option),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_json_is_found_behind_a_mistake),
        cmocka_unit_test(test_bar_fits_any_width),
        cmocka_unit_test(test_bar_says_how_far_it_is),
        cmocka_unit_test(test_names_cannot_steer_a_terminal),
        cmocka_unit_test(test_json_of_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
