#include <mergecraft/decompress.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "merge/report.h"
#include "merge/task_masks.h"
#include "model/model.h"
#include "model/statistics.h"

#include <stdlib.h>
#include <string.h>

/* ---- one tensor of a task as a source -------------------------------------------------------- */

/* Elements that are computed at a time, a multiple of 8: their values stay in the cache. */
enum { BLOCK = 8192 };

typedef struct task_source {
    mc_source source;
    mc_source *unified, *base, *masks;
    size_t task, tasks;
    double rescaler;
} task_source;

/* Values of a block, and its rows of masks. */
typedef struct block {
    double *unified, *base;
    unsigned char *rows;
} block;

static bool has_bit(const task_source *s, const block *b, size_t i)
{
    return b->rows[i / 8 * s->tasks + s->task] >> (i % 8) & 1;
}

/* Elements first … first + count − 1 of the block that begins at a multiple of 8. */
static void rebuild(const task_source *s, const block *b, size_t first, size_t count, mc_dtype as,
                    void *out)
{
    for (size_t i = 0; i < count; i++) {
        const double base = b->base[i], update = b->unified[i] - base;
        const double x = has_bit(s, b, first + i) ? base + s->rescaler * update : base;
        if (as == MC_F64)
            ((double *)out)[i] = x;
        else
            ((float *)out)[i] = (float)x;
    }
}

static mc_status read_block(const task_source *s, int64_t first, int64_t count, block *b,
                            mc_dtype as, void *out, mc_error *error)
{
    const int64_t begin = first / 8, end = mc_mask_rows(first + count);
    const int64_t width = (int64_t)s->tasks;
    MC_TRY(mc_source_read_f64(s->unified, first, count, b->unified, error));
    MC_TRY(mc_source_read_f64(s->base, first, count, b->base, error));
    MC_TRY(mc_source_read_raw(s->masks, begin * width, (end - begin) * width, b->rows, error));
    rebuild(s, b, (size_t)(first - 8 * begin), (size_t)count, as, out);
    return MC_OK;
}

static mc_status read_blocks(const task_source *s, int64_t first, int64_t count, block *b,
                             mc_dtype as, char *out, mc_error *error)
{
    const int64_t real = as == MC_F64 ? sizeof(double) : sizeof(float);
    for (int64_t done = 0; done < count; done += BLOCK) {
        const int64_t left = count - done, taken = left < BLOCK ? left : BLOCK;
        MC_TRY(read_block(s, first + done, taken, b, as, out + done * real, error));
    }
    return MC_OK;
}

static mc_status task_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                           void *out, mc_error *error)
{
    const task_source *const s = (const task_source *)self;
    block b = {.unified = mc_alloc(BLOCK * sizeof *b.unified),
               .base = mc_alloc(BLOCK * sizeof *b.base),
               .rows = mc_alloc((BLOCK / 8 + 1) * s->tasks)};
    const mc_status status = b.unified && b.base && b.rows
                                 ? read_blocks(s, first, count, &b, as, out, error)
                                 : mc_fail_memory(error);
    mc_free(b.unified);
    mc_free(b.base);
    mc_free(b.rows);
    return status;
}

static void task_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const task_source *const s = (const task_source *)self;
    mc_source_ahead_operand(self, s->unified, first, size);
    mc_source_ahead_operand(self, s->base, first, size);
}

static mc_status task_check(const mc_source *self, mc_error *error)
{
    const task_source *const s = (const task_source *)self;
    MC_TRY(mc_source_check(s->unified, error));
    MC_TRY(mc_source_check(s->base, error));
    return mc_source_check(s->masks, error);
}

static void task_free(mc_source *self)
{
    const task_source *const s = (const task_source *)self;
    mc_source_unref(s->unified);
    mc_source_unref(s->base);
    mc_source_unref(s->masks);
}

static const mc_source_class task_class = {.name = "task",
                                           .read = task_read,
                                           .read_ahead = task_ahead,
                                           .check = task_check,
                                           .free = task_free};

/* ---- the plan -------------------------------------------------------------------------------- */

typedef struct decompression {
    const mc_decompress_input *input;
    size_t task; /* from 0 */
    double rescaler;
    json_t *config;     /* of the task's model; null: it has none. Borrowed. */
    mc_state_dict *own; /* the tensors of that model that were not merged */
    mc_plan_rows rows;
    mc_error *error;
} decompression;

