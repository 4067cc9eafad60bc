#include "base/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct mc_file {
    atomic_size_t references;
    int fd;
    mc_file_identity identity;
    int64_t limit; /* what can be read of it */
    char path[];
};

static atomic_int_least64_t bytes_read;

static mc_file_identity identity_from(const struct stat *status)
{
    return (mc_file_identity){
        .device = status->st_dev,
        .inode = status->st_ino,
        .size = status->st_size,
        .modified_ns = (int64_t)status->st_mtim.tv_sec * 1000000000 +
                       (int64_t)status->st_mtim.tv_nsec,
    };
}

static bool same_identity(const mc_file_identity *a, const mc_file_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified_ns == b->modified_ns;
}

static mc_status examine(mc_file *file, mc_error *error)
{
    struct stat status;
    if (mc_system->fstat(file->fd, &status) != 0)
        return mc_fail_errno(error, file->path, "cannot examine it");
    if (!S_ISREG(status.st_mode))
        return mc_fail_at(error, MC_FORMAT, file->path, NULL, -1,
                          "expected a regular file, found %s",
                          S_ISDIR(status.st_mode) ? "a folder" : "something else");
    file->identity = identity_from(&status);
    file->limit = file->identity.size;
    return MC_OK;
}

mc_status mc_file_open(const char *path, mc_file **out, mc_error *error)
{
    const size_t length = strlen(path) + 1;
    mc_file *const file = mc_alloc(sizeof *file + length);
    if (!file)
        return mc_fail_memory(error);
    memcpy(file->path, path, length);
    file->references = 1;
    /* O_NONBLOCK: opening a pipe that nobody writes to must not hang. */
    file->fd = mc_system->open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (file->fd < 0) {
        const mc_status status = mc_fail_errno(error, path, "cannot open it");
        mc_free(file);
        return status;
    }
    const mc_status status = examine(file, error);
    if (status != MC_OK) {
        mc_file_unref(file);
        return status;
    }
    *out = file;
    return MC_OK;
}

mc_file *mc_file_ref(mc_file *file)
{
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    return file;
}

void mc_file_unref(mc_file *file)
{
    if (!file || atomic_fetch_sub(&file->references, 1) != 1)
        return;
    mc_system->close(file->fd);
    mc_free(file);
}

const char *mc_file_path(const mc_file *file)
{
    return file->path;
}

int64_t mc_file_size(const mc_file *file)
{
    return file->identity.size;
}

int mc_file_descriptor(const mc_file *file)
{
    return file->fd;
}

void mc_file_limit(mc_file *file, int64_t size)
{
    file->limit = size < file->limit ? size : file->limit;
}

mc_file_identity mc_file_identity_of(const mc_file *file)
{
    return file->identity;
}

mc_status mc_file_read(const mc_file *file, int64_t offset, void *out, size_t size, mc_error *error)
{
    if (offset < 0 || offset > file->identity.size ||
        (int64_t)size > file->identity.size - offset || (int64_t)size < 0)
        return mc_fail_at(error, MC_FORMAT, file->path, NULL, offset,
                          "expected %zu bytes at byte %lld, but the file has %lld bytes", size,
                          (long long)offset, (long long)file->identity.size);
    if ((int64_t)size > file->limit - offset)
        return mc_fail_at(error, MC_NOT_FOUND, file->path, NULL, offset,
                          "only the file's header was downloaded, not its values");
    unsigned char *at = out;
    size_t left = size;
    while (left > 0) {
        const ssize_t got = mc_system->pread(file->fd, at, left, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mc_fail_errno(error, file->path, "cannot read byte %lld", (long long)offset);
        if (got == 0)
            return mc_fail_at(error, MC_CHANGED, file->path, NULL, offset,
                              "the file became shorter while it was read: expected %lld bytes, "
                              "found %lld",
                              (long long)file->identity.size, (long long)offset);
        at += got;
        offset += got;
        left -= (size_t)got;
    }
    atomic_fetch_add_explicit(&bytes_read, (int64_t)size, memory_order_relaxed);
    return MC_OK;
}

void mc_file_read_ahead(const mc_file *file, int64_t offset, int64_t size)
{
    mc_system->read_ahead(file->fd, (off_t)offset, (off_t)size);
}

mc_status mc_file_check(const mc_file *file, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(file->path, &status) != 0)
        return mc_fail_at(error, MC_CHANGED, file->path, NULL, -1,
                          "the file was there when the merge began and cannot be found now: %s",
                          strerror(errno));
    const mc_file_identity now = identity_from(&status);
    if (!same_identity(&now, &file->identity))
        return mc_fail_at(error, MC_CHANGED, file->path, NULL, -1,
                          "the file was modified while it was merged (expected %lld bytes as they "
                          "were at the start, found %lld)",
                          (long long)file->identity.size, (long long)now.size);
    return MC_OK;
}

