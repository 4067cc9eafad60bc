/*
 * Methods from C files: no shell sees a name, and nobody but the user can put code where it is
 * loaded from.
 */
#include "merge/fixtures.h"

#include "base/system.h"

#include <errno.h>
#include <pthread.h>

static const char text[] = "#include <mergecraft/method.h>\n"
                           "MC_LAYER_MERGE(own, .help = \"the first\")\n"
                           "{\n"
                           "    mc_tile_copy(layer->out, layer->models[0], layer->count);\n"
                           "    return MC_OK;\n"
                           "}\n";

static char *folder; /* where each test is; the cache is in it, and a compiler that counts */

static int set_up(void **state)
{
    (void)state;
    folder = temporary_folder();
    assert_int_equal(chdir(folder), 0);
    char *const cache = path_of(folder, "cache"), *const compiler = path_of(folder, "count");
    setenv("XDG_CACHE_HOME", cache, 1);
    setenv("CC", compiler, 1);
    char *script = NULL;
    assert_true(asprintf(&script, "#!/bin/sh\necho run >> '%s/runs'\nexec cc \"$@\"\n", folder) >
                0);
    write_text(folder, "count", script);
    assert_int_equal(chmod(compiler, 0755), 0);
    free(cache), free(compiler), free(script);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(chdir("/"), 0);
    remove_temporary(folder);
    return 0;
}

static mc_status open_own(const char *path, mc_error *error)
{
    mc_plugin *plugin = NULL;
    const mc_status status = mc_plugin_open(path, NULL, &plugin, error);
    if (status == MC_OK)
        assert_string_equal(mc_plugin_method(plugin, 0)->name, "own");
    return status;
}

/* How often the compiler was called. */
static size_t runs(void)
{
    size_t size = 0;
    if (!exists(folder, "runs"))
        return 0;
    char *const said = read_text("runs", &size);
    free(said);
    return size / strlen("run\n");
}

/* The path of the only file in the cache that ends so; the caller frees it. */
static char *in_cache(const char *ending)
{
    char *found = NULL;
    DIR *const entries = opendir("cache/mergecraft/plugins");
    assert_non_null(entries);
    for (const struct dirent *entry; (entry = readdir(entries));) {
        const size_t length = strlen(entry->d_name), end = strlen(ending);
        if (length < end || strcmp(entry->d_name + length - end, ending) != 0)
            continue;
        assert_null(found);
        found = path_of("cache/mergecraft/plugins", entry->d_name);
    }
    closedir(entries);
    assert_non_null(found);
    return found;
}

/* ---- names ---------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "a b.c",
        "; touch hacked;.c",
        "$(touch hacked).c",
        "`touch hacked`.c",
        "'\".c",
        "&touch hacked&.c",
        "|touch hacked|.c",
        "-o.c",
        "@own.c",
        "-fplugin=hacked.c",
        "#$$.c",
        "> hacked.c",
        "*?[a]\\x.c",
        "new\nline.c",
    };
    const size_t count = sizeof names / sizeof *names;
    for (size_t i = 0; i < count; i++) {
        write_text(folder, names[i], text);
        assert_done(open_own(names[i], &error));
        assert_int_equal(runs(), i + 1);
    }
    assert_false(exists(folder, "hacked"));
    /* Names that make writes in its own way are understood: nothing is compiled again. */
    for (size_t i = 0; i < count; i++)
        if (!strpbrk(names[i], "\\\n"))
            assert_done(open_own(names[i], &error));
    assert_int_equal(runs(), count);
}

static void test_compiler(void **state)
{
    (void)state;
    write_text(folder, "own.c", text);
    setenv("CC", "cc; touch hacked;", 1);
    assert_error(MC_NOT_FOUND, "cannot run the compiler 'cc; touch hacked;'",
                 open_own("own.c", &error));
    setenv("CC", "$(touch hacked)", 1);
    assert_error(MC_NOT_FOUND, "cannot run the compiler", open_own("own.c", &error));
    assert_false(exists(folder, "hacked"));
}

/* ---- the cache ------------------------------------------------------------------------------ */

