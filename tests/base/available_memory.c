/* The memory that a process may still take, from files as the kernel writes them. */
#include "base/available_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[] = "/tmp/available_memory.XXXXXX";

static void write_text(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void make_folder(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    mkdir(path, 0700);
}

static int64_t available(const char *group)
{
    char meminfo[256], cgroup[256], groups[256];
    write_text("cgroup", group);
    snprintf(meminfo, sizeof meminfo, "%s/meminfo", root);
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", root);
    snprintf(groups, sizeof groups, "%s/groups", root);
    return mc_available_memory_in(meminfo, cgroup, groups);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(root))
        return -1;
    make_folder("groups");
    make_folder("groups/user");
    make_folder("groups/user/job");
    return 0;
}

static int clean_up(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static void test_system(void **state)
{
    (void)state;
    assert_int_equal(available("0::/user/job\n"), 0); /* no meminfo yet */
    write_text("meminfo", "MemTotal: 2000 kB\nMemAvailable:     1000 kB\nSwapFree: 5 kB\n");
    assert_int_equal(available("0::/user/job\n"), 1024000);
    assert_int_equal(available(""), 1024000);
    write_text("meminfo", "MemTotal: 2000 kB\n");
    assert_int_equal(available("0::/\n"), 0);
    write_text("meminfo", "MemAvailable: 99999999999999999999 kB\n");
    assert_int_equal(available("0::/\n"), 0);
}

/* The limit of any group around the process counts. */
static void test_groups(void **state)
{
    (void)state;
    write_text("meminfo", "MemAvailable: 1000 kB\n");
    write_text("groups/user/job/memory.max", "max\n");
    assert_int_equal(available("0::/user/job\n"), 1024000);
    write_text("groups/user/memory.max", "3000\n");
    assert_int_equal(available("0::/user/job\n"), 3000);
    write_text("groups/user/job/memory.max", "2000\n");
    assert_int_equal(available("12:pids:/other\n0::/user/job\n"), 2000);
    assert_int_equal(available("0::/user\n"), 3000);
    assert_int_equal(available("0::/\n"), 1024000);
    write_text("groups/memory.max", "5000\n");
    assert_int_equal(available("0::/\n"), 5000);
    assert_int_equal(available("0::/group/of/the/host\n"), 5000);
}

static void test_this_machine(void **state)
{
    (void)state;
    assert_true(mc_available_memory() > 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_system), cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_this_machine)};
    return cmocka_run_group_tests(tests, set_up, clean_up);
}
