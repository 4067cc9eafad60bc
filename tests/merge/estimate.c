/*
 * The estimate of the time left, in simulated runs with a clock of their own: from the moment that
 * there is one, it is right to a fifth.
 */
#include "merge/estimate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STATISTICS, APPLY, DECOMPOSE };
enum { MOST = 4096 };

/* A piece of a simulated run: what it takes on one thread that has the machine for itself. */
typedef struct step {
    int class;
    double units, seconds;
} step;

typedef struct simulation {
    mc_estimate estimate;
    step steps[MOST];
    size_t count;
    double longest; /* the piece that takes longest */
    int threads;
    double first; /* when the first estimate was made */
} simulation;

static void add(simulation *s, int phase, int size, double units, double seconds)
{
    const mc_work_kind kind = {s, phase, size};
    s->longest = seconds > s->longest ? seconds : s->longest;
    assert_true(s->count < MOST);
    s->steps[s->count++] = (step){mc_estimate_add(&s->estimate, kind, units), units, seconds};
}

/* Several threads take the steps in order. Returns when each ends, and the end of all. */
static double schedule(const simulation *s, int threads, double *begins, double *ends)
{
    double ready[8] = {0}, last = 0;
    for (size_t i = 0; i < s->count; i++) {
        int next = 0;
        for (int t = 1; t < threads; t++)
            next = ready[t] < ready[next] ? t : next;
        begins[i] = ready[next];
        ends[i] = ready[next] += s->steps[i].seconds;
        last = ends[i] > last ? ends[i] : last;
    }
    return last;
}

/*
 * Checks an estimate against what is really left. Below a second, the bar shows 0 or 1. Which piece
 * leaves the other threads without work at the end is not known.
 */
static void check(simulation *s, double now, double end)
{
    const double left = mc_estimate_left(&s->estimate, now);
    if (left < 0)
        return;
    if (s->first < 0)
        s->first = now;
    const double alone = s->longest * (s->threads - 1) / s->threads;
    if (fabs(left - (end - now)) > fmax(.2 * (end - now) + .5, alone))
        fail_msg("at %g of %g: expected %g s left, found %g", now, end, end - now, left);
}

/* Begins, ends and reports in the order of time; a report every tenth of a second. */
static double simulate(simulation *s, int threads)
{
    static double begins[MOST], ends[MOST], clocks[MOST];
    const double end = schedule(s, threads, begins, ends);
    size_t begun = 0, reports = 1;
    s->first = -1;
    s->threads = threads;
    for (;;) {
        size_t next = MOST; /* the piece that ends next */
        for (size_t i = 0; i < begun; i++)
            if (ends[i] < INFINITY && (next == MOST || ends[i] < ends[next]))
                next = i;
        const double to_end = next < MOST ? ends[next] : INFINITY;
        const double to_begin = begun < s->count ? begins[begun] : INFINITY;
        const double to_report = (double)reports / 10;
        if (to_end == INFINITY && to_begin == INFINITY)
            break;
        if (to_report < to_end && to_report < to_begin) {
            check(s, to_report, end);
            reports++;
        } else if (to_end <= to_begin) {
            const step *const done = &s->steps[next];
            const double charge = mc_estimate_end(&s->estimate, to_end, clocks[next]);
            mc_estimate_done(&s->estimate, done->class, done->units, charge, 0);
            ends[next] = INFINITY;
        } else {
            clocks[begun] = mc_estimate_begin(&s->estimate, to_begin);
            begun++;
        }
    }
    return end;
}

static void test_even_work(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads++) {
        simulation s = {0};
        for (int i = 0; i < 1000; i++)
            add(&s, APPLY, 17, 131072, .03);
        const double end = simulate(&s, threads);
        assert_true(s.first >= 0 && s.first < 1.2 && s.first < end);
    }
}

/* Each tensor is read, which is quick, before it is written: as ties does it. */
static void test_passes_of_different_rates(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        simulation s = {0};
        for (int i = 0; i < 60; i++) {
            add(&s, STATISTICS, 20, 1e6, .05);
            for (int k = 0; k < 8; k++)
                add(&s, APPLY, 17, 131072, .1);
        }
        simulate(&s, threads);
        assert_true(s.first >= 0 && s.first < 1.6);
    }
}

