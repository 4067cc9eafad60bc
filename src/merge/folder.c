#include "merge/folder.h"

#include "base/checksum.h"
#include "base/disk.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "merge/replaceable.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h> /* RENAME_NOREPLACE, RENAME_EXCHANGE */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FOLDER_MODE = 0777, FILE_MODE = 0666 };

static void free_folder(mc_folder *folder)
{
    if (folder->fd >= 0)
        mc_system->close(folder->fd);
    mc_free(folder->target);
    mc_free(folder->work);
    mc_free(folder->made);
    for (size_t i = 0; i < folder->file_count; i++)
        mc_free(folder->files[i].name);
    mc_free(folder->files);
    *folder = (mc_folder){.fd = -1};
}

/* ---- removing -------------------------------------------------------------------------------- */

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/*
 * Empties a folder; symbolic links are removed, not followed. Takes over fd. Continues after
 * failures, to leave as little as possible; returns 0 if there were none.
 */
static int empty_folder(int fd)
{
    DIR *const entries = mc_system->list(fd);
    if (!entries) {
        mc_system->close(fd);
        return -1;
    }
    int result = 0;
    const char *name = NULL;
    while ((name = mc_next_entry(entries))) {
        if (mc_system->unlink(fd, name, 0) == 0)
            continue;
        const int inner = mc_system->open(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                                          0);
        if (inner < 0 || empty_folder(inner) != 0 || mc_system->unlink(fd, name, AT_REMOVEDIR) != 0)
            result = -1;
    }
    result = errno == 0 ? result : -1;
    closedir(entries);
    return result;
}

int mc_folder_remove(const char *path)
{
    const int fd = mc_system->open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                                   0);
    /* Without file descriptors an empty folder can still be removed: try it in any case. */
    if (fd >= 0 && empty_folder(fd) != 0)
        return -1;
    return mc_system->unlink(AT_FDCWD, path, AT_REMOVEDIR);
}

mc_status mc_folder_clear(mc_folder *folder, mc_error *error)
{
    const int fd = mc_system->open(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0 || empty_folder(fd) != 0)
        return mc_fail_errno(error, folder->work, "cannot clear what an earlier run left");
    return MC_OK;
}

/* ---- beginning ------------------------------------------------------------------------------- */

/*
 * "a/b/" → before "a/", parent "a", name "b"; "b" → "", ".", "b"; "/b" → "/", "/", "b". False if
 * memory runs out.
 */
static bool split(const char *path, char **before, char **parent, char **name)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    size_t cut = begin;
    while (cut > 1 && path[cut - 1] == '/')
        cut--;
    *before = mc_strndup(path, begin);
    *name = mc_strndup(path + begin, end - begin);
    *parent = begin == 0 ? mc_strdup(".") : mc_strndup(path, cut);
    return *before && *parent && *name;
}

/* mkdir -p; *made: the outermost folder that did not exist. */
static mc_status make_parents(const char *path, char **made, mc_error *error)
{
    struct stat status;
    char *const partial = mc_strdup(path);
    if (!partial)
        return mc_fail_memory(error);
    mc_status result = MC_OK;
    for (char *at = partial + 1; result == MC_OK; at++) {
        const char before = *at;
        if (before != '/' && before != '\0')
            continue;
        *at = '\0';
        if (mc_system->stat(partial, &status) != 0) {
            if (!*made && !(*made = mc_strdup(partial)))
                result = mc_fail_memory(error);
            else if (mc_system->mkdir(partial, FOLDER_MODE) != 0 && errno != EEXIST)
                result = mc_fail_errno(error, partial, "cannot create the folder");
        }
        if (before == '\0')
            break;
        *at = before;
    }
    mc_free(partial);
    return result;
}

/*
 * Removes the parents that were created, as far as they are empty. Cuts folder->work in place:
 * after a failure there may be no memory for a copy.
 */
static void remove_made(mc_folder *folder)
{
    if (!folder->made)
        return;
    char *const path = folder->work;
    const size_t least = strlen(folder->made);
    for (char *slash; (slash = strrchr(path, '/')) && (size_t)(slash - path) >= least;) {
        *slash = '\0';
        if (mc_system->unlink(AT_FDCWD, path, AT_REMOVEDIR) != 0 && errno != ENOENT)
            break;
    }
}

