#include "base/descriptor.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/*
 * A descriptor that is open is in the list.
 *
 *     open, in the list ──── least recently read, no readers, limit reached ─────▶ closed (fd −1)
 *            ▲                                                                        │
 *            └──────────────────────────── acquire: same file? ───────────────────────┘
 */
struct mc_descriptor {
    mc_descriptor *before, *after; /* in the list of open ones */
    int fd;
    int users; /* that have acquired it */
    mc_file_identity identity;
    char *real_path; /* links resolved; NULL: cannot be opened again, and stays open */
    char path[];     /* as the caller named it, for errors */
};

/*
 * Other parts of the process need descriptors too: a quarter of the limit stays free, and at least
 * LEAST_RESERVE. MOST_FILES caps limits that are unlimited.
 */
enum { LEAST_RESERVE = 16, MOST_FILES = 1 << 16 };

/* `lock` protects the list, and fd, users, before and after of all descriptors. */
static struct {
    pthread_mutex_t lock;
    mc_descriptor *first, *last; /* the least and the most recently used */
    /* count: files in the list. most: how many may be in it. forced: the limit of a test, or 0. */
    size_t count, most, forced;
} opened = {.lock = PTHREAD_MUTEX_INITIALIZER};

mc_file_identity mc_file_identity_from(const struct stat *status)
{
    return (mc_file_identity){
        .device = status->st_dev,
        .inode = status->st_ino,
        .size = status->st_size,
        /*
         * Size and inode alone do not show a file that was rewritten in place: the time of the last
         * change does.
         */
        .modified_ns = (int64_t)status->st_mtim.tv_sec * 1000000000 +
                       (int64_t)status->st_mtim.tv_nsec,
    };
}

bool mc_file_identity_equal(const mc_file_identity *a, const mc_file_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified_ns == b->modified_ns;
}

/* ---- the list; the lock is held ---- */

static void remove_from_list(mc_descriptor *d)
{
    /* Neighbours or ends of the list: both are pointers to a link. */
    *(d->before ? &d->before->after : &opened.first) = d->after;
    *(d->after ? &d->after->before : &opened.last) = d->before;
    d->before = d->after = NULL;
    opened.count--;
}

static void append_to_list(mc_descriptor *d)
{
    d->before = opened.last;
    *(opened.last ? &opened.last->after : &opened.first) = d;
    opened.last = d;
    opened.count++;
}

/* Closes the least recently used file without readers; returns false if there is none. */
static bool close_one(void)
{
    for (mc_descriptor *d = opened.first; d; d = d->after) {
        if (d->users > 0 || !d->real_path)
            continue;
        remove_from_list(d);
        mc_system->close(d->fd);
        d->fd = -1;
        return true;
    }
    return false;
}

static size_t without_reserve(rlim_t limit)
{
    const size_t all = limit == RLIM_INFINITY || limit > MOST_FILES ? MOST_FILES : (size_t)limit;
    const size_t reserve = all / 4 > LEAST_RESERVE ? all / 4 : LEAST_RESERVE;
    /* One file must always be open to be read, however low the limit is. */
    return all > reserve ? all - reserve : 1;
}

/* The soft limit is raised only when it is reached: it belongs to the whole process. */
static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    opened.most = without_reserve(limit.rlim_cur);
    /* Other code of the process may have raised the limit since it was last read. */
    if (opened.count < opened.most || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max < MOST_FILES ? limit.rlim_max : MOST_FILES;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        opened.most = without_reserve(limit.rlim_cur);
}

/*
 * Called before each open. Files in use cannot be closed, so the list may exceed the limit; then
 * the open itself fails or succeeds.
 */
static void make_room(void)
{
    if (opened.forced == 0 && opened.count >= opened.most)
        raise_limit();
    const size_t most = opened.forced > 0 ? opened.forced : opened.most;
    while (opened.count >= most && close_one())
        ;
}

/* O_NONBLOCK: opening a pipe without a writer must not block. */
static int open_path(const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    make_room();
    /*
     * The limit counts files of the whole process, which this list does not see: close more if it
     * is hit.
     */
    int fd = mc_system->open(AT_FDCWD, path, flags, 0);
    while (fd < 0 && (errno == EMFILE || errno == ENFILE) && close_one())
        fd = mc_system->open(AT_FDCWD, path, flags, 0);
    return fd;
}

/* ---- opening ---- */

static mc_status examine(int fd, const char *path, mc_file_identity *identity, mc_error *error)
{
    struct stat status;
    if (mc_system->fstat(fd, &status) != 0)
        return mc_fail_errno(error, path, "cannot examine it");
    /* A merge reads by offset and checks sizes when it opens: pipes and devices have neither. */
    if (!S_ISREG(status.st_mode))
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1, "expected a regular file, found %s",
                          S_ISDIR(status.st_mode) ? "a folder" : "something else");
    *identity = mc_file_identity_from(&status);
    return MC_OK;
}

