#include "base/draft.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

static int open_partial(const char *path)
{
    return mc_system->open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
}

/* Whether the name still stands for the open file, which may have been renamed since. */
static bool is_under(const char *path, int fd)
{
    struct stat named, opened;
    return mc_system->lstat(path, &named) == 0 && mc_system->fstat(fd, &opened) == 0 &&
           named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/* Opens and locks the common name: −1 if that is impossible, or if others have the lock. */
static int open_locked(const char *path)
{
    for (;;) {
        const int fd = open_partial(path);
        const bool locked = fd >= 0 && mc_lock_file(fd) == MC_LOCKED_HERE;
        if (locked && is_under(path, fd))
            return fd;
        if (fd >= 0)
            mc_system->close(fd);
        if (!locked)
            return -1;
    }
}

mc_status mc_draft_open(const char *path, mc_draft *out, mc_error *error)
{
    static atomic_uint counter;
    *out = (mc_draft){.fd = -1, .partial = mc_format("%s.partial", path), .path = path};
    if (!out->partial)
        return mc_fail_memory(error);
    out->fd = open_locked(out->partial);
    if (out->fd < 0) {
        mc_free(out->partial);
        out->partial = mc_format("%s.%ld-%u.partial", path, (long)getpid(),
                                 atomic_fetch_add(&counter, 1));
        if (!out->partial)
            return mc_fail_memory(error);
        out->fd = open_partial(out->partial);
    }
    if (out->fd >= 0 && mc_system->truncate(out->fd, 0) == 0)
        return MC_OK;
    const mc_status status = mc_fail_errno(error, path, "cannot create the file");
    if (out->fd >= 0)
        return mc_draft_close(out, status, error);
    mc_free(out->partial);
    out->partial = NULL;
    return status;
}

mc_status mc_draft_close(mc_draft *draft, mc_status status, mc_error *error)
{
    /* Otherwise a power failure could leave an empty file under the new name. */
    if (status == MC_OK && mc_system->fsync(draft->fd) != 0)
        status = mc_fail_errno(error, draft->path, "cannot flush it to disk");
    /* Before it is closed, which gives up the lock. */
    if (status == MC_OK && mc_system->rename(draft->partial, draft->path, 0) != 0)
        status = mc_fail_errno(error, draft->path, "cannot rename the complete file");
    if (status != MC_OK)
        (void)mc_system->unlink(AT_FDCWD, draft->partial, 0);
    mc_system->close(draft->fd);
    mc_free(draft->partial);
    *draft = (mc_draft){.fd = -1};
    return status;
}

mc_status mc_file_replace(const char *path, const char *text, size_t size, mc_error *error)
{
    mc_draft draft;
    MC_TRY(mc_draft_open(path, &draft, error));
    return mc_draft_close(&draft, mc_write_all(draft.fd, path, text, size, 0, error), error);
}
