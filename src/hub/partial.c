#include "hub/partial.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ABANDONED_SECONDS: how long a file of another machine must have been left unchanged. */
enum { FILE_MODE = 0666, LOCK_MODE = 0664, HASH_BLOCK = 1 << 18, ABANDONED_SECONDS = 600 };
#define THREAD_FROM (INT64_C(8) << 20)

/* ---- names ----------------------------------------------------------------------------------- */

/*
 * The same number for all processes of this machine. It distinguishes files of other machines on a
 * shared disk.
 */
static uint32_t host_number(void)
{
    char name[256] = "";
    (void)gethostname(name, sizeof name - 1);
    return (uint32_t)mc_hash_text(MC_HASH_START, name);
}

static char *own_name(const char *blob)
{
    static atomic_uint counter;
    return mc_format("%s.mc%08x-%ld-%u.incomplete", blob, host_number(), (long)getpid(), counter++);
}

/*
 * Whether the process that wrote this file may still write to it although the lock was free. For
 * files of this machine the lock decides, except that a file which was just created is not locked
 * yet. A process id alone proves nothing: it may belong to a zombie. Locks of another machine may
 * be invisible here, so its files must have been left alone for a while.
 */
static bool may_be_alive(const char *suffix, const struct stat *status)
{
    unsigned host, number;
    long pid;
    if (sscanf(suffix, ".mc%8x-%ld-%u.incomplete", &host, &pid, &number) != 3)
        return true;
    if (host != host_number())
        return time(NULL) - status->st_mtim.tv_sec < ABANDONED_SECONDS;
    return status->st_size == 0 && pid != (long)getpid() &&
           (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

/* ---- hashing --------------------------------------------------------------------------------- */

static int hash_bits(const mc_partial *partial)
{
    return strlen(partial->etag) == MC_ETAG_SIZE - 1 ? 256 : 160;
}

/* Reads back what was written: it is still in the page cache. */
static mc_status hash_up_to(mc_partial *partial, int64_t target, mc_error *error)
{
    unsigned char *const block = mc_alloc(HASH_BLOCK);
    mc_status status = block ? MC_OK : mc_fail_memory(error);
    while (status == MC_OK && partial->hashed < target && !partial->quit) {
        const int64_t left = target - partial->hashed;
        const ssize_t got = mc_system->pread(
            partial->fd, block, left < HASH_BLOCK ? (size_t)left : HASH_BLOCK, partial->hashed);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            status = mc_fail_errno(error, partial->path, "cannot read the file back");
        else
            status = mc_sha_add(partial->sha, block, (size_t)got, error);
        partial->hashed += got > 0 ? got : 0;
    }
    mc_free(block);
    return status;
}

/*
 * Holds the mutex except while it hashes.
 *
 *     waiting ──target raised──▶ hashing ──▶ waiting
 *        └──stop, all hashed; quit; failure──▶ ends
 */
static void *hash_thread(void *user)
{
    mc_partial *const partial = user;
    pthread_mutex_lock(&partial->mutex);
    while (partial->hash_status == MC_OK && !partial->quit &&
           (!partial->stop || partial->hashed < partial->target)) {
        if (partial->hashed == partial->target) {
            pthread_cond_wait(&partial->changed, &partial->mutex);
            continue;
        }
        const int64_t target = partial->target;
        pthread_mutex_unlock(&partial->mutex);
        /* Written without the mutex: only this thread uses it until it is joined. */
        partial->hash_status = hash_up_to(partial, target, &partial->hash_error);
        pthread_mutex_lock(&partial->mutex);
    }
    pthread_mutex_unlock(&partial->mutex);
    return NULL;
}

/*
 * Lets the thread continue, but not for every packet: waking it would cost more than the hashing.
 */
static void advance(mc_partial *partial, bool stop)
{
    if (!partial->threaded)
        return;
    pthread_mutex_lock(&partial->mutex);
    if (stop || partial->written - partial->target >= HASH_BLOCK) {
        partial->target = partial->written;
        partial->stop = stop;
        pthread_cond_signal(&partial->changed);
    }
    pthread_mutex_unlock(&partial->mutex);
}

/*
 * Joins the thread: with `whole` after everything is hashed, otherwise as soon as it notices
 * `quit`.
 */
static void stop_thread(mc_partial *partial, bool whole)
{
    if (!partial->threaded)
        return;
    partial->quit = !whole;
    advance(partial, true);
    pthread_join(partial->thread, NULL);
    pthread_cond_destroy(&partial->changed);
    pthread_mutex_destroy(&partial->mutex);
    partial->threaded = false;
}

static mc_status start_hash(mc_partial *partial, int64_t size, mc_error *error)
{
    MC_TRY(mc_sha_new(hash_bits(partial), &partial->sha, error));
    /* A git hash begins with the size, which is certain only at the end. */
    if (hash_bits(partial) != 256 || size < THREAD_FROM)
        return MC_OK;
    partial->target = 0;
    partial->stop = false;
    pthread_mutex_init(&partial->mutex, NULL);
    pthread_cond_init(&partial->changed, NULL);
    partial->threaded = pthread_create(&partial->thread, NULL, hash_thread, partial) == 0;
    if (!partial->threaded) { /* without a thread the file is hashed at the end */
        pthread_cond_destroy(&partial->changed);
        pthread_mutex_destroy(&partial->mutex);
    }
    advance(partial, false);
    return MC_OK;
}

/* ---- lock ------------------------------------------------------------------------------------ */

mc_status mc_partial_begin(mc_partial *partial, const char *repository, const char *etag,
                           mc_error *error)
{
    partial->fd = partial->lock = -1;
    snprintf(partial->etag, sizeof partial->etag, "%s", etag);
    partial->blob = mc_cache_blob(repository, etag);
    return partial->blob ? MC_OK : mc_fail_memory(error);
}

/*
 * Without locks two processes download the same blob, each to its own file, which is safe. An error
 * of the disk is reported by mc_partial_open, which writes beside the lock.
 */
mc_lock mc_partial_lock(mc_partial *partial, const mc_hub_settings *settings,
                        const char *repository)
{
    char *const path = mc_format("%s/.locks/%s/%s.lock", settings->cache,
                                 strrchr(repository, '/') + 1, partial->etag);
    if (!path)
        return MC_LOCK_HELD;
    if (partial->lock < 0 && mc_cache_make_parents(path, NULL) == MC_OK)
        partial->lock = mc_system->open(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, LOCK_MODE);
    mc_free(path);
    const bool busy = partial->lock >= 0 && mc_lock_file(partial->lock) == MC_LOCKED_ELSEWHERE;
    return busy ? MC_LOCK_BUSY : MC_LOCK_HELD;
}

/* ---- partial files --------------------------------------------------------------------------- */

/*
 * Takes over a file that no process writes to any more, by renaming it; false if that is
 * impossible. A link is never followed: its target could be any file.
 */
static bool claim(mc_partial *partial, const char *path, const char *suffix)
{
    struct stat mine, there;
    const int fd = mc_system->open(AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return false;
    const bool free = mc_lock_file(fd) == MC_LOCKED_HERE && mc_system->fstat(fd, &mine) == 0 &&
                      S_ISREG(mine.st_mode) && !may_be_alive(suffix, &mine);
    /*
     * Between open and lock another process may have renamed it: the name must still lead to this
     * file.
     */
    const bool still = free && mc_system->stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
                       mine.st_dev == there.st_dev;
    if (!still || mc_system->rename(path, partial->path, 0) != 0) {
        mc_system->close(fd);
        return false;
    }
    partial->fd = fd;
    partial->written = mine.st_size;
    partial->resumed = mine.st_size > 0;
    return true;
}

/* Returns what follows a prefix of `name`; NULL if it has another prefix. */
static const char *skip_prefix(const char *name, const char *prefix)
{
    while (*prefix && *name == *prefix) {
        name++;
        prefix++;
    }
    return *prefix ? NULL : name;
}

/* Returns the next partial file of a blob as a new path; *suffix is valid until the next call. */
static char *next_unfinished(DIR *entries, const char *folder, const char *name,
                             const char **suffix)
{
    for (const struct dirent *entry; (entry = readdir(entries));) {
        *suffix = skip_prefix(entry->d_name, name);
        if (*suffix && strncmp(*suffix, ".mc", 3) == 0)
            return mc_format("%s/%s", folder, entry->d_name);
    }
    return NULL;
}

/* Opens the folder of a blob. *folder is its path in new memory, even if it does not exist. */
static DIR *open_folder_of(const char *blob, char **folder)
{
    *folder = mc_strndup(blob, (size_t)(strrchr(blob, '/') - blob));
    return *folder ? opendir(*folder) : NULL;
}

static void claim_any(mc_partial *partial)
{
    char *folder = NULL;
    const char *suffix = NULL, *const name = strrchr(partial->blob, '/') + 1;
    DIR *const entries = open_folder_of(partial->blob, &folder);
    for (char *path;
         entries && partial->fd < 0 && (path = next_unfinished(entries, folder, name, &suffix));) {
        (void)claim(partial, path, suffix);
        mc_free(path);
    }
    if (entries)
        closedir(entries);
    mc_free(folder);
}

int64_t mc_partial_arrived(const char *repository, const char *etag)
{
    int64_t most = 0;
    struct stat status;
    char *folder = NULL;
    const char *suffix = NULL;
    char *const blob = mc_cache_blob(repository, etag);
    DIR *const entries = blob ? open_folder_of(blob, &folder) : NULL;
    for (char *path;
         entries && (path = next_unfinished(entries, folder, strrchr(blob, '/') + 1, &suffix));) {
        if (mc_system->stat(path, &status) == 0 && status.st_size > most)
            most = status.st_size;
        mc_free(path);
    }
    if (entries)
        closedir(entries);
    mc_free(folder);
    mc_free(blob);
    return most;
}

mc_status mc_partial_open(mc_partial *partial, int64_t size, mc_error *error)
{
    MC_TRY(mc_cache_make_parents(partial->blob, error));
    partial->path = own_name(partial->blob);
    if (!partial->path)
        return mc_fail_memory(error);
    /* A partial file of an earlier process first: its bytes need not be sent again. */
    claim_any(partial);
    if (partial->fd < 0)
        partial->fd = mc_system->open(AT_FDCWD, partial->path,
                                      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (partial->fd < 0)
        return mc_fail_errno(error, partial->path, "cannot create the file");
    /* Shows other processes that this one is alive. Without locks they never take over a file. */
    if (mc_lock_file(partial->fd) == MC_LOCKED_FAILED)
        return mc_fail_errno(error, partial->path, "cannot lock the file");
    /* More bytes than the file has: it is not a prefix of it. */
    if (size >= 0 && partial->written > size)
        return mc_partial_restart(partial, error);
    return start_hash(partial, size, error);
}

mc_status mc_partial_write(mc_partial *partial, const void *bytes, size_t size, mc_error *error)
{
    MC_TRY(mc_write_all(partial->fd, partial->path, bytes, size, partial->written, error));
    partial->written += (int64_t)size;
    advance(partial, false);
    return MC_OK;
}

/* The thread is joined before its results are reset. */
static void drop_hash(mc_partial *partial)
{
    stop_thread(partial, false);
    mc_sha_free(partial->sha);
    partial->sha = NULL;
    partial->hashed = 0;
    partial->quit = false;
    partial->hash_status = MC_OK;
}

mc_status mc_partial_restart(mc_partial *partial, mc_error *error)
{
    /* drop_hash ends the thread; the new start must decide in the same way. */
    const bool threaded = partial->threaded;
    drop_hash(partial);
    if (mc_system->truncate(partial->fd, 0) != 0)
        return mc_fail_errno(error, partial->path, "cannot truncate the file");
    partial->written = 0;
    partial->resumed = false;
    return start_hash(partial, threaded ? THREAD_FROM : 0, error);
}

/* ---- results --------------------------------------------------------------------------------- */

mc_status mc_partial_check(mc_partial *partial, mc_error *error)
{
    char hex[MC_SHA_HEX] = "", head[40];
    stop_thread(partial, true);
    if (partial->hash_status != MC_OK) {
        if (error)
            *error = partial->hash_error;
        return partial->hash_status;
    }
    /* The header of the git hash needs the size, so nothing was hashed before. */
    if (hash_bits(partial) == 160 && partial->hashed == 0) {
        /* git hashes a file as "blob SIZE", NUL, content. */
        const int length = snprintf(head, sizeof head, "blob %lld", (long long)partial->written);
        MC_TRY(mc_sha_add(partial->sha, head, (size_t)length + 1, error));
    }
    MC_TRY(hash_up_to(partial, partial->written, error));
    MC_TRY(mc_sha_finish(partial->sha, hex, error));
    if (strcmp(hex, partial->etag) == 0)
        return MC_OK;
    return mc_fail(error, MC_FORMAT, "checksum mismatch: expected the announced %s %s, found %s",
                   hash_bits(partial) == 256 ? "sha256" : "git sha1", partial->etag, hex);
}

mc_status mc_partial_commit(mc_partial *partial, mc_error *error)
{
    if (mc_system->rename(partial->path, partial->blob, 0) != 0)
        return mc_fail_errno(error, partial->blob, "cannot rename the file");
    mc_free(partial->path);
    partial->path = NULL;
    return MC_OK;
}

void mc_partial_end(mc_partial *partial, bool remove)
{
    if (!partial->blob)
        return;
    drop_hash(partial);
    /* An empty file has nothing for the next call to resume. */
    if (partial->path && partial->fd >= 0 && (remove || partial->written == 0))
        (void)mc_system->unlink(AT_FDCWD, partial->path, 0);
    if (partial->fd >= 0)
        mc_system->close(partial->fd);
    if (partial->lock >= 0)
        mc_system->close(partial->lock);
    mc_free(partial->path);
    mc_free(partial->blob);
    *partial = (mc_partial){.fd = -1, .lock = -1};
}