int64_t mc_file_bytes_read(void)
{
    return bytes_read;
}

DIR *mc_list_folder(const char *path)
{
    const int fd = mc_system->open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    DIR *const entries = mc_system->list(fd);
    if (!entries) {
        const int problem = errno;
        mc_system->close(fd);
        errno = problem;
    }
    return entries;
}

const char *mc_next_entry(DIR *entries)
{
    for (;;) {
        errno = 0;
        const struct dirent *const entry = mc_system->next(entries);
        if (!entry)
            return NULL;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    }
}

mc_status mc_file_load(const char *path, int64_t limit, char **out, size_t *size, mc_error *error)
{
    mc_file *file = NULL;
    MC_TRY(mc_file_open(path, &file, error));
    const int64_t length = mc_file_size(file);
    char *const text = length <= limit ? mc_alloc((size_t)length + 1) : NULL;
    mc_status status;
    if (length > limit)
        status = mc_fail_at(error, MC_FORMAT, path, NULL, -1,
                            "expected at most %lld bytes, found %lld", (long long)limit,
                            (long long)length);
    else if (!text)
        status = mc_fail_memory(error);
    else
        status = mc_file_read(file, 0, text, (size_t)length, error);
    mc_file_unref(file);
    if (status != MC_OK) {
        mc_free(text);
        return status;
    }
    text[length] = '\0';
    *out = text;
    *size = (size_t)length;
    return MC_OK;
}

/* Room for more, and a NUL, at the end of what has been read. */
static bool reserve_input(char **bytes, size_t size, size_t *capacity)
{
    if (size + 1 < *capacity)
        return true;
    const size_t larger = *capacity > 0 ? 2 * *capacity : 1 << 16;
    char *const moved = mc_realloc(*bytes, larger);
    if (!moved)
        return false;
    *bytes = moved;
    *capacity = larger;
    return true;
}

static mc_status read_input(int64_t limit, char **bytes, size_t *size, mc_error *error)
{
    size_t capacity = 0;
    for (ssize_t got = 1; got != 0;) {
        if (!reserve_input(bytes, *size, &capacity))
            return mc_fail_memory(error);
        got = mc_system->read(STDIN_FILENO, *bytes + *size, capacity - *size - 1);
        if (got < 0 && errno != EINTR)
            return mc_fail_errno(error, "standard input", "cannot read it");
        *size += got > 0 ? (size_t)got : 0;
        if ((int64_t)*size > limit)
            return mc_fail_at(error, MC_FORMAT, "standard input", NULL, -1,
                              "expected at most %lld bytes, found more", (long long)limit);
    }
    (*bytes)[*size] = '\0';
    return MC_OK;
}

mc_status mc_input_load(int64_t limit, char **out, size_t *size, mc_error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    const mc_status status = read_input(limit, &bytes, &length, error);
    if (status != MC_OK) {
        mc_free(bytes);
        return status;
    }
    *out = bytes;
    *size = length;
    return MC_OK;
}

mc_status mc_write_all(int fd, const char *name, const void *bytes, size_t size, int64_t offset,
                       mc_error *error)
{
    const char *at = bytes;
    while (size > 0) {
        const ssize_t put = mc_system->pwrite(fd, at, size, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            errno = put == 0 ? ENOSPC : errno;
            return mc_fail_errno(error, name, "cannot write byte %lld", (long long)offset);
        }
        at += put;
        offset += put;
        size -= (size_t)put;
    }
    return MC_OK;
}
