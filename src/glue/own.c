/* Tasks that describe a data set of the user's own. */
#include "base/error.h"
#include "base/memory.h"
#include "glue/tasks.h"

#include <math.h>
#include <string.h>

/* A task with copies of all its texts behind it. */
typedef struct own_task {
    mc_glue_task task;
    const char *splits[2];
    const char *metrics[MC_GLUE_METRICS + 1];
    char *texts[4]; /* name, columns */
    char **labels;  /* label_count, and NULL */
} own_task;

static mc_status check_column(const char *name, const char *other, mc_error *error)
{
    if (name && !*name)
        return mc_fail(error, MC_USAGE, "expected the name of a column, found an empty one");
    if (name && other && strcmp(name, other) == 0)
        return mc_fail(error, MC_USAGE, "column '%s' is named twice", name);
    return MC_OK;
}

static mc_status check_columns(const mc_glue_columns *columns, mc_error *error)
{
    if (!columns->text)
        return mc_fail(error, MC_USAGE, "expected the name of the text column, found none");
    MC_TRY(check_column(columns->text, columns->pair, error));
    MC_TRY(check_column(columns->pair, columns->label, error));
    return check_column(columns->label, columns->text, error);
}

static bool copy_text(const char *text, char **out)
{
    *out = text ? mc_strdup(text) : NULL;
    return !text || *out;
}

static bool copy_labels(own_task *own, const char *const *labels, size_t count)
{
    own->labels = mc_alloc_zero(count + 1, sizeof *own->labels);
    if (!own->labels)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!copy_text(labels[i], &own->labels[i]))
            return false;
    own->task.labels = (const char *const *)own->labels;
    return true;
}

static void set_metrics(own_task *own)
{
    const size_t count = own->task.label_count;
    own->metrics[0] = count ? "accuracy" : "pearson";
    own->metrics[1] = count == 0 ? "spearmanr" : count == 2 ? "f1" : "f1_macro";
    own->splits[0] = "data";
}

static bool fill(own_task *own, const char *name, const mc_glue_columns *columns,
                 const char *const *labels, size_t label_count)
{
    /* A model with one output is a regression. */
    const size_t count = label_count > 1 ? label_count : 0;
    if (!copy_text(name, &own->texts[0]) || !copy_text(columns->text, &own->texts[1]) ||
        !copy_text(columns->pair, &own->texts[2]) || !copy_text(columns->label, &own->texts[3]) ||
        (count && !copy_labels(own, labels, count)))
        return false;
    /* labels were set by copy_labels. */
    own->task = (mc_glue_task){.name = own->texts[0],
                               .help = "data of your own",
                               .columns = {own->texts[1], own->texts[2]},
                               .label_column = own->texts[3],
                               .labels = own->task.labels,
                               .label_count = count,
                               .label_minimum = count ? 0 : -INFINITY,
                               .label_maximum = count ? (double)count - 1 : INFINITY,
                               .splits = own->splits,
                               .metrics = own->metrics,
                               .own = true};
    set_metrics(own);
    return true;
}

mc_status mc_glue_task_new(const char *name, const mc_glue_columns *columns,
                           const char *const *labels, size_t label_count, mc_glue_task **out,
                           mc_error *error)
{
    MC_TRY(check_columns(columns, error));
    own_task *const own = mc_alloc_zero(1, sizeof *own);
    if (!own)
        return mc_fail_memory(error);
    if (!fill(own, name, columns, labels, label_count)) {
        mc_glue_task_free(&own->task);
        return mc_fail_memory(error);
    }
    *out = &own->task;
    return MC_OK;
}

void mc_glue_task_free(mc_glue_task *task)
{
    own_task *const own = (own_task *)task; /* `task` is its first member */
    if (!own)
        return;
    for (size_t i = 0; own->labels && own->labels[i]; i++)
        mc_free(own->labels[i]);
    for (size_t i = 0; i < sizeof own->texts / sizeof *own->texts; i++)
        mc_free(own->texts[i]);
    mc_free(own->labels);
    mc_free(own);
}