static const char *last_part(const char *name)
{
    const char *const slash = strrchr(name, '/');
    return slash && slash[1] ? slash + 1 : name;
}

static mc_status no_task(const decompression *d)
{
    mc_text names = {0};
    for (size_t i = 0; i < mc_task_masks_count(d->input->masks); i++)
        mc_text_add(&names, "%s%zu %s", i ? ", " : "", i + 1,
                    last_part(mc_task_masks_name(d->input->masks, i)));
    const mc_status status = names.failed ? mc_fail_memory(d->error)
                                          : mc_fail(d->error, MC_USAGE,
                                                    "expected one of the tasks %s, found '%s'",
                                                    names.data, d->input->task);
    mc_text_free(&names);
    return status;
}

/* By number, by whole name, or by the last part of it. */
static mc_status find_task(decompression *d)
{
    const mc_task_masks *const masks = d->input->masks;
    const size_t count = mc_task_masks_count(masks);
    const char *const wanted = d->input->task ? d->input->task : "";
    char *end = NULL;
    const unsigned long number = strtoul(wanted, &end, 10);
    size_t found = 0;
    if (*wanted >= '0' && *wanted <= '9' && *end == '\0') {
        if (number < 1 || number > count)
            return no_task(d);
        d->task = number - 1;
        return MC_OK;
    }
    for (size_t i = 0; i < count; i++) {
        const char *const name = mc_task_masks_name(masks, i);
        if (strcmp(name, wanted) != 0 && strcmp(last_part(name), wanted) != 0)
            continue;
        d->task = i;
        found++;
    }
    return found == 1 ? MC_OK : no_task(d);
}

static mc_status take_task(decompression *d)
{
    MC_TRY(find_task(d));
    const json_t *const task = json_array_get(d->input->masks->tasks, d->task);
    d->rescaler = json_number_value(json_object_get(task, "rescaler"));
    d->config = json_object_get(task, "config");
    return MC_OK;
}

