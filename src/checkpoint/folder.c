#include "checkpoint/folder.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/weight_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ADAPTER_CONFIG_LIMIT = 1 << 20 };

/* *out is the path of a file in the folder if it is a regular file, else NULL. */
static mc_status find_file(const char *folder, const char *name, char **out, mc_error *error)
{
    struct stat status;
    char *const path = mc_format("%s/%s", folder, name);
    *out = NULL;
    if (!path)
        return mc_fail_memory(error);
    const bool exists = mc_system->stat(path, &status) == 0;
    mc_status result = MC_OK;
    if (exists && S_ISREG(status.st_mode)) {
        *out = path;
        return MC_OK;
    }
    /*
     * Only a file that does not exist is skipped. If one cannot be examined, the merge must not
     * silently read another file instead.
     */
    if (!exists && errno != ENOENT)
        result = mc_fail_errno(error, path, "cannot examine the file");
    mc_free(path);
    return result;
}

static mc_status note_ignored(const char *folder, const char *kept, const char *name,
                              mc_notes *notes, mc_error *error)
{
    char *path = NULL;
    MC_TRY(find_file(folder, name, &path, error));
    const bool exists = path != NULL;
    mc_free(path);
    return exists ? mc_notes_add(notes, error, "%s: reads %s and ignores %s", folder, kept, name)
                  : MC_OK;
}

/* A dangling link or a folder under a name that comes before the file that is read. */
static mc_status note_unreadable(const char *folder, const char *kept, const char *name,
                                 mc_notes *notes, mc_error *error)
{
    struct stat status;
    char *const path = mc_format("%s/%s", folder, name);
    if (!path)
        return mc_fail_memory(error);
    const mc_status result = mc_system->lstat(path, &status) == 0
                                 ? mc_notes_add(notes, error, "%s: not a readable file; reads %s",
                                                path, kept)
                                 : MC_OK;
    mc_free(path);
    return result;
}

/* ---- PEFT adapters ---- */

/*
 * The base model that an adapter names, in a JSON value to be released; NULL if it names none. It
 * only improves an error text, so a broken file is ignored.
 */
static const char *base_of_adapter(const char *folder, json_t **json)
{
    char *const path = mc_format("%s/" MC_ADAPTER_CONFIG, folder);
    if (path && mc_json_load(path, ADAPTER_CONFIG_LIMIT, json, NULL) != MC_OK)
        *json = NULL;
    mc_free(path);
    return json_string_value(json_object_get(*json, "base_model_name_or_path"));
}

mc_status mc_folder_refuse_adapter(const char *path, const char *folder, mc_error *error)
{
    json_t *json = NULL;
    const char *const base = base_of_adapter(folder, &json);
    const mc_status status = mc_fail_at(
        error, MC_UNSUPPORTED, path, NULL, -1,
        "expected the weights of a model, found an adapter%s%s%s: name it with its base model, as "
        "BASE+ADAPTER",
        base ? " for '" : "", base ? base : "", base ? "'" : "");
    json_decref(json);
    return status;
}

static mc_status has_adapter(const char *folder, bool *out, mc_error *error)
{
    const char *const names[] = {MC_ADAPTER_CONFIG, mc_adapter_files[0], mc_adapter_files[1]};
    *out = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !*out; i++) {
        char *path = NULL;
        MC_TRY(find_file(folder, names[i], &path, error));
        *out = path != NULL;
        mc_free(path);
    }
    return MC_OK;
}

/* ---- weights under usual names ---- */

static mc_status find_usual(const char *folder, char **out, mc_notes *notes, mc_error *error)
{
    for (size_t i = 0; i < MC_WEIGHT_FILES; i++) {
        MC_TRY(find_file(folder, mc_weight_files[i], out, error));
        for (size_t j = 0; *out && j < i; j++)
            MC_TRY(note_unreadable(folder, mc_weight_files[i], mc_weight_files[j], notes, error));
        /* The other files are noted: a user may have expected them to be read. */
        for (size_t j = i + 1; *out && j < MC_WEIGHT_FILES; j++)
            MC_TRY(note_ignored(folder, mc_weight_files[i], mc_weight_files[j], notes, error));
        if (*out)
            return MC_OK;
    }
    return MC_OK;
}

/* The key transformers_weights of config.json overrides the usual names. */
static mc_status find_named(const char *folder, const char *name, char **out, mc_error *error)
{
    /* The name comes from a file of unknown origin: it must not lead out of the folder. */
    if (name[0] == '\0' || name[0] == '/' || strstr(name, "..") || strchr(name, '\\'))
        return mc_fail_at(error, MC_FORMAT, folder, NULL, -1,
                          "expected a file inside the folder as transformers_weights in "
                          "config.json, found '%s'",
                          name);
    MC_TRY(find_file(folder, name, out, error));
    if (!*out)
        return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                          "expected the file '%s', which config.json names as transformers_weights",
                          name);
    return MC_OK;
}

/* ---- weights under another name ---- */

