/* Partial blobs: the hashing thread, resuming, and failures. */
#include "hub/partial.h"
#include "merge/folder.h"

#include "base/memory.h"
#include "base/system.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 12 << 20, PIECE = 16384, EARLIER = 9 << 20 };

static char work[64]; /* the folder of the repository in the cache */
static char *content;
static char etag[MC_SHA_HEX];

static void begin(mc_partial *partial)
{
    *partial = (mc_partial){0};
    assert_int_equal(mc_partial_begin(partial, work, etag, NULL), MC_OK);
    assert_int_equal(mc_partial_open(partial, SIZE, NULL), MC_OK);
}

/* In pieces, as from a connection. */
static mc_status write_to(mc_partial *partial, int64_t end, int64_t piece, mc_error *error)
{
    while (partial->written < end) {
        const int64_t left = end - partial->written;
        const mc_status status = mc_partial_write(partial, content + partial->written,
                                                  (size_t)(left < piece ? left : piece), error);
        if (status != MC_OK)
            return status;
    }
    return MC_OK;
}

static void expect_good(mc_partial *partial)
{
    mc_error error = MC_ERROR_NONE;
    if (mc_partial_check(partial, &error) != MC_OK)
        fail_msg("%s", error.text);
    mc_partial_end(partial, true);
}

/* Leaves a partial file, as an interrupted process does. */
static void leave_beginning(void)
{
    mc_partial partial;
    begin(&partial);
    assert_int_equal(write_to(&partial, EARLIER, PIECE, NULL), MC_OK);
    mc_partial_end(&partial, false); /* while the thread is running */
}

static void resume(mc_partial *partial)
{
    leave_beginning();
    begin(partial);
    assert_true(partial->resumed);
    assert_int_equal(partial->written, EARLIER);
}

static void test_whole(void **state)
{
    static const int64_t pieces[] = {PIECE, PIECE - 1, 3 << 20, SIZE};
    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        mc_partial partial;
        begin(&partial);
        assert_true(partial.threaded);
        assert_int_equal(write_to(&partial, SIZE, pieces[i], NULL), MC_OK);
        expect_good(&partial);
    }
}

static void test_restarted(void **state)
{
    mc_partial partial;
    (void)state;
    resume(&partial);
    assert_int_equal(write_to(&partial, EARLIER + 5000, PIECE, NULL), MC_OK);
    assert_int_equal(mc_partial_restart(&partial, NULL), MC_OK);
    assert_int_equal(partial.written, 0);
    assert_int_equal(write_to(&partial, SIZE, PIECE, NULL), MC_OK);
    expect_good(&partial);
}

static void test_wrong_byte(void **state)
{
    static const int places[] = {0, EARLIER - 1, EARLIER, SIZE - 1};
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        mc_partial partial;
        mc_error error = MC_ERROR_NONE;
        content[places[i]] ^= 1;
        resume(&partial);
        assert_int_equal(write_to(&partial, SIZE, PIECE, NULL), MC_OK);
        content[places[i]] ^= 1;
        assert_int_equal(mc_partial_check(&partial, &error), MC_FORMAT);
        assert_non_null(strstr(error.text, etag));
        assert_int_equal(mc_partial_restart(&partial, NULL), MC_OK);
        assert_int_equal(write_to(&partial, SIZE, PIECE, NULL), MC_OK);
        expect_good(&partial);
    }
}

/* ---- the system ------------------------------------------------------------------------------ */

static mc_system_calls calls;
static int read_back; /* number of calls */

static ssize_t slow_pread(int fd, void *out, size_t size, off_t offset)
{
    read_back++;
    usleep(2000);
    return mc_system_real.pread(fd, out, size, offset);
}

static ssize_t no_pread(int fd, void *out, size_t size, off_t offset)
{
    (void)fd;
    (void)out;
    (void)size;
    (void)offset;
    errno = EIO;
    return -1;
}

static ssize_t full_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (offset < EARLIER)
        return mc_system_real.pwrite(fd, bytes, size, offset);
    errno = ENOSPC;
    return -1;
}

