/* The default place of GLUE's data sets. */
#include "pipeline/pipeline.h"

#include "base/memory.h"

#include <mergecraft/hub.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Loads the Hub's copy, cached or downloaded. */
static mc_status load_from_hub(const mc_glue_task *task, const char *split,
                               const mc_hub_options *hub, mc_glue_data **out, mc_error *error)
{
    const char *const name = mc_glue_split_find(task, split);
    char *const path = name ? mc_format("%s/%s-00000-of-00001.parquet", task->name, name) : NULL;
    char *file = NULL;
    if (!name)
        return mc_fail(error, MC_USAGE, "%s has no split '%s'", task->name, split);
    mc_status status = path ? mc_hub_dataset_file("nyu-mll/glue", path, hub, &file, error)
                            : mc_fail_memory(error);
    mc_free(path);
    if (status != MC_OK && status != MC_INTERRUPTED && error) {
        const size_t length = strlen(error->text);
        snprintf(error->text + length, sizeof error->text - length,
                 "; MERGECRAFT_DATA, which can name a folder with the data, is not set");
    }
    if (status == MC_OK)
        status = mc_glue_load(task, file, split, out, error);
    mc_hub_free(file);
    return status;
}

mc_status mc_glue_load_default(const mc_glue_task *task, const char *split,
                               const mc_hub_options *hub, mc_glue_data **out, mc_error *error)
{
    const char *const folder = getenv("MERGECRAFT_DATA");
    return folder && *folder ? mc_glue_load(task, folder, split, out, error)
                             : load_from_hub(task, split, hub, out, error);
}
