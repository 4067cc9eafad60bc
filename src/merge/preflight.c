#include "merge/preflight.h"

#include "base/disk.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "merge/folder.h"
#include "merge/plan.h"
#include "model/model.h"

#include <mergecraft/text.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- target and models apart ----------------------------------------------------------------- */

/*
 * The path of a folder that may not exist yet: its nearest existing parent, resolved, and the rest.
 * Links would otherwise hide that a target lies in a model. NULL: no memory.
 */
static char *resolve(const char *path)
{
    char *const found = realpath(path, NULL);
    if (found)
        return found;
    const char *const slash = strrchr(path, '/');
    if (!slash || slash[1] == '\0' || slash == path) {
        char *here = slash == path ? strdup("") : realpath(".", NULL);
        if (!here) /* the current folder was removed: nothing is in it */
            here = strdup(".");
        char *const joined = here ? mc_format("%s/%s", here, slash ? slash + 1 : path) : NULL;
        free(here);
        return joined;
    }
    char *const parent = mc_strndup(path, (size_t)(slash - path));
    char *const resolved = parent ? resolve(parent) : NULL;
    char *const joined = resolved ? mc_format("%s/%s", resolved, slash + 1) : NULL;
    mc_free(parent);
    free(resolved);
    return joined;
}

static bool is_inside(const char *inner, const char *outer)
{
    const size_t length = strlen(outer);
    return strncmp(inner, outer, length) == 0 && (inner[length] == '/' || inner[length] == '\0');
}

/*
 * Whether a target inside a model's folder leaves the model as it is: it is new, or an earlier
 * result. Trainers merge a checkpoint into a folder within it.
 */
static bool leaves_model(const char *target, const char *model)
{
    struct stat status;
    if (strcmp(target, model) == 0)
        return false;
    if (mc_system->stat(target, &status) != 0)
        return errno == ENOENT;
    char *const record = mc_format("%s/mergecraft.json", target);
    const bool made = record && mc_system->stat(record, &status) == 0;
    mc_free(record);
    return made;
}

static mc_status check_apart(const char *target, const char *input, const char *shown,
                             mc_error *error)
{
    if (is_inside(target, input) && !leaves_model(target, input))
        return mc_fail_at(error, MC_USAGE, shown, NULL, -1,
                          "expected an output folder outside of the models, found one inside of %s",
                          input);
    if (is_inside(input, target))
        return mc_fail_at(
            error, MC_USAGE, shown, NULL, -1,
            "expected an output folder outside of the models, found one that holds %s", input);
    return MC_OK;
}

mc_status mc_check_apart(const char *folder, const char *input, mc_error *error)
{
    char *const plain = mc_without_slashes(folder);
    char *const target = plain ? resolve(plain) : NULL;
    char *const found = realpath(input, NULL);
    const mc_status status = !target ? mc_fail_memory(error)
                             : found ? check_apart(target, found, folder, error)
                                     : MC_OK;
    mc_free(plain);
    free(target);
    free(found);
    return status;
}

mc_status mc_plan_check_outside(const mc_plan *plan, const char *folder, mc_error *error)
{
    char *const plain = mc_without_slashes(folder);
    char *const target = plain ? resolve(plain) : NULL;
    mc_status status = target ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < plan->all_count; i++) {
        const char *const from = mc_model_folder(plan->models[i]);
        char *const input = from ? realpath(from, NULL) : NULL;
        /*
         * A single file does not make its whole folder a model: only folders with a configuration
         * are guarded as a whole.
         */
        const bool model = input && mc_model_config(plan->models[i]);
        if (model)
            status = check_apart(target, input, folder, error);
        free(input);
    }
    /* Files may be links into other folders, such as the blobs of a cache. */
    for (size_t i = 0; status == MC_OK && i < plan->all_count; i++)
        for (size_t f = 0; status == MC_OK && f < mc_model_file_count(plan->models[i]); f++) {
            char *const input = realpath(mc_model_file(plan->models[i], f), NULL);
            if (input)
                status = check_apart(target, input, folder, error);
            free(input);
        }
    mc_free(plain);
    free(target);
    return status;
}

/* ---- space ----------------------------------------------------------------------------------- */

/* Whether no earlier model is the same download: a model that is named twice is downloaded once. */
static bool is_first(const mc_plan *plan, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (plan->models[i]->missing_bytes > 0 &&
            strcmp(plan->models[i]->folder, plan->models[index]->folder) == 0)
            return false;
    return true;
}

/* Bytes still missing from the plan's models that will be downloaded to this file system. */
static int64_t downloads_to(const mc_plan *plan, uint64_t device)
{
    int64_t bytes = 0;
    mc_disk disk;
    for (size_t i = 0; i < plan->all_count; i++) {
        const mc_model *const model = plan->models[i];
        if (model->missing_bytes > 0 && is_first(plan, i) && mc_disk_at(model->folder, &disk) &&
            disk.device == device)
            bytes += model->missing_bytes;
    }
    return bytes;
}

mc_status mc_plan_check_target(const mc_plan *plan, const char *folder,
                               const mc_run_options *options, mc_error *error)
{
    mc_disk disk;
    int64_t read, written, memory;
    char needed[16], arriving[16], found[16];
    MC_TRY(mc_folder_check_target(folder, options && options->overwrite, error));
    MC_TRY(mc_plan_check_outside(plan, folder, error));
    mc_plan_bytes(plan, options, &read, &written, &memory);
    if (!mc_disk_at(folder, &disk))
        return MC_OK;
    const int64_t downloads = downloads_to(plan, disk.device);
    if (written + downloads <= disk.free)
        return MC_OK;
    mc_format_bytes(written, needed, sizeof needed);
    mc_format_bytes(downloads, arriving, sizeof arriving);
    mc_format_bytes(disk.free, found, sizeof found);
    if (downloads == 0)
        return mc_fail_at(error, MC_NO_SPACE, folder, NULL, -1,
                          "expected room for %s on the disk, found %s", needed, found);
    return mc_fail_at(error, MC_NO_SPACE, folder, NULL, -1,
                      "expected room for %s on the disk, and for %s that have to be downloaded to "
                      "it, found %s",
                      needed, arriving, found);
}
