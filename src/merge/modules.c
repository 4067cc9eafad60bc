#include "merge/modules.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/weight_files.h"
#include "checkpoint/writer.h"
#include "merge/plan.h"
#include "merge/report.h"
#include "model/model.h"
#include "tensor/source.h"

#include <errno.h>
#include <string.h>

/* ---- opening ---- */

static bool has_weights(const mc_model *model, const char *folder)
{
    bool found = false;
    for (size_t i = 0; mc_model_folder(model) && i < MC_WEIGHT_FILES && !found; i++) {
        struct stat status;
        char *const path = mc_format("%s/%s/%s", mc_model_folder(model), folder,
                                     mc_weight_files[i]);
        found = path && mc_system->stat(path, &status) == 0 && S_ISREG(status.st_mode);
        mc_free(path);
    }
    return found;
}

static mc_status open_module(mc_module *module, const mc_model *model, mc_error *error)
{
    char *const path = mc_format("%s/%s", mc_model_folder(model), module->folder);
    char *const name = mc_format("%s/%s", mc_model_name(model), module->folder);
    mc_status status = path && name ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_model_open_path(name, path, NULL, &module->models[module->count], error);
    module->count += status == MC_OK;
    mc_free(path);
    mc_free(name);
    return status;
}

mc_status mc_module_open(mc_module *module, const mc_model *model, bool *found, mc_error *error)
{
    *found = has_weights(model, module->folder);
    if (!*found)
        return MC_OK;
    if (!MC_GROW(module->models, module->count, module->capacity))
        return mc_fail_memory(error);
    return open_module(module, model, error);
}

/*
 * Opens the module of each model that has it, then that of the base. *tuned: how many are of
 * models.
 */
static mc_status open_modules(mc_module *module, const mc_plan_input *input, size_t *tuned,
                              mc_error *error)
{
    bool found;
    for (size_t i = 0; i < input->model_count; i++)
        MC_TRY(mc_module_open(module, input->models[i], &found, error));
    *tuned = module->count;
    return input->base ? mc_module_open(module, input->base, &found, error) : MC_OK;
}

/* ---- a module's plan ---- */

/*
 * Plans a module: merged by the method if all models have it, and the base if the method needs one;
 * otherwise averaged over those that have it, as tensors are. With side inputs it is averaged too.
 */
static mc_status plan_module(mc_module *module, const mc_plan_input *input, size_t tuned,
                             bool *averaged, mc_error *error)
{
    const bool whole = tuned == input->model_count && input->side_count == 0 &&
                       (!input->method->needs_base || module->count > tuned);
    mc_plan_input all = *input;
    /* A module of sentence-transformers has no rows of tokens. */
    all.tokenizer = all.chat_template = NULL;
    all.token_count = 0;
    all.pad_vocabulary = 0;
    all.models = (const mc_model *const *)module->models;
    all.model_count = tuned;
    all.base = module->count > tuned ? module->models[tuned] : NULL;
    *averaged = !whole;
    if (!whole && input->strict)
        return mc_fail(error, MC_MISMATCH, "%s: not in all models and the base (strict)",
                       module->folder);
    if (!whole) {
        all.method = mc_method_find("soup");
        all.base = NULL;
        all.param_count = all.side_count = 0;
    }
    /* Patterns match names of the model's tensors, which a module's are not. */
    all.passthrough_count = all.exclude_count = all.keep = 0;
    /* So do parameters of blocks and roles. */
    all.allow_unused = true;
    return mc_plan_new(&all, &module->plan, error);
}

/* For mc_modules_plan_by. */
typedef struct planning {
    const mc_plan_input *input;
    mc_report *report;
} planning;

static mc_status plan_by_method(mc_module *module, void *user, mc_error *error)
{
    const planning *const p = user;
    size_t tuned = 0;
    bool averaged = false;
    MC_TRY(open_modules(module, p->input, &tuned, error));
    MC_TRY(plan_module(module, p->input, tuned, &averaged, error));
    return averaged ? mc_report_add(p->report, error,
                                    "%s: not in all models and the base, and averaged over %zu",
                                    module->folder, tuned)
                    : MC_OK;
}

static void free_module(mc_module *module)
{
    mc_plan_free(module->plan);
    for (size_t i = 0; i < module->count; i++)
        mc_model_close(module->models[i]);
    mc_free(module->models);
    mc_free(module->folder);
}

static void remove_weights(mc_outfit *outfit, const char *folder)
{
    for (size_t i = 0; i < MC_WEIGHT_FILES; i++) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", folder, mc_weight_files[i]);
        mc_outfit_remove(outfit, name);
    }
}

/* What the module's plan reports after `before` lines, with the name of its folder. */
static mc_status report_module(const mc_module *module, size_t before, mc_report *report,
                               mc_error *error)
{
    const mc_report *const own = mc_plan_report(module->plan);
    for (size_t i = before; i < mc_report_count(own); i++)
        MC_TRY(mc_report_add(report, error, "%s: %s", module->folder, mc_report_line(own, i)));
    return MC_OK;
}

/*
 * Takes over the folder's name. A module that cannot be merged stays in the outfit as a copy, with
 * a warning. Its weights leave the outfit only once its plan exists.
 */
static mc_status add_module(char *folder, mc_module_planner *plan, void *user, bool strict,
                            mc_outfit *outfit, mc_modules *out, mc_report *report, mc_error *error)
{
    mc_module module = {.folder = folder};
    mc_error why = MC_ERROR_NONE;
    char text[512];
    mc_status status = plan(&module, user, &why);
    if (status == MC_OK)
        status = report_module(&module, 0, report, &why);
    if (status == MC_OK && MC_GROW(out->items, out->count, out->capacity)) {
        remove_weights(outfit, folder);
        out->items[out->count++] = module;
        return MC_OK;
    }
    if (status == MC_OK || status == MC_NO_MEMORY || strict) {
        free_module(&module);
        if (status == MC_OK || status == MC_NO_MEMORY)
            return mc_fail_memory(error);
        if (error)
            *error = why;
        return status;
    }
    status = mc_report_add(report, error,
                           "%s: weights of a module in modules.json, copied from one model and not "
                           "merged: %s",
                           folder, mc_error_message(&why, text, sizeof text));
    free_module(&module);
    return status;
}