static void test_private(void **state)
{
    (void)state;
    struct stat status;
    write_text(folder, "own.c", text);
    const mode_t before = umask(0);
    assert_done(open_own("own.c", &error));
    umask(before);
    static const char *const folders[] = {"cache", "cache/mergecraft", "cache/mergecraft/plugins"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        assert_int_equal(lstat(folders[i], &status), 0);
        assert_int_equal(status.st_mode & 0777, 0700);
    }
    /* The object, what it depends on, the headers; nothing else. */
    assert_int_equal(count_entries("cache/mergecraft/plugins"), 3);
    assert_done(open_own("own.c", &error));
    write_text(folder, "bad.c", "int x = ;\n");
    assert_status(MC_COMPILE, open_own("bad.c", &error));
    assert_int_equal(count_entries("cache/mergecraft/plugins"), 3);
}

#define assert_refused() assert_error(MC_IO, "expected a folder", open_own("own.c", &error))

/* Who owns it, who may write to it, whether it is a link: of each folder down to the headers. */
static void check_folder(const char *path)
{
    assert_done(open_own("own.c", &error));
    assert_int_equal(chmod(path, 0770), 0);
    assert_refused();
    assert_int_equal(chmod(path, 0702), 0);
    assert_refused();
    assert_int_equal(chmod(path, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 65534, 0), 0);
        assert_refused();
        assert_int_equal(chown(path, 0, 0), 0);
    }
    assert_int_equal(rename(path, "elsewhere"), 0);
    char *const there = path_of(folder, "elsewhere");
    assert_int_equal(symlink(there, path), 0);
    assert_refused();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rename("elsewhere", path), 0);
    assert_done(open_own("own.c", &error));
    free(there);
}

static void test_folders(void **state)
{
    (void)state;
    write_text(folder, "own.c", text);
    check_folder("cache/mergecraft");
    check_folder("cache/mergecraft/plugins");
    assert_int_equal(runs(), 1);
    /* What is above may be shared, as /tmp is, but not so that anybody may rename what is in it. */
    assert_int_equal(chmod("cache", 0777), 0);
    assert_refused();
    assert_int_equal(chmod("cache", 01777), 0);
    assert_done(open_own("own.c", &error));
    assert_int_equal(chmod("cache", 0700), 0);
}

static void test_headers(void **state)
{
    (void)state;
    write_text(folder, "own.c", text);
    assert_done(open_own("own.c", &error));
    char *const object = in_cache(".so");
    DIR *const entries = opendir("cache/mergecraft/plugins");
    char *headers = NULL;
    for (const struct dirent *entry; (entry = readdir(entries));)
        if (strncmp(entry->d_name, "include-", 8) == 0)
            headers = path_of("cache/mergecraft/plugins", entry->d_name);
    closedir(entries);
    assert_non_null(headers);
    assert_int_equal(unlink(object), 0);
    assert_int_equal(chmod(headers, 0777), 0);
    assert_refused();
    assert_int_equal(chmod(headers, 0700), 0);
    assert_done(open_own("own.c", &error));
    free(headers), free(object);
}

/* An object that others could have written, or that is a link, is not loaded: it is made anew. */
static void test_objects(void **state)
{
    (void)state;
    struct stat status;
    write_text(folder, "own.c", text);
    assert_done(open_own("own.c", &error));
    char *const object = in_cache(".so"), *const depends = in_cache(".d");
    assert_int_equal(chmod(object, 0722), 0);
    assert_done(open_own("own.c", &error));
    assert_int_equal(runs(), 2);
    assert_int_equal(lstat(object, &status), 0);
    assert_int_equal(status.st_mode & 022, 0);

    assert_int_equal(rename(object, "other.so"), 0);
    char *const other = path_of(folder, "other.so");
    assert_int_equal(symlink(other, object), 0);
    assert_done(open_own("own.c", &error));
    assert_int_equal(runs(), 3);
    assert_int_equal(lstat(object, &status), 0);
    assert_true(S_ISREG(status.st_mode));

    assert_int_equal(truncate(depends, 3), 0);
    assert_done(open_own("own.c", &error));
    assert_int_equal(runs(), 4);
    assert_int_equal(unlink("own.c"), 0);
    write_text(folder, "own.c", text); /* newer than the object */
    assert_done(open_own("own.c", &error));
    assert_int_equal(runs(), 5);
    assert_done(open_own("own.c", &error));
    assert_int_equal(runs(), 5);
    free(object), free(depends), free(other);
}