/* An embedding comes first and is quick; blocks of four shapes and a norm are decomposed. */
static void test_decompositions(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        simulation s = {0};
        for (int i = 0; i < 100; i++)
            add(&s, APPLY, 17, 131072, .02);
        for (int block = 0; block < 24; block++) {
            add(&s, DECOMPOSE, 20, 1e9, 1);
            add(&s, DECOMPOSE, 18, .25e9, .3);
            add(&s, DECOMPOSE, 22, 4e9, 3);
            add(&s, APPLY, 10, 1024, .001);
            add(&s, DECOMPOSE, 22, 4e9, 2.6);
        }
        const double end = simulate(&s, threads);
        /* Not while only the embedding was seen: that would promise a fiftieth of the time. */
        assert_true(s.first > 2 / threads && s.first < end / 4);
    }
}

/* Work of a kind that was not seen yet, and takes most of the time, comes last. */
static void test_nothing_is_estimated_before_it_can_be_right(void **state)
{
    (void)state;
    simulation s = {0};
    for (int i = 0; i < 500; i++)
        add(&s, APPLY, 17, 131072, .01);
    for (int i = 0; i < 50; i++)
        add(&s, DECOMPOSE, 20, 1e9, 1);
    simulate(&s, 1);
    assert_true(s.first > 5.9 && s.first < 6.3);
}

/* Time spent on a tensor whose statistics are not complete is not asked for again. */
static void test_statistics_in_work(void **state)
{
    (void)state;
    mc_estimate e = {0};
    const int class = mc_estimate_add(&e, (mc_work_kind){&e, STATISTICS, 20}, 10);
    double now = 0;
    for (int i = 0; i < 5; i++) {
        const double begun = mc_estimate_begin(&e, now);
        const double charge = mc_estimate_end(&e, now += 2, begun);
        mc_estimate_done(&e, class, 1, charge, 0);
    }
    assert_float_equal(mc_estimate_left(&e, now), 10, 1e-3);
    const double begun = mc_estimate_begin(&e, now);
    const double half = mc_estimate_end(&e, now += 1, begun);
    mc_estimate_spend(&e, class, half);
    assert_float_equal(mc_estimate_left(&e, now), 9, 1e-3);
    mc_estimate_done(&e, class, 1, half, half);
    assert_true(mc_estimate_left(&e, now) < 8.1);
}

/* A disk that becomes slower: the estimate follows within half a minute. */
static void test_rates_that_change(void **state)
{
    (void)state;
    mc_estimate e = {0};
    const int class = mc_estimate_add(&e, (mc_work_kind){&e, APPLY, 17}, 10000);
    double now = 0, left = 0;
    for (int i = 0; i < 3000; i++) {
        const double begun = mc_estimate_begin(&e, now);
        mc_estimate_done(&e, class, 1, mc_estimate_end(&e, now += i < 2000 ? .01 : .03, begun), 0);
        left = mc_estimate_left(&e, now);
    }
    assert_float_equal(left, 7000 * .03, 7000 * .03 * .2);
}

static void test_too_many_kinds(void **state)
{
    (void)state;
    mc_estimate e = {0};
    for (int i = 0; i < MC_WORK_CLASSES + 10; i++)
        assert_true(mc_estimate_add(&e, (mc_work_kind){&e, APPLY, i}, 1) < MC_WORK_CLASSES);
    for (int i = 0; i < MC_WORK_CLASSES; i++) {
        const double begun = mc_estimate_begin(&e, i);
        mc_estimate_done(&e, i, .5, mc_estimate_end(&e, i + 1, begun), 0);
    }
    assert_true(mc_estimate_left(&e, 100) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even_work),
        cmocka_unit_test(test_passes_of_different_rates),
        cmocka_unit_test(test_decompositions),
        cmocka_unit_test(test_nothing_is_estimated_before_it_can_be_right),
        cmocka_unit_test(test_statistics_in_work),
        cmocka_unit_test(test_rates_that_change),
        cmocka_unit_test(test_too_many_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
