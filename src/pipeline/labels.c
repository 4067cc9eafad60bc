#include "pipeline/labels.h"

#include "base/memory.h"
#include "base/text.h"
#include "pipeline/pipeline.h"

#include <string.h>

/* True if each label of the model is one of the task, and no two are the same. */
static bool match_names(const mc_pipeline *pipeline, const mc_glue_task *task, size_t *map)
{
    for (size_t i = 0; i < pipeline->label_count; i++) {
        const int label = mc_glue_label_find(task, pipeline->labels[i]);
        if (label < 0)
            return false;
        map[i] = (size_t)label;
        for (size_t before = 0; before < i; before++)
            if (map[before] == map[i])
                return false;
    }
    return true;
}

/* "2", "LABEL_2": a name without a meaning. */
static bool is_number(const char *name)
{
    if (strncmp(name, "LABEL_", 6) == 0)
        name += 6;
    return *name && name[strspn(name, "0123456789")] == '\0';
}

/*
 * Returns whether any label has a name of the task; then the order of the labels cannot be assumed.
 */
static bool tells_something(const mc_pipeline *pipeline, const mc_glue_task *task)
{
    for (size_t i = 0; i < pipeline->label_count; i++)
        if (!is_number(pipeline->labels[i]) && mc_glue_label_find(task, pipeline->labels[i]) >= 0)
            return true;
    return false;
}

static mc_status fail(const mc_pipeline *pipeline, const mc_glue_task *task, mc_error *error)
{
    mc_text expected = {0}, found = {0};
    for (size_t i = 0; i < task->label_count; i++)
        mc_text_add(&expected, "%s%s", i ? ", " : "", task->labels[i]);
    for (size_t i = 0; i < pipeline->label_count; i++)
        mc_text_add(&found, "%s%s", i ? ", " : "", pipeline->labels[i]);
    const mc_status status =
        expected.failed || found.failed
            ? mc_fail_memory(error)
            : mc_fail_at(error, MC_MISMATCH, pipeline->folder, NULL, -1,
                         "expected a model for %s with the labels %s, found %s", task->name,
                         task->label_count ? expected.data : "of regression (one output)",
                         found.data);
    mc_text_free(&expected);
    mc_text_free(&found);
    return status;
}

mc_status mc_match_labels(const mc_pipeline *pipeline, const mc_glue_task *task, size_t *map,
                          bool *guessed, mc_error *error)
{
    *guessed = false;
    /* Regression has one output, whatever its name. */
    if (pipeline->label_count != (task->label_count ? task->label_count : 1))
        return fail(pipeline, task, error);
    for (size_t i = 0; i < pipeline->label_count; i++)
        map[i] = i;
    if (task->label_count == 0 || match_names(pipeline, task, map))
        return MC_OK;
    /* Some names match and others do not: the model was trained for another task. */
    if (tells_something(pipeline, task))
        return fail(pipeline, task, error);
    for (size_t i = 0; i < pipeline->label_count; i++)
        map[i] = i;
    /*
     * Names without a meaning: the order is assumed to be that of the task, which the caller
     * reports.
     */
    *guessed = true;
    return MC_OK;
}
