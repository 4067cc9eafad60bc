#include "base/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct mc_file {
    /* The last owner closes. Other fields are fixed once the file is shared. */
    atomic_size_t references;
    mc_descriptor *descriptor;
    mc_file_identity identity;
    int64_t limit;       /* bytes that can be read */
    mc_excerpt *excerpt; /* borrowed while the file is not shared yet; NULL: none */
    bool recording;      /* into the excerpt; else it is read from there */
    char path[];
};

/* Of all files together, for the statistics of a run. */
static atomic_int_least64_t bytes_read;

/* `known`: status of a file that is opened at the first read; NULL: opened now. */
static mc_status open_file(const char *path, const mc_file_identity *known, mc_file **out,
                           mc_error *error)
{
    const size_t length = strlen(path) + 1;
    mc_file *const file = mc_alloc_zero(1, sizeof *file + length);
    if (!file)
        return mc_fail_memory(error);
    memcpy(file->path, path, length);
    file->references = 1;
    const mc_status status = known ? mc_descriptor_open_later(path, known, &file->descriptor,
                                                              &file->identity, error)
                                   : mc_descriptor_open(path, &file->descriptor, &file->identity,
                                                        error);
    if (status != MC_OK) {
        mc_free(file);
        return status;
    }
    file->limit = file->identity.size;
    *out = file;
    return MC_OK;
}

mc_status mc_file_open(const char *path, mc_file **out, mc_error *error)
{
    return open_file(path, NULL, out, error);
}

mc_status mc_file_open_excerpt(const char *path, const mc_file_identity *identity,
                               mc_excerpt *excerpt, mc_file **out, mc_error *error)
{
    MC_TRY(open_file(path, identity, out, error));
    (*out)->excerpt = excerpt;
    return MC_OK;
}

void mc_file_record(mc_file *file, mc_excerpt *excerpt)
{
    file->excerpt = excerpt;
    file->recording = true;
}

void mc_file_forget(mc_file *file)
{
    file->excerpt = NULL;
    file->recording = false;
}

/*
 * Whoever takes a reference has one already, so that the count cannot reach 0 meanwhile: no order
 * of memory accesses is needed. Giving one back needs it, because the last owner frees.
 */
mc_file *mc_file_ref(mc_file *file)
{
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    return file;
}

void mc_file_unref(mc_file *file)
{
    if (!file || atomic_fetch_sub(&file->references, 1) != 1)
        return;
    mc_descriptor_close(file->descriptor);
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
    int fd = -1;
    /* Never released: the caller may use it as long as the file is open. */
    return mc_descriptor_acquire(file->descriptor, &fd, NULL) == MC_OK ? fd : -1;
}

/* Only ever lowered: a larger limit would allow reads of bytes that do not exist. */
void mc_file_limit(mc_file *file, int64_t size)
{
    file->limit = size < file->limit ? size : file->limit;
}

mc_file_identity mc_file_identity_of(const mc_file *file)
{
    return file->identity;
}

