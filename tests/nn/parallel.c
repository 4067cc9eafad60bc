/* Threads: pieces of work that are independent, and teams whose members wait for each other. */
#include "nn/parallel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PIECES = 1000, MEMBERS = 8, MEETINGS = 300 };

/* ---- pieces ------------------------------------------------------------------------------------ */

static atomic_int done[PIECES];

static mc_status count_piece(void *user, int worker, size_t item, mc_error *error)
{
    (void)error;
    if (worker < 0 || worker >= *(const int *)user)
        return MC_USAGE;
    done[item]++;
    return MC_OK;
}

static void test_each_piece_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        memset(done, 0, sizeof done);
        assert_int_equal(mc_parallel(PIECES, threads, count_piece, &threads, NULL), MC_OK);
        for (size_t i = 0; i < PIECES; i++)
            assert_int_equal(done[i], 1);
    }
    assert_int_equal(mc_parallel(0, 3, count_piece, NULL, NULL), MC_OK);
}

static mc_status fail_late(void *user, int worker, size_t item, mc_error *error)
{
    (void)user;
    (void)worker;
    return item >= 10 ? mc_fail(error, MC_FORMAT, "piece %zu", item) : MC_OK;
}

static void test_first_failure(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        mc_error error = MC_ERROR_NONE;
        assert_int_equal(mc_parallel(PIECES, threads, fail_late, NULL, &error), MC_FORMAT);
        assert_string_equal(error.text, "piece 10");
    }
}

/* ---- teams ------------------------------------------------------------------------------------- */

typedef struct round_of {
    int written[MEMBERS]; /* by each, without a lock: meetings keep reading and writing apart */
    int failing_member, failing_at; /* −1: nobody */
    atomic_int meetings, wrong;
} round_of;

static mc_status take_part(void *user, int member, mc_team *team, mc_error *error)
{
    round_of *const r = user;
    const int size = mc_team_size(team);
    for (int i = 0; i < MEETINGS; i++) {
        r->written[member] = i;
        const bool well = member != r->failing_member || i != r->failing_at;
        if (!mc_team_meet(team, well))
            return well ? MC_OK : mc_fail(error, MC_FORMAT, "member %d at %d", member, i);
        for (int other = 0; other < size; other++)
            r->wrong += r->written[other] != i;
        r->meetings++;
        (void)mc_team_meet(team, true);
    }
    return MC_OK;
}

static void test_members_meet(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++) {
        round_of r = {.failing_member = -1};
        assert_int_equal(mc_team_run(threads, take_part, &r, NULL), MC_OK);
        assert_int_equal(r.wrong, 0);
        assert_int_equal(r.meetings, threads * MEETINGS);
    }
}

/* All of them leave at the same meeting. */
static void test_one_fails(void **state)
{
    (void)state;
    for (int threads = 1; threads <= MEMBERS; threads++)
        for (int member = 0; member < threads; member++) {
            mc_error error = MC_ERROR_NONE;
            char expected[40];
            round_of r = {.failing_member = member, .failing_at = member * 7};
            snprintf(expected, sizeof expected, "member %d at %d", member, member * 7);
            assert_int_equal(mc_team_run(threads, take_part, &r, &error), MC_FORMAT);
            assert_string_equal(error.text, expected);
            assert_int_equal(r.meetings, threads * member * 7);
        }
}

static void test_no_team(void **state)
{
    (void)state;
    assert_int_equal(mc_team_size(NULL), 1);
    assert_true(mc_team_meet(NULL, true));
    assert_false(mc_team_meet(NULL, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_piece_once), cmocka_unit_test(test_first_failure),
        cmocka_unit_test(test_members_meet),    cmocka_unit_test(test_one_fails),
        cmocka_unit_test(test_no_team),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