static bool is_link(const char *path)
{
    struct stat status;
    return mc_system->lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
}

mc_status mc_folder_check_target(const char *target, bool overwrite, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(target, &status) != 0)
        return !is_link(target) ? MC_OK
                                : mc_fail_at(error, MC_EXISTS, target, NULL, -1,
                                             "expected the name of a new folder, found a link to "
                                             "something that does not exist");
    if (!overwrite)
        return mc_with_hint(error, MC_HINT_OVERWRITE,
                            mc_fail_at(error, MC_EXISTS, target, NULL, -1, "exists already"));
    if (!S_ISDIR(status.st_mode))
        return mc_fail_at(error, MC_EXISTS, target, NULL, -1,
                          "expected a folder to replace, found a file");
    return mc_replaceable(target, error);
}

/*
 * Fails with errno. Removes the hidden folder if this run created it: another run that is about to
 * lock it finds it gone and starts over.
 */
static mc_status give_up(const mc_folder *folder, bool made_now, mc_error *error, const char *what)
{
    const mc_status status = mc_fail_errno(error, folder->work, "%s", what);
    if (made_now)
        (void)mc_system->unlink(AT_FDCWD, folder->work, AT_REMOVEDIR);
    return status;
}

/*
 * Creates the hidden folder if needed, and locks it. *gone: it is no longer the one under that
 * name, and the caller has to start over.
 *
 *     mkdir ─▶ open ─▶ flock ─▶ same inode under the name? ─▶ ours
 *       ▲        │ ENOENT              │ no
 *       └────────┴─────── *gone ◀──────┘
 *
 * Between open and flock, another run may finish and rename the folder: the lock would then be on
 * its result. On a file system without locks the folder is unprotected: `unlocked`.
 */
