#include "merge/replaceable.h"

#include "base/companion.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#define RECORD_LIMIT (INT64_C(64) << 20)

/* A folder that may be replaced has one of these … */
static const char *const marks[] = {"config.json",        "mergecraft.json",
                                    "model.safetensors",  "model.safetensors.index.json",
                                    "pytorch_model.bin",  "pytorch_model.bin.index.json",
                                    "model_index.json",   "diffusion_pytorch_model.safetensors",
                                    "adapter_config.json"};

/* … and nothing but these, companion files, and what mergecraft.json lists. */
static const char *const patterns[] = {"config.json",
                                       "mergecraft.json",
                                       "README.md",
                                       ".gitattributes",
                                       "model.safetensors",
                                       "model-[0-9]*-of-[0-9]*.safetensors",
                                       "model.safetensors.index.json",
                                       "pytorch_model.bin",
                                       "pytorch_model-[0-9]*-of-[0-9]*.bin",
                                       "pytorch_model.bin.index.json",
                                       "diffusion_pytorch_model*.safetensors",
                                       "diffusion_pytorch_model.safetensors.index.json",
                                       "adapter_config.json",
                                       "adapter_model.safetensors",
                                       "pytorch_lora_weights.safetensors",
                                       "adapter_model.bin"};

static bool is_mark(const char *name)
{
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strcmp(name, marks[i]) == 0)
            return true;
    return false;
}

/*
 * Whether a merge or a model has such a file. Code may be the user's own: it is removed only if
 * mergecraft.json lists it.
 */
static bool is_known(const char *name)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    return mc_is_companion(name) && !mc_is_code(name);
}

static bool is_listed(const json_t *files, const char *name)
{
    size_t i;
    json_t *file;
    json_array_foreach(files, i, file)
    {
        const char *const listed = json_string_value(json_object_get(file, "name"));
        if (listed && strcmp(listed, name) == 0)
            return true;
    }
    return false;
}

/* Whether a file below the sub-folder is listed. */
static bool is_listed_folder(const json_t *files, const char *name)
{
    const size_t length = strlen(name);
    size_t i;
    json_t *file;
    json_array_foreach(files, i, file)
    {
        const char *const listed = json_string_value(json_object_get(file, "name"));
        if (listed && strncmp(listed, name, length) == 0 && listed[length] == '/')
            return true;
    }
    return false;
}

typedef struct search {
    const char *folder;
    json_t *files; /* of its mergecraft.json; NULL: none */
    bool marked;   /* something in it is a mark */
} search;

static mc_status refuse(const search *s, const char *name, const char *what, mc_error *error)
{
    return mc_fail_at(error, MC_EXISTS, s->folder, NULL, -1,
                      "expected a model and nothing else to replace, found %s'%s'", what, name);
}

static mc_status check_folder(search *s, const char *inner, mc_error *error);

/*
 * Overwriting removes the folder with all that is in it: one unknown entry is enough to refuse.
 * Links count as files, wherever they lead. `name` is relative to the folder.
 */
static mc_status check_entry(search *s, const char *name, mc_error *error)
{
    struct stat status;
    char *const path = mc_format("%s/%s", s->folder, name);
    if (!path)
        return mc_fail_memory(error);
    const mc_status found = mc_system->lstat(path, &status) == 0
                                ? MC_OK
                                : mc_fail_errno(error, path, "cannot examine it");
    mc_free(path);
    MC_TRY(found);
    if (S_ISDIR(status.st_mode))
        return is_listed_folder(s->files, name) ? check_folder(s, name, error)
                                                : refuse(s, name, "the folder ", error);
    s->marked = s->marked || is_mark(name);
    return is_known(name) || is_listed(s->files, name) ? MC_OK : refuse(s, name, "", error);
}

/* `inner`: a folder below it; NULL: the folder itself. */
static mc_status check_folder(search *s, const char *inner, mc_error *error)
{
    char *const path = inner ? mc_format("%s/%s", s->folder, inner) : mc_strdup(s->folder);
    DIR *const entries = path ? mc_list_folder(path) : NULL;
    mc_status status = !path      ? mc_fail_memory(error)
                       : !entries ? mc_fail_errno(error, path, "cannot list the folder")
                                  : MC_OK;
    bool any = false;
    const char *name = NULL;
    while (status == MC_OK && (name = mc_next_entry(entries))) {
        char *const full = inner ? mc_format("%s/%s", inner, name) : mc_strdup(name);
        status = full ? check_entry(s, full, error) : mc_fail_memory(error);
        mc_free(full);
        any = true;
    }
    if (status == MC_OK && errno != 0)
        status = mc_fail_errno(error, path, "cannot list the folder");
    if (entries)
        closedir(entries);
    mc_free(path);
    /* An empty folder may be replaced; one with companion files only need not be a model. */
    if (status == MC_OK && any && !inner && !s->marked)
        status = mc_fail_at(error, MC_EXISTS, s->folder, NULL, -1,
                            "expected a model to replace, found a folder of other things");
    return status;
}

mc_status mc_replaceable(const char *folder, mc_error *error)
{
    struct stat status;
    json_t *record = NULL;
    char *const path = mc_format("%s/mergecraft.json", folder);
    if (!path)
        return mc_fail_memory(error);
    mc_status result = MC_OK;
    if (mc_system->stat(path, &status) == 0)
        result = mc_json_load(path, RECORD_LIMIT, &record, error);
    if (result == MC_FORMAT) /* one that is not ours, or broken, lists nothing */
        result = MC_OK;
    search s = {.folder = folder, .files = json_object_get(record, "files")};
    if (result == MC_OK)
        result = check_folder(&s, NULL, error);
    json_decref(record);
    mc_free(path);
    return result;
}
