#include "merge/plugin_cache.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/headers.h"

#include <mergecraft/version.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the cache's folders ------------------------------------------------------------------------ */

/* Nobody but the user may be able to put code where it will be loaded from. */
static mc_status check_private(const char *path, mc_error *error)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return mc_fail_errno(error, path, "cannot examine it");
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022))
        return mc_fail_at(error, MC_IO, path, NULL, -1,
                          "expected a folder that belongs to this user and that nobody else can "
                          "write to, for compiled methods");
    return MC_OK;
}

static mc_status make_private(const char *path, mc_error *error)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return mc_fail_errno(error, path, "cannot make the folder for compiled methods");
    return check_private(path, error);
}

/* $XDG_CACHE_HOME or ~/.cache, as the user's own environment says; made if it is not there. */
static mc_status cache_home(char **out, mc_error *error)
{
    const char *const cache = getenv("XDG_CACHE_HOME"), *const home = getenv("HOME");
    if (cache && cache[0] == '/')
        *out = mc_strdup(cache);
    else if (home && home[0] == '/')
        *out = mc_format("%s/.cache", home);
    else
        return mc_fail(error, MC_IO,
                       "expected HOME or XDG_CACHE_HOME to name a folder for compiled "
                       "methods, found neither");
    if (!*out)
        return mc_fail_memory(error);
    if (mkdir(*out, 0700) != 0 && errno != EEXIST)
        return mc_fail_errno(error, *out, "cannot make the folder");
    return MC_OK;
}

/* *out: …/mergecraft/plugins, in new memory. */
static mc_status cache_folder(char **out, mc_error *error)
{
    char *home = NULL;
    mc_status status = cache_home(&home, error);
    char *const own = home ? mc_format("%s/mergecraft", home) : NULL;
    *out = home ? mc_format("%s/mergecraft/plugins", home) : NULL;
    if (status == MC_OK && (!own || !*out))
        status = mc_fail_memory(error);
    if (status == MC_OK)
        status = make_private(own, error);
    if (status == MC_OK)
        status = make_private(*out, error);
    mc_free(own);
    mc_free(home);
    return status;
}

/* ---- headers ------------------------------------------------------------------------------------ */

static uint64_t headers_hash(void)
{
    uint64_t hash = mc_hash_text(MC_HASH_START, mc_version());
    for (const mc_header *header = mc_headers; header->name; header++)
        hash = mc_hash_bytes(hash, header->bytes, header->size);
    return hash;
}

