#include "hub/cache.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* DEEPEST_FOLDER ends the listing of a folder that a link leads back to. */
enum { FOLDER_MODE = 0777, FILE_MODE = 0666, COPY_BLOCK = 1 << 20, DEEPEST_FOLDER = 16 };

/* ---- paths ----------------------------------------------------------------------------------- */

char *mc_cache_repository(const mc_hub_settings *settings, const mc_hub_id *id)
{
    const char *const slash = strchr(id->name, '/');
    const char *const kind = mc_hub_kind_name(id->kind);
    return slash ? mc_format("%s/%s--%.*s--%s", settings->cache, kind, (int)(slash - id->name),
                             id->name, slash + 1)
                 : mc_format("%s/%s--%s", settings->cache, kind, id->name);
}

char *mc_cache_snapshot(const char *repository, const char *commit)
{
    return mc_format("%s/snapshots/%s", repository, commit);
}

char *mc_cache_pointer(const char *repository, const char *commit, const char *path)
{
    return mc_format("%s/snapshots/%s/%s", repository, commit, path);
}

char *mc_cache_blob(const char *repository, const char *etag)
{
    return mc_format("%s/blobs/%s", repository, etag);
}

bool mc_cache_has(const char *path, int64_t *size)
{
    struct stat status;
    if (mc_system->stat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return false;
    if (size)
        *size = status.st_size;
    return true;
}

mc_status mc_cache_make_parents(const char *path, mc_error *error)
{
    struct stat status;
    char *const partial = mc_strdup(path);
    if (!partial)
        return mc_fail_memory(error);
    mc_status result = MC_OK;
    /* Other processes may create the same folders at once: EEXIST is success. */
    for (char *at = strchr(partial + 1, '/'); at && result == MC_OK; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mc_system->stat(partial, &status) != 0 && mc_system->mkdir(partial, FOLDER_MODE) != 0 &&
            errno != EEXIST)
            result = mc_fail_errno(error, partial, "cannot create the folder");
        *at = '/';
    }
    mc_free(partial);
    return result;
}

/* ---- small files ----------------------------------------------------------------------------- */

/* O_EXCL: two processes that create the same file at once must not write into each other. */
static mc_status write_new(const char *path, const char *text, mc_error *error)
{
    const int fd = mc_system->open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                                   FILE_MODE);
    if (fd < 0)
        return mc_fail_errno(error, path, "cannot create the file");
    mc_status status = mc_write_all(fd, path, text, strlen(text), 0, error);
    if (mc_system->close(fd) != 0 && status == MC_OK)
        status = mc_fail_errno(error, path, "cannot close the file");
    if (status != MC_OK)
        (void)mc_system->unlink(AT_FDCWD, path, 0);
    return status;
}

/*
 * Readers find either the old text or the new one, complete. The name of the draft differs per
 * process and call.
 */
