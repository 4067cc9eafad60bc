#include "merge/task_masks.h"

#include "base/checksum.h"
#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/team.h"
#include "checkpoint/safetensors_file.h"
#include "merge/report.h"
#include "model/model.h"
#include "model/statistics.h"
#include "tensor/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of masks that are computed at a time: three blocks of 512 KiB. */
enum { ROWS = 8192, ELEMENTS = 8 * ROWS };

int64_t mc_mask_rows(int64_t elements)
{
    return elements / 8 + (elements % 8 > 0);
}

/* ---- masks as a source ----------------------------------------------------------------------- */

typedef struct mask_source {
    mc_source source;
    const mc_output *row; /* of the plan */
    size_t first, tasks;  /* the models among the row's inputs */
    const mc_source *base;
    const volatile int *cancel;
} mask_source;

/* A block of task vectors in double. */
typedef struct block {
    double *base, *update, *task; /* [ELEMENTS] */
} block;

static void free_block(block *b)
{
    mc_free(b->base);
    mc_free(b->update);
    mc_free(b->task);
}

static mc_status make_block(block *b, mc_error *error)
{
    b->base = mc_alloc(ELEMENTS * sizeof *b->base);
    b->update = mc_alloc(ELEMENTS * sizeof *b->update);
    b->task = mc_alloc(ELEMENTS * sizeof *b->task);
    return b->base && b->update && b->task ? MC_OK : mc_fail_memory(error);
}

static void subtract(double *from, const double *base, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        from[i] -= base[i];
}

/* A row's values as the file has them: what mc_source_read_f64 computes is not rounded yet. */
static mc_status read_rounded(const mc_source *made, int64_t first, int64_t count, double *out,
                              mc_error *error)
{
    const int64_t size = mc_dtype_bytes(made->dtype, 1), wide = sizeof *out;
    MC_TRY(mc_source_read_raw(made, first * size, count * size, (char *)out + count * (wide - size),
                              error));
    mc_widen_in_place(made->dtype, MC_F64, out, (size_t)count);
    return MC_OK;
}

/* Reads the base and the unified task vector, which the result holds rounded to its dtype. */
static mc_status load_update(const mask_source *m, int64_t first, int64_t count, block *b,
                             mc_error *error)
{
    if (m->cancel && *m->cancel)
        return mc_fail(error, MC_INTERRUPTED, "interrupted");
    MC_TRY(mc_source_read_f64(m->base, first, count, b->base, error));
    MC_TRY(read_rounded(m->row->source, first, count, b->update, error));
    subtract(b->update, b->base, count);
    return MC_OK;
}

static mc_status load_task(const mask_source *m, size_t task, int64_t first, int64_t count,
                           block *b, mc_error *error)
{
    const mc_source *const model = m->row->inputs[m->first + task].source;
    MC_TRY(mc_source_read_f64(model, first, count, b->task, error));
    subtract(b->task, b->base, count);
    return MC_OK;
}

/* NaN agrees: it stays NaN, and is not replaced by the base. */
static bool agrees(double task, double update)
{
    return !(task * update <= 0);
}