static mc_status open_first(mc_descriptor *d, mc_error *error)
{
    /*
     * The lock is held across the open, so that two threads cannot both take the last free place.
     */
    pthread_mutex_lock(&opened.lock);
    d->fd = open_path(d->path);
    mc_status status = d->fd < 0 ? mc_fail_errno(error, d->path, "cannot open it")
                                 : examine(d->fd, d->path, &d->identity, error);
    if (status == MC_OK)
        append_to_list(d);
    else if (d->fd >= 0)
        mc_system->close(d->fd);
    pthread_mutex_unlock(&opened.lock);
    return status;
}

mc_status mc_descriptor_open(const char *path, mc_descriptor **out, mc_file_identity *identity,
                             mc_error *error)
{
    const size_t length = strlen(path) + 1;
    mc_descriptor *const d = mc_alloc_zero(1, sizeof *d + length);
    if (!d)
        return mc_fail_memory(error);
    memcpy(d->path, path, length);
    const mc_status status = open_first(d, error);
    if (status != MC_OK) {
        mc_free(d);
        return status;
    }
    /* The path may be relative, or a link that is gone when the file is opened again. */
    d->real_path = realpath(path, NULL);
    *identity = d->identity;
    *out = d;
    return MC_OK;
}

/* Machines number a file system that they share differently, so device and inode do not count. */
static mc_status examine_path(const char *path, const mc_file_identity *expected,
                              mc_file_identity *identity, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(path, &status) != 0)
        return mc_fail_errno(error, path, "cannot examine it");
    *identity = mc_file_identity_from(&status);
    if (identity->size == expected->size && identity->modified_ns == expected->modified_ns)
        return MC_OK;
    return mc_fail_at(error, MC_MISMATCH, path, NULL, -1,
                      "expected the file that process 0 opened, of %lld bytes, found a different "
                      "one, of %lld bytes",
                      (long long)expected->size, (long long)identity->size);
}

mc_status mc_descriptor_open_later(const char *path, const mc_file_identity *expected,
                                   mc_descriptor **out, mc_file_identity *identity, mc_error *error)
{
    MC_TRY(examine_path(path, expected, identity, error));
    const size_t length = strlen(path) + 1;
    mc_descriptor *const d = mc_alloc_zero(1, sizeof *d + length);
    if (!d)
        return mc_fail_memory(error);
    memcpy(d->path, path, length);
    d->fd = -1;
    d->identity = *identity;
    d->real_path = realpath(path, NULL);
    if (!d->real_path) {
        const mc_status status = mc_fail_errno(error, path, "cannot examine it");
        mc_free(d);
        return status;
    }
    *out = d;
    return MC_OK;
}

void mc_descriptor_close(mc_descriptor *descriptor)
{
    if (!descriptor)
        return;
    pthread_mutex_lock(&opened.lock);
    if (descriptor->fd >= 0) {
        remove_from_list(descriptor);
        mc_system->close(descriptor->fd);
    }
    pthread_mutex_unlock(&opened.lock);
    free(descriptor->real_path); /* realpath's */
    mc_free(descriptor);
}

/* ---- reading ---- */

static mc_status open_again(mc_descriptor *d, mc_error *error)
{
    mc_file_identity now;
    const int fd = open_path(d->real_path);
    if (fd < 0)
        return mc_fail_errno(error, d->path, "cannot open it again");
    /* The name may lead to another file now: a merge must not mix tensors of two versions. */
    mc_status status = examine(fd, d->path, &now, error);
    if (status == MC_OK && !mc_file_identity_equal(&now, &d->identity))
        status = mc_fail_at(error, MC_CHANGED, d->path, NULL, -1,
                            "the file was modified or replaced while it was in use");
    if (status != MC_OK) {
        mc_system->close(fd);
        return status;
    }
    d->fd = fd;
    append_to_list(d);
    return MC_OK;
}

mc_status mc_descriptor_acquire(mc_descriptor *descriptor, int *fd, mc_error *error)
{
    mc_status status = MC_OK;
    pthread_mutex_lock(&opened.lock);
    if (descriptor->fd < 0) {
        status = open_again(descriptor, error);
    } else if (opened.last != descriptor) {
        /* Moves to the end of the list, where the most recently used file is. */
        remove_from_list(descriptor);
        append_to_list(descriptor);
    }
    if (status == MC_OK) {
        /* While users > 0 close_one skips it, so that the number stays valid outside the lock. */
        descriptor->users++;
        *fd = descriptor->fd;
    }
    pthread_mutex_unlock(&opened.lock);
    return status;
}

void mc_descriptor_release(mc_descriptor *descriptor)
{
    pthread_mutex_lock(&opened.lock);
    descriptor->users--;
    pthread_mutex_unlock(&opened.lock);
}

void mc_descriptor_limit(size_t most)
{
    pthread_mutex_lock(&opened.lock);
    opened.forced = most;
    make_room();
    pthread_mutex_unlock(&opened.lock);
}
