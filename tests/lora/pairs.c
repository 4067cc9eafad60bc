/* Pairs of factors that several threads read: computed once each in order, again on demand. */
#include "lora/pairs.h"

#include "base/team.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COUNT = 40, A = 6, B = 4, WORK = 100, BYTES = WORK + (A + B) * 8 };

static atomic_int computed[COUNT];
static int failing = -1;
static atomic_int running, most; /* computations at once */

static mc_status compute(void *user, size_t index, double *a, double *b, mc_error *error)
{
    (void)user;
    computed[index]++;
    const int now = ++running;
    most = now > most ? now : most;
    sched_yield();
    running--;
    if ((int)index == failing)
        return mc_fail(error, MC_FORMAT, "pair %zu", index);
    for (int i = 0; i < A; i++)
        a[i] = (double)index + i;
    for (int i = 0; i < B; i++)
        b[i] = -(double)index - i;
    return MC_OK;
}

static mc_source *sources[2 * COUNT];

static void set_up(int64_t memory)
{
    static const int64_t shape_a[] = {2, 3}, shape_b[] = {2, 2};
    mc_pair_size sizes[COUNT];
    mc_pairs *pairs = NULL;
    for (int i = 0; i < COUNT; i++)
        sizes[i] = (mc_pair_size){A, B, WORK};
    running = most = 0;
    assert_int_equal(mc_pairs_new(COUNT, sizes, memory, compute, NULL, &pairs, NULL), MC_OK);
    for (size_t i = 0; i < 2 * COUNT; i++) {
        computed[i / 2] = 0;
        assert_int_equal(mc_pairs_source(pairs, i / 2, i % 2 != 0, MC_F32, 2,
                                         i % 2 ? shape_b : shape_a, &sources[i], NULL),
                         MC_OK);
    }
    mc_pairs_unref(pairs);
}

static void tear_down(void)
{
    for (size_t i = 0; i < 2 * COUNT; i++)
        mc_source_unref(sources[i]);
}

static mc_status read_one(void *arg, int worker, size_t item, mc_error *error)
{
    float values[A];
    (void)arg;
    (void)worker;
    const int64_t count = item % 2 ? B : A;
    MC_TRY(mc_source_read_f32(sources[item], 0, count, values, error));
    for (int i = 0; i < count; i++) {
        const float expected = (float)(item / 2) + (float)i;
        if (values[i] != (item % 2 ? -expected : expected))
            return mc_fail(error, MC_FORMAT, "value %d of %zu", i, item);
    }
    return MC_OK;
}

static void in_order(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads *= 2) {
        mc_error error = MC_ERROR_NONE;
        set_up(0);
        assert_int_equal(mc_parallel(2 * COUNT, threads, read_one, NULL, &error), MC_OK);
        for (int i = 0; i < COUNT && threads == 1; i++)
            assert_int_equal(computed[i], 1);
        assert_int_equal(read_one(NULL, 0, 5, &error), MC_OK); /* again */
        tear_down();
    }
}

static void failure(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads *= 2) {
        mc_error error = MC_ERROR_NONE;
        set_up(0);
        failing = 7;
        assert_int_equal(mc_parallel(2 * COUNT, threads, read_one, NULL, &error), MC_FORMAT);
        assert_string_equal(error.text, "pair 7");
        failing = -1;
        assert_int_equal(read_one(NULL, 0, 14, &error), MC_OK);
        tear_down();
    }
}

/* Room for one or two pairs: no more are computed at once, and all values are right. */
static void within_memory(void **state)
{
    (void)state;
    for (int pairs = 1; pairs <= 2; pairs++)
        for (int threads = 1; threads <= 8; threads *= 2) {
            mc_error error = MC_ERROR_NONE;
            set_up(pairs * BYTES);
            assert_int_equal(mc_parallel(2 * COUNT, threads, read_one, NULL, &error), MC_OK);
            assert_in_range(most, 1, pairs);
            tear_down();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(within_memory), cmocka_unit_test(in_order),
                                       cmocka_unit_test(failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
