#include "merge/plugin_cache.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/folder.h"
#include "merge/headers.h"

#include <mergecraft/version.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the cache's folders -------------------------------------------------------------------- */

/*
 * Loading an object runs its code: nobody else may be able to write to its folder. lstat, as a link
 * could lead to a folder of another user.
 */
static mc_status check_private(const char *path, mc_error *error)
{
    struct stat status;
    if (mc_system->lstat(path, &status) != 0)
        return mc_fail_errno(error, path, "cannot examine it");
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022))
        return mc_fail_at(error, MC_IO, path, NULL, -1,
                          "expected a folder for compiled methods that belongs to this user and "
                          "that only this user can write to");
    return MC_OK;
}

static mc_status make_private(const char *path, mc_error *error)
{
    if (mc_system->mkdir(path, 0700) != 0 && errno != EEXIST)
        return mc_fail_errno(error, path, "cannot create the folder for compiled methods");
    return check_private(path, error);
}

/*
 * Another user who can rename entries of this folder could replace ours between the check of it and
 * its use. The sticky bit, as of /tmp, prevents that.
 */
static mc_status check_home(const char *path, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(path, &status) != 0)
        return mc_fail_errno(error, path, "cannot examine it");
    const bool mine = status.st_uid == geteuid() || status.st_uid == 0;
    if (!S_ISDIR(status.st_mode) || !mine ||
        ((status.st_mode & S_IWOTH) && !(status.st_mode & S_ISVTX)))
        return mc_fail_at(error, MC_IO, path, NULL, -1,
                          "expected a folder for compiled methods that belongs to this user and "
                          "that not everybody can write to");
    return MC_OK;
}

/*
 * $XDG_CACHE_HOME or ~/.cache in new memory; *out is NULL if neither is set. The XDG specification
 * ignores relative paths.
 */
static mc_status cache_home(char **out, mc_error *error)
{
    const char *const cache = getenv("XDG_CACHE_HOME"), *const home = getenv("HOME");
    *out = NULL;
    if (cache && cache[0] == '/')
        *out = mc_strdup(cache);
    else if (home && home[0] == '/')
        *out = mc_format("%s/.cache", home);
    else
        return MC_OK;
    return *out ? MC_OK : mc_fail_memory(error);
}

/*
 * Creates the folder HOME, then `name` and `name`/plugins in it, which belong to the user. *out:
 * the last one.
 */
static mc_status make_cache(const char *home, const char *name, char **out, mc_error *error)
{
    char *const own = mc_format("%s/%s", home, name);
    *out = mc_format("%s/%s/plugins", home, name);
    mc_status status = own && *out ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK && mc_system->mkdir(home, 0700) != 0 && errno != EEXIST)
        status = mc_fail_errno(error, home, "cannot create the folder");
    if (status == MC_OK)
        status = check_home(home, error);
    if (status == MC_OK)
        status = make_private(own, error);
    if (status == MC_OK)
        status = make_private(*out, error);
    mc_free(own);
    return status;
}

/*
 * Whether HOME/mergecraft/plugins exists or can be created, and is writable. Trying is the only
 * sure test: permission bits say nothing about a file system that is read-only.
 */
static bool is_usable(const char *home)
{
    char *const own = mc_format("%s/mergecraft", home);
    char *const path = mc_format("%s/mergecraft/plugins", home);
    bool usable = own && path;
    const char *const folders[] = {home, own, path};
    for (size_t i = 0; usable && i < 3; i++)
        usable = mc_system->mkdir(folders[i], 0700) == 0 || errno == EEXIST;
    usable = usable && faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0;
    mc_free(own);
    mc_free(path);
    return usable;
}

/*
 * *out: …/mergecraft/plugins below the user's cache, in new memory. Services and containers often
 * have no home folder or a read-only one: then it is mergecraft-UID/plugins in $TMPDIR or /tmp.
 */
static mc_status cache_folder(char **out, mc_error *error)
{
    char *home = NULL, name[40];
    mc_status status = cache_home(&home, error);
    if (status == MC_OK && home && is_usable(home)) {
        status = make_cache(home, "mergecraft", out, error);
    } else if (status == MC_OK) {
        const char *const temporary = getenv("TMPDIR");
        snprintf(name, sizeof name, "mergecraft-%ld", (long)geteuid());
        status = make_cache(temporary && temporary[0] == '/' ? temporary : "/tmp", name, out,
                            error);
    }
    mc_free(home);
    return status;
}

/* ---- names of this process ------------------------------------------------------------------ */

