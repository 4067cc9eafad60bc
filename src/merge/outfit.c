#include "merge/outfit.h"

#include "base/checksum.h"
#include "base/companion.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/weight_files.h"
#include "merge/report.h"
#include "model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { COPY_BLOCK = 1 << 20, CONFIG_LIMIT = 1 << 24 };

#define TEXT_LIMIT (INT64_C(256) << 20)

/* ---- the value ------------------------------------------------------------------------------- */

static void free_file(mc_outfit_file *file)
{
    mc_free(file->name);
    mc_free(file->path);
    mc_free(file->bytes);
}

void mc_outfit_free(mc_outfit *outfit)
{
    for (size_t i = 0; i < outfit->count; i++)
        free_file(&outfit->files[i]);
    mc_free(outfit->files);
    json_decref(outfit->config);
    *outfit = (mc_outfit){0};
}

static mc_outfit_file *find(const mc_outfit *outfit, const char *name)
{
    for (size_t i = 0; i < outfit->count; i++)
        if (strcmp(outfit->files[i].name, name) == 0)
            return &outfit->files[i];
    return NULL;
}

const mc_outfit_file *mc_outfit_find(const mc_outfit *outfit, const char *name)
{
    return find(outfit, name);
}

void mc_outfit_remove(mc_outfit *outfit, const char *name)
{
    mc_outfit_file *const file = find(outfit, name);
    if (!file)
        return;
    free_file(file);
    const size_t after = outfit->count - 1 - (size_t)(file - outfit->files);
    memmove(file, file + 1, after * sizeof *file);
    outfit->count--;
}

/* Takes over path and bytes, also on failure. */
static mc_status set(mc_outfit *outfit, const char *name, char *path, char *bytes, size_t size,
                     mc_error *error)
{
    char *const copy = mc_strdup(name);
    mc_outfit_file *file = find(outfit, name);
    if (!copy || (!path && !bytes) ||
        (!file && !MC_GROW(outfit->files, outfit->count, outfit->capacity))) {
        mc_free(copy);
        mc_free(path);
        mc_free(bytes);
        return mc_fail_memory(error);
    }
    if (file)
        free_file(file);
    else
        file = &outfit->files[outfit->count++];
    *file = (mc_outfit_file){.name = copy, .path = path, .bytes = bytes, .size = size};
    return MC_OK;
}

mc_status mc_outfit_copy(mc_outfit *outfit, const char *name, const char *path, mc_error *error)
{
    return set(outfit, name, mc_strdup(path), NULL, 0, error);
}

mc_status mc_outfit_put(mc_outfit *outfit, const char *name, const void *bytes, size_t size,
                        mc_error *error)
{
    char *const copy = mc_alloc(size + 1);
    if (copy) {
        memcpy(copy, bytes, size);
        copy[size] = '\0';
    }
    return set(outfit, name, NULL, copy, size, error);
}

mc_status mc_outfit_text(const mc_outfit *outfit, const char *name, char **out, size_t *size,
                         mc_error *error)
{
    const mc_outfit_file *const file = mc_outfit_find(outfit, name);
    *out = NULL;
    *size = 0;
    if (!file)
        return MC_OK;
    if (file->path)
        return mc_file_load(file->path, TEXT_LIMIT, out, size, error);
    *out = mc_alloc(file->size + 1);
    if (!*out)
        return mc_fail_memory(error);
    memcpy(*out, file->bytes, file->size + 1);
    *size = file->size;
    return MC_OK;
}

/* ---- from a model ---------------------------------------------------------------------------- */

/* Where the files come from, and where problems go. */
typedef struct origin {
    const char *folder;
    bool strict;
    mc_report *report;
    mc_error *error;
} origin;

/* Reports a problem with a file, or fails under strict. */
static mc_status note(const origin *from, const char *path, const char *problem)
{
    return from->strict
               ? mc_fail_at(from->error, MC_MISMATCH, path, NULL, -1, "%s (strict)", problem)
               : mc_report_add(from->report, from->error, "%s: %s", path, problem);
}

static int compare_files(const void *a, const void *b)
{
    const mc_outfit_file *const x = a, *const y = b;
    return strcmp(x->name, y->name);
}

/*
 * Whether a file belongs to the model. Code is copied only if the configuration refers to it
 * (auto_map): a folder may hold scripts that are not the model's.
 */
static bool is_wanted(const mc_outfit *outfit, const char *name)
{
    return mc_is_companion(name) &&
           (!mc_is_code(name) || json_object_get(outfit->config, "auto_map"));
}

/*
 * Reports a generation_config.json that is not valid: transformers ignores it without a message,
 * and so does everything that generates with the result. It is copied as it is.
 */
