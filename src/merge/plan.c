#include "merge/plan.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/layout.h"
#include "merge/execute.h"
#include "merge/merged.h"
#include "merge/package.h"
#include "merge/plugin.h"
#include "merge/report.h"
#include "merge/save.h"
#include "model/model.h"
#include "tensor/source.h"

#include <mergecraft/version.h>

#include <stdlib.h>
#include <string.h>

const mc_model *mc_plan_last(const mc_plan *plan)
{
    return plan->models[plan->model_count - 1];
}

void mc_plan_free(mc_plan *plan)
{
    if (!plan)
        return;
    mc_lineup_free(&(mc_lineup){.lines = plan->lines, .count = plan->count});
    for (size_t i = 0; plan->passthrough && i < plan->passthrough_count; i++)
        mc_free(plan->passthrough[i]);
    mc_free(plan->passthrough);
    mc_free(plan->list_names);
    mc_free(plan->models);
    mc_report_free(plan->report);
    mc_free(plan->parameters);
    mc_free(plan->method_origin);
    mc_free(plan->method_text);
    mc_free(plan);
}

/* ---- making ------------------------------------------------------------------------------------ */

static mc_status copy_models(const mc_plan_input *input, mc_plan *plan, mc_error *error)
{
    const size_t most = input->model_count * (1 + input->list_count) + 1;
    plan->models = mc_alloc_zero(most, sizeof *plan->models);
    plan->list_names = mc_alloc_zero(input->list_count, sizeof *plan->list_names);
    if (!plan->models || !plan->list_names)
        return mc_fail_memory(error);
    size_t count = 0;
    for (size_t i = 0; i < input->model_count; i++)
        plan->models[count++] = input->models[i];
    if (input->base)
        plan->models[count++] = input->base;
    for (size_t k = 0; k < input->list_count; k++) {
        plan->list_names[k] = input->list_names[k];
        for (size_t i = 0; i < input->model_count; i++)
            plan->models[count++] = input->lists[k][i];
    }
    plan->model_count = input->model_count;
    plan->all_count = count;
    plan->base = input->base;
    plan->list_count = input->list_count;
    return MC_OK;
}

static mc_status copy_text(const char *text, char **out, mc_error *error)
{
    *out = text ? mc_strdup(text) : NULL;
    return *out || !text ? MC_OK : mc_fail_memory(error);
}

static mc_status copy_options(const mc_plan_input *input, mc_plan *plan, mc_error *error)
{
    plan->method = input->method;
    plan->seed = input->seed;
    plan->strict = input->strict;
    plan->convert = input->convert;
    plan->dtype = input->dtype;
    plan->passthrough = mc_alloc_zero(input->passthrough_count, sizeof *plan->passthrough);
    if (!plan->passthrough)
        return mc_fail_memory(error);
    plan->passthrough_count = input->passthrough_count;
    MC_TRY(copy_text(input->method_origin, &plan->method_origin, error));
    MC_TRY(copy_text(input->method_text, &plan->method_text, error));
    for (size_t i = 0; i < input->passthrough_count; i++)
        if (!(plan->passthrough[i] = mc_strdup(input->passthrough[i])))
            return mc_fail_memory(error);
    return MC_OK;
}

/* The state dicts that are lined up: one a model of plan->models, changed where models call one thing by two names. */
typedef struct dicts {
    const mc_state_dict **items;
    mc_state_dict **own; /* those that were made here */
    const char **labels;
    size_t count;
} dicts;

static void free_dicts(dicts *d)
{
    for (size_t i = 0; d->own && i < d->count; i++)
        mc_state_dict_free(d->own[i]);
    mc_free(d->own);
    mc_free(d->items);
    mc_free(d->labels);
}

static mc_status new_dicts(const mc_plan *plan, dicts *d, mc_error *error)
{
    d->count = plan->all_count;
    d->items = mc_alloc_zero(d->count, sizeof *d->items);
    d->own = mc_alloc_zero(d->count, sizeof *d->own);
    d->labels = mc_alloc_zero(d->count, sizeof *d->labels);
    if (!d->items || !d->own || !d->labels)
        return mc_fail_memory(error);
    for (size_t i = 0; i < d->count; i++) {
        d->items[i] = mc_model_state_dict(plan->models[i]);
        d->labels[i] = mc_model_name(plan->models[i]);
    }
    return MC_OK;
}

