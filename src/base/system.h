/*
 * The seam to the operating system: every call that touches files goes through this table, so that
 * tests can make it fail, return short, or be interrupted. `mc_system` points to the real calls
 * unless a test replaces it.
 */
#ifndef MC_BASE_SYSTEM_H
#define MC_BASE_SYSTEM_H

#include <dirent.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

typedef struct mc_system_calls {
    int (*open)(int folder, const char *path, int flags, mode_t mode); /* openat */
    int (*close)(int fd);
    int (*fstat)(int fd, struct stat *out);
    int (*stat)(const char *path, struct stat *out);
    ssize_t (*read)(int fd, void *out, size_t size);
    ssize_t (*pread)(int fd, void *out, size_t size, off_t offset);
    ssize_t (*pwrite)(int fd, const void *bytes, size_t size, off_t offset);
    int (*fsync)(int fd);
    int (*mkdir)(const char *path, mode_t mode);
    int (*unlink)(int folder, const char *path, int flags); /* unlinkat */
    int (*truncate)(int fd, off_t size);                    /* ftruncate */
    int (*symlink)(const char *text, const char *path);
    /* renameat2: flags 0, RENAME_NOREPLACE or RENAME_EXCHANGE */
    int (*rename)(const char *from, const char *to, unsigned flags);
    int (*statvfs)(const char *path, struct statvfs *out);
    int (*write_back)(int fd, off_t offset, off_t size); /* start writing to disk, do not wait */
    int (*read_ahead)(int fd, off_t offset, off_t size); /* start reading from disk, do not wait */
    int (*lstat)(const char *path, struct stat *out);
    DIR *(*list)(int fd); /* fdopendir: takes fd over where it succeeds; closedir the result */
    struct dirent *(*next)(DIR *entries); /* readdir */
    int (*lock)(int fd);                  /* flock: exclusive, without waiting */
} mc_system_calls;

extern const mc_system_calls mc_system_real;
extern const mc_system_calls *mc_system;

/* Seconds of a clock that only goes forward, from some point on. */
double mc_seconds(void);

#endif