static mc_status check_generation_config(const origin *from, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    json_t *value = NULL;
    mc_error problem = MC_ERROR_NONE;
    MC_TRY(mc_file_load(path, CONFIG_LIMIT, &text, &size, from->error));
    mc_status status = mc_json_parse(text, size, &value, &problem);
    mc_free(text);
    if (status == MC_FORMAT)
        status = note(from, path, problem.text);
    else if (status == MC_OK && !json_is_object(value))
        status = note(from, path, "expected a JSON object, found something else");
    else if (status == MC_NO_MEMORY)
        status = mc_fail_memory(from->error);
    else
        status = MC_OK;
    json_decref(value);
    return status;
}

/*
 * Adds a file. A dangling link or a folder under its name is left out with a warning, as the model
 * loads without it.
 */
static mc_status add_file(mc_outfit *outfit, const origin *from, const char *name)
{
    struct stat status;
    char *const path = mc_format("%s/%s", from->folder, name);
    if (!path)
        return mc_fail_memory(from->error);
    const bool readable = mc_system->stat(path, &status) == 0 && S_ISREG(status.st_mode);
    mc_status result = readable ? mc_outfit_copy(outfit, name, path, from->error)
                                : note(from, path, "not a readable file; left out");
    if (result == MC_OK && readable && strcmp(name, "generation_config.json") == 0)
        result = check_generation_config(from, path);
    mc_free(path);
    return result;
}

/* Adds a folder's companion files; of a module of sentence-transformers, `inner`, every file. */
static mc_status add_folder(mc_outfit *outfit, const origin *from, const char *inner)
{
    char *const path = inner ? mc_format("%s/%s", from->folder, inner) : mc_strdup(from->folder);
    DIR *const entries = path ? mc_list_folder(path) : NULL;
    const char *name = NULL;
    mc_status status = path ? MC_OK : mc_fail_memory(from->error);
    if (path && !entries)
        status = inner ? note(from, path, "not a readable folder; left out")
                       : mc_fail_errno(from->error, path, "cannot list the folder");
    while (status == MC_OK && entries && (name = mc_next_entry(entries))) {
        if (!inner && !is_wanted(outfit, name))
            continue;
        char *const full = inner ? mc_format("%s/%s", inner, name) : mc_strdup(name);
        status = full ? add_file(outfit, from, full) : mc_fail_memory(from->error);
        mc_free(full);
    }
    if (status == MC_OK && entries && errno != 0)
        status = mc_fail_errno(from->error, path, "cannot list the folder");
    if (entries)
        closedir(entries);
    mc_free(path);
    return status;
}

/* ---- modules of sentence-transformers -------------------------------------------------------- */

/*
 * Whether a path leads to a folder below the model's own, and not to "", "..", "/etc" or "a/../..".
 * modules.json is input that must not make us copy files from elsewhere.
 */
static bool is_inner(const char *path)
{
    if (!path || !*path || *path == '/')
        return false;
    for (const char *part = path; *part; part += strcspn(part, "/"), part += *part == '/')
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || !part[2]))
            return false;
    return true;
}

/*
 * Adds the folders of modules.json. The first module is the model itself, with an empty path; the
 * others have folders: pooling, dense layers.
 */
static mc_status add_modules(mc_outfit *outfit, const origin *from)
{
    mc_error *const error = from->error;
    char *text = NULL;
    size_t size = 0, i = 0;
    json_t *modules = NULL, *module;
    MC_TRY(mc_outfit_text(outfit, "modules.json", &text, &size, error));
    if (!text)
        return MC_OK;
    mc_status status = mc_json_parse(text, size, &modules, error);
    mc_free(text);
    MC_TRY(mc_in_file(error, "modules.json", status));
    json_array_foreach(modules, i, module)
    {
        const char *const path = json_string_value(json_object_get(module, "path"));
        if (status == MC_OK && is_inner(path))
            status = add_folder(outfit, from, path);
    }
    json_decref(modules);
    return status;
}

static mc_status add_chat_templates(mc_outfit *outfit, const origin *from)
{
    struct stat status;
    char *const path = mc_format("%s/" MC_CHAT_TEMPLATES, from->folder);
    if (!path)
        return mc_fail_memory(from->error);
    const bool exists = mc_system->stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    mc_free(path);
    return exists ? add_folder(outfit, from, MC_CHAT_TEMPLATES) : MC_OK;
}