/* Counts the *.safetensors of a folder; *out is the path of the first of them. */
static mc_status find_safetensors(const char *folder, size_t *count, char **out, mc_error *error)
{
    DIR *const listing = mc_list_folder(folder);
    if (!listing)
        return mc_fail_errno(error, folder, "cannot list the folder");
    mc_status status = MC_OK;
    const char *name = NULL;
    while (status == MC_OK && (name = mc_next_entry(listing))) {
        if (name[0] == '.' || !mc_ends_with(name, ".safetensors") ||
            strcmp(name, mc_adapter_files[0]) == 0 || ++*count > 1)
            continue;
        *out = mc_format("%s/%s", folder, name);
        status = *out ? MC_OK : mc_fail_memory(error);
    }
    /* mc_next_entry returns NULL at the end and on failure: errno distinguishes them. */
    if (status == MC_OK && errno != 0)
        status = mc_fail_errno(error, folder, "cannot list the folder");
    closedir(listing);
    return status;
}

/* Weight files of other programs, by prefix and suffix of the name. */
static const struct {
    const char *begin, *end, *what;
} others[] = {
    {"", ".h5", "TensorFlow weights, which are not supported: save the model with PyTorch"},
    {"", ".msgpack", "Flax weights, which are not supported: save the model with PyTorch"},
    {"", ".gguf", "a GGUF file, which is not supported: use the original model"},
    {"", ".onnx", "an ONNX file, which is not supported: use the original model"},
    {"consolidated.", ".pth", "a torch file: give the path of the file instead of the folder"},
    {"pytorch_model_fsdp", ".bin", "a torch file: give the path of the file instead of the folder"},
    {"global_step", "", "a DeepSpeed checkpoint: convert it with its zero_to_fp32.py"},
    {"distributed_checkpoint", "", "a distributed checkpoint: save it as a single model"},
    {"", ".ckpt", "a torch file: give the path of the file instead of the folder"},
};

/* The row that describes an entry of the folder; the number of rows if none does. */
static size_t other_of(const char *name)
{
    size_t i = 0;
    while (i < sizeof others / sizeof *others &&
           (strncmp(name, others[i].begin, strlen(others[i].begin)) != 0 ||
            !mc_ends_with(name, others[i].end)))
        i++;
    return i;
}

/*
 * Fails, and names what the folder holds instead of weights: the entry that matches the earliest
 * row, and of several such entries the first by name.
 */
static mc_status refuse(const char *folder, mc_error *error)
{
    size_t best = sizeof others / sizeof *others;
    char found[256] = "";
    DIR *const listing = mc_list_folder(folder);
    const char *name;
    while (listing && (name = mc_next_entry(listing))) {
        const size_t row = other_of(name);
        if (row < best || (row == best && *found && strcmp(name, found) < 0)) {
            best = row;
            snprintf(found, sizeof found, "%s", name);
        }
    }
    if (listing)
        closedir(listing);
    return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                      "no weights in this folder: expected %s, %s, %s or %s%s%s%s%s",
                      mc_weight_files[0], mc_weight_files[1], mc_weight_files[2],
                      mc_weight_files[3], *found ? "; found " : "", found, *found ? ", " : "",
                      *found ? others[best].what : "");
}

static mc_status find_unusual(const char *folder, char **out, mc_error *error)
{
    size_t count = 0;
    bool adapter = false;
    MC_TRY(find_safetensors(folder, &count, out, error));
    if (count > 1)
        return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                          "expected model.safetensors.index.json, which lists the tensors of the "
                          "%zu *.safetensors files, but it does not exist",
                          count);
    if (count == 1)
        return MC_OK;
    char *pipeline = NULL;
    MC_TRY(has_adapter(folder, &adapter, error));
    if (adapter)
        return mc_folder_refuse_adapter(folder, folder, error);
    MC_TRY(find_file(folder, "model_index.json", &pipeline, error));
    const bool found = pipeline != NULL;
    mc_free(pipeline);
    if (found)
        return mc_fail_at(error, MC_UNSUPPORTED, folder, NULL, -1,
                          "expected a model, found a diffusers pipeline: give the folder of a "
                          "component, such as %s/unet",
                          folder);
    return refuse(folder, error);
}

static mc_status find(const char *folder, const json_t *config, char **out, mc_notes *notes,
                      mc_error *error)
{
    const char *const name = json_string_value(json_object_get(config, "transformers_weights"));
    MC_TRY(name ? find_named(folder, name, out, error) : find_usual(folder, out, notes, error));
    if (!*out)
        MC_TRY(find_unusual(folder, out, error));
    return note_ignored(folder, "the weights of the model", MC_ADAPTER_CONFIG, notes, error);
}

mc_status mc_folder_find_weights(const char *folder, const json_t *config, char **out,
                                 mc_notes *notes, mc_error *error)
{
    *out = NULL;
    const mc_status status = find(folder, config, out, notes, error);
    if (status != MC_OK) {
        mc_free(*out);
        *out = NULL;
    }
    return status;
}