/* A copy of a model's dict that may be changed. */
static mc_status own_dict(dicts *d, size_t index, mc_state_dict **out, mc_error *error)
{
    if (!d->own[index]) {
        MC_TRY(mc_state_dict_copy(d->items[index], &d->own[index], error));
        d->items[index] = d->own[index];
    }
    *out = d->own[index];
    return MC_OK;
}

/* A tensor that is tied to another in one model and stands alone in the next: the first model has it too. */
static mc_status untie(const mc_plan *plan, dicts *d, size_t index, const char *name,
                       mc_error *error)
{
    mc_source *const tied = mc_model_tied(plan->models[index], name);
    if (!tied || mc_state_dict_find(d->items[index], name))
        return MC_OK;
    mc_state_dict *own = NULL;
    MC_TRY(own_dict(d, index, &own, error));
    return mc_state_dict_set(own, name, tied, error);
}

static mc_status untie_all(const mc_plan *plan, dicts *d, mc_error *error)
{
    for (size_t k = 0; k < plan->model_count; k++) {
        const mc_state_dict *const dict = mc_model_state_dict(plan->models[k]);
        for (size_t i = 0; i < mc_state_dict_count(dict); i++)
            for (size_t j = 0; j < d->count; j++)
                if (plan->models[j]->checkpoint.alias_count > 0)
                    MC_TRY(untie(plan, d, j, mc_state_dict_name(dict, i), error));
    }
    return MC_OK;
}

/* How many names of `base`, with `prefix` before them, the model has. */
static size_t matches(const mc_state_dict *model, const mc_state_dict *base, const char *prefix)
{
    size_t count = 0;
    for (size_t i = 0; i < mc_state_dict_count(base); i++) {
        char *const name = mc_format("%s%s", prefix, mc_state_dict_name(base, i));
        count += name && mc_state_dict_find(model, name);
        mc_free(name);
    }
    return count;
}

/* "bert." of "bert.embeddings.…": what the encoder of a model with a head is called. */
static char *prefix_of(const mc_state_dict *model)
{
    const char *const name = mc_state_dict_count(model) ? mc_state_dict_name(model, 0) : "";
    const char *const dot = strchr(name, '.');
    return dot ? mc_strndup(name, (size_t)(dot - name) + 1) : NULL;
}