mc_status mc_outfit_from_model(const mc_model *model, bool strict, mc_outfit *out,
                               mc_report *report, mc_error *error)
{
    const origin from = {mc_model_folder(model), strict, report, error};
    out->config = model->config ? json_deep_copy(model->config) : NULL;
    if (model->config && !out->config)
        return mc_fail_memory(error);
    if (from.folder) {
        MC_TRY(add_folder(out, &from, NULL));
        MC_TRY(add_modules(out, &from));
        MC_TRY(add_chat_templates(out, &from));
    }
    if (out->count > 1)
        qsort(out->files, out->count, sizeof *out->files, compare_files);
    return MC_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

mc_status mc_outfit_untie(mc_outfit *outfit, mc_report *report, mc_error *error)
{
    static const char key[] = "tie_word_embeddings";
    json_t *const text = json_object_get(outfit->config, "text_config");
    if (!outfit->config)
        return MC_OK;
    /* transformers reads the key of the text model first, where there is one. */
    if (json_object_get(text, key) && json_object_set_new(text, key, json_false()) != 0)
        return mc_fail_memory(error);
    if ((!json_object_get(text, key) || json_object_get(outfit->config, key)) &&
        json_object_set_new(outfit->config, key, json_false()) != 0)
        return mc_fail_memory(error);
    return mc_report_add(
        report, error,
        "%s of the result is false: the head is merged separately from the embeddings", key);
}

const char *mc_outfit_stem(const mc_outfit *outfit)
{
    return json_object_get(outfit->config, "_diffusers_version") ? MC_DIFFUSERS_STEM : NULL;
}

/*
 * Sets the dtype under the names that the configuration uses already: transformers has had two. A
 * configuration without either gets the older one, which all versions read. diffusers has no such
 * key and warns of unknown ones.
 */
static json_t *set_dtype(json_t *config, mc_dtype dtype)
{
    const bool modern = json_object_get(config, "dtype"),
               old = json_object_get(config, "torch_dtype");
    if (modern)
        config = mc_json_put(config, "dtype", json_string(mc_dtype_torch_name(dtype)));
    if (old || (!modern && !json_object_get(config, "_diffusers_version")))
        config = mc_json_put(config, "torch_dtype", json_string(mc_dtype_torch_name(dtype)));
    return config;
}

static mc_status write_config(const mc_outfit *outfit, const mc_dtype *dtype, mc_folder *folder,
                              mc_error *error)
{
    json_t *config = json_deep_copy(outfit->config);
    if (config && dtype)
        config = set_dtype(config, *dtype);
    if (!config)
        return mc_fail_memory(error);
    const mc_status status = mc_folder_write_json(folder, "config.json", config, error);
    json_decref(config);
    return status;
}

static mc_status copy_blocks(mc_file *from, int to, const char *name, char *block, mc_checksum *sum,
                             mc_error *error)
{
    const int64_t size = mc_file_size(from);
    for (int64_t at = 0; at < size;) {
        const size_t n = size - at < COPY_BLOCK ? (size_t)(size - at) : COPY_BLOCK;
        MC_TRY(mc_file_read(from, at, block, n, error));
        MC_TRY(mc_write_all(to, name, block, n, at, error));
        mc_checksum_add(sum, block, n);
        at += (int64_t)n;
    }
    return MC_OK;
}

static mc_status copy_to(mc_folder *folder, mc_file *from, const char *name, mc_error *error)
{
    mc_checksum sum;
    mc_checksum_begin(&sum);
    char *const block = mc_alloc(COPY_BLOCK);
    const int to = block ? mc_folder_create(folder, name) : -1;
    mc_status status = !block   ? mc_fail_memory(error)
                       : to < 0 ? mc_fail_errno(error, name, "cannot create the file")
                                : copy_blocks(from, to, name, block, &sum, error);
    if (status == MC_OK && folder->sync && mc_system->fsync(to) != 0)
        status = mc_fail_errno(error, name, "cannot flush it to disk");
    if (to >= 0 && mc_system->close(to) != 0 && status == MC_OK)
        status = mc_fail_errno(error, name, "cannot close it");
    mc_free(block);
    if (status == MC_OK)
        status = mc_folder_add_file(folder, name, mc_file_size(from), mc_checksum_end(&sum), error);
    return status;
}

static mc_status write_file(const mc_outfit_file *file, mc_folder *folder, mc_error *error)
{
    mc_file *from = NULL;
    if (!file->path)
        return mc_folder_write(folder, file->name, file->bytes, file->size, error);
    MC_TRY(mc_file_open(file->path, &from, error));
    const mc_status status = copy_to(folder, from, file->name, error);
    mc_file_unref(from);
    return status;
}

mc_status mc_outfit_write(const mc_outfit *outfit, const mc_dtype *dtype, mc_folder *folder,
                          mc_error *error)
{
    if (outfit->config)
        MC_TRY(write_config(outfit, dtype, folder, error));
    for (size_t i = 0; i < outfit->count; i++)
        MC_TRY(write_file(&outfit->files[i], folder, error));
    return MC_OK;
}
