#include "hub/upload_files.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "hub/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 20, MOST_FILES = 25000, MOST_FOLDERS = 32 };

/* The server decides which files are small. A huge file is never loaded as a small one. */
#define SMALL_LIMIT (INT64_C(64) << 20)

/* ---- listing ------------------------------------------------------------------------------- */

static mc_status add_file(mc_upload_files *files, const char *path, const char *file, int64_t size,
                          mc_error *error)
{
    if (!mc_hub_path_ok(path))
        return mc_fail_at(error, MC_USAGE, file, NULL, -1,
                          "expected a file name without control characters and backslashes");
    if (files->count == MOST_FILES)
        return mc_fail(error, MC_USAGE, "expected a folder of at most %d files, found more",
                       MOST_FILES);
    if (!MC_GROW(files->entries, files->count, files->capacity))
        return mc_fail_memory(error);
    mc_upload_entry *const entry = &files->entries[files->count];
    *entry = (mc_upload_entry){.path = mc_strdup(path), .file = mc_strdup(file), .size = size};
    files->count++;
    return entry->path && entry->file ? MC_OK : mc_fail_memory(error);
}

static mc_status list_folder(const mc_transfers *transfers, const char *folder, const char *prefix,
                             int depth, mc_upload_files *out, mc_error *error);

/*
 * Links to files are followed, since folders in the Hub's cache consist of them. A dangling link is
 * skipped with a note.
 */
static mc_status add_entry(const mc_transfers *transfers, const char *file, const char *path,
                           int depth, mc_upload_files *out, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(file, &status) != 0) {
        mc_transfers_note(transfers, "%s: skipped, a link to a file that does not exist", file);
        return MC_OK;
    }
    if (S_ISREG(status.st_mode))
        return add_file(out, path, file, status.st_size, error);
    if (!S_ISDIR(status.st_mode)) {
        mc_transfers_note(transfers, "%s: skipped, not a regular file", file);
        return MC_OK;
    }
    if (depth == MOST_FOLDERS)
        return mc_fail_at(error, MC_USAGE, file, NULL, -1,
                          "expected at most %d folders inside each other, found more; does a link "
                          "lead back?",
                          MOST_FOLDERS);
    return list_folder(transfers, file, path, depth + 1, out, error);
}

static mc_status list_folder(const mc_transfers *transfers, const char *folder, const char *prefix,
                             int depth, mc_upload_files *out, mc_error *error)
{
    mc_status status = MC_OK;
    DIR *const entries = mc_list_folder(folder);
    if (!entries)
        return mc_fail_errno(error, folder, "cannot list the folder");
    for (const char *name; status == MC_OK && (name = mc_next_entry(entries));) {
        char *const file = mc_format("%s/%s", folder, name);
        char *const path = mc_format("%s%s%s", prefix, *prefix ? "/" : "", name);
        if (!file || !path)
            status = mc_fail_memory(error);
        else if (name[0] == '.')
            mc_transfers_note(transfers, "%s: skipped, a hidden file", file);
        else
            status = add_entry(transfers, file, path, depth, out, error);
        mc_free(file);
        mc_free(path);
    }
    closedir(entries);
    return status;
}

/* Sorted: the order of a folder's entries is arbitrary, and commits should not depend on it. */
static int compare_paths(const void *a, const void *b)
{
    const mc_upload_entry *const x = a, *const y = b;
    return strcmp(x->path, y->path);
}

mc_status mc_upload_files_list(const mc_transfers *transfers, const char *folder,
                               mc_upload_files *out, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(folder, &status) != 0)
        return mc_fail_errno(error, folder, "cannot open it");
    if (!S_ISDIR(status.st_mode))
        return mc_fail_at(error, MC_USAGE, folder, NULL, -1, "expected a folder, found a file");
    MC_TRY(list_folder(transfers, folder, "", 0, out, error));
    if (out->count == 0)
        return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                          "expected files to upload, found none");
    qsort(out->entries, out->count, sizeof *out->entries, compare_paths);
    return MC_OK;
}

