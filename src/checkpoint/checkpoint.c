#include "checkpoint/checkpoint.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/shard_index.h"
#include "checkpoint/folder.h"
#include "checkpoint/quantization.h"
#include "checkpoint/reader.h"
#include "checkpoint/tied.h"
#include "checkpoint/weight_file.h"

#include <string.h>

/* Where the tensors of a file go. */
typedef struct destination {
    mc_checkpoint *checkpoint;
    mc_state_dict *dict;
} destination;

static mc_status read_file(mc_file *file, void *user, mc_error *error)
{
    const destination *const to = user;
    const mc_reader *reader = NULL;
    MC_TRY(mc_reader_find(file, &reader, error));
    if (!to->checkpoint->format)
        to->checkpoint->format = reader->name;
    return reader->read(file, to->dict, &to->checkpoint->notes, error);
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
    destination to = {checkpoint, dict};
    const mc_status status = mc_weight_file_open(checkpoint->comm, path, read_file, &to, &file,
                                                 error);
    /* Also after a failure: mc_checkpoint_close frees it. */
    if (file)
        files[checkpoint->file_count++] = file;
    return mc_in_file(error, path, status);
}

/* ---- shards ---- */

/*
 * Moves the tensors of shard `file` to `dict`. Tensors that the index does not name are kept.
 * Tensors that the index assigns to another shard are dropped. transformers does the same in both
 * cases.
 */
static mc_status take_shard(const mc_shard_index *index, size_t shard, const mc_state_dict *found,
                            mc_state_dict *dict, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(found); i++) {
        const char *const name = mc_state_dict_name(found, i);
        const char *const owner = mc_shard_index_file(index, name);
        if (owner ? strcmp(owner, index->files[shard]) == 0 : !mc_state_dict_find(dict, name))
            MC_TRY(mc_state_dict_set(dict, name, mc_state_dict_source(found, i), error));
    }
    /* A tensor that the index promises and the shard lacks means an incomplete copy. */
    for (size_t i = index->firsts[shard]; i < index->firsts[shard + 1]; i++)
        if (!mc_state_dict_find(found, index->entries[i].tensor))
            return mc_fail_at(error, MC_FORMAT, NULL, index->entries[i].tensor, -1,
                              "expected the tensor in this file, as the index lists it, but it is "
                              "missing");
    return MC_OK;
}

static mc_status read_shard(mc_checkpoint *checkpoint, const mc_shard_index *index,
                            const char *path, size_t shard, mc_state_dict *found, mc_error *error)
{
    MC_TRY(add_file(checkpoint, path, found, error));
    return mc_in_file(error, path, take_shard(index, shard, found, checkpoint->dict, error));
}

static mc_status add_shard(mc_checkpoint *checkpoint, const char *folder,
                           const mc_shard_index *index, size_t shard, mc_error *error)
{
    /* A dict per shard: only with it can a shard be compared with the index. */
    mc_state_dict *found = NULL;
    MC_TRY(mc_state_dict_new(&found, error));
    char *const path = mc_format("%s/%s", folder, index->files[shard]);
    const mc_status status = path ? read_shard(checkpoint, index, path, shard, found, error)
                                  : mc_fail_memory(error);
    mc_free(path);
    mc_state_dict_free(found);
    return status;
}

static mc_status open_index(mc_checkpoint *checkpoint, const char *path, mc_error *error)
{
    mc_shard_index index = {0};
    char *folder = NULL;
    mc_status status = mc_shard_index_load(path, &index, error);
    if (status == MC_OK)
        status = mc_checkpoint_folder(path, &folder, error);
    for (size_t i = 0; status == MC_OK && i < index.count; i++)
        status = add_shard(checkpoint, folder, &index, i, error);
    mc_free(folder);
    mc_shard_index_free(&index);
    return status;
}

/* ---- files and folders ---- */

