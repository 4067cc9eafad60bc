#include "written.h"

#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mc_status fail_write(const char *path, mc_error *error)
{
    /* Kept: mc_fail may change errno. */
    const int code = errno;
    mc_fail(error, code == ENOSPC ? MC_NO_SPACE : MC_IO, "cannot write: %s", strerror(code));
    snprintf(error->file, sizeof error->file, "%s", path);
    return error->code;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_standard_output(const struct stat *status)
{
    struct stat output;
    return fstat(STDOUT_FILENO, &output) == 0 && is_same(status, &output);
}

/* The target of a link: it is replaced, and the link stays. The caller frees it. */
static char *follow_links(const char *path)
{
    /* NULL if the target does not exist yet; the path is then used as it is. */
    char *const real = realpath(path, NULL);
    return real ? real : format_text("%s", path);
}

static mc_status check_folder_of(const char *path, mc_error *error)
{
    char *const folder = follow_links(path), *const slash = strrchr(folder, '/');
    if (slash)
        /* "/NAME" lies in "/". */
        slash[slash == folder] = '\0';
    const int result = access(slash ? folder : ".", W_OK | X_OK);
    const mc_status status = result == 0 ? MC_OK : fail_write(path, error);
    free(folder);
    return status;
}

mc_status written_check(const char *name, const char *path, bool overwrite, const char *input,
                        mc_error *error)
{
    struct stat status, data;
    if (!*path || strcmp(path, "-") == 0)
        return mc_fail(error, MC_USAGE, "%s: expected a file, such as /dev/stdout, found '%s'",
                       name, path);
    if (stat(path, &status) != 0)
        return check_folder_of(path, error);
    if (input && stat(input, &data) == 0 && is_same(&status, &data))
        return mc_fail(error, MC_USAGE, "%s: expected a file other than the input, found '%s'",
                       name, path);
    if (is_standard_output(&status))
        return MC_OK;
    if (S_ISREG(status.st_mode) && !overwrite) {
        mc_fail(error, MC_EXISTS, "the file of %s exists; --overwrite replaces it", name);
        snprintf(error->file, sizeof error->file, "%s", path);
        return MC_EXISTS;
    }
    if (S_ISREG(status.st_mode))
        return check_folder_of(path, error);
    /* For fail_write: access succeeds for a folder. */
    errno = EISDIR;
    return !S_ISDIR(status.st_mode) && access(path, W_OK) == 0 ? MC_OK : fail_write(path, error);
}

/* Writes to a temporary file and renames it when it is complete. */
static mc_status write_file(const char *path, bool (*write)(const void *arg, FILE *file),
                            const void *arg, mc_error *error)
{
    char *const target = follow_links(path);
    /* The process id keeps two runs apart; rename replaces the target in one step. */
    char *const partial = format_text("%s.%ld.partial", target, (long)getpid());
    /* "e": closed in programs that are started. */
    FILE *const file = fopen(partial, "we");
    bool written = file && write(arg, file);
    /* A full disk may show only when the buffer is flushed. */
    if (file && fclose(file) != 0)
        written = false;
    const mc_status status = written && rename(partial, target) == 0 ? MC_OK
                                                                     : fail_write(path, error);
    if (status != MC_OK && file)
        unlink(partial);
    free(partial);
    free(target);
    return status;
}

/* Devices and pipes are written to directly: they must not be replaced by a file. */
static mc_status write_stream(const char *path, bool (*write)(const void *arg, FILE *file),
                              const void *arg, mc_error *error)
{
    FILE *const file = fopen(path, "we");
    bool written = file && write(arg, file);
    if (file && fclose(file) != 0)
        written = false;
    return written ? MC_OK : fail_write(path, error);
}

mc_status written_make(const char *path, bool (*write)(const void *arg, FILE *file),
                       const void *arg, mc_error *error)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return write_file(path, write, arg, error);
    if (is_standard_output(&status))
        return write(arg, stdout) ? MC_OK : fail_write(path, error);
    return S_ISREG(status.st_mode) ? write_file(path, write, arg, error)
                                   : write_stream(path, write, arg, error);
}