/* Sets the bits of `count` elements in rows that are zero. */
static void set_bits(const block *b, int64_t count, size_t task, size_t tasks, unsigned char *rows)
{
    for (int64_t i = 0; i < count; i++)
        if (agrees(b->task[i], b->update[i]))
            rows[(size_t)(i / 8) * tasks + task] |= (unsigned char)(1U << (i % 8));
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows begin … end − 1, at most ROWS of them, into `rows`. */
static mc_status make_rows(const mask_source *m, int64_t begin, int64_t end, block *b,
                           unsigned char *rows, mc_error *error)
{
    const int64_t first = 8 * begin, count = least(8 * end, m->base->count) - first;
    memset(rows, 0, (size_t)(end - begin) * m->tasks);
    MC_TRY(load_update(m, first, count, b, error));
    for (size_t t = 0; t < m->tasks; t++) {
        MC_TRY(load_task(m, t, first, count, b, error));
        set_bits(b, count, t, m->tasks, rows);
    }
    return MC_OK;
}

static mc_status read_rows(const mask_source *m, int64_t first, int64_t size, block *b,
                           unsigned char *rows, char *out, mc_error *error)
{
    const int64_t width = (int64_t)m->tasks, end = first + size;
    for (int64_t at = first; at < end;) {
        const int64_t begin = at / width, stop = least(begin + ROWS, (end + width - 1) / width);
        const int64_t taken = least(stop * width, end) - at;
        MC_TRY(make_rows(m, begin, stop, b, rows, error));
        memcpy(out + (at - first), rows + (at - begin * width), (size_t)taken);
        at += taken;
    }
    return MC_OK;
}

static mc_status mask_raw(const mc_source *self, int64_t first, int64_t size, void *out,
                          mc_error *error)
{
    const mask_source *const m = (const mask_source *)self;
    block b = {0};
    unsigned char *const rows = mc_alloc(ROWS * m->tasks);
    mc_status status = rows ? make_block(&b, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = read_rows(m, first, size, &b, rows, out, error);
    free_block(&b);
    mc_free(rows);
    return status;
}

static const mc_source_class mask_class = {.name = "task masks", .raw = mask_raw};

static mc_status new_masks(const mc_output *row, const volatile int *cancel, mc_source **out,
                           mc_error *error)
{
    size_t first, base;
    const size_t tasks = mc_output_count(row, MC_ROLE_MODEL, &first);
    (void)mc_output_count(row, MC_ROLE_BASE, &base);
    const int64_t shape[] = {mc_mask_rows(row->source->count), (int64_t)tasks};
    MC_TRY(mc_source_create(&mask_class, sizeof(mask_source), MC_U8, 2, shape, out, error));
    mask_source *const m = (mask_source *)*out;
    m->row = row;
    m->first = first;
    m->tasks = tasks;
    m->base = row->inputs[base].source;
    m->cancel = cancel;
    return MC_OK;
}

/* ---- rescalers ------------------------------------------------------------------------------- */

/* Sums of magnitudes: of a task's own vector, and of the masked unified one. */
typedef struct sizes {
    double own, shared;
} sizes;

/* The rows that emr merges, with their masks, and the sizes in each of them. */
typedef struct masked {
    mc_source **masks;
    sizes *sizes; /* [count][tasks] */
    size_t count, tasks;
} masked;

static void add_sizes(const block *b, int64_t count, sizes *to)
{
    for (int64_t i = 0; i < count; i++) {
        to->own += fabs(b->task[i]);
        to->shared += agrees(b->task[i], b->update[i]) ? fabs(b->update[i]) : 0;
    }
}

static mc_status sum_blocks(const mask_source *m, block *b, sizes *to, mc_error *error)
{
    const int64_t all = m->base->count;
    for (int64_t first = 0; first < all; first += ELEMENTS) {
        const int64_t count = least(ELEMENTS, all - first);
        MC_TRY(load_update(m, first, count, b, error));
        for (size_t t = 0; t < m->tasks; t++) {
            MC_TRY(load_task(m, t, first, count, b, error));
            add_sizes(b, count, &to[t]);
        }
    }
    return MC_OK;
}

static mc_status sum_tensor(void *arg, int worker, size_t item, mc_error *error)
{
    const masked *const all = arg;
    const mask_source *const m = (const mask_source *)all->masks[item];
    block b = {0};
    (void)worker;
    mc_status status = make_block(&b, error);
    if (status == MC_OK)
        status = sum_blocks(m, &b, &all->sizes[item * all->tasks], error);
    free_block(&b);
    return mc_in_tensor(error, m->row->name, status);
}

/* The ratio of sums of the tensors' means: a bias counts as much as a matrix, as in emr. */
static double rescaler_of(const masked *all, size_t task)
{
    double own = 0, shared = 0;
    for (size_t i = 0; i < all->count; i++) {
        const double elements = (double)((const mask_source *)all->masks[i])->base->count;
        const sizes *const s = &all->sizes[i * all->tasks + task];
        own += elements > 0 ? s->own / elements : 0;
        shared += elements > 0 ? s->shared / elements : 0;
    }
    return shared > 0 || shared != shared ? own / shared : 1;
}

/* ---- what a task has of its own -------------------------------------------------------------- */

/* Tensors of a model that have no row or one that is not merged, under the name of the row. */
static mc_status add_unmerged(const mc_plan *plan, size_t task, const char *const *names,
                              const size_t *rows, mc_state_dict *to, mc_error *error)
{
    const mc_state_dict *const dict = mc_model_state_dict(plan->models[task]);
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const mc_output *const row = rows[i] < SIZE_MAX ? &plan->outputs.rows[rows[i]] : NULL;
        if (row && row->action == MC_ACTION_MERGE)
            continue;
        char *const name = mc_format("own/%zu/%s", task + 1, row ? row->name : names[i]);
        const mc_status status = name ? mc_state_dict_set(to, name, mc_state_dict_source(dict, i),
                                                          error)
                                      : mc_fail_memory(error);
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

static mc_status add_own(const mc_plan *plan, size_t task, mc_state_dict *to, mc_error *error)
{
    const mc_state_dict *const dict = mc_model_state_dict(plan->models[task]);
    const size_t count = mc_state_dict_count(dict);
    const char **const wanted = mc_alloc(count * sizeof *wanted);
    const char **const available = mc_outputs_names(&plan->outputs);
    size_t *const rows = mc_alloc(count * sizeof *rows);
    mc_status status = wanted && available && rows ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        wanted[i] = mc_state_dict_name(dict, i);
    if (status == MC_OK)
        status = mc_names_match(wanted, count, available, plan->outputs.count, rows, error);
    if (status == MC_OK)
        status = add_unmerged(plan, task, wanted, rows, to, error);
    mc_free(wanted);
    mc_free(available);
    mc_free(rows);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

static mc_status add_masks(const masked *all, mc_state_dict *to, mc_error *error)
{
    for (size_t i = 0; i < all->count; i++) {
        char *const name = mc_format("masks/%s", ((mask_source *)all->masks[i])->row->name);
        const mc_status status = name ? mc_state_dict_set(to, name, all->masks[i], error)
                                      : mc_fail_memory(error);
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

static json_t *tasks_json(const mc_plan *plan, const masked *all)
{
    json_t *list = json_array();
    for (size_t t = 0; t < all->tasks; t++) {
        const json_t *const config = plan->models[t]->config;
        json_t *task = mc_json_put(json_object(), "name",
                                   mc_json_text(mc_model_name(plan->models[t])));
        task = mc_json_put(task, "rescaler", json_real(rescaler_of(all, t)));
        task = mc_json_put(task, "config", config ? json_deep_copy(config) : json_null());
        list = mc_json_append(list, task);
    }
    return list;
}

/* Metadata values are strings. Takes over the value. */
static json_t *as_text(json_t *value)
{
    char *const text = value ? mc_json_write(value, JSON_COMPACT) : NULL;
    json_t *const result = text ? json_string(text) : NULL;
    mc_free(text);
    json_decref(value);
    return result;
}

static mc_status digest_base(const masked *all, int threads, json_t **out, mc_error *error)
{
    mc_state_dict *base = NULL;
    const char **const names = mc_alloc(all->count * sizeof *names);
    mc_status status = names ? mc_state_dict_new(&base, error) : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < all->count; i++) {
        const mask_source *const m = (const mask_source *)all->masks[i];
        names[i] = m->row->name;
        status = mc_state_dict_set(base, names[i], (mc_source *)(uintptr_t)m->base, error);
    }
    if (status == MC_OK)
        status = mc_digests(base, names, all->count, threads, out, error);
    mc_state_dict_free(base);
    mc_free(names);
    return status;
}

static mc_status write_bytes(mc_folder *folder, const mc_state_dict *dict, const json_t *metadata,
                             mc_error *error)
{
    static const char name[] = MC_TASK_MASKS_FILE;
    int64_t size = 0;
    uint64_t sum = 0;
    const int fd = mc_folder_create(folder, name);
    if (fd < 0)
        return mc_fail_errno(error, name, "cannot create the file");
    mc_status status = mc_safetensors_write(fd, name, dict, metadata, error);
    if (status == MC_OK)
        status = mc_checksum_file(fd, name, NULL, &size, &sum, error);
    if (status == MC_OK && folder->sync && mc_system->fsync(fd) != 0)
        status = mc_fail_errno(error, name, "cannot flush it to disk");
    if (mc_system->close(fd) != 0 && status == MC_OK)
        status = mc_fail_errno(error, name, "cannot close it");
    return status == MC_OK ? mc_folder_add_file(folder, name, size, sum, error) : status;
}

static mc_status write_file(const mc_plan *plan, const masked *all, int threads, mc_folder *folder,
                            mc_error *error)
{
    mc_state_dict *dict = NULL;
    json_t *digests = NULL;
    MC_TRY(digest_base(all, threads, &digests, error));
    json_t *metadata = mc_json_put(json_object(), "kind", json_string(MC_TASK_MASKS_KIND));
    metadata = mc_json_put(metadata, "version", json_string(MC_TASK_MASKS_VERSION));
    metadata = mc_json_put(metadata, "base", mc_json_text(mc_model_name(plan->base)));
    metadata = mc_json_put(metadata, "tasks", as_text(tasks_json(plan, all)));
    metadata = mc_json_put(metadata, "digests", as_text(digests));
    mc_status status = metadata ? mc_state_dict_new(&dict, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = add_masks(all, dict, error);
    for (size_t t = 0; status == MC_OK && t < all->tasks; t++)
        status = add_own(plan, t, dict, error);
    if (status == MC_OK)
        status = write_bytes(folder, dict, metadata, error);
    mc_state_dict_free(dict);
    json_decref(metadata);
    return status;
}

/* ---- which plans ----------------------------------------------------------------------------- */

static bool is_for_all_tasks(const mc_plan *plan)
{
    const mc_method *const emr = mc_method_find("emr");
    for (size_t i = 0; plan->method == emr && i < plan->outputs.count; i++) {
        const mc_output *const row = &plan->outputs.rows[i];
        if (row->action == MC_ACTION_MERGE)
            return row->params->values[0].numbers[0] == 0; /* task */
    }
    return false;
}

/* Why the models of tasks cannot be rebuilt from the result; NULL: they can. */
static const char *reason_against(const mc_plan *plan, const masked *all)
{
    if (plan->then_count > 0)
        return "an add-on changes the unified model";
    if (plan->tokenizer)
        return "the models' vocabularies are merged token by token";
    if (plan->modules.count > 0)
        return "modules of sentence-transformers are merged";
    for (size_t t = 0; t < all->tasks; t++)
        if (!isfinite(rescaler_of(all, t)))
            return "weights are infinite or NaN";
    return NULL;
}

static mc_status report_reason(const mc_plan *plan, const char *why, mc_error *error)
{
    if (plan->strict)
        return mc_fail(error, MC_MISMATCH, MC_TASK_MASKS_FILE " cannot be written: %s (strict)",
                       why);
    return mc_report_add(plan->report, error,
                         MC_TASK_MASKS_FILE " is not written, so tasks cannot be decompressed: %s",
                         why);
}

static mc_status make_masks(const mc_plan *plan, const volatile int *cancel, masked *out,
                            mc_error *error)
{
    out->tasks = plan->model_count;
    out->masks = mc_alloc_zero(plan->outputs.count, sizeof(mc_source *));
    out->sizes = mc_alloc_zero(plan->outputs.count * out->tasks, sizeof *out->sizes);
    if (!out->masks || !out->sizes)
        return mc_fail_memory(error);
    for (size_t i = 0; i < plan->outputs.count; i++)
        if (plan->outputs.rows[i].action == MC_ACTION_MERGE) {
            MC_TRY(new_masks(&plan->outputs.rows[i], cancel, &out->masks[out->count], error));
            out->count++;
        }
    return MC_OK;
}

static mc_status write_masks(const mc_plan *plan, const mc_run_options *options, masked *all,
                             mc_folder *folder, mc_error *error)
{
    const int threads = options->threads > 0 ? options->threads : mc_cpu_count();
    MC_TRY(make_masks(plan, options->cancel, all, error));
    const char *why = reason_against(plan, all);
    if (!why) {
        MC_TRY(mc_parallel(all->count, threads, sum_tensor, all, error));
        why = reason_against(plan, all);
    }
    return why ? report_reason(plan, why, error) : write_file(plan, all, threads, folder, error);
}

mc_status mc_task_masks_write(const mc_plan *plan, const mc_run_options *options, mc_folder *folder,
                              mc_error *error)
{
    masked all = {0};
    if (!is_for_all_tasks(plan))
        return MC_OK;
    const mc_status status = write_masks(plan, options, &all, folder, error);
    for (size_t i = 0; i < all.count; i++)
        mc_source_unref(all.masks[i]);
    mc_free(all.masks);
    mc_free(all.sizes);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool are_tasks(const json_t *tasks)
{
    size_t i;
    json_t *task;
    json_array_foreach(tasks, i,
                       task) if (!json_string_value(json_object_get(task, "name")) ||
                                 !json_is_number(json_object_get(task, "rescaler"))) return false;
    return json_array_size(tasks) > 0;
}

static mc_status read_metadata(mc_task_masks *masks, const char *path, mc_error *error)
{
    json_t *m = NULL;
    MC_TRY(mc_safetensors_metadata(path, &m, error));
    const char *const kind = json_string_value(json_object_get(m, "kind"));
    const char *const version = json_string_value(json_object_get(m, "version"));
    const char *const base = json_string_value(json_object_get(m, "base"));
    const bool ours = kind && version && strcmp(kind, MC_TASK_MASKS_KIND) == 0 &&
                      strcmp(version, MC_TASK_MASKS_VERSION) == 0;
    mc_status status = mc_safetensors_metadata_json(m, "tasks", &masks->tasks, error);
    if (status == MC_OK)
        status = mc_safetensors_metadata_json(m, "digests", &masks->digests, error);
    masks->base = mc_strdup(base ? base : "");
    json_decref(m);
    if (status == MC_NO_MEMORY || !masks->base)
        return mc_fail_memory(error);
    if (status != MC_OK || !ours || !are_tasks(masks->tasks) || !json_is_object(masks->digests))
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1,
                          "expected task masks that emr wrote, found another file");
    return MC_OK;
}

static mc_status open_masks(const mc_model *merged, mc_task_masks *out, mc_error *error)
{
    struct stat status;
    const char *const folder = mc_model_folder(merged);
    char *const path = mc_format("%s/" MC_TASK_MASKS_FILE, folder ? folder : "");
    if (!path)
        return mc_fail_memory(error);
    mc_status result = MC_OK;
    if (!folder || mc_system->stat(path, &status) != 0)
        result = mc_fail_at(error, MC_NOT_FOUND, mc_model_name(merged), NULL, -1,
                            "expected " MC_TASK_MASKS_FILE ", which a merge with emr writes");
    if (result == MC_OK)
        result = read_metadata(out, path, error);
    if (result == MC_OK)
        result = mc_model_open(path, &out->file, error);
    mc_free(path);
    return result;
}

mc_status mc_task_masks_open(const mc_model *merged, mc_task_masks **out, mc_error *error)
{
    mc_task_masks *const masks = mc_alloc_zero(1, sizeof *masks);
    if (!masks)
        return mc_fail_memory(error);
    const mc_status status = open_masks(merged, masks, error);
    if (status == MC_OK)
        *out = masks;
    else
        mc_task_masks_close(masks);
    return status;
}

void mc_task_masks_close(mc_task_masks *masks)
{
    if (!masks)
        return;
    mc_model_close(masks->file);
    json_decref(masks->tasks);
    json_decref(masks->digests);
    mc_free(masks->base);
    mc_free(masks);
}

size_t mc_task_masks_count(const mc_task_masks *masks)
{
    return json_array_size(masks->tasks);
}

const char *mc_task_masks_name(const mc_task_masks *masks, size_t index)
{
    return json_string_value(json_object_get(json_array_get(masks->tasks, index), "name"));
}

const char *mc_task_masks_base(const mc_task_masks *masks)
{
    return masks->base;
}