static mc_status replace_text(const char *path, const char *text, mc_error *error)
{
    static atomic_uint counter;
    char *const draft = mc_format("%s.%ld-%u.tmp", path, (long)getpid(), counter++);
    mc_status status = draft ? mc_cache_make_parents(path, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = write_new(draft, text, error);
    if (status == MC_OK && mc_system->rename(draft, path, 0) != 0) {
        status = mc_fail_errno(error, path, "cannot rename the file");
        (void)mc_system->unlink(AT_FDCWD, draft, 0);
    }
    mc_free(draft);
    return status;
}

/* Anything but a commit in the file, such as half a write of another tool, means "unknown". */
static mc_status read_commit(const char *path, char commit[MC_COMMIT_SIZE], mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    if (!mc_cache_has(path, NULL))
        return MC_OK;
    MC_TRY(mc_file_load(path, 4096, &text, &size, error));
    if (mc_hub_is_commit(text))
        memcpy(commit, text, MC_COMMIT_SIZE);
    mc_free(text);
    return MC_OK;
}

mc_status mc_cache_read_ref(const char *repository, const char *revision,
                            char commit[MC_COMMIT_SIZE], mc_error *error)
{
    commit[0] = '\0';
    if (mc_hub_is_commit(revision)) {
        memcpy(commit, revision, MC_COMMIT_SIZE);
        return MC_OK;
    }
    char *const path = mc_format("%s/refs/%s", repository, revision);
    const mc_status status = path ? read_commit(path, commit, error) : mc_fail_memory(error);
    mc_free(path);
    return status;
}

mc_status mc_cache_write_ref(const char *repository, const char *revision, const char *commit,
                             mc_error *error)
{
    char known[MC_COMMIT_SIZE];
    MC_TRY(mc_cache_read_ref(repository, revision, known, error));
    if (strcmp(known, commit) == 0)
        return MC_OK;
    char *const path = mc_format("%s/refs/%s", repository, revision);
    const mc_status status = path ? replace_text(path, commit, error) : mc_fail_memory(error);
    mc_free(path);
    return status;
}

void mc_cache_tag(const mc_hub_settings *settings)
{
    /* The text of huggingface_hub: both clients leave the same cache. */
    static const char text[] = "Signature: 8a477f597d28d172789f06886806bc55\n"
                               "# This file is a cache directory tag created by huggingface_hub.\n"
                               "# For information about cache directory tags, see:\n"
                               "#\thttps://bford.info/cachedir/\n";
    char *const path = mc_format("%s/CACHEDIR.TAG", settings->cache);
    if (path && !mc_cache_has(path, NULL))
        (void)write_new(path, text, NULL);
    mc_free(path);
}

void mc_cache_note_missing(const char *repository, const char *commit, const char *path)
{
    char *const note = mc_format("%s/.no_exist/%s/%s", repository, commit, path);
    if (note && !mc_cache_has(note, NULL) && mc_cache_make_parents(note, NULL) == MC_OK)
        (void)write_new(note, "", NULL);
    mc_free(note);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static mc_status list_folder(const char *folder, const char *prefix, int depth, mc_listing *out,
                             mc_error *error);

/* Adds a file, or the files of a folder; `path` is relative to the snapshot. */
static mc_status list_entry(const char *file, const char *path, int depth, mc_listing *out,
                            mc_error *error)
{
    struct stat status;
    if (mc_system->stat(file, &status) != 0)
        return MC_OK; /* a link to a blob that was removed */
    if (!S_ISDIR(status.st_mode))
        return mc_listing_add(out, path, error);
    return depth < DEEPEST_FOLDER ? list_folder(file, path, depth + 1, out, error) : MC_OK;
}

static mc_status list_folder(const char *folder, const char *prefix, int depth, mc_listing *out,
                             mc_error *error)
{
    mc_status status = MC_OK;
    DIR *const entries = mc_list_folder(folder);
    if (!entries)
        return MC_OK; /* no such snapshot */
    out->complete = true;
    for (const char *name; status == MC_OK && (name = mc_next_entry(entries));) {
        if (name[0] == '.')
            continue;
        char *const file = mc_format("%s/%s", folder, name);
        char *const path = mc_format("%s%s%s", prefix, *prefix ? "/" : "", name);
        status = file && path ? list_entry(file, path, depth, out, error) : mc_fail_memory(error);
        mc_free(file);
        mc_free(path);
    }
    closedir(entries);
    return status;
}

mc_status mc_cache_list(const char *repository, const char *commit, mc_listing *out,
                        mc_error *error)
{
    char *const folder = mc_cache_snapshot(repository, commit);
    const mc_status status = folder ? list_folder(folder, "", 0, out, error)
                                    : mc_fail_memory(error);
    mc_free(folder);
    return status;
}

static mc_status copy_blocks(mc_file *from, int to, const char *name, char *block, mc_error *error)
{
    const int64_t size = mc_file_size(from);
    for (int64_t at = 0; at < size; at += COPY_BLOCK) {
        const size_t n = size - at < COPY_BLOCK ? (size_t)(size - at) : COPY_BLOCK;
        MC_TRY(mc_file_read(from, at, block, n, error));
        MC_TRY(mc_write_all(to, name, block, n, at, error));
    }
    return MC_OK;
}

/* Copies a blob to a temporary name, then renames it: no reader sees a part of it. */
static mc_status copy_file(const char *blob, const char *pointer, mc_error *error)
{
    mc_file *from = NULL;
    char *const draft = mc_format("%s.%ld.incomplete", pointer, (long)getpid());
    char *const block = mc_alloc(COPY_BLOCK);
    mc_status status = draft && block ? mc_file_open(blob, &from, error) : mc_fail_memory(error);
    const int to = status == MC_OK
                       ? mc_system->open(AT_FDCWD, draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                                         FILE_MODE)
                       : -1;
    if (status == MC_OK)
        status = to < 0 ? mc_fail_errno(error, draft, "cannot create the file")
                        : copy_blocks(from, to, draft, block, error);
    if (to >= 0 && mc_system->close(to) != 0 && status == MC_OK)
        status = mc_fail_errno(error, draft, "cannot close the file");
    if (status == MC_OK && mc_system->rename(draft, pointer, 0) != 0)
        status = mc_fail_errno(error, pointer, "cannot rename the file");
    if (status != MC_OK && to >= 0)
        (void)mc_system->unlink(AT_FDCWD, draft, 0);
    mc_file_unref(from);
    mc_free(block);
    mc_free(draft);
    return status;
}

/* "../../blobs/ETAG", with one more "../" per folder in the path. */
static char *link_text(const char *path, const char *etag)
{
    mc_text text = {0};
    mc_text_add(&text, "../../");
    for (const char *c = path; *c; c++)
        if (*c == '/')
            mc_text_add(&text, "../");
    mc_text_add(&text, "blobs/%s", etag);
    if (!text.failed)
        return text.data;
    mc_text_free(&text);
    return NULL;
}

/* False with errno if the link cannot be made. A link to a blob that was removed is replaced. */
static bool make_link(const char *text, const char *pointer)
{
    if (mc_system->symlink(text, pointer) == 0)
        return true;
    if (errno != EEXIST)
        return false;
    /* A link that leads somewhere is valid, even if another process made it meanwhile. */
    if (mc_cache_has(pointer, NULL))
        return true; /* made by another process */
    return mc_system->unlink(AT_FDCWD, pointer, 0) == 0 && mc_system->symlink(text, pointer) == 0;
}

/*
 * Some file systems cannot hold links (exFAT, some network file systems, Windows shares): the
 * snapshot then holds the file itself, as with huggingface_hub. Other errors are reported.
 */
static mc_status place(const mc_hub_settings *settings, const char *blob, const char *pointer,
                       const char *text, bool fresh, mc_error *error)
{
    MC_TRY(mc_cache_make_parents(pointer, error));
    if (!settings->copies && make_link(text, pointer))
        return MC_OK;
    if (!settings->copies && errno != EPERM && errno != ENOTSUP && errno != ENOSYS)
        return mc_fail_errno(error, pointer, "cannot create the link");
    /* A fresh blob is moved: no other snapshot links to it. */
    if (!fresh)
        return copy_file(blob, pointer, error);
    if (mc_system->rename(blob, pointer, 0) != 0)
        return mc_fail_errno(error, pointer, "cannot rename the file");
    return MC_OK;
}

mc_status mc_cache_place(const mc_hub_settings *settings, const char *repository,
                         const char *commit, const char *path, const char *etag, bool fresh,
                         mc_error *error)
{
    char *const blob = mc_cache_blob(repository, etag);
    char *const pointer = mc_cache_pointer(repository, commit, path);
    char *const text = link_text(path, etag);
    const mc_status status = blob && pointer && text
                                 ? place(settings, blob, pointer, text, fresh, error)
                                 : mc_fail_memory(error);
    mc_free(blob);
    mc_free(pointer);
    mc_free(text);
    return status;
}
