/* Combinations on arrays small enough to check by hand. PEFT: tests/real/lora.py. */
#include "lora/combine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 6 };

static void combine(mc_combining c, const double expected[N])
{
    double x[N] = {4, -3, 1, 0, 2, -2}, y[N] = {-1, -3, 2, 5, -2, 2}, out[N];
    double *const arrays[] = {x, y};
    const double weights[] = {1, 10};
    assert_int_equal(mc_combine_whole(&c, arrays, weights, 2, N, out, NULL), MC_OK);
    for (int i = 0; i < N; i++)
        if (fabs(out[i] - expected[i]) > 1e-12)
            fail_msg("element %d: expected %g, found %g", i, expected[i], out[i]);
}

static void by_hand(void **state)
{
    (void)state;
    combine((mc_combining){MC_COMBINE_LINEAR, .density = 1}, (double[N]){-6, -33, 21, 50, -18, 18});
    /* Of x: 4, −3, 2 (before −2 of the same magnitude); of y: 5, −3, 2 at index 2. */
    combine((mc_combining){MC_COMBINE_PRUNE, .density = .5}, (double[N]){4, -33, 20, 50, 2, 0});
    combine((mc_combining){MC_COMBINE_PRUNE, .density = 0}, (double[N]){0});
    /* Signs by sums: +, −, +, +, + (a draw), + (a draw). */
    combine((mc_combining){MC_COMBINE_TIES, .density = 1}, (double[N]){4, -16.5, 10.5, 50, 2, 20});
    combine((mc_combining){MC_COMBINE_TIES, .density = 1, .frequency = true},
            (double[N]){4, -16.5, 10.5, 50, 2, 20});
    combine((mc_combining){MC_COMBINE_TIES, .density = .5}, (double[N]){4, -16.5, 20, 50, 2, 0});
    combine((mc_combining){MC_COMBINE_DARE_LINEAR, .density = 1},
            (double[N]){-6, -33, 21, 50, -18, 18});
}

/* A share `density` of the elements is kept, rescaled, and the same in any piece. */
static void at_random(void **state)
{
    enum { MANY = 40000 };
    double *const x = malloc(MANY * sizeof *x), *const out = malloc(MANY * sizeof *out),
                  *const piece = malloc(MANY * sizeof *piece);
    const mc_combining c = {MC_COMBINE_DARE_LINEAR, .density = .25, .key = 5};
    const double one = 1;
    int kept = 0;
    (void)state;
    for (int i = 0; i < MANY; i++)
        x[i] = 1;
    mc_combine(&c, &(double *){x}, &one, 1, NULL, 0, MANY, out);
    for (int i = 0; i < MANY; i++) {
        assert_true(out[i] == 0 || out[i] == 4);
        kept += out[i] == 4;
    }
    assert_true(abs(kept - MANY / 4) < 500);
    for (int i = 0; i < 100; i++)
        x[i] = 1;
    mc_combine(&c, &(double *){x}, &one, 1, NULL, 12345, 100, piece);
    assert_memory_equal(piece, out + 12345, 100 * sizeof *out);
    free(x);
    free(out);
    free(piece);
}

/* The largest values, the first among equals, whatever the order. */
static void cuts(void **state)
{
    enum { MANY = 1000 };
    float magnitudes[MANY], scratch[MANY];
    uint32_t seed = 1;
    (void)state;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < MANY; i++) {
            seed = seed * 1664525 + 1013904223;
            magnitudes[i] = (float)(seed >> 24); /* many are equal */
        }
        const double density = (double)(round + 1) / 50;
        const mc_cut cut = mc_find_cut(magnitudes, scratch, MANY, density);
        int kept = 0;
        for (int i = 0; i < MANY; i++)
            kept += magnitudes[i] > cut.above || (magnitudes[i] == cut.above && i < cut.before);
        assert_int_equal(kept, (int)(density * MANY));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand), cmocka_unit_test(at_random),
                                       cmocka_unit_test(cuts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