static mc_status prefixed_copy(const mc_state_dict *from, const char *prefix, mc_state_dict *into,
                               mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(from); i++) {
        char *const name = mc_format("%s%s", prefix, mc_state_dict_name(from, i));
        const mc_status status = name ? mc_state_dict_set(into, name, mc_state_dict_source(from, i),
                                                          error)
                                      : mc_fail_memory(error);
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

/*
 * A base that was saved as a bare encoder has no "bert." before its names, as transformers knows too: it is put there if
 * that lines the base up.
 */
static mc_status prefix_base(const mc_plan *plan, dicts *d, mc_error *error)
{
    const size_t at = plan->model_count;
    if (!plan->base || matches(d->items[0], d->items[at], "") > 0)
        return MC_OK;
    char *const prefix = prefix_of(d->items[0]);
    mc_status status = MC_OK;
    if (prefix && matches(d->items[0], d->items[at], prefix) > 0) {
        mc_state_dict *renamed = NULL;
        status = mc_state_dict_new(&renamed, error);
        if (status == MC_OK)
            status = prefixed_copy(d->items[at], prefix, renamed, error);
        mc_state_dict_free(d->own[at]);
        d->items[at] = d->own[at] = renamed;
        if (status == MC_OK)
            status = mc_report_add(plan->report, error,
                                   "the base's tensors are matched with '%s' before their names",
                                   prefix);
    }
    mc_free(prefix);
    return status;
}

/* Wide elements first, so that all are aligned in the file; else the models' order. */
static mc_status order_lines(mc_plan *plan, mc_error *error)
{
    mc_line *const ordered = mc_alloc(plan->count * sizeof *ordered);
    if (!ordered)
        return mc_fail_memory(error);
    size_t count = 0;
    for (int bits = 64; bits > 0; bits--)
        for (size_t i = 0; i < plan->count; i++)
            if (mc_dtype_bits(plan->lines[i].source->dtype) == bits)
                ordered[count++] = plan->lines[i];
    mc_free(plan->lines);
    plan->lines = ordered;
    return MC_OK;
}

static mc_status convert_lines(mc_plan *plan, mc_error *error)
{
    for (size_t i = 0; plan->convert && i < plan->count; i++) {
        mc_line *const line = &plan->lines[i];
        if (mc_dtype_kind_of(line->source->dtype) != MC_KIND_FLOAT ||
            line->source->dtype == plan->dtype)
            continue;
        mc_source *cast = NULL;
        MC_TRY(mc_source_cast(line->source, plan->dtype, &cast, error));
        mc_source_unref(line->source);
        line->source = cast;
    }
    return MC_OK;
}

static mc_status line_up(mc_plan *plan, const mc_plan_input *input, const dicts *d, mc_error *error)
{
    const size_t lists_at = plan->model_count + (plan->base != NULL);
    mc_list *const lists = mc_alloc_zero(plan->list_count, sizeof *lists);
    if (!lists)
        return mc_fail_memory(error);
    for (size_t k = 0; k < plan->list_count; k++)
        lists[k] = (mc_list){.name = plan->list_names[k],
                             .items = d->items + lists_at + k * plan->model_count,
                             .count = plan->model_count};
    const mc_merge_input merge = {
        .models = d->items,
        .model_count = plan->model_count,
        .base = plan->base ? d->items[plan->model_count] : NULL,
        .lists = lists,
        .list_count = plan->list_count,
        .params = input->params,
        .param_count = input->param_count,
        .passthrough = input->passthrough,
        .passthrough_count = input->passthrough_count,
        .seed = input->seed,
        .strict = input->strict,
    };
    mc_lineup lineup = {0};
    const mc_status status = mc_lineup_make(plan->method, &merge, d->labels, &lineup, plan->report,
                                            error);
    plan->lines = lineup.lines;
    plan->count = lineup.count;
    mc_free(lists);
    return status;
}

/* ---- labels ------------------------------------------------------------------------------------ */

static bool same_labels(const mc_model *a, const mc_model *b)
{
    if (mc_model_label_count(a) != mc_model_label_count(b))
        return false;
    for (size_t i = 0; i < mc_model_label_count(a); i++)
        if (strcmp(mc_model_label(a, i), mc_model_label(b, i)) != 0)
            return false;
    return true;
}

static void add_labels(mc_text *text, const mc_model *model)
{
    for (size_t i = 0; i < mc_model_label_count(model); i++)
        mc_text_add(text, "%s%s", i ? ", " : "", mc_model_label(model, i));
}

/* A head whose rows mean other labels in another model is averaged into nonsense: say so. */
static mc_status compare_labels(const mc_plan *plan, mc_error *error)
{
    const mc_model *const last = mc_plan_last(plan);
    for (size_t i = 0; i + 1 < plan->model_count; i++) {
        const mc_model *const model = plan->models[i];
        if (mc_model_label_count(model) == 0 || mc_model_label_count(last) == 0 ||
            same_labels(model, last))
            continue;
        mc_text text = {0};
        mc_text_add(&text, "%s has the labels [", mc_model_name(model));
        add_labels(&text, model);
        mc_text_add(&text, "], but %s has [", mc_model_name(last));
        add_labels(&text, last);
        mc_text_add(&text, "]: the merge takes those of the last");
        mc_status status = text.failed ? mc_fail_memory(error) : MC_OK;
        if (status == MC_OK && plan->strict)
            status = mc_fail(error, MC_MISMATCH, "%s (strict)", text.data);
        else if (status == MC_OK)
            status = mc_report_add(plan->report, error, "%s", text.data);
        mc_text_free(&text);
        MC_TRY(status);
    }
    return MC_OK;
}

static mc_status make(mc_plan *plan, const mc_plan_input *input, mc_error *error)
{
    dicts d = {0};
    mc_params *params = NULL;
    MC_TRY(copy_models(input, plan, error));
    MC_TRY(copy_options(input, plan, error));
    MC_TRY(mc_report_new(&plan->report, error));
    MC_TRY(mc_params_parse(input->method, input->params, input->param_count, input->model_count,
                           &params, error));
    plan->parameters = mc_params_json(params);
    mc_status status = plan->parameters ? MC_OK : mc_fail_memory(error);
    mc_params_unref(params);
    if (status == MC_OK)
        status = new_dicts(plan, &d, error);
    if (status == MC_OK)
        status = untie_all(plan, &d, error);
    if (status == MC_OK)
        status = prefix_base(plan, &d, error);
    if (status == MC_OK)
        status = line_up(plan, input, &d, error);
    free_dicts(&d);
    MC_TRY(status);
    MC_TRY(compare_labels(plan, error));
    MC_TRY(convert_lines(plan, error));
    return order_lines(plan, error);
}

mc_status mc_plan_new(const mc_plan_input *input, mc_plan **out, mc_error *error)
{
    if (input->model_count == 0)
        return mc_fail(error, MC_USAGE, "expected models to merge, found none");
    if (input->convert && mc_dtype_kind_of(input->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_USAGE, "expected a dtype of floats for the result, found %s",
                       mc_dtype_name(input->dtype));
    mc_plan *const plan = mc_alloc_zero(1, sizeof *plan);
    if (!plan)
        return mc_fail_memory(error);
    const mc_status status = make(plan, input, error);
    if (status != MC_OK) {
        mc_plan_free(plan);
        return status;
    }
    *out = plan;
    return MC_OK;
}

/* ---- looking ----------------------------------------------------------------------------------- */

size_t mc_plan_count(const mc_plan *plan)
{
    return plan->count;
}

void mc_plan_line_at(const mc_plan *plan, size_t index, mc_plan_line *line)
{
    const mc_line *const from = &plan->lines[index];
    *line = (mc_plan_line){.name = from->name,
                           .dtype = from->source->dtype,
                           .rank = from->source->rank,
                           .shape = from->source->shape,
                           .bytes = from->source->bytes,
                           .how = from->how};
}

const mc_report *mc_plan_report(const mc_plan *plan)
{
    return plan->report;
}

const char *mc_plan_parameters(const mc_plan *plan)
{
    return plan->parameters;
}

static int64_t bytes_read_for(const mc_source *source)
{
    const mc_merged *const merged = mc_merged_of(source);
    if (!merged)
        return mc_source_uncast(source)->bytes;
    int64_t bytes = 0;
    for (size_t i = 0; i < merged->input_count; i++)
        bytes += merged->inputs[i]->bytes;
    return bytes;
}

static mc_source **sources_of(const mc_plan *plan)
{
    mc_source **const sources = mc_alloc(plan->count * sizeof *sources);
    for (size_t i = 0; sources && i < plan->count; i++)
        sources[i] = plan->lines[i].source;
    return sources;
}

void mc_plan_bytes(const mc_plan *plan, const mc_run_options *options, int64_t *read,
                   int64_t *written, int64_t *memory)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    mc_source **const sources = sources_of(plan);
    *read = *written = 0;
    for (size_t i = 0; i < plan->count; i++) {
        *read += bytes_read_for(plan->lines[i].source);
        *written += plan->lines[i].source->bytes;
    }
    *memory = sources ? mc_execute_memory(sources, plan->count, options ? options : &standard) : 0;
    mc_free(sources);
}

mc_status mc_plan_state_dict(const mc_plan *plan, mc_state_dict **out, mc_error *error)
{
    mc_state_dict *dict = NULL;
    mc_status status = mc_state_dict_new(&dict, error);
    for (size_t i = 0; status == MC_OK && i < plan->count; i++)
        status = mc_state_dict_set(dict, plan->lines[i].name, plan->lines[i].source, error);
    if (status != MC_OK) {
        mc_state_dict_free(dict);
        return status;
    }
    *out = dict;
    return MC_OK;
}

/* ---- running ----------------------------------------------------------------------------------- */

/* Whether nothing is known of the models or the method that would tell a later run that they are the same. */
static bool cannot_resume(const mc_plan *plan)
{
    for (size_t i = 0; i < plan->all_count; i++)
        if (mc_model_file_count(plan->models[i]) == 0)
            return true;
    return plan->method_origin != NULL;
}

/* Everything that the bytes of the output depend on; 0 if it cannot be told. */
static uint64_t fingerprint(const mc_plan *plan, const mc_run_options *options)
{
    if (cannot_resume(plan))
        return 0;
    const char *path = NULL;
    uint64_t code = 0;
    const int64_t shard_size = mc_save_shard_size(options);
    uint64_t hash = mc_hash_text(MC_HASH_START, mc_version());
    hash = mc_hash_text(hash, plan->method->name);
    hash = mc_hash_text(hash, plan->method->family ? plan->method->family : "");
    if (mc_plugin_origin(plan->method, &path, &code))
        hash = mc_hash_bytes(hash, &code, sizeof code);
    hash = mc_hash_text(hash, plan->parameters);
    hash = mc_hash_bytes(hash, &plan->seed, sizeof plan->seed);
    hash = mc_hash_bytes(hash, &shard_size, sizeof shard_size);
    for (size_t i = 0; i < plan->all_count; i++) {
        const uint64_t model = mc_model_fingerprint(plan->models[i]);
        hash = mc_hash_bytes(hash, &model, sizeof model);
    }
    for (size_t i = 0; i < plan->count; i++) {
        hash = mc_hash_text(hash, plan->lines[i].name);
        hash = mc_hash_text(hash, plan->lines[i].how);
        hash = mc_hash_bytes(hash, &plan->lines[i].source->dtype, sizeof(mc_dtype));
    }
    return hash ? hash : 1;
}

/* The path of a folder that may not exist yet: its nearest parent that does, resolved, and the rest. NULL: no memory. */
static char *resolve(const char *path)
{
    char *const found = realpath(path, NULL);
    if (found)
        return found;
    const char *const slash = strrchr(path, '/');
    if (!slash || slash[1] == '\0' || slash == path) {
        char *here = slash == path ? strdup("") : realpath(".", NULL);
        if (!here) /* it was removed: nothing is inside of it */
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

static mc_status check_apart(const char *target, const char *input, const char *shown,
                             mc_error *error)
{
    if (is_inside(target, input))
        return mc_fail_at(error, MC_USAGE, shown, NULL, -1,
                          "expected an output folder outside of the models, found one inside of %s",
                          input);
    if (is_inside(input, target))
        return mc_fail_at(
            error, MC_USAGE, shown, NULL, -1,
            "expected an output folder outside of the models, found one that holds %s", input);
    return MC_OK;
}

mc_status mc_plan_check_outside(const mc_plan *plan, const char *folder, mc_error *error)
{
    char *const plain = mc_without_slashes(folder);
    char *const target = plain ? resolve(plain) : NULL;
    mc_status status = target ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < plan->all_count; i++) {
        const char *const from = mc_model_folder(plan->models[i]);
        char *const input = from ? realpath(from, NULL) : NULL;
        /* A single file in a folder of many things does not make all of it a model. */
        const bool model = input && mc_model_config(plan->models[i]);
        if (model)
            status = check_apart(target, input, folder, error);
        free(input);
    }
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

static mc_status finish(mc_folder *folder, const mc_run_result *result, void *user, mc_error *error)
{
    (void)result;
    const mc_plan *const plan = user;
    for (size_t i = 0; i < plan->all_count; i++)
        MC_TRY(mc_model_check(plan->models[i], error));
    return mc_package_write(plan, folder, error);
}

mc_status mc_plan_run(const mc_plan *plan, const char *folder, const mc_run_options *options,
                      mc_run_result *result, mc_error *error)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    const mc_run_options *const with = options ? options : &standard;
    mc_run_result ignored;
    MC_TRY(mc_plan_check_outside(plan, folder, error));
    const char **const names = mc_alloc(plan->count * sizeof *names);
    mc_source **const sources = sources_of(plan);
    mc_status status = names && sources ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < plan->count; i++)
        names[i] = plan->lines[i].name;
    const mc_save save = {.target = folder,
                          .names = names,
                          .sources = sources,
                          .count = plan->count,
                          .fingerprint = fingerprint(plan, with),
                          .finish = finish,
                          .user = (void *)(uintptr_t)plan};
    if (status == MC_OK)
        status = mc_save_run(&save, with, result ? result : &ignored, error);
    mc_free(names);
    mc_free(sources);
    return status;
}
