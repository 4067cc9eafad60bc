/* Threads: teams whose members wait for each other, and independent items. */
#include "base/team.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ITEMS = 1000, MEMBERS = 8, BARRIERS = 300, RUNS = 200 };

static mc_team *new_team(int threads)
{
    mc_team *team = NULL;
    assert_int_equal(mc_team_new(threads, &team, NULL), MC_OK);
    assert_int_equal(mc_team_size(team), threads < 1 ? 1 : threads);
    return team;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static atomic_int called[MEMBERS];

static mc_status count_call(void *arg, int index, int count, mc_error *error)
{
    (void)error;
    if (count != *(const int *)arg || index < 0 || index >= count)
        return MC_USAGE;
    called[index]++;
    return MC_OK;
}

/* The same threads serve one run after the other. */
static void test_each_member_once_per_run(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        memset(called, 0, sizeof called);
        mc_team *const team = new_team(threads);
        for (int run = 1; run <= RUNS; run++) {
            assert_int_equal(mc_team_run(team, count_call, &threads, NULL), MC_OK);
            for (int i = 0; i < threads; i++)
                assert_int_equal(called[i], run);
        }
        mc_team_free(team);
    }
}

static mc_status fail_from_two(void *arg, int index, int count, mc_error *error)
{
    (void)arg;
    (void)count;
    return index >= 2 ? mc_fail(error, MC_FORMAT, "member %d", index) : MC_OK;
}

/* The error of the lowest index; the next run starts without it. */
static void test_lowest_failure_of_a_run(void **state)
{
    (void)state;
    mc_team *const team = new_team(MEMBERS);
    mc_error error = MC_ERROR_NONE;
    int count = MEMBERS;
    assert_int_equal(mc_team_run(team, fail_from_two, NULL, &error), MC_FORMAT);
    assert_string_equal(error.text, "member 2");
    assert_int_equal(mc_team_run(team, fail_from_two, NULL, NULL), MC_FORMAT);
    assert_int_equal(mc_team_run(team, count_call, &count, &error), MC_OK);
    mc_team_free(team);
}

static void test_no_team(void **state)
{
    (void)state;
    int count = 1;
    assert_int_equal(mc_team_size(NULL), 1);
    assert_true(mc_team_barrier(NULL, true));
    assert_false(mc_team_barrier(NULL, false));
    assert_int_equal(mc_team_run(NULL, count_call, &count, NULL), MC_OK);
    mc_team_free(NULL);
    mc_team_free(new_team(0));
    mc_team_free(new_team(MEMBERS)); /* that never ran */
}

/* ---- barriers -------------------------------------------------------------------------------- */

typedef struct meeting {
    mc_team *team;
    int written[MEMBERS]; /* per member, without a lock: barriers keep reading and writing apart */
    int failing_member, failing_at; /* −1: none */
    atomic_int passed, wrong;
} meeting;

static mc_status meet(void *arg, int index, int count, mc_error *error)
{
    meeting *const m = arg;
    for (int i = 0; i < BARRIERS; i++) {
        m->written[index] = i;
        const bool ok = index != m->failing_member || i != m->failing_at;
        if (!mc_team_barrier(m->team, ok))
            return ok ? MC_OK : mc_fail(error, MC_FORMAT, "member %d at %d", index, i);
        for (int other = 0; other < count; other++)
            m->wrong += m->written[other] != i;
        m->passed++;
        (void)mc_team_barrier(m->team, true);
    }
    return MC_OK;
}

static void test_barriers_keep_steps_apart(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        meeting m = {.team = new_team(threads), .failing_member = -1};
        assert_int_equal(mc_team_run(m.team, meet, &m, NULL), MC_OK);
        assert_int_equal(m.wrong, 0);
        assert_int_equal(m.passed, threads * BARRIERS);
        mc_team_free(m.team);
    }
}

/* All of them leave at the same barrier, and the team is as good as new. */
static void test_one_fails(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        mc_team *const team = new_team(threads);
        for (int member = 0; member < threads; member++) {
            mc_error error = MC_ERROR_NONE;
            char expected[40];
            meeting m = {.team = team, .failing_member = member, .failing_at = member * 7};
            snprintf(expected, sizeof expected, "member %d at %d", member, member * 7);
            assert_int_equal(mc_team_run(team, meet, &m, &error), MC_FORMAT);
            assert_string_equal(error.text, expected);
            assert_int_equal(m.wrong, 0);
            assert_int_equal(m.passed, threads * member * 7);
        }
        mc_team_free(team);
    }
}

/* ---- independent items ----------------------------------------------------------------------- */

static atomic_int done[ITEMS];

static mc_status count_item(void *arg, int worker, size_t item, mc_error *error)
{
    (void)error;
    if (worker < 0 || worker >= *(const int *)arg)
        return MC_USAGE;
    done[item]++;
    return MC_OK;
}

static void test_each_item_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        memset(done, 0, sizeof done);
        assert_int_equal(mc_parallel(ITEMS, threads, count_item, &threads, NULL), MC_OK);
        for (size_t i = 0; i < ITEMS; i++)
            assert_int_equal(done[i], 1);
    }
    assert_int_equal(mc_parallel(0, 3, count_item, NULL, NULL), MC_OK);
}

static mc_status fail_late(void *arg, int worker, size_t item, mc_error *error)
{
    (void)arg;
    (void)worker;
    return item >= 10 ? mc_fail(error, MC_FORMAT, "item %zu", item) : MC_OK;
}

static void test_first_failed_item(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        mc_error error = MC_ERROR_NONE;
        assert_int_equal(mc_parallel(ITEMS, threads, fail_late, NULL, &error), MC_FORMAT);
        assert_string_equal(error.text, "item 10");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_member_once_per_run),
        cmocka_unit_test(test_lowest_failure_of_a_run),
        cmocka_unit_test(test_no_team),
        cmocka_unit_test(test_barriers_keep_steps_apart),
        cmocka_unit_test(test_one_fails),
        cmocka_unit_test(test_each_item_once),
        cmocka_unit_test(test_first_failed_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
