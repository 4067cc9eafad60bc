/* What can be known to fail before anything large is downloaded or read. */
#include "base/disk.h"
#include "merge/folder.h"
#include "merge/plan.h"
#include "model/model.h"

#include <mergecraft/text.h>

#include <string.h>

/* A model that is named twice is downloaded once. */
static bool is_first(const mc_plan *plan, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (plan->models[i]->missing_bytes > 0 &&
            strcmp(plan->models[i]->folder, plan->models[index]->folder) == 0)
            return false;
    return true;
}

/* Bytes that the plan's models miss still, and that go to this file system. */
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
