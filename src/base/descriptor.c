#include "base/descriptor.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/*
 *     open, in the list ──── least recently read, nobody reads, limit reached ───▶ closed (fd −1)
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

/* Others in the process need descriptors too: a quarter of them, and not less than this. */
enum { LEAST_RESERVE = 16, MOST_FILES = 1 << 16 };

/* `lock` protects the list, and fd, users, before and after of all descriptors. */
static struct {
    pthread_mutex_t lock;
    mc_descriptor *first, *last; /* the least and the most recently used */
    size_t count, most, forced;
} opened = {.lock = PTHREAD_MUTEX_INITIALIZER};

mc_file_identity mc_file_identity_from(const struct stat *status)
{
    return (mc_file_identity){
        .device = status->st_dev,
        .inode = status->st_ino,
        .size = status->st_size,
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

/* Closes the least recently used file that nobody reads; returns false if there is none. */
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
    return all > reserve ? all - reserve : 1;
}

/* The soft limit is raised only when it is reached: it belongs to the whole process. */
static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    opened.most = without_reserve(limit.rlim_cur);
    if (opened.count < opened.most || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max < MOST_FILES ? limit.rlim_max : MOST_FILES;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        opened.most = without_reserve(limit.rlim_cur);
}

static void make_room(void)
{
    if (opened.forced == 0 && opened.count >= opened.most)
        raise_limit();
    const size_t most = opened.forced > 0 ? opened.forced : opened.most;
    while (opened.count >= most && close_one())
        ;
}

/* O_NONBLOCK: opening a pipe that nobody writes to must not hang. */
static int open_path(const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    make_room();
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
    if (!S_ISREG(status.st_mode))
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1, "expected a regular file, found %s",
                          S_ISDIR(status.st_mode) ? "a folder" : "something else");
    *identity = mc_file_identity_from(&status);
    return MC_OK;
}

static mc_status open_first(mc_descriptor *d, mc_error *error)
{
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
        remove_from_list(descriptor);
        append_to_list(descriptor);
    }
    if (status == MC_OK) {
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
