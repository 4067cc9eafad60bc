#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "merge/folder.h"

#include <mergecraft/merge.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/*
 * ".NAME.merging" stands for NAME: messages name that folder, so users pass it. In new memory;
 * NULL: no memory.
 */
static char *without_disguise(const char *target)
{
    static const char ending[] = ".merging";
    char *const path = mc_without_slashes(target);
    char *const slash = path ? strrchr(path, '/') : NULL;
    char *const name = slash ? slash + 1 : path;
    if (!path || name[0] != '.' || !mc_ends_with(name, ending) || strlen(name) <= sizeof ending)
        return path;
    memmove(name, name + 1, strlen(name));
    name[strlen(name) - strlen(ending)] = '\0';
    return path;
}

/* Counts files directly in the folder; a merge writes few others. */
static void measure(const char *path, mc_clean_result *out)
{
    DIR *const entries = mc_list_folder(path);
    for (const char *name; entries && (name = mc_next_entry(entries));) {
        struct stat status;
        char *const file = mc_format("%s/%s", path, name);
        if (file && mc_system->lstat(file, &status) == 0 && S_ISREG(status.st_mode)) {
            out->files++;
            out->bytes += status.st_size;
        }
        mc_free(file);
    }
    if (entries)
        closedir(entries);
}

static mc_status remove_work(const mc_folder *folder, mc_clean_result *out, mc_error *error)
{
    const int fd = mc_system->open(AT_FDCWD, folder->work,
                                   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return errno == ENOENT ? MC_OK
                               : mc_fail_errno(error, folder->work, "cannot open the folder");
    mc_status status = MC_OK;
    /*
     * The lock is held until the folder is removed: a merge that starts meanwhile reports it busy.
     */
    const mc_locked locked = mc_lock_file(fd);
    if (locked == MC_LOCKED_ELSEWHERE)
        status = mc_fail_at(error, MC_BUSY, folder->target, NULL, -1,
                            "another merge is writing to this folder");
    else if (locked == MC_LOCKED_FAILED)
        status = mc_fail_errno(error, folder->work, "cannot lock the folder");
    if (status == MC_OK) {
        measure(folder->work, out);
        if (mc_folder_remove(folder->work) != 0)
            status = mc_fail_errno(error, folder->work, "cannot remove the folder");
        else
            snprintf(out->path, sizeof out->path, "%s", folder->work);
    }
    mc_system->close(fd);
    return status;
}

mc_status mc_unfinished_folder(const char *target, char *out, size_t size, mc_error *error)
{
    mc_folder folder = {.fd = -1};
    char *parent = NULL;
    mc_status status = mc_folder_names(target, &folder, &parent, error);
    if (status == MC_OK && (size_t)snprintf(out, size, "%s", folder.work) >= size)
        status = mc_fail(error, MC_USAGE, "expected room for %zu bytes, found %zu",
                         strlen(folder.work) + 1, size);
    mc_free(folder.target);
    mc_free(folder.work);
    mc_free(parent);
    return status;
}

mc_status mc_clean(const char *target, mc_clean_result *out, mc_error *error)
{
    mc_folder folder = {.fd = -1};
    char *parent = NULL;
    char *const name = without_disguise(target);
    *out = (mc_clean_result){0};
    mc_status status = name ? mc_folder_names(name, &folder, &parent, error)
                            : mc_fail_memory(error);
    if (status == MC_OK)
        status = remove_work(&folder, out, error);
    mc_free(name);
    mc_free(parent);
    mc_free(folder.target);
    mc_free(folder.work);
    return status;
}
