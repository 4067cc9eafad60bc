/* Hashes and the index of names. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The finaliser of splitmix64, as its author's program gives it for these inputs. */
static void test_mix(void **state)
{
    (void)state;
    assert_int_equal(mc_hash_mix(0), 0);
    /* The first output of splitmix64 with seed 0 is the mix of its increment. */
    assert_true(mc_hash_mix(UINT64_C(0x9e3779b97f4a7c15)) == UINT64_C(0xe220a8397b1dcdaf));
}

/* FNV-1a of "foobar" is 0x85944171f73967e8 (Fowler, Noll, Vo); then comes the mix. */
static void test_bytes(void **state)
{
    (void)state;
    assert_true(mc_hash_bytes(MC_HASH_START, "foobar", 6) ==
                mc_hash_mix(UINT64_C(0x85944171f73967e8)));
    assert_true(mc_hash_text(MC_HASH_START, "ab") == mc_hash_bytes(MC_HASH_START, "ab", 3));
    assert_true(mc_hash_text(MC_HASH_START, "ab") != mc_hash_bytes(MC_HASH_START, "ab", 2));
}

enum { MANY = 5000 };

static void test_index(void **state)
{
    (void)state;
    static char names[MANY][8];
    mc_index index = {0};
    assert_int_equal(mc_index_find(&index, "0"), MC_INDEX_NONE);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        assert_true(mc_index_set(&index, names[i], i));
    }
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(mc_index_find(&index, names[i]), i);
    assert_int_equal(mc_index_find(&index, "5000"), MC_INDEX_NONE);
    assert_true(mc_index_set(&index, "17", 99));
    assert_int_equal(mc_index_find(&index, "17"), 99);
    assert_int_equal(index.count, MANY);
    mc_index_free(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mix), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_index)};
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
