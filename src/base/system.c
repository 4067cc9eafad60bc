#include "base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static int real_open(int folder, const char *path, int flags, mode_t mode)
{
    return openat(folder, path, flags, mode);
}

static int real_stat(const char *path, struct stat *out)
{
    return stat(path, out);
}

static int real_lstat(const char *path, struct stat *out)
{
    return lstat(path, out);
}

static int real_fstat(int fd, struct stat *out)
{
    return fstat(fd, out);
}

static int real_rename(const char *from, const char *to, unsigned flags)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

static int real_write_back(int fd, off_t offset, off_t size)
{
    /* Only starts the transfer: nothing is durable before fsync. */
    return sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE);
}

static int real_read_ahead(int fd, off_t offset, off_t size)
{
    return posix_fadvise(fd, offset, size, POSIX_FADV_WILLNEED);
}

static int real_lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB);
}

const mc_system_calls mc_system_real = {
    .open = real_open,
    .close = close,
    .fstat = real_fstat,
    .stat = real_stat,
    .read = read,
    .pread = pread,
    .pwrite = pwrite,
    .fsync = fsync,
    .mkdir = mkdir,
    .unlink = unlinkat,
    .truncate = ftruncate,
    .symlink = symlink,
    .rename = real_rename,
    .statvfs = statvfs,
    .write_back = real_write_back,
    .read_ahead = real_read_ahead,
    .lstat = real_lstat,
    .list = fdopendir,
    .next = readdir,
    .lock = real_lock,
};

const mc_system_calls *mc_system = &mc_system_real;

double mc_seconds(void)
{
    /* The monotonic clock: adjustments of the wall clock must not yield negative durations. */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}