static mc_status write_file(const char *path, const void *bytes, size_t size, mc_error *error)
{
    FILE *const file = fopen(path, "wex");
    if (!file)
        return errno == EEXIST ? MC_OK : mc_fail_errno(error, path, "cannot make the file");
    const bool written = fwrite(bytes, 1, size, file) == size;
    if (fclose(file) != 0 || !written)
        return mc_fail_errno(error, path, "cannot write it");
    return MC_OK;
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

/* A folder with the headers, complete once it has its name. *out: its path, in new memory. */
static mc_status headers_folder(const char *cache, char **out, mc_error *error)
{
    *out = mc_format("%s/include-%016" PRIx64, cache, headers_hash());
    if (!*out)
        return mc_fail_memory(error);
    if (access(*out, F_OK) == 0)
        return check_private(*out, error);
    char *const made = mc_format("%s/include.XXXXXX", cache);
    if (!made || !mkdtemp(made)) {
        mc_free(made);
        return mc_fail_errno(error, cache, "cannot make a folder in it");
    }
    char *const inner = mc_format("%s/mergecraft", made);
    mc_status status = inner ? make_private(inner, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = write_headers(made, error);
    if (status == MC_OK && rename(made, *out) != 0 && errno != EEXIST && errno != ENOTEMPTY)
        status = mc_fail_errno(error, *out, "cannot give the folder its name");
    mc_free(inner);
    mc_free(made);
    return status;
}

/* ---- the compiler ------------------------------------------------------------------------------- */

static const char *compiler(void)
{
    const char *const cc = getenv("CC");
    return cc && *cc ? cc : "cc";
}

static const char *const compiler_flags[] = {"-std=gnu17",
                                             "-O3",
                                             "-ffp-contract=off",
                                             "-fno-math-errno",
                                             "-fno-trapping-math",
                                             "-fPIC",
                                             "-shared",
                                             "-fvisibility=hidden",
                                             "-DMC_PLUGIN",
                                             "-D_GNU_SOURCE",
                                             "-Wall",
                                             "-Wno-unused",
                                             "-x",
                                             "c"};
enum { FLAGS = sizeof compiler_flags / sizeof *compiler_flags };

/* Not -march=native: a cache in a home folder may be shared by machines of several kinds. */
static const char *const level_flags[MC_CPU_LEVELS] = {
    [MC_CPU_SCALAR] = "-DMC_CPU_SCALAR",
    [MC_CPU_AVX2] = "-march=haswell",
    [MC_CPU_AVX512] = "-march=skylake-avx512",
};

/* Runs the compiler, without a shell; *said: what it said, cut to what an error holds. Its exit status, or −1 and errno. */
static int run_compiler(char *const *arguments, char *said, size_t size)
{
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    pid_t child = 0;
    const int problem = posix_spawnp(&child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    size_t length = 0;
    char block[4096];
    for (ssize_t got; problem == 0 && (got = read(ends[0], block, sizeof block)) != 0;) {
        if (got < 0 && errno != EINTR)
            break;
        const size_t room = size - 1 - length;
        const size_t taken = got < 0 ? 0 : (size_t)got < room ? (size_t)got : room;
        memcpy(said + length, block, taken);
        length += taken;
    }
    said[length] = '\0';
    close(ends[0]);
    errno = problem;
    int status = -1;
    while (problem == 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return problem != 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static mc_status compile(const char *path, const char *include, const char *object,
                         const char *depends, mc_error *error)
{
    const char *arguments[FLAGS + 12];
    size_t count = 0;
    arguments[count++] = compiler();
    for (size_t i = 0; i < FLAGS; i++)
        arguments[count++] = compiler_flags[i];
    arguments[count++] = level_flags[mc_cpu()];
    const char *const rest[] = {"-I", include, "-MMD", "-MF", depends, "-o", object, path, "-lm"};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        arguments[count++] = rest[i];
    arguments[count] = NULL;
    char said[sizeof(((mc_error *)0)->text)];
    const int result = run_compiler((char *const *)(uintptr_t)arguments, said, sizeof said - 128);
    if (result < 0)
        return mc_fail_errno(error, path, "cannot run the compiler '%s'", compiler());
    while (*said && said[strlen(said) - 1] == '\n')
        said[strlen(said) - 1] = '\0';
    if (result != 0)
        return mc_fail_at(error, MC_COMPILE, path, NULL, -1, "does not compile:\n%s", said);
    return MC_OK;
}

/* ---- the cache ---------------------------------------------------------------------------------- */

/* Whether the files that the object was made of, as the compiler listed them, are older than it. */
static bool up_to_date(const char *object, const char *depends)
{
    struct stat made, part;
    char *text = NULL;
    size_t size = 0;
    if (lstat(object, &made) != 0 || !S_ISREG(made.st_mode) || made.st_uid != geteuid() ||
        (made.st_mode & 022) || mc_file_load(depends, 1 << 20, &text, &size, NULL) != MC_OK)
        return false;
    bool fresh = true;
    char *rest = strchr(text, ':');
    rest = rest ? rest + 1 : NULL;
    for (const char *name; fresh && rest && (name = strsep(&rest, " \\\n"));)
        if (*name)
            fresh = stat(name, &part) == 0 && (part.st_mtim.tv_sec < made.st_mtim.tv_sec ||
                                               (part.st_mtim.tv_sec == made.st_mtim.tv_sec &&
                                                part.st_mtim.tv_nsec <= made.st_mtim.tv_nsec));
    mc_free(text);
    return fresh;
}

/* Everything that the object depends on, but for files that the text includes. */
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

/* Under a name of this process's own first: two may compile the same text at once. */
static mc_status compile_to(const char *path, const char *cache, const char *object,
                            const char *depends, mc_error *error)
{
    char *include = NULL;
    char *const new_object = mc_format("%s.%ld", object, (long)getpid());
    char *const new_depends = mc_format("%s.%ld", depends, (long)getpid());
    mc_status status = new_object && new_depends ? headers_folder(cache, &include, error)
                                                 : mc_fail_memory(error);
    if (status == MC_OK)
        status = compile(path, include, new_object, new_depends, error);
    if (status == MC_OK && (rename(new_depends, depends) != 0 || rename(new_object, object) != 0))
        status = mc_fail_errno(error, object, "cannot keep the compiled method");
    if (status != MC_OK && new_object && new_depends) {
        unlink(new_object);
        unlink(new_depends);
    }
    mc_free(include);
    mc_free(new_object);
    mc_free(new_depends);
    return status;
}

mc_status mc_plugin_compile(const char *path, const char *text, size_t size, char **out,
                            mc_error *error)
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
        status = compile_to(path, cache, object, depends, error);
    mc_free(cache);
    mc_free(depends);
    if (status != MC_OK) {
        mc_free(object);
        return status;
    }
    *out = object;
    return MC_OK;
}