static mc_status read_all(const mc_file *file, int fd, int64_t offset, unsigned char *out,
                          size_t size, mc_error *error)
{
    while (size > 0) {
        const ssize_t got = mc_system->pread(fd, out, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mc_fail_errno(error, file->path, "cannot read byte %lld", (long long)offset);
        /*
         * The range was checked against the size at opening. An earlier end means that the file was
         * truncated.
         */
        if (got == 0)
            return mc_fail_at(error, MC_CHANGED, file->path, NULL, offset,
                              "the file became shorter while it was read: expected %lld bytes, "
                              "found %lld",
                              (long long)file->identity.size, (long long)offset);
        out += got;
        offset += got;
        size -= (size_t)got;
    }
    return MC_OK;
}

mc_status mc_file_read(const mc_file *file, int64_t offset, void *out, size_t size, mc_error *error)
{
    int fd = -1;
    /* Written without `offset + size`, which could overflow: both come from headers of files. */
    if (offset < 0 || offset > file->identity.size ||
        (int64_t)size > file->identity.size - offset || (int64_t)size < 0)
        return mc_fail_at(error, MC_FORMAT, file->path, NULL, offset,
                          "expected %zu bytes at byte %lld, but the file has %lld bytes", size,
                          (long long)offset, (long long)file->identity.size);
    /* A sparse stand-in for a file on the Hub of which only the header was downloaded. */
    if ((int64_t)size > file->limit - offset)
        return mc_fail_at(error, MC_NOT_FOUND, file->path, NULL, offset,
                          "only the file's header was downloaded, not its values");
    if (file->excerpt && !file->recording && mc_excerpt_find(file->excerpt, offset, out, size))
        return MC_OK;
    MC_TRY(mc_descriptor_acquire(file->descriptor, &fd, error));
    const mc_status status = read_all(file, fd, offset, out, size, error);
    mc_descriptor_release(file->descriptor);
    if (status == MC_OK && file->excerpt && file->recording)
        MC_TRY(mc_excerpt_add(file->excerpt, offset, out, size, error));
    if (status == MC_OK)
        atomic_fetch_add_explicit(&bytes_read, (int64_t)size, memory_order_relaxed);
    return status;
}

/* A hint: if the file cannot be opened, the read that follows reports it. */
void mc_file_read_ahead(const mc_file *file, int64_t offset, int64_t size)
{
    int fd = -1;
    if (mc_descriptor_acquire(file->descriptor, &fd, NULL) != MC_OK)
        return;
    mc_system->read_ahead(fd, (off_t)offset, (off_t)size);
    mc_descriptor_release(file->descriptor);
}

/*
 * By path, not by descriptor: a file that was replaced keeps its old content behind the descriptor,
 * and a merge would silently read a model that is no longer there.
 */
mc_status mc_file_check(const mc_file *file, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(file->path, &status) != 0)
        return mc_fail_at(error, MC_CHANGED, file->path, NULL, -1,
                          "the file existed when it was opened and cannot be found now: %s",
                          strerror(errno));
    const mc_file_identity now = mc_file_identity_from(&status);
    if (mc_file_identity_equal(&now, &file->identity))
        return MC_OK;
    if (now.size == file->identity.size)
        return mc_fail_at(error, MC_CHANGED, file->path, NULL, -1,
                          "the file was modified or replaced after it was opened (its size is the "
                          "same)");
    return mc_fail_at(error, MC_CHANGED, file->path, NULL, -1,
                      "the file was modified after it was opened: expected %lld bytes, found %lld",
                      (long long)file->identity.size, (long long)now.size);
}

int64_t mc_file_bytes_read(void)
{
    return bytes_read;
}

/* Opens with the system table's function, so that tests can make it fail. */
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
        /* readdir returns NULL at the end and on failure; only errno distinguishes them. */
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
    /*
     * `limit` is checked before memory is allocated: a huge file under an expected name must not
     * exhaust it.
     */
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

/* Makes room for more input, and for a NUL, behind what has been read. */
static bool reserve_input(char **bytes, size_t size, size_t *capacity)
{
    if (size + 1 < *capacity)
        return true;
    /* Doubled, since the length of a pipe is not known before its end. */
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
        /* Checked after each read: the length of a pipe is not known in advance. */
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

mc_locked mc_lock_file(int fd)
{
    int result;
    do
        result = mc_system->lock(fd);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        return MC_LOCKED_HERE;
    if (errno == EWOULDBLOCK)
        return MC_LOCKED_ELSEWHERE;
    /* What file systems without locks, and NFS without its lock service, return. */
    return errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL
               ? MC_LOCKED_NOT
               : MC_LOCKED_FAILED;
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
            /* POSIX leaves open why nothing was written; the file systems that do this are full. */
            errno = put == 0 ? ENOSPC : errno;
            return mc_fail_errno(error, name, "cannot write byte %lld", (long long)offset);
        }
        at += put;
        offset += put;
        size -= (size_t)put;
    }
    return MC_OK;
}