void mc_upload_files_free(mc_upload_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        mc_free(files->entries[i].path);
        mc_free(files->entries[i].file);
    }
    mc_free(files->entries);
    *files = (mc_upload_files){0};
}

/* ---- content ------------------------------------------------------------------------------- */

static mc_status check_cancel(const mc_transfers *transfers, mc_error *error)
{
    const mc_hub_options *const options = transfers->options;
    return options && options->cancel && *options->cancel
               ? mc_fail(error, MC_INTERRUPTED, "interrupted; nothing was committed")
               : MC_OK;
}

static mc_status hash_blocks(const mc_transfers *transfers, mc_file *file, mc_sha *sha, char *block,
                             mc_error *error)
{
    const int64_t size = mc_file_size(file);
    for (int64_t at = 0; at < size; at += BLOCK) {
        const size_t n = size - at < BLOCK ? (size_t)(size - at) : BLOCK;
        /* Hashing a large file takes long enough for a user to interrupt it. */
        MC_TRY(check_cancel(transfers, error));
        MC_TRY(mc_file_read(file, at, block, n, error));
        MC_TRY(mc_sha_add(sha, block, n, error));
    }
    return MC_OK;
}

/* With `git`, the hash that git gives a blob: of "blob SIZE", NUL, content. */
static mc_status hash_file(const mc_transfers *transfers, const mc_upload_entry *entry, int bits,
                           bool git, char hex[MC_SHA_HEX], mc_error *error)
{
    mc_file *file = NULL;
    mc_sha *sha = NULL;
    char head[40];
    char *const block = mc_alloc(BLOCK);
    mc_status status = block ? mc_file_open(entry->file, &file, error) : mc_fail_memory(error);
    /* The size was sent to the server before: another one is another file. */
    if (status == MC_OK && mc_file_size(file) != entry->size)
        status = mc_fail_at(error, MC_CHANGED, entry->file, NULL, -1,
                            "expected %lld bytes, found %lld", (long long)entry->size,
                            (long long)mc_file_size(file));
    if (status == MC_OK)
        status = mc_sha_new(bits, &sha, error);
    if (status == MC_OK && git) {
        const int length = snprintf(head, sizeof head, "blob %lld", (long long)entry->size);
        status = mc_sha_add(sha, head, (size_t)length + 1, error);
    }
    if (status == MC_OK)
        status = hash_blocks(transfers, file, sha, block, error);
    if (status == MC_OK)
        status = mc_sha_finish(sha, hex, error);
    mc_sha_free(sha);
    mc_file_unref(file);
    mc_free(block);
    return status;
}

mc_status mc_upload_hash(const mc_transfers *transfers, mc_upload_entry *entry, mc_error *error)
{
    return entry->sha256[0] ? MC_OK : hash_file(transfers, entry, 256, false, entry->sha256, error);
}

mc_status mc_upload_load(const mc_upload_entry *entry, char **out, mc_error *error)
{
    size_t size = 0;
    MC_TRY(mc_file_load(entry->file, SMALL_LIMIT, out, &size, error));
    if ((int64_t)size == entry->size)
        return MC_OK;
    mc_free(*out);
    return mc_fail_at(error, MC_CHANGED, entry->file, NULL, -1, "expected %lld bytes, found %zu",
                      (long long)entry->size, size);
}

mc_status mc_upload_compare(const mc_transfers *transfers, mc_upload_entry *entry, const char *oid,
                            mc_error *error)
{
    char hex[MC_SHA_HEX] = "";
    /*
     * The id is a sha256 if the file is in the large file storage now, whatever it will be after
     * the upload.
     */
    if (strlen(oid) == MC_SHA_HEX - 1) {
        MC_TRY(mc_upload_hash(transfers, entry, error));
        entry->same = strcmp(entry->sha256, oid) == 0;
        return MC_OK;
    }
    MC_TRY(hash_file(transfers, entry, 160, true, hex, error));
    entry->same = strcmp(hex, oid) == 0;
    return MC_OK;
}
