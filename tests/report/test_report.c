/*
 * Importance against values that were computed by hand, axes, and reports whose memory fails at
 * every allocation in turn.
 */
#include "base/memory.h"
#include "report/chart.h"
#include "report/html.h"
#include "report/importance.h"

#include <mergecraft/report.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka needs the headers before it. */
#include <cmocka.h>

static void assert_near(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("expected %.17g, found %.17g", expected, found);
}

static double importance(const double *values, const double *scores, size_t count)
{
    double share = -1;
    assert_int_equal(mc_importance(values, scores, count, &share, NULL), MC_OK);
    return share;
}

static void test_importance(void **state)
{
    (void)state;
    /*
     * Two bins, the values 0 and 1. Scores 1, 2, 3, 4 and 5, 6, 7, 8: Σ(x − mean)² is 5 in each
     * and 42 in all, so that ε² = 1 − (10 / 6) / (42 / 7) = 0.7222….
     */
    const double groups[] = {1, 0, 1, 0, 1, 0, 1, 0}, scores[] = {5, 1, 6, 2, 7, 3, 8, 4};
    assert_near(importance(groups, scores, 8), 13.0 / 18, 1e-12);
    /* Scores that have nothing to do with the bins: fewer differences between than by chance. */
    const double even[] = {1, 1, 2, 2, 3, 3, 4, 4};
    assert_near(importance(groups, even, 8), 0, 0);
    /* A score that only depends on the bin. */
    const double exact[] = {2, 1, 2, 1, 2, 1, 2, 1};
    assert_near(importance(groups, exact, 8), 1, 0);
    /* Nothing to explain or to explain it by, and too few trials. */
    const double same[8] = {0};
    assert_true(isnan(importance(groups, same, 8)));
    assert_true(isnan(importance(same, scores, 8)));
    assert_true(isnan(importance(groups, scores, 7)));
}

static void assert_ticks(mc_axis axis, int wanted, size_t count, double first, double last)
{
    double ticks[MC_AXIS_TICKS];
    axis.to = 100;
    assert_int_equal(mc_axis_ticks(&axis, wanted, ticks), count);
    assert_near(ticks[0], first, 1e-12);
    assert_near(ticks[count - 1], last, 1e-12);
    for (size_t i = 1; i < count; i++)
        assert_true(mc_axis_at(&axis, ticks[i]) > mc_axis_at(&axis, ticks[i - 1]));
}

static void test_axes(void **state)
{
    (void)state;
    assert_ticks(mc_axis_of(0, 1, false), 5, 6, 0, 1);
    assert_ticks(mc_axis_of(-0.3, 0.3, false), 5, 7, -0.3, 0.3);
    assert_ticks(mc_axis_of(0.1, 10, true), 5, 3, 0.1, 10);
    assert_ticks(mc_axis_of(1e-9, 1e9, true), 5, 6, 1e-7, 1e8);
    assert_ticks(mc_axis_of(5, 5, false), 5, 5, 4.8, 5.2);
    /* Nothing overflows at the ends of the range of doubles. */
    const mc_axis wide = mc_axis_of(-1e308, 1e308, false);
    assert_true(isfinite(mc_axis_at(&wide, 1e308)));
}

static void test_numbers(void **state)
{
    (void)state;
    mc_text text = {0};
    mc_html_count(&text, -1234567);
    mc_text_add(&text, " ");
    mc_html_count(&text, 999);
    mc_text_add(&text, " ");
    mc_html_fixed(&text, -0.25, 2);
    mc_text_add(&text, " ");
    mc_html_number(&text, 1.5e-7, 3);
    mc_text_add(&text, " ");
    mc_html_coordinate(&text, -0.06);
    mc_text_add(&text, " ");
    mc_html_text(&text, "<&\x01\xff\xc2\x85>");
    assert_string_equal(text.data, "-1,234,567 999 −0.25 1.5e−07 -0.1 &lt;&amp;\\x01\xef\xbf\xbd"
                                   "\\x85&gt;");
    mc_text_free(&text);
}

static void test_memory(void **state)
{
    (void)state;
    const mc_html_report_input input = {.journal = MC_SOURCE_DIR "/fuzz/corpus/report/ok_search"};
    char *expected = NULL;
    assert_int_equal(mc_html_report(&input, &expected, NULL), MC_OK);
    bool failed = true;
    for (long allowed = 0; failed; allowed++) {
        mc_error error = MC_ERROR_NONE;
        char *html = NULL;
        mc_memory_fail_after(allowed);
        const mc_status status = mc_html_report(&input, &html, &error);
        mc_memory_fail_after(-1);
        failed = status != MC_OK;
        assert_int_equal(status, failed ? MC_NO_MEMORY : MC_OK);
        if (!failed)
            assert_string_equal(html, expected);
        mc_html_report_free(html);
    }
    mc_html_report_free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_importance),
                                       cmocka_unit_test(test_axes), cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
