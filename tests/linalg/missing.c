/* Without LAPACK the error names what to install. This test's environment hides the library. */
#include "linalg/linalg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void missing(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(mc_linalg_check(&error), MC_UNSUPPORTED);
    assert_non_null(strstr(error.text, "libopenblas0-pthread"));
    double a[4] = {1, 0, 0, 1}, w[2], work[4096];
    assert_int_equal(mc_eigen(2, a, w, work, &error), MC_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(missing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
