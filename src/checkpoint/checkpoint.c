#include "checkpoint/checkpoint.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/names.h"
#include "checkpoint/reader.h"
#include "checkpoint/shards.h"

#include <errno.h>
#include <string.h>

/* In a folder, the first of these that is there. */
static const char *const weight_names[] = {
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
};

static mc_status read_file(mc_checkpoint *checkpoint, mc_file *file, mc_state_dict *dict,
                           mc_error *error)
{
    const mc_reader *reader = NULL;
    MC_TRY(mc_reader_find(file, &reader, error));
    if (!checkpoint->format)
        checkpoint->format = reader->name;
    return reader->read(file, dict, error);
}

/* Opens a file, keeps it in the list of files, and adds its tensors to dict. */
static mc_status add_file(mc_checkpoint *checkpoint, const char *path, mc_state_dict *dict,
                          mc_error *error)
{
    mc_file **const files = mc_realloc(checkpoint->files,
                                       (checkpoint->file_count + 1) * sizeof(mc_file *));
    if (!files)
        return mc_fail_memory(error);
    checkpoint->files = files;
    mc_file *file = NULL;
    MC_TRY(mc_file_open(path, &file, error));
    files[checkpoint->file_count++] = file;
    return mc_in_file(error, path, read_file(checkpoint, file, dict, error));
}

static mc_status read_shard(mc_checkpoint *checkpoint, const mc_shards *shards, const char *path,
                            const char *name, mc_state_dict *found, mc_error *error)
{
    MC_TRY(add_file(checkpoint, path, found, error));
    return mc_in_file(error, path, mc_shards_take(shards, name, found, checkpoint->dict, error));
}

static mc_status add_shard(mc_checkpoint *checkpoint, const mc_shards *shards, const char *name,
                           mc_error *error)
{
    mc_state_dict *found = NULL;
    MC_TRY(mc_state_dict_new(&found, error));
    char *const path = mc_format("%s/%s", checkpoint->folder, name);
    const mc_status status = path ? read_shard(checkpoint, shards, path, name, found, error)
                                  : mc_fail_memory(error);
    mc_free(path);
    mc_state_dict_free(found);
    return status;
}

static mc_status open_index(mc_checkpoint *checkpoint, const char *path, mc_error *error)
{
    mc_shards shards = {0};
    mc_status status = mc_shards_read(path, &shards, error);
    for (size_t i = 0; status == MC_OK && i < shards.count; i++)
        status = add_shard(checkpoint, &shards, shards.files[i], error);
    mc_shards_free(&shards);
    return status;
}

/* Whether the file is JSON. */
static mc_status is_index(const char *path, bool *out, mc_error *error)
{
    mc_file *file = NULL;
    MC_TRY(mc_file_open(path, &file, error));
    unsigned char head[MC_PROBE_BYTES];
    const int64_t size = mc_file_size(file) < MC_PROBE_BYTES ? mc_file_size(file) : MC_PROBE_BYTES;
    const mc_status status = mc_file_read(file, 0, head, (size_t)size, error);
    *out = status == MC_OK && mc_shards_probe(head, (size_t)size);
    mc_file_unref(file);
    return status;
}

static mc_status open_file(mc_checkpoint *checkpoint, const char *path, mc_error *error)
{
    bool index = false;
    MC_TRY(is_index(path, &index, error));
    MC_TRY(index ? open_index(checkpoint, path, error)
                 : add_file(checkpoint, path, checkpoint->dict, error));
    if (mc_state_dict_count(checkpoint->dict) == 0)
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1, "there is no tensor in it");
    MC_TRY(mc_rename_old(&checkpoint->dict, error));
    return mc_untie(checkpoint, error);
}

/* Counts the *.safetensors of a folder; *out is the path of one of them. */
static mc_status find_safetensors(const char *folder, size_t *count, char **out, mc_error *error)
{
    DIR *const listing = mc_list_folder(folder);
    if (!listing)
        return mc_fail_errno(error, folder, "cannot list the folder");
    mc_status status = MC_OK;
    const char *name = NULL;
    while (status == MC_OK && (name = mc_next_entry(listing))) {
        if (name[0] == '.' || !mc_ends_with(name, ".safetensors") || ++*count > 1)
            continue;
        *out = mc_format("%s/%s", folder, name);
        status = *out ? MC_OK : mc_fail_memory(error);
    }
    if (status == MC_OK && errno != 0)
        status = mc_fail_errno(error, folder, "cannot list the folder");
    closedir(listing);
    return status;
}

static mc_status find_other(const char *folder, char **out, mc_error *error)
{
    size_t count = 0;
    MC_TRY(find_safetensors(folder, &count, out, error));
    if (count > 1)
        return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                          "expected model.safetensors.index.json, which says what is in the %zu "
                          "*.safetensors files, but it is not there",
                          count);
    if (count == 0)
        return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                          "no weights in this folder: expected %s, %s, %s or %s", weight_names[0],
                          weight_names[1], weight_names[2], weight_names[3]);
    return MC_OK;
}

static mc_status find_weights(const char *folder, char **out, mc_error *error)
{
    for (size_t i = 0; i < sizeof weight_names / sizeof *weight_names; i++) {
        char *const path = mc_format("%s/%s", folder, weight_names[i]);
        if (!path)
            return mc_fail_memory(error);
        struct stat status;
        if (mc_system->stat(path, &status) == 0) {
            *out = path;
            return MC_OK;
        }
        const mc_status found = errno == ENOENT ? MC_OK
                                                : mc_fail_errno(error, path, "cannot examine it");
        mc_free(path);
        MC_TRY(found);
    }
    return find_other(folder, out, error);
}

static mc_status open_folder(mc_checkpoint *checkpoint, mc_error *error)
{
    char *path = NULL;
    mc_status status = find_weights(checkpoint->folder, &path, error);
    if (status == MC_OK)
        status = open_file(checkpoint, path, error);
    mc_free(path);
    return status;
}

static char *folder_of(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return !slash          ? mc_strdup(".")
           : slash == path ? mc_strdup("/")
                           : mc_strndup(path, (size_t)(slash - path));
}

mc_status mc_checkpoint_open(const char *path, mc_checkpoint *out, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(path, &status) != 0)
        return mc_fail_errno(error, path, "cannot open it");
    const bool is_folder = S_ISDIR(status.st_mode);
    out->folder = is_folder ? mc_strdup(path) : folder_of(path);
    if (!out->folder)
        return mc_fail_memory(error);
    MC_TRY(mc_state_dict_new(&out->dict, error));
    return is_folder ? open_folder(out, error) : open_file(out, path, error);
}

void mc_checkpoint_close(mc_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->file_count; i++)
        mc_file_unref(checkpoint->files[i]);
    for (size_t i = 0; i < checkpoint->alias_count; i++) {
        mc_free(checkpoint->aliases[i]);
        mc_free(checkpoint->tied_to[i]);
    }
    mc_free(checkpoint->files);
    mc_free(checkpoint->aliases);
    mc_free(checkpoint->tied_to);
    mc_free(checkpoint->folder);
    mc_state_dict_free(checkpoint->dict);
    *checkpoint = (mc_checkpoint){0};
}

mc_status mc_state_dict_open(const char *path, mc_state_dict **out, mc_error *error)
{
    mc_checkpoint checkpoint = {0};
    const mc_status status = mc_checkpoint_open(path, &checkpoint, error);
    if (status == MC_OK) {
        *out = checkpoint.dict;
        checkpoint.dict = NULL;
    }
    mc_checkpoint_close(&checkpoint);
    return status;
}