/* The thread is slower than the writes: the check waits for it. */
static void test_thread_behind(void **state)
{
    mc_partial partial;
    (void)state;
    leave_beginning();
    calls = mc_system_real;
    calls.pread = slow_pread;
    mc_system = &calls;
    read_back = 0;
    begin(&partial); /* counting starts here */
    assert_int_equal(write_to(&partial, SIZE, PIECE, NULL), MC_OK);
    expect_good(&partial);
    assert_true(read_back >= EARLIER >> 18);
    mc_system = &mc_system_real;
}

static void test_not_read_back(void **state)
{
    mc_partial partial;
    mc_error error = MC_ERROR_NONE;
    (void)state;
    leave_beginning();
    calls = mc_system_real;
    calls.pread = no_pread;
    mc_system = &calls;
    begin(&partial);
    assert_int_equal(write_to(&partial, SIZE, PIECE, NULL), MC_OK);
    assert_int_equal(mc_partial_check(&partial, &error), MC_IO);
    assert_non_null(strstr(error.text, "cannot read the file back"));
    mc_partial_end(&partial, true);
    mc_system = &mc_system_real;
}

/* The partial file stays, and the next process resumes. */
static void test_disk_full(void **state)
{
    mc_partial partial;
    mc_error error = MC_ERROR_NONE;
    (void)state;
    calls = mc_system_real;
    calls.pwrite = full_pwrite;
    mc_system = &calls;
    begin(&partial);
    assert_int_equal(write_to(&partial, SIZE, PIECE, &error), MC_NO_SPACE);
    assert_non_null(strstr(error.text, "cannot write byte 9437184"));
    mc_partial_end(&partial, false);
    mc_system = &mc_system_real;
    begin(&partial);
    assert_int_equal(partial.written, EARLIER);
    assert_int_equal(write_to(&partial, SIZE, PIECE, NULL), MC_OK);
    expect_good(&partial);
}

/* Each allocation fails once: an error, or a fallback. */
static void test_memory(void **state)
{
    bool done = false;
    (void)state;
    for (long i = 0; !done; i++) {
        mc_partial partial = {0};
        mc_error error = MC_ERROR_NONE;
        mc_memory_fail_once(i);
        mc_status status = mc_partial_begin(&partial, work, etag, &error);
        if (status == MC_OK)
            status = mc_partial_open(&partial, SIZE, &error);
        if (status == MC_OK)
            status = write_to(&partial, SIZE, PIECE, &error);
        if (status == MC_OK)
            status = mc_partial_check(&partial, &error);
        done = mc_memory_allocations() <= i;
        mc_memory_fail_once(-1);
        assert_true(status == MC_OK || status == MC_NO_MEMORY);
        assert_true(!done || status == MC_OK);
        mc_partial_end(&partial, true);
    }
}

/* ---- folders --------------------------------------------------------------------------------- */

static int make_content(void **state)
{
    unsigned number = 1;
    mc_sha *sha = NULL;
    (void)state;
    snprintf(work, sizeof work, "/tmp/mergecraft-partial-XXXXXX");
    content = mc_alloc(SIZE);
    if (!content || !mkdtemp(work))
        return -1;
    for (int i = 0; i < SIZE; i++)
        content[i] = (char)((number = number * 1103515245 + 12345) >> 16);
    if (mc_sha_new(256, &sha, NULL) != MC_OK || mc_sha_add(sha, content, SIZE, NULL) != MC_OK ||
        mc_sha_finish(sha, etag, NULL) != MC_OK)
        return -1;
    mc_sha_free(sha);
    return 0;
}

static int remove_content(void **state)
{
    (void)state;
    mc_free(content);
    return mc_folder_remove(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),         cmocka_unit_test(test_restarted),
        cmocka_unit_test(test_wrong_byte),    cmocka_unit_test(test_thread_behind),
        cmocka_unit_test(test_not_read_back), cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, make_content, remove_content);
}
