/*
 * Files in memory, in place of the system's: an input costs no system call, and nothing on the disk
 * can be reached.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILES = 16, FIRST_FD = 1000 };

static struct {
    const char *path;
    const void *data;
    size_t size;
} files[MOST_FILES];
static int file_count;

static int find_file(const char *path)
{
    for (int i = 0; i < file_count; i++)
        if (strcmp(files[i].path, path) == 0)
            return i;
    errno = ENOENT;
    return -1;
}

static bool is_folder(const char *path)
{
    const size_t length = strlen(path);
    for (int i = 0; i < file_count; i++)
        if (strncmp(files[i].path, path, length) == 0 && files[i].path[length] == '/')
            return true;
    return false;
}

static int memory_open(int folder, const char *path, int flags, mode_t mode)
{
    (void)folder, (void)flags, (void)mode;
    const int found = find_file(path);
    return found < 0 ? -1 : FIRST_FD + found;
}

static int memory_close(int fd)
{
    (void)fd;
    return 0;
}

static int describe(int index, struct stat *out)
{
    *out = (struct stat){
        .st_mode = S_IFREG | 0600, .st_ino = (ino_t)index + 1, .st_size = (off_t)files[index].size};
    return 0;
}

static int memory_fstat(int fd, struct stat *out)
{
    return describe(fd - FIRST_FD, out);
}

static int memory_stat(const char *path, struct stat *out)
{
    const int found = find_file(path);
    if (found >= 0)
        return describe(found, out);
    *out = (struct stat){.st_mode = S_IFDIR | 0700};
    return is_folder(path) ? 0 : -1;
}

static ssize_t memory_read(int fd, void *out, size_t size, off_t offset)
{
    const size_t all = files[fd - FIRST_FD].size, at = (size_t)offset;
    fuzz_require(offset >= 0, "no read is before the beginning of a file");
    const size_t given = at > all ? 0 : size < all - at ? size : all - at;
    if (given > 0)
        memcpy(out, (const char *)files[fd - FIRST_FD].data + at, given);
    return (ssize_t)given;
}

static int memory_read_ahead(int fd, off_t offset, off_t size)
{
    (void)fd, (void)offset, (void)size;
    return 0;
}

static const mc_system_calls memory_calls = {
    .open = memory_open,
    .close = memory_close,
    .fstat = memory_fstat,
    .stat = memory_stat,
    .pread = memory_read,
    .read_ahead = memory_read_ahead,
};

void fuzz_put(const char *path, const void *data, size_t size)
{
    int at = find_file(path);
    if (at < 0)
        at = file_count++;
    fuzz_require(at < MOST_FILES, "there are not too many files");
    files[at].path = path;
    files[at].data = data;
    files[at].size = size;
    mc_system = &memory_calls;
}

void fuzz_remove_files(void)
{
    file_count = 0;
}

mc_status fuzz_open(const void *data, size_t size, mc_file **out, mc_error *error)
{
    fuzz_put("input", data, size);
    return mc_file_open("input", out, error);
}