static mc_status probe_index(mc_file *file, void *user, mc_error *error)
{
    bool *const out = user;
    unsigned char head[MC_PROBE_BYTES];
    const int64_t size = mc_file_size(file) < MC_PROBE_BYTES ? mc_file_size(file) : MC_PROBE_BYTES;
    MC_TRY(mc_file_read(file, 0, head, (size_t)size, error));
    *out = mc_shard_index_probe(head, (size_t)size);
    return MC_OK;
}

/* By content, not by name: a user may pass an index under any name. */
static mc_status is_index(const mc_comm *comm, const char *path, bool *out, mc_error *error)
{
    mc_file *file = NULL;
    const mc_status status = mc_weight_file_open(comm, path, probe_index, out, &file, error);
    mc_file_unref(file);
    return status;
}

static mc_status open_file(mc_checkpoint *checkpoint, const char *path, json_t *config,
                           mc_error *error)
{
    bool index = false;
    MC_TRY(is_index(checkpoint->comm, path, &index, error));
    MC_TRY(index ? open_index(checkpoint, path, error)
                 : add_file(checkpoint, path, checkpoint->dict, error));
    if (mc_state_dict_count(checkpoint->dict) == 0)
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1, "expected tensors, found none");
    /*
     * Before the quantisation is resolved: tied tensors are found by their place in a file, which
     * products of weights and scales do not have.
     */
    if (!mc_tied_is_off(config))
        MC_TRY(mc_tied_deduplicate(checkpoint, error));
    return mc_in_file(error, path, mc_quantization_resolve(checkpoint, config, error));
}

static mc_status open_folder(mc_checkpoint *checkpoint, json_t *config, mc_error *error)
{
    char *path = NULL;
    MC_TRY(mc_folder_find_weights(checkpoint->folder, config, &path, &checkpoint->notes, error));
    const mc_status status = open_file(checkpoint, path, config, error);
    mc_free(path);
    return status;
}

static char *parent_of(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return !slash          ? mc_strdup(".")
           : slash == path ? mc_strdup("/")
                           : mc_strndup(path, (size_t)(slash - path));
}

static mc_status is_folder(const char *path, bool *out, mc_error *error)
{
    struct stat status;
    if (mc_system->stat(path, &status) != 0)
        return mc_fail_errno(error, path, "cannot open it");
    *out = S_ISDIR(status.st_mode);
    return MC_OK;
}

mc_status mc_checkpoint_folder(const char *path, char **out, mc_error *error)
{
    bool folder = false;
    MC_TRY(is_folder(path, &folder, error));
    *out = folder ? mc_strdup(path) : parent_of(path);
    return *out ? MC_OK : mc_fail_memory(error);
}

mc_status mc_checkpoint_open(const char *path, json_t *config, mc_checkpoint *out, mc_error *error)
{
    bool folder = false;
    MC_TRY(is_folder(path, &folder, error));
    MC_TRY(mc_checkpoint_folder(path, &out->folder, error));
    MC_TRY(mc_state_dict_new(&out->dict, error));
    return folder ? open_folder(out, config, error) : open_file(out, path, config, error);
}

bool mc_checkpoint_is_adapter(const mc_checkpoint *checkpoint)
{
    for (size_t i = 0; i < mc_state_dict_count(checkpoint->dict); i++)
        if (!strstr(mc_state_dict_name(checkpoint->dict, i), "lora_"))
            return false;
    return true;
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
    mc_notes_free(&checkpoint->notes);
    mc_state_dict_free(checkpoint->dict);
    *checkpoint = (mc_checkpoint){0};
}

mc_status mc_state_dict_open(const char *path, mc_state_dict **out, mc_error *error)
{
    mc_checkpoint checkpoint = {0};
    const mc_status status = mc_checkpoint_open(path, NULL, &checkpoint, error);
    if (status == MC_OK) {
        /* The sources hold their own references to the files. */
        *out = checkpoint.dict;
        checkpoint.dict = NULL;
    }
    mc_checkpoint_close(&checkpoint);
    return status;
}