/*
 * A temporary name for the file or folder `path`, in new memory: unique among processes by the
 * process number, and within one by a counter. Removes what an earlier process of the same number
 * left under that name.
 */
static char *unique_name(const char *path)
{
    static atomic_uint number;
    char *const name = mc_format("%s.%ld-%u", path, (long)getpid(), atomic_fetch_add(&number, 1));
    if (name && mc_system->unlink(AT_FDCWD, name, 0) != 0 && errno == EISDIR)
        (void)mc_folder_remove(name);
    return name;
}

/* ---- headers -------------------------------------------------------------------------------- */

static uint64_t headers_hash(void)
{
    uint64_t hash = mc_hash_text(MC_HASH_START, mc_version());
    for (const mc_header *header = mc_headers; header->name; header++)
        hash = mc_hash_bytes(hash, header->bytes, header->size);
    return hash;
}

static mc_status write_file(const char *path, const void *bytes, size_t size, mc_error *error)
{
    const int fd = mc_system->open(AT_FDCWD, path,
                                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return mc_fail_errno(error, path, "cannot create the file");
    mc_status status = mc_write_all(fd, path, bytes, size, 0, error);
    if (status == MC_OK && mc_system->fsync(fd) != 0)
        status = mc_fail_errno(error, path, "cannot flush it to disk");
    if (mc_system->close(fd) != 0 && status == MC_OK)
        status = mc_fail_errno(error, path, "cannot close it");
    return status;
}

static mc_status write_headers(const char *folder, mc_error *error)
{
    mc_status status = MC_OK;
    for (const mc_header *header = mc_headers; status == MC_OK && header->name; header++) {
        char *const path = mc_format("%s/%s", folder, header->name);
        status = path ? write_file(path, header->bytes, header->size, error)
                      : mc_fail_memory(error);
        mc_free(path);
    }
    return status;
}

/* Writes the headers into a folder with a unique name, and renames it when it is complete. */
static mc_status make_headers(const char *path, const char *made, mc_error *error)
{
    char *const inner = mc_format("%s/mergecraft", made);
    mc_status status = inner ? make_private(made, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = make_private(inner, error);
    if (status == MC_OK)
        status = write_headers(made, error);
    const bool named = status == MC_OK && mc_system->rename(made, path, 0) == 0;
    /* Another process may have renamed its own first; its headers are the same. */
    if (status == MC_OK && !named && errno != EEXIST && errno != ENOTEMPTY)
        status = mc_fail_errno(error, path, "cannot rename the folder to it");
    if (!named)
        (void)mc_folder_remove(made);
    mc_free(inner);
    return status;
}

/* The folder with the public headers. *out: its path, in new memory. */
static mc_status headers_folder(const char *cache, char **out, mc_error *error)
{
    struct stat status;
    *out = mc_format("%s/include-%016" PRIx64, cache, headers_hash());
    char *const made = *out ? unique_name(*out) : NULL;
    mc_status result = made ? MC_OK : mc_fail_memory(error);
    if (result == MC_OK && mc_system->lstat(*out, &status) != 0)
        result = make_headers(*out, made, error);
    if (result == MC_OK)
        result = check_private(*out, error);
    mc_free(made);
    return result;
}

/* ---- the compiler --------------------------------------------------------------------------- */

static const char *compiler(void)
{
    const char *const cc = getenv("CC");
    return cc && *cc ? cc : "cc";
}

static const char *const compiler_flags[] = {
    "-std=gnu17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC",
    "-shared", "-fvisibility=hidden", "-DMC_PLUGIN", "-D_GNU_SOURCE", "-Wall", "-Wno-unused",
    /* without a return statement, the status of a method would be arbitrary */
    "-Werror=return-type", "-x", "c"};
enum { FLAGS = sizeof compiler_flags / sizeof *compiler_flags };

/* Not -march=native: machines with different CPUs may share a home folder. */
static const char *const level_flags[MC_CPU_LEVELS] = {
    [MC_CPU_SCALAR] = "-DMC_CPU_SCALAR",
    [MC_CPU_AVX2] = "-march=haswell",
    [MC_CPU_AVX512] = "-march=skylake-avx512",
};

/* The output of a compiler so far, cut to `size`. */
typedef struct messages {
    char *text;
    size_t size, length;
} messages;

/*
 * Reads what is in the pipe; false at its end. Waits a tenth of a second at most, so that *cancel
 * is polled in time. Output beyond the buffer is read and dropped: a full pipe would block the
 * compiler.
 */
static bool read_some(int from, messages *said)
{
    char block[4096];
    struct pollfd wait = {.fd = from, .events = POLLIN};
    if (poll(&wait, 1, 100) <= 0)
        return true;
    const ssize_t got = read(from, block, sizeof block);
    const size_t room = said->size - 1 - said->length;
    const size_t taken = got < 0 ? 0 : (size_t)got < room ? (size_t)got : room;
    memcpy(said->text + said->length, block, taken);
    said->length += taken;
    return got > 0 || (got < 0 && errno == EINTR);
}

/*
 * Starts the compiler; 0, or an error number. If it can be cancelled, its processes form their own
 * group, which can be killed as a whole. Otherwise they stay in the caller's group, and Ctrl-C in a
 * terminal reaches them too.
 */
static int start_compiler(char *const *arguments, int output, bool own_group, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    if (own_group)
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int problem = posix_spawnp(child, arguments[0], &actions, &attributes, arguments,
                                     environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return problem;
}

/* Waits for the end. The exit status; −1 and errno if there is none: EINTR if a signal ended it. */
static int wait_for(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    /* 127: posix_spawn may start a child before it finds that the program does not exist. */
    const bool absent = WIFEXITED(status) && WEXITSTATUS(status) == 127;
    const bool interrupted = WIFSIGNALED(status) &&
                             (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM);
    errno = absent ? ENOENT : EINTR;
    if (absent || interrupted)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/*
 * Runs the compiler without a shell and returns its exit status, or −1 and errno; EINTR if *cancel
 * or Ctrl-C ended it.
 */
static int run_compiler(char *const *arguments, const volatile int *cancel, messages *said)
{
    int ends[2];
    pid_t child = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    const int problem = start_compiler(arguments, ends[1], cancel != NULL, &child);
    close(ends[1]);
    bool more = problem == 0;
    while (more && !(cancel && *cancel))
        more = read_some(ends[0], said);
    if (more)
        /* Only a cancelled run ends with more to read, and only such a run has its own group. */
        kill(-child, SIGTERM);
    said->text[said->length] = '\0';
    close(ends[0]);
    errno = problem;
    return problem == 0 ? wait_for(child) : -1;
}

static mc_status compile(const char *path, const char *include, const char *object,
                         const char *depends, const volatile int *cancel, mc_error *error)
{
    const char *arguments[FLAGS + 12];
    size_t count = 0;
    arguments[count++] = compiler();
    for (size_t i = 0; i < FLAGS; i++)
        arguments[count++] = compiler_flags[i];
    arguments[count++] = level_flags[mc_cpu()];
    /* "./" keeps the compiler from reading names that begin with - or @ as options. */
    char *const file = mc_format("%s%s", *path == '-' || *path == '@' ? "./" : "", path);
    if (!file)
        return mc_fail_memory(error);
    const char *const rest[] = {"-I", include, "-MMD", "-MF", depends, "-o", object, file, "-lm"};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        arguments[count++] = rest[i];
    arguments[count] = NULL;
    char said[sizeof(((mc_error *)0)->text)];
    messages into = {.text = said, .size = sizeof said - 128};
    const int result = run_compiler((char *const *)(uintptr_t)arguments, cancel, &into);
    mc_free(file);
    if (result < 0 && errno == EINTR)
        return mc_fail_at(error, MC_INTERRUPTED, path, NULL, -1, "interrupted while compiling");
    if (result < 0)
        return mc_fail_errno(error, path, "cannot run the compiler '%s'", compiler());
    while (*said && said[strlen(said) - 1] == '\n')
        said[strlen(said) - 1] = '\0';
    if (result != 0)
        return mc_fail_at(error, MC_COMPILE, path, NULL, -1, "does not compile:\n%s", said);
    return MC_OK;
}

/* ---- the cache ------------------------------------------------------------------------------ */

/*
 * The next name of a list that a compiler wrote for make: separated by blanks and continued lines,
 * with "\\ ", "\\#" and "$$" in names. Unescapes in place; NULL at the end.
 */
static char *next_name(char **rest)
{
    char *at = *rest + strspn(*rest, " \n\t");
    while (at[0] == '\\' && at[1] == '\n')
        at += 2 + strspn(at + 2, " \n\t");
    char *const name = at;
    char *to = at;
    while (*at && *at != ' ' && *at != '\n' && !(at[0] == '\\' && at[1] == '\n')) {
        const bool escaped = (at[0] == '\\' && (at[1] == ' ' || at[1] == '#')) ||
                             (at[0] == '$' && at[1] == '$');
        at += escaped;
        *to++ = *at++;
    }
    *rest = *at ? at + 1 : at;
    *to = '\0';
    return to > name ? name : NULL;
}

/*
 * Whether the object can be loaded as it is: it belongs to the user alone, and all files that the
 * compiler listed for it are older. The key covers the method's own text; included files may have
 * changed since.
 */
static bool up_to_date(const char *object, const char *depends)
{
    struct stat made, part;
    char *text = NULL;
    size_t size = 0;
    if (mc_system->lstat(object, &made) != 0 || !S_ISREG(made.st_mode) ||
        made.st_uid != geteuid() || (made.st_mode & 022) ||
        mc_file_load(depends, 1 << 20, &text, &size, NULL) != MC_OK)
        return false;
    char *rest = strchr(text, ':');
    bool fresh = rest != NULL;
    rest += fresh;
    for (const char *name; fresh && (name = next_name(&rest));)
        /* A listed file that was removed counts as changed. */
        fresh = mc_system->stat(name, &part) == 0 &&
                (part.st_mtim.tv_sec < made.st_mtim.tv_sec ||
                 (part.st_mtim.tv_sec == made.st_mtim.tv_sec &&
                  part.st_mtim.tv_nsec <= made.st_mtim.tv_nsec));
    mc_free(text);
    return fresh;
}

/* A hash of everything that the object depends on, except included files. */
static uint64_t key_of(const char *path, const char *text, size_t size)
{
    uint64_t hash = mc_hash_mix(headers_hash());
    hash = mc_hash_text(hash, compiler());
    for (size_t i = 0; i < FLAGS; i++)
        hash = mc_hash_text(hash, compiler_flags[i]);
    hash = mc_hash_text(hash, level_flags[mc_cpu()]);
    /* The text may include files beside it. */
    char *const real = realpath(path, NULL);
    hash = mc_hash_text(hash, real ? real : path);
    free(real);
    return mc_hash_bytes(hash, text, size);
}

/* An object under its final name is loaded unchecked: after a power failure it must be complete. */
static mc_status flush_to_disk(const char *path, mc_error *error)
{
    const int fd = mc_system->open(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    const mc_status status = fd >= 0 && mc_system->fsync(fd) == 0
                                 ? MC_OK
                                 : mc_fail_errno(error, path, "cannot flush it to disk");
    if (fd >= 0)
        mc_system->close(fd);
    return status;
}

/* Under a temporary name first: two processes may compile the same text at once. */
static mc_status compile_to(const char *path, const char *cache, const char *object,
                            const char *depends, const volatile int *cancel, mc_error *error)
{
    char *include = NULL;
    char *const new_object = unique_name(object), *const new_depends = unique_name(depends);
    mc_status status = new_object && new_depends ? headers_folder(cache, &include, error)
                                                 : mc_fail_memory(error);
    if (status == MC_OK)
        status = compile(path, include, new_object, new_depends, cancel, error);
    if (status == MC_OK)
        status = flush_to_disk(new_object, error);
    if (status == MC_OK && (mc_system->rename(new_depends, depends, 0) != 0 ||
                            mc_system->rename(new_object, object, 0) != 0))
        status = mc_fail_errno(error, object, "cannot store the compiled method");
    if (status != MC_OK && new_object && new_depends) {
        (void)mc_system->unlink(AT_FDCWD, new_object, 0);
        (void)mc_system->unlink(AT_FDCWD, new_depends, 0);
    }
    mc_free(include);
    mc_free(new_object);
    mc_free(new_depends);
    return status;
}

mc_status mc_plugin_compile(const char *path, const char *text, size_t size,
                            const volatile int *cancel, char **out, mc_error *error)
{
    char *cache = NULL, *object = NULL, *depends = NULL;
    const uint64_t key = key_of(path, text, size);
    mc_status status = cache_folder(&cache, error);
    if (status == MC_OK) {
        object = mc_format("%s/%016" PRIx64 ".so", cache, key);
        depends = mc_format("%s/%016" PRIx64 ".d", cache, key);
        status = object && depends ? MC_OK : mc_fail_memory(error);
    }
    if (status == MC_OK && !up_to_date(object, depends))
        status = compile_to(path, cache, object, depends, cancel, error);
    mc_free(cache);
    mc_free(depends);
    if (status != MC_OK) {
        mc_free(object);
        return status;
    }
    *out = object;
    return MC_OK;
}
