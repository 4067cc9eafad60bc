/* State dicts: order, lookup, changes, parts; what arithmetic leaves out. */
#include <mergecraft/state_dict.h>

#include "base/memory.h"
#include "tensor/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static mc_source *number(const float *value)
{
    mc_source *source = NULL;
    assert_int_equal(mc_source_wrap(MC_F32, 0, NULL, value, NULL, NULL, &source, NULL), MC_OK);
    return source;
}

static void add(mc_state_dict *dict, const char *name, const float *value)
{
    mc_source *const source = number(value);
    assert_int_equal(mc_state_dict_set(dict, name, source, NULL), MC_OK);
    mc_source_unref(source);
}

static mc_state_dict *dict_of(const char *names, const float *value)
{
    mc_state_dict *dict = NULL;
    assert_int_equal(mc_state_dict_new(&dict, NULL), MC_OK);
    for (; *names; names++)
        add(dict, (const char[]){*names, '\0'}, value);
    return dict;
}

static void assert_names(const mc_state_dict *dict, const char *names)
{
    assert_int_equal(mc_state_dict_count(dict), strlen(names));
    for (size_t i = 0; names[i]; i++) {
        const char *const name = mc_state_dict_name(dict, i);
        assert_true(name[0] == names[i] && name[1] == '\0');
        assert_ptr_equal(mc_state_dict_find(dict, name), mc_state_dict_source(dict, i));
    }
}

static const float one = 1, two = 2;

static void test_order(void **state)
{
    (void)state;
    mc_state_dict *const dict = dict_of("cab", &one);
    assert_names(dict, "cab");
    add(dict, "a", &two); /* replaced in place */
    assert_names(dict, "cab");
    assert_ptr_equal(mc_source_data(mc_state_dict_find(dict, "a")), &two);
    assert_null(mc_state_dict_find(dict, "d"));
    mc_state_dict_free(dict);
}

static bool is_not_b(const char *name, const mc_source *source, void *user)
{
    (void)source;
    ++*(int *)user;
    return name[0] != 'b';
}

static void test_changes(void **state)
{
    (void)state;
    int asked = 0;
    mc_state_dict *const dict = dict_of("abcdef", &one);
    const char *const names[] = {"c", "x", "a"};
    assert_int_equal(mc_state_dict_remove(dict, names, 3, NULL), MC_OK);
    assert_names(dict, "bdef");
    assert_int_equal(mc_state_dict_filter(dict, is_not_b, &asked, NULL), MC_OK);
    assert_int_equal(asked, 4);
    assert_names(dict, "def");
    add(dict, "a", &one);
    assert_names(dict, "defa");
    mc_state_dict_free(dict);
}

static void test_parts(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *const dict = dict_of("abc", &two), *copy = NULL, *part = NULL, *zeros = NULL;
    assert_int_equal(mc_state_dict_copy(dict, &copy, NULL), MC_OK);
    assert_names(copy, "abc");
    assert_ptr_equal(mc_state_dict_source(copy, 0), mc_state_dict_source(dict, 0));
    assert_int_equal(mc_state_dict_subset(dict, (const char *const[]){"c", "a"}, 2, &part, NULL),
                     MC_OK);
    assert_names(part, "ca");
    mc_state_dict *none = NULL;
    assert_int_equal(mc_state_dict_subset(dict, (const char *const[]){"a", "x"}, 2, &none, &error),
                     MC_NOT_FOUND);
    assert_string_equal(error.tensor, "x");
    assert_int_equal(mc_state_dict_zeros_like(dict, &zeros, NULL), MC_OK);
    float value = 9;
    assert_int_equal(mc_source_read_f32(mc_state_dict_find(zeros, "b"), 0, 1, &value, NULL), MC_OK);
    assert_true(value == 0);
    mc_state_dict_free(dict);
    assert_ptr_equal(mc_source_data(mc_state_dict_find(copy, "a")), &two); /* outlives the dict */
    mc_state_dict_free(copy);
    mc_state_dict_free(part);
    mc_state_dict_free(zeros);
}

/* ---- arithmetic ---- */

static void test_names_left_out(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    mc_state_dict *const a = dict_of("wab", &two), *const b = dict_of("bwx", &one);
    mc_state_dict *sum = NULL, *none = NULL;
    size_t left_out = 99;
    float value = 0;
    assert_int_equal(mc_state_dict_combine(MC_ADD, a, b, &left_out, &sum, &error), MC_OK);
    assert_names(sum, "wb"); /* in the order of a */
    assert_int_equal(left_out, 2);
    assert_int_equal(mc_source_read_f32(mc_state_dict_find(sum, "b"), 0, 1, &value, NULL), MC_OK);
    assert_true(value == 3);
    assert_int_equal(mc_state_dict_combine(MC_ADD, a, b, NULL, &none, &error), MC_MISMATCH);
    assert_string_equal(error.tensor, "a");
    assert_non_null(strstr(error.text, "found 2 that only one"));
    mc_state_dict_free(sum);
    assert_int_equal(mc_state_dict_combine(MC_SUBTRACT, a, a, &left_out, &sum, &error), MC_OK);
    assert_int_equal(left_out, 0);
    mc_state_dict_free(sum);
    mc_state_dict_free(a);
    mc_state_dict_free(b);
}

static void test_nothing_in_common(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    size_t left_out = 0;
    mc_state_dict *const a = dict_of("ab", &one), *const b = dict_of("cd", &one), *none = NULL;
    assert_int_equal(mc_state_dict_combine(MC_ADD, a, b, &left_out, &none, &error), MC_MISMATCH);
    assert_non_null(strstr(error.text, "no tensor name in common"));
    assert_int_equal(mc_state_dict_combine(MC_ADD, a, b, NULL, &none, &error), MC_MISMATCH);
    mc_state_dict_free(a);
    mc_state_dict_free(b);
}

/* Whatever allocation fails, the dict is what it was. */
static void test_without_memory(void **state)
{
    (void)state;
    mc_state_dict *const dict = dict_of("abc", &one);
    mc_source *const source = number(&two);
    const char *const names[] = {"a"};
    mc_memory_fail_after(0);
    for (char letter = 'd'; letter <= 'z'; letter++)
        assert_int_equal(mc_state_dict_set(dict, (const char[]){letter, '\0'}, source, NULL),
                         MC_NO_MEMORY);
    assert_int_equal(mc_state_dict_remove(dict, names, 1, NULL), MC_NO_MEMORY);
    mc_memory_fail_after(-1);
    assert_names(dict, "abc");
    mc_source_unref(source);
    mc_state_dict_free(dict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_names_left_out),
        cmocka_unit_test(test_nothing_in_common),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests_name("state_dict", tests, NULL, NULL);
}
