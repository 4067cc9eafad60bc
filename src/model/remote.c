#include "model/remote.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/*
 * Writes a file as long as the one on the server. Only the header takes room on the disk: the rest
 * is a hole.
 */
static mc_status write_header(const mc_item *item, const char *path, mc_error *error)
{
    const int fd = mc_system->open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return mc_fail_errno(error, path, "cannot make the file");
    const size_t size = (int64_t)item->header_size < item->size ? item->header_size
                                                                : (size_t)item->size;
    mc_status status = mc_write_all(fd, path, item->header, size, 0, error);
    if (status == MC_OK && mc_system->truncate(fd, item->size) != 0)
        status = mc_fail_errno(error, path, "cannot make a file with a hole of %lld bytes",
                               (long long)item->size);
    if (mc_system->close(fd) != 0 && status == MC_OK)
        status = mc_fail_errno(error, path, "cannot close it");
    return status;
}

static mc_status add_file(const mc_item *item, const char *snapshot, const char *folder,
                          mc_error *error)
{
    char *const path = mc_format("%s/%s", folder, item->path);
    char *const from = mc_format("%s/%s", snapshot, item->path);
    mc_status status = path && from ? MC_OK : mc_fail_memory(error);
    /* Complete files become links into the snapshot, so that they are found beside the headers. */
    if (status == MC_OK && item->state != MC_ITEM_DONE)
        status = write_header(item, path, error);
    else if (status == MC_OK && mc_system->symlink(from, path) != 0)
        status = mc_fail_errno(error, path, "cannot make the link");
    mc_free(path);
    mc_free(from);
    return status;
}

mc_status mc_remote_make_folder(const mc_snapshot *snapshot, const char *folder, char **out,
                                mc_error *error)
{
    const char *const place = getenv("TMPDIR");
    char *const made = mc_format("%s/mergecraft-headers-XXXXXX", place && *place ? place : "/tmp");
    /* Links need an absolute path. The snapshot exists once its first file is complete. */
    char *const real = realpath(folder, NULL);
    mc_status status = MC_OK;
    if (!made)
        status = mc_fail_memory(error);
    else if (!real && errno != ENOENT)
        status = mc_fail_errno(error, folder, "cannot resolve the path");
    else if (!mkdtemp(made))
        status = mc_fail_errno(error, made, "cannot make a temporary folder");
    if (status != MC_OK) {
        mc_free(made);
        free(real);
        return status;
    }
    *out = made;
    /* Files in folders, which belong to other modules, are not part of the checkpoint. */
    for (size_t i = 0; status == MC_OK && i < snapshot->count; i++)
        if (!strchr(snapshot->items[i]->path, '/'))
            status = add_file(snapshot->items[i], real ? real : folder, made, error);
    free(real);
    return status;
}

void mc_remote_remove(char *folder)
{
    if (!folder)
        return;
    DIR *const entries = opendir(folder);
    for (const struct dirent *entry; entries && (entry = readdir(entries));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)mc_system->unlink(dirfd(entries), entry->d_name, 0);
    if (entries)
        closedir(entries);
    (void)mc_system->unlink(AT_FDCWD, folder, AT_REMOVEDIR);
    mc_free(folder);
}

static bool has_ending(const char *path, const char *name)
{
    const char *const slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, name) == 0;
}

/*
 * The end of the header of a safetensors file. Bytes that arrived beyond it are not used: they are
 * only a part of the values.
 */
static int64_t header_end(const mc_item *item)
{
    uint64_t length = 0;
    for (size_t i = 8; i > 0 && item->header_size >= 8; i--)
        length = length << 8 | (unsigned char)item->header[i - 1];
    return length < item->header_size ? (int64_t)length + 8 : (int64_t)item->header_size;
}

void mc_remote_limit(const mc_snapshot *snapshot, mc_model *model)
{
    for (size_t i = 0; i < snapshot->count; i++)
        for (size_t f = 0; f < model->checkpoint.file_count; f++) {
            mc_file *const file = model->checkpoint.files[f];
            const mc_item *const item = snapshot->items[i];
            if (item->state == MC_ITEM_DONE || !has_ending(mc_file_path(file), item->path))
                continue;
            mc_file_limit(file, header_end(item));
            model->missing_bytes += mc_item_missing(item);
        }
}