static mc_status lock(mc_folder *folder, bool *gone, mc_error *error)
{
    struct stat mine, there;
    *gone = false;
    const bool made_now = mc_system->mkdir(folder->work, FOLDER_MODE) == 0;
    if (!made_now && errno != EEXIST)
        return mc_fail_errno(error, folder->work, "cannot create the folder");
    folder->fd = mc_system->open(AT_FDCWD, folder->work,
                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (folder->fd < 0 && errno == ENOENT) {
        *gone = true;
        return MC_OK;
    }
    if (folder->fd < 0)
        return give_up(folder, made_now, error, "cannot open the folder");
    const mc_locked locked = mc_lock_file(folder->fd);
    if (locked == MC_LOCKED_ELSEWHERE)
        return mc_fail_at(error, MC_BUSY, folder->target, NULL, -1,
                          "another merge is writing to this folder");
    if (locked == MC_LOCKED_FAILED)
        return give_up(folder, made_now, error, "cannot lock the folder");
    folder->unlocked = locked == MC_LOCKED_NOT;
    const bool found = mc_system->stat(folder->work, &there) == 0;
    if ((!found && errno != ENOENT) || mc_system->fstat(folder->fd, &mine) != 0)
        return give_up(folder, made_now, error, "cannot examine the folder");
    *gone = !found || mine.st_ino != there.st_ino;
    return MC_OK;
}

/*
 * The target without trailing slashes, in new memory. For a link, the folder that it leads to: that
 * one is replaced where it lies, and the link stays. NULL if memory runs out.
 */
static char *place_of(const char *target)
{
    char *const path = mc_without_slashes(target);
    char *const real = path && is_link(path) ? realpath(path, NULL) : NULL;
    if (!real)
        return path;
    char *const copy = mc_strdup(real);
    mc_free(path);
    free(real);
    return copy;
}

mc_status mc_folder_names(const char *target, mc_folder *folder, char **parent, mc_error *error)
{
    char *before = NULL, *name = NULL;
    char *const place = place_of(target);
    mc_status status = place && split(place, &before, parent, &name) ? MC_OK
                                                                     : mc_fail_memory(error);
    if (status == MC_OK && (!*name || is_dots(name)))
        status = mc_fail_at(error, MC_USAGE, target, NULL, -1, "expected the name of a new folder");
    if (status == MC_OK) {
        folder->target = mc_format("%s%s", before, name);
        folder->work = mc_format("%s.%s.merging", before, name);
        status = folder->target && folder->work ? MC_OK : mc_fail_memory(error);
    }
    mc_free(place);
    mc_free(before);
    mc_free(name);
    return status;
}

static mc_status begin(const char *target, mc_folder *folder, mc_error *error)
{
    char *parent = NULL;
    mc_status status = mc_folder_names(target, folder, &parent, error);
    if (status == MC_OK)
        status = mc_folder_check_target(folder->target, folder->overwrite, error);
    if (status == MC_OK)
        status = make_parents(parent, &folder->made, error);
    for (bool gone = true; status == MC_OK && gone;) {
        if (folder->fd >= 0)
            mc_system->close(folder->fd);
        folder->fd = -1;
        status = lock(folder, &gone, error);
    }
    mc_free(parent);
    return status;
}

mc_status mc_folder_begin(const char *target, bool overwrite, bool sync, mc_folder *out,
                          mc_error *error)
{
    *out = (mc_folder){.fd = -1, .overwrite = overwrite, .sync = sync};
    const mc_status status = begin(target, out, error);
    if (status != MC_OK) {
        if (out->work)
            remove_made(out);
        free_folder(out);
    }
    return status;
}

mc_status mc_folder_check_room(const mc_folder *folder, int64_t bytes, mc_error *error)
{
    mc_disk disk;
    if (!mc_disk_at(folder->work, &disk) || bytes <= disk.free)
        return MC_OK; /* not every file system reports it */
    char needed[16], found[16];
    return mc_fail_at(error, MC_NO_SPACE, folder->target, NULL, -1,
                      "expected room for %s on the disk, found %s",
                      mc_format_bytes(bytes, needed, sizeof needed),
                      mc_format_bytes(disk.free, found, sizeof found));
}

/* ---- files ----------------------------------------------------------------------------------- */

/*
 * Readable too: checksums read back what an earlier run wrote. O_NOFOLLOW: a link in the hidden
 * folder must not lead writes elsewhere.
 */
int mc_folder_open(const mc_folder *folder, const char *name)
{
    return mc_system->open(folder->fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
}

/* Creates the folders in a file's name: "sub" of "sub/name". False and errno on failure. */
static bool make_inner(const mc_folder *folder, const char *name)
{
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        char *const path = mc_format("%s/%.*s", folder->work, (int)(slash - name), name);
        const int made = path ? mc_system->mkdir(path, FOLDER_MODE) : -1;
        const int code = path ? errno : ENOMEM;
        mc_free(path);
        errno = code;
        if (made != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

int mc_folder_create(const mc_folder *folder, const char *name)
{
    if (!make_inner(folder, name))
        return -1;
    return mc_system->open(folder->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                           FILE_MODE);
}

mc_status mc_folder_create_unique(const mc_folder *folder, const char *prefix, char name[64],
                                  mc_error *error)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, 64, "%s%ld.%lld.%09ld", prefix, (long)getpid(), (long long)now.tv_sec,
             now.tv_nsec);
    const int fd = mc_folder_create(folder, name);
    if (fd < 0)
        return mc_fail_errno(error, folder->work, "cannot create a file");
    mc_system->close(fd);
    return MC_OK;
}

mc_status mc_folder_add_file(mc_folder *folder, const char *name, int64_t size, uint64_t checksum,
                             mc_error *error)
{
    char *const copy = mc_strdup(name);
    if (!copy || !MC_GROW(folder->files, folder->file_count, folder->file_capacity)) {
        mc_free(copy);
        return mc_fail_memory(error);
    }
    folder->files[folder->file_count++] = (mc_folder_file){copy, size, checksum};
    return MC_OK;
}

static mc_status add_written(mc_folder *folder, const char *name, const void *bytes, size_t size,
                             mc_error *error)
{
    mc_checksum sum;
    mc_checksum_begin(&sum);
    mc_checksum_add(&sum, bytes, size);
    return mc_folder_add_file(folder, name, (int64_t)size, mc_checksum_end(&sum), error);
}

mc_status mc_folder_write(mc_folder *folder, const char *name, const void *bytes, size_t size,
                          mc_error *error)
{
    const int fd = mc_folder_create(folder, name);
    if (fd < 0)
        return mc_fail_errno(error, name, "cannot create the file");
    mc_status status = mc_write_all(fd, name, bytes, size, 0, error);
    if (status == MC_OK && folder->sync && mc_system->fsync(fd) != 0)
        status = mc_fail_errno(error, name, "cannot flush it to disk");
    if (mc_system->close(fd) != 0 && status == MC_OK)
        status = mc_fail_errno(error, name, "cannot close it");
    return status == MC_OK ? add_written(folder, name, bytes, size, error) : status;
}

mc_status mc_folder_write_json(mc_folder *folder, const char *name, const json_t *value,
                               mc_error *error)
{
    char *const text = mc_json_write(value, JSON_INDENT(2));
    if (!text)
        return mc_fail_memory(error);
    mc_text line = {0};
    mc_text_add(&line, "%s\n", text);
    mc_free(text);
    const mc_status status = line.failed
                                 ? mc_fail_memory(error)
                                 : mc_folder_write(folder, name, line.data, line.length, error);
    mc_text_free(&line);
    return status;
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void sync_parent(const mc_folder *folder)
{
    char *before = NULL, *parent = NULL, *name = NULL;
    const bool known = split(folder->target, &before, &parent, &name);
    const int fd = known ? mc_system->open(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
                         : -1;
    if (fd >= 0) {
        /* The folder is complete and named; this only makes the name survive a power failure. */
        (void)mc_system->fsync(fd);
        mc_system->close(fd);
    }
    mc_free(before);
    mc_free(parent);
    mc_free(name);
}

/*
 * Exchanges old and new in one system call where the file system can, so that no moment is
 * without a complete folder. Elsewhere the old one has to be removed first.
 */
static int exchange(const mc_folder *folder)
{
    if (mc_system->rename(folder->work, folder->target, RENAME_EXCHANGE) == 0) {
        (void)mc_folder_remove(folder->work); /* the old one; the next run would clear it too */
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* The file system cannot exchange names. */
    if (mc_folder_remove(folder->target) != 0)
        return -1;
    return mc_system->rename(folder->work, folder->target, 0);
}

/*
 * Exchanges the finished folder with the old one. The old one is locked until it is removed: under
 * the hidden name, another run would otherwise take it for leftovers and write into it.
 */
static int replace(const mc_folder *folder)
{
    const int old = mc_system->open(AT_FDCWD, folder->target,
                                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (old >= 0)
        (void)mc_lock_file(old);
    const int result = exchange(folder);
    const int code = errno;
    if (old >= 0)
        mc_system->close(old);
    errno = code;
    return result;
}

/*
 * Never replaces by accident: the target may have appeared since it was checked. EINVAL and ENOSYS
 * come from file systems that do not know RENAME_NOREPLACE.
 */
static int give_name(const mc_folder *folder)
{
    if (mc_system->rename(folder->work, folder->target, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST && folder->overwrite)
        return replace(folder);
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return mc_system->rename(folder->work, folder->target, 0);
}

mc_status mc_folder_commit(mc_folder *folder, mc_error *error)
{
    mc_status status = MC_OK;
    /*
     * Files were flushed one by one; this flushes their names, before the folder becomes visible.
     */
    if (folder->sync && mc_system->fsync(folder->fd) != 0)
        status = mc_fail_errno(error, folder->work, "cannot flush it to disk");
    if (status == MC_OK && give_name(folder) != 0)
        status = mc_fail_errno(error, folder->target, "cannot rename the finished folder to it");
    if (status != MC_OK) {
        mc_folder_discard(folder);
        return status;
    }
    if (folder->sync)
        sync_parent(folder);
    free_folder(folder);
    return MC_OK;
}

void mc_folder_discard(mc_folder *folder)
{
    (void)mc_folder_remove(folder->work);
    remove_made(folder);
    free_folder(folder);
}

void mc_folder_keep(mc_folder *folder)
{
    free_folder(folder);
}