static void *open_in_thread(void *argument)
{
    mc_error error = MC_ERROR_NONE;
    return open_own("own.c", &error) == MC_OK ? argument : NULL;
}

static void test_at_once(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    write_text(folder, "own.c", text);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_in_thread, folder), 0);
    for (int i = 0; i < THREADS; i++) {
        void *done = NULL;
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_ptr_equal(done, folder);
    }
    assert_int_equal(count_entries("cache/mergecraft/plugins"), 3);
}

/* ---- calls that fail ------------------------------------------------------------------------ */

typedef enum call { OPEN, CLOSE, MKDIR, RENAME, PWRITE, FSYNC, LSTAT, CALLS } call;

static call failing;
static long left; /* calls until the one that fails */

static bool hit(call which)
{
    if (which != failing || --left != 0)
        return false;
    errno = EIO;
    return true;
}

static int bad_open(int at, const char *path, int flags, mode_t mode)
{
    return hit(OPEN) ? -1 : mc_system_real.open(at, path, flags, mode);
}

static int bad_close(int fd)
{
    const int result = mc_system_real.close(fd);
    return hit(CLOSE) ? -1 : result;
}

static int bad_mkdir(const char *path, mode_t mode)
{
    return hit(MKDIR) ? -1 : mc_system_real.mkdir(path, mode);
}

static int bad_rename(const char *from, const char *to, unsigned flags)
{
    return hit(RENAME) ? -1 : mc_system_real.rename(from, to, flags);
}

static ssize_t bad_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return hit(PWRITE) ? -1 : mc_system_real.pwrite(fd, bytes, size, offset);
}

static int bad_fsync(int fd)
{
    return hit(FSYNC) ? -1 : mc_system_real.fsync(fd);
}

static int bad_lstat(const char *path, struct stat *out)
{
    return hit(LSTAT) ? -1 : mc_system_real.lstat(path, out);
}

/* How many names with a process's number are in the cache. */
static int remains(void)
{
    int count = 0;
    DIR *const entries = opendir("cache/mergecraft/plugins");
    for (const struct dirent *entry; entries && (entry = readdir(entries));)
        count += entry->d_name[0] != '.' && strchr(entry->d_name, '.') &&
                 strchr(entry->d_name, '.')[1] != 's' && strchr(entry->d_name, '.')[2] != '\0';
    if (entries)
        closedir(entries);
    return count;
}

static void test_failing(void **state)
{
    (void)state;
    mc_system_calls bad = mc_system_real;
    bad.open = bad_open, bad.close = bad_close, bad.mkdir = bad_mkdir;
    bad.rename = bad_rename, bad.pwrite = bad_pwrite, bad.fsync = bad_fsync;
    bad.lstat = bad_lstat;
    write_text(folder, "own.c", text);
    for (failing = 0; failing < CALLS; failing++) {
        bool reached = true;
        for (long nth = 1; reached && nth < 4; nth++) {
            if (exists(folder, "cache"))
                nftw("cache", remove_entry, 16, FTW_DEPTH | FTW_PHYS);
            mc_error error = MC_ERROR_NONE;
            left = nth;
            mc_system = &bad;
            const mc_status status = open_own("own.c", &error);
            mc_system = &mc_system_real;
            reached = left <= 0;
            assert_true(reached || nth > 1);
            assert_true(status == MC_OK || (reached && error.text[0]));
            assert_int_equal(remains(), 0);
        }
    }
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names),   TEST(test_compiler), TEST(test_private), TEST(test_folders),
        TEST(test_headers), TEST(test_objects),  TEST(test_at_once), TEST(test_failing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