/* The tensors of the base under the names of the masks. */
static mc_status match_base(decompression *d, const char **wanted, size_t count, size_t *places,
                            mc_state_dict *to)
{
    const mc_state_dict *const base = mc_model_state_dict(d->input->base);
    const size_t available = mc_state_dict_count(base);
    const char **const names = mc_alloc(available * sizeof *names);
    if (!names)
        return mc_fail_memory(d->error);
    for (size_t i = 0; i < available; i++)
        names[i] = mc_state_dict_name(base, i);
    mc_status status = mc_names_match(wanted, count, names, available, places, d->error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        status = places[i] == SIZE_MAX
                     ? mc_fail_at(d->error, MC_MISMATCH, mc_model_name(d->input->base), wanted[i],
                                  -1, "expected a tensor of the base, found none")
                     : mc_state_dict_set(to, wanted[i], mc_state_dict_source(base, places[i]),
                                         d->error);
    mc_free(names);
    return status;
}

static mc_status compare_digests(const decompression *d, const json_t *found)
{
    const char *name;
    json_t *expected;
    json_object_foreach(d->input->masks->digests, name, expected)
    {
        if (!json_equal(expected, json_object_get(found, name)))
            return mc_fail_at(d->error, MC_MISMATCH, mc_model_name(d->input->base), name, -1,
                              "expected the base of the merge, '%s', found another model",
                              mc_task_masks_base(d->input->masks));
    }
    return MC_OK;
}

/* *out: the base's tensors under the names of the masks, the same as in the merge. */
static mc_status read_base(decompression *d, mc_state_dict **out)
{
    const json_t *const digests = d->input->masks->digests;
    const size_t count = json_object_size(digests);
    const int threads = d->input->threads > 0 ? d->input->threads : mc_cpu_count();
    const char **const wanted = mc_alloc(count * sizeof *wanted);
    size_t *const places = mc_alloc(count * sizeof *places);
    json_t *found = NULL, *value;
    const char *name;
    size_t used = 0;
    mc_status status = wanted && places ? mc_state_dict_new(out, d->error)
                                        : mc_fail_memory(d->error);
    if (status == MC_OK) {
        json_object_foreach((json_t *)(uintptr_t)digests, name, value) wanted[used++] = name;
        status = match_base(d, wanted, count, places, *out);
    }
    if (status == MC_OK)
        status = mc_digests(*out, wanted, count, threads, &found, d->error);
    if (status == MC_OK)
        status = compare_digests(d, found);
    json_decref(found);
    mc_free(wanted);
    mc_free(places);
    return status;
}

static mc_status check_shapes(const decompression *d, const char *name, const mc_source *unified,
                              const mc_source *base, const mc_source *masks)
{
    const int64_t rows = mc_mask_rows(unified->count);
    char expected[64], found[64];
    if (mc_dtype_kind_of(unified->dtype) != MC_KIND_FLOAT || !mc_source_same_shape(unified, base))
        return mc_fail_at(d->error, MC_MISMATCH, mc_model_name(d->input->merged), name, -1,
                          "expected floats of shape %s, as in the base, found %s %s",
                          mc_shape_text(base->rank, base->shape, expected, sizeof expected),
                          mc_dtype_name(unified->dtype),
                          mc_shape_text(unified->rank, unified->shape, found, sizeof found));
    if (masks->dtype != MC_U8 || masks->rank != 2 || masks->shape[0] != rows ||
        masks->shape[1] != (int64_t)mc_task_masks_count(d->input->masks))
        return mc_fail_at(d->error, MC_MISMATCH, mc_model_name(d->input->masks->file), name, -1,
                          "expected masks of %lld elements, found %s", (long long)unified->count,
                          mc_shape_text(masks->rank, masks->shape, found, sizeof found));
    return MC_OK;
}

static mc_status new_task(const decompression *d, const char *name, mc_source *unified,
                          mc_source *base, mc_source *masks, mc_source **out)
{
    MC_TRY(check_shapes(d, name, unified, base, masks));
    MC_TRY(mc_source_check_operand(unified, d->error));
    MC_TRY(mc_source_create(&task_class, sizeof(task_source), unified->dtype, unified->rank,
                            unified->shape, out, d->error));
    task_source *const s = (task_source *)*out;
    s->unified = mc_source_ref(unified);
    s->base = mc_source_ref(base);
    s->masks = mc_source_ref(masks);
    s->task = d->task;
    s->tasks = mc_task_masks_count(d->input->masks);
    s->rescaler = d->rescaler;
    s->source.depth = 1 + (unified->depth > base->depth ? unified->depth : base->depth);
    s->source.wide = mc_source_real(unified) == MC_F64;
    return MC_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static mc_status add_row(decompression *d, const char *name, mc_source *source)
{
    mc_output *row = NULL;
    const mc_input input = {.source = source, .role = MC_ROLE_MODEL};
    MC_TRY(mc_outputs_add(&d->rows.outputs, name, MC_ACTION_COPY, NULL, NULL, &row, d->error));
    return mc_output_add_input(row, &input, d->error);
}

/* Of the file of masks: *out is NULL if it has none for the tensor. */
static mc_status find_masks(const decompression *d, const char *name, mc_source **out)
{
    char *const key = mc_format("masks/%s", name);
    if (!key)
        return mc_fail_memory(d->error);
    *out = mc_state_dict_find(mc_model_state_dict(d->input->masks->file), key);
    mc_free(key);
    return MC_OK;
}

static mc_status fail_masks(const decompression *d, const char *name, const char *problem)
{
    return mc_fail_at(d->error, MC_FORMAT, mc_model_name(d->input->masks->file), name, -1, "%s",
                      problem);
}

/* Adds the task's version of a merged tensor, or its name to `left_out` if the task lacks it. */
static mc_status add_tensor(decompression *d, const char *name, mc_source *unified,
                            const mc_state_dict *base, mc_names *left_out)
{
    mc_source *const start = mc_state_dict_find(base, name);
    mc_source *masks = NULL, *made = NULL;
    const bool own = mc_state_dict_find(d->own, name);
    MC_TRY(find_masks(d, name, &masks));
    if (!masks)
        return own ? MC_OK : mc_names_add(left_out, name, d->error);
    if (!start)
        return fail_masks(d, name, "expected a digest of the base's tensor, found none");
    if (own)
        return fail_masks(d, name, "expected a mask or a tensor of the task, found both");
    MC_TRY(new_task(d, name, unified, start, masks, &made));
    const mc_status status = add_row(d, name, made);
    mc_source_unref(made);
    return status;
}

/* Every digest must have its mask and its tensor: the task would lack what either of them lacks. */
static mc_status check_all_found(const decompression *d)
{
    const mc_state_dict *const merged = mc_model_state_dict(d->input->merged);
    const char *name;
    json_t *value;
    json_object_foreach(d->input->masks->digests, name, value)
    {
        mc_source *masks = NULL;
        MC_TRY(find_masks(d, name, &masks));
        if (!masks)
            return fail_masks(d, name, "expected masks, as there is a digest, found none");
        if (!mc_state_dict_find(merged, name))
            return mc_fail_at(d->error, MC_MISMATCH, mc_model_name(d->input->merged), name, -1,
                              "expected the unified tensor, found none");
    }
    return MC_OK;
}

static mc_status take_own(decompression *d)
{
    const mc_state_dict *const file = mc_model_state_dict(d->input->masks->file);
    char prefix[32];
    const int length = snprintf(prefix, sizeof prefix, "own/%zu/", d->task + 1);
    MC_TRY(mc_state_dict_new(&d->own, d->error));
    for (size_t i = 0; i < mc_state_dict_count(file); i++) {
        const char *const name = mc_state_dict_name(file, i);
        if (strncmp(name, prefix, (size_t)length) == 0)
            MC_TRY(
                mc_state_dict_set(d->own, name + length, mc_state_dict_source(file, i), d->error));
    }
    return MC_OK;
}

static mc_status add_rows(decompression *d, const mc_state_dict *base)
{
    const mc_state_dict *const merged = mc_model_state_dict(d->input->merged);
    mc_names left_out = {0};
    mc_status status = check_all_found(d);
    for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(merged); i++)
        status = add_tensor(d, mc_state_dict_name(merged, i), mc_state_dict_source(merged, i), base,
                            &left_out);
    for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(d->own); i++)
        status = add_row(d, mc_state_dict_name(d->own, i), mc_state_dict_source(d->own, i));
    if (status == MC_OK)
        status = mc_report_names(d->rows.report, &left_out, d->input->strict,
                                 "not in the task's model and left out", d->error);
    mc_names_free(&left_out);
    return status == MC_OK ? mc_outputs_resolve(&d->rows.outputs, NULL, d->error) : status;
}