static bool is_listed(const mc_modules *modules, const char *folder)
{
    for (size_t i = 0; i < modules->count; i++)
        if (strcmp(modules->items[i].folder, folder) == 0)
            return true;
    return false;
}

/*
 * The next folder of weights among the outfit's files from index *at, in new memory; NULL: none, or
 * no memory.
 */
static char *next_folder(const mc_outfit *outfit, size_t *at)
{
    for (; *at < outfit->count; ++*at) {
        const char *const name = outfit->files[*at].name, *const slash = strrchr(name, '/');
        for (size_t k = 0; slash && k < MC_WEIGHT_FILES; k++)
            if (strcmp(slash + 1, mc_weight_files[k]) == 0)
                return mc_strndup(name, (size_t)(slash - name));
    }
    return NULL;
}

mc_status mc_modules_plan_by(mc_outfit *outfit, mc_module_planner *plan, void *user, bool strict,
                             mc_modules *out, mc_report *report, mc_error *error)
{
    size_t at = 0;
    char *folder = NULL;
    while ((folder = next_folder(outfit, &at))) {
        const size_t before = outfit->count;
        if (is_listed(out, folder))
            mc_free(folder);
        else
            MC_TRY(add_module(folder, plan, user, strict, outfit, out, report, error));
        /* A planned module has left the outfit, so that *at is the next file already. */
        at += before == outfit->count;
    }
    return MC_OK;
}

mc_status mc_modules_plan(const mc_plan_input *input, const mc_model *last, mc_outfit *outfit,
                          mc_modules *out, mc_report *report, mc_error *error)
{
    planning p = {input, report};
    if (!mc_model_is_complete(last))
        return MC_OK; /* only headers are here */
    return mc_modules_plan_by(outfit, plan_by_method, &p, input->strict, out, report, error);
}

void mc_modules_free(mc_modules *modules)
{
    for (size_t i = 0; i < modules->count; i++)
        free_module(&modules->items[i]);
    mc_free(modules->items);
    *modules = (mc_modules){0};
}

mc_status mc_modules_bind(mc_modules *modules, const mc_method *method, const char *const *params,
                          size_t param_count, mc_error *error)
{
    for (size_t i = 0; i < modules->count; i++)
        if (modules->items[i].plan->method == method)
            MC_TRY(mc_plan_bind(modules->items[i].plan, params, param_count, error));
    return MC_OK;
}

/* ---- writing ---- */

/* Fills the bytes of a file that holds all tensors; they are in memory. */
static mc_status fill_file(const mc_state_dict *dict, const mc_layout *layout, char *bytes,
                           mc_error *error)
{
    memcpy(bytes, layout->shards[0].header, layout->shards[0].header_size);
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const mc_source *const source = mc_state_dict_source(dict, i);
        MC_TRY(
            mc_source_read_raw(source, 0, source->bytes, bytes + layout->slots[i].offset, error));
    }
    return MC_OK;
}

static mc_status write_dict(const mc_state_dict *dict, const char *name, mc_folder *folder,
                            mc_error *error)
{
    const size_t count = mc_state_dict_count(dict);
    mc_layout layout = {0};
    const char **const names = mc_alloc(count * sizeof *names);
    mc_source **const sources = mc_alloc(count * sizeof *sources);
    for (size_t i = 0; names && sources && i < count; i++) {
        names[i] = mc_state_dict_name(dict, i);
        sources[i] = mc_state_dict_source(dict, i);
    }
    const mc_tensors tensors = {names, sources, count};
    mc_status status = names && sources
                           ? mc_writer_safetensors.lay_out(&tensors, INT64_MAX, &layout, error)
                           : mc_fail_memory(error);
    const int64_t size = status == MC_OK ? mc_layout_end(&layout, &layout.shards[0], layout.bytes)
                                         : 0;
    char *const bytes = status == MC_OK ? mc_alloc_zero((size_t)size, 1) : NULL;
    if (status == MC_OK)
        status = bytes ? fill_file(dict, &layout, bytes, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_folder_write(folder, name, bytes, (size_t)size, error);
    mc_free(bytes);
    mc_free(names);
    mc_free(sources);
    mc_layout_free(&layout);
    return status;
}

static mc_status write_module(const mc_module *module, mc_report *report, mc_folder *folder,
                              mc_error *error)
{
    mc_state_dict *made = NULL;
    const size_t before = mc_report_count(mc_plan_report(module->plan));
    char *const name = mc_format("%s/%s", module->folder, mc_weight_files[0]);
    mc_status status = name ? mc_plan_materialize(module->plan, NULL, NULL, &made, NULL, error)
                            : mc_fail_memory(error);
    if (status == MC_OK)
        status = report_module(module, before, report, error);
    if (status == MC_OK)
        status = mc_plan_check_models(module->plan, error);
    if (status == MC_OK)
        status = write_dict(made, name, folder, error);
    mc_state_dict_free(made);
    mc_free(name);
    return status;
}

mc_status mc_modules_write(const mc_modules *modules, mc_report *report, mc_folder *folder,
                           mc_error *error)
{
    for (size_t i = 0; i < modules->count; i++)
        MC_TRY(write_module(&modules->items[i], report, folder, error));
    return MC_OK;
}