/* ---- the outfit ------------------------------------------------------------------------------ */

/* The outfit of the merged model, with the configuration of the task's own model. */
static mc_status dress(decompression *d)
{
    mc_outfit *const outfit = &d->rows.outfit;
    MC_TRY(
        mc_outfit_from_model(d->input->merged, d->input->strict, outfit, d->rows.report, d->error));
    if (!json_is_object(d->config))
        return MC_OK;
    json_decref(outfit->config);
    outfit->config = json_deep_copy(d->config);
    return outfit->config ? MC_OK : mc_fail_memory(d->error);
}

static char *describe(const decompression *d)
{
    json_t *object = mc_json_put(json_object(), "task", json_integer((json_int_t)d->task + 1));
    object = mc_json_put(object, "model",
                         mc_json_text(mc_task_masks_name(d->input->masks, d->task)));
    object = mc_json_put(object, "rescaler", json_real(d->rescaler));
    char *const text = object ? mc_json_write(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

static mc_status make(decompression *d, mc_plan **out)
{
    const mc_model *const models[] = {d->input->merged, d->input->base, d->input->masks->file};
    mc_state_dict *base = NULL;
    MC_TRY(take_task(d));
    MC_TRY(mc_report_new(&d->rows.report, d->error));
    MC_TRY(take_own(d));
    mc_status status = read_base(d, &base);
    if (status == MC_OK)
        status = add_rows(d, base);
    mc_state_dict_free(base);
    MC_TRY(status);
    MC_TRY(dress(d));
    char *const text = describe(d);
    if (!text)
        return mc_fail_memory(d->error);
    d->rows.models = models;
    d->rows.model_count = 1;
    d->rows.all_count = 3;
    d->rows.base = d->input->base;
    d->rows.strict = d->input->strict;
    d->rows.decompress = text;
    status = mc_plan_from_rows(&d->rows, out, d->error);
    mc_free(text);
    return status;
}

mc_status mc_decompress_plan(const mc_decompress_input *input, mc_plan **out, mc_error *error)
{
    decompression d = {.input = input, .error = error};
    const mc_status status = make(&d, out);
    /* Empty if the plan has taken them over. */
    mc_outputs_free(&d.rows.outputs);
    mc_outfit_free(&d.rows.outfit);
    mc_report_free(d.rows.report);
    mc_state_dict_free(d.own);
    return status;
}
