#include "merge/outputs.h"

#include "base/memory.h"
#include "merge/mean.h"
#include "merge/merged.h"
#include "model/parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ------------------------------------------------------------------------------- */

static void free_row(mc_output *row)
{
    for (size_t i = 0; i < row->input_count; i++) {
        mc_source_unref(row->inputs[i].source);
        mc_free(row->inputs[i].name);
    }
    mc_free(row->inputs);
    mc_free(row->name);
    mc_params_unref(row->params);
    mc_source_unref(row->source);
}

void mc_outputs_free(mc_outputs *outputs)
{
    for (size_t i = 0; i < outputs->count; i++)
        free_row(&outputs->rows[i]);
    mc_free(outputs->rows);
    *outputs = (mc_outputs){0};
}

mc_status mc_outputs_add(mc_outputs *outputs, const char *name, mc_action action,
                         const mc_method *method, mc_params *params, mc_output **out,
                         mc_error *error)
{
    char *const copy = mc_strdup(name);
    if (!copy || !MC_GROW(outputs->rows, outputs->count, outputs->capacity)) {
        mc_free(copy);
        return mc_fail_memory(error);
    }
    *out = &outputs->rows[outputs->count++];
    **out = (mc_output){.name = copy,
                        .action = action,
                        .method = method,
                        .params = params ? mc_params_ref(params) : NULL};
    return MC_OK;
}

/* Only the models decide the dtype: a float32 base does not widen a merge of bfloat16 models. */
static void widen(mc_output *row, const mc_input *input)
{
    const mc_dtype dtype = input->source->dtype;
    if (input->role != MC_ROLE_MODEL)
        return;
    if (row->input_count == 0 || row->action == MC_ACTION_COPY)
        row->dtype = dtype;
    else
        row->dtype = mc_dtype_widest(row->dtype, dtype);
}

mc_status mc_output_add_input(mc_output *row, const mc_input *input, mc_error *error)
{
    const bool renamed = input->name && strcmp(input->name, row->name) != 0;
    assert(row->input_count == 0 || row->inputs[row->input_count - 1].role <= input->role);
    if (!MC_GROW(row->inputs, row->input_count, row->input_capacity))
        return mc_fail_memory(error);
    char *const name = renamed ? mc_strdup(input->name) : NULL;
    if (renamed && !name)
        return mc_fail_memory(error);
    widen(row, input);
    mc_input *const added = &row->inputs[row->input_count++];
    *added = *input;
    added->name = name;
    mc_source_ref(added->source);
    return MC_OK;
}

size_t mc_output_count(const mc_output *row, mc_role role, size_t *first)
{
    size_t count = 0, begin = row->input_count;
    for (size_t i = 0; i < row->input_count; i++)
        if (row->inputs[i].role == role && count++ == 0)
            begin = i;
    if (first)
        *first = begin;
    return count;
}

/* ---- checks ---------------------------------------------------------------------------------- */

const char *mc_label_of(const mc_labels *labels, const mc_input *input, char *buffer, size_t size)
{
    const size_t index = input->role == MC_ROLE_BASE ? labels->model_count : input->model;
    if (labels->texts && input->role != MC_ROLE_SIDE)
        return labels->texts[index];
    if (input->role == MC_ROLE_BASE)
        snprintf(buffer, size, "the base");
    else if (input->role == MC_ROLE_SIDE)
        snprintf(buffer, size, "side input '%s'", input->side);
    else
        snprintf(buffer, size, "model %zu", input->model + 1);
    return buffer;
}

/* Whether two shapes differ in nothing but the number of tokens. */
static bool is_vocabulary(const char *name, const mc_source *a, const mc_source *b)
{
    const int axis = mc_part_of(NULL, name).vocabulary_axis;
    if (a->rank != b->rank || axis < 0 || axis >= a->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (i != axis && a->shape[i] != b->shape[i])
            return false;
    return true;
}

static mc_status shapes_differ(const mc_output *row, const mc_input *a, const mc_input *b,
                               const mc_labels *labels, mc_error *error)
{
    char left[128], right[128], first[48], second[48];
    const mc_source *const x = a->source, *const y = b->source;
    return mc_fail_at(error, MC_MISMATCH, NULL, row->name, -1,
                      "expected equal shapes, found %s in %s and %s in %s%s",
                      mc_shape_text(x->rank, x->shape, left, sizeof left),
                      mc_label_of(labels, a, first, sizeof first),
                      mc_shape_text(y->rank, y->shape, right, sizeof right),
                      mc_label_of(labels, b, second, sizeof second),
                      is_vocabulary(row->name, x, y) ? ": their vocabularies differ" : "");
}

static mc_status not_floats(const mc_output *row, const mc_input *input, const mc_labels *labels,
                            mc_error *error)
{
    char label[48];
    return mc_fail_at(error, MC_MISMATCH, NULL, row->name, -1, "expected floats, found %s in %s",
                      mc_dtype_name(input->source->dtype),
                      mc_label_of(labels, input, label, sizeof label));
}

/* A side input that is given as a whole has a shape of its own; mc_job_init checks it. */
static bool has_own_shape(const mc_output *row, const mc_input *input)
{
    const mc_side_input *side = row->method ? row->method->sides : NULL;
    while (input->role == MC_ROLE_SIDE && side && side->name && strcmp(side->name, input->side))
        side++;
    return input->role == MC_ROLE_SIDE && side && side->name && side->whole;
}

mc_status mc_output_check(const mc_output *row, const mc_labels *labels, mc_error *error)
{
    const mc_input *const first = row->inputs;
    for (size_t i = 0; i < row->input_count; i++) {
        const mc_input *const one = &row->inputs[i];
        if (mc_dtype_kind_of(one->source->dtype) != MC_KIND_FLOAT)
            return not_floats(row, one, labels, error);
        if (!has_own_shape(row, one) && !mc_source_same_shape(first->source, one->source))
            return shapes_differ(row, first, one, labels, error);
    }
    return MC_OK;
}

/* ---- sources --------------------------------------------------------------------------------- */

mc_status mc_output_set_source(mc_output *row, mc_source *source, mc_error *error)
{
    mc_source *cast = NULL;
    if (source->dtype != row->dtype) {
        const mc_status status = mc_source_cast(source, row->dtype, &cast, error);
        mc_source_unref(source);
        MC_TRY(status);
        source = cast;
    }
    mc_source_unref(row->source);
    row->source = source;
    return MC_OK;
}

/* The inputs' sources as one array, in order; the caller frees it. NULL: no memory. */
static mc_source **input_sources(const mc_output *row)
{
    mc_source **const sources = mc_alloc(row->input_count * sizeof *sources);
    for (size_t i = 0; sources && i < row->input_count; i++)
        sources[i] = row->inputs[i].source;
    return sources;
}

static size_t side_count(const mc_method *method)
{
    size_t count = 0;
    while (method->sides && method->sides[count].name)
        count++;
    return count;
}

static mc_status merged_source(const mc_output *row, mc_params *params, const mc_outputs *table,
                               mc_source **out, mc_error *error)
{
    mc_source **const inputs = input_sources(row);
    const mc_merged_parts parts = {
        .method = row->method,
        .params = params,
        .name = row->name,
        .model_type = table->model_type,
        .seed = table->seed,
        .inputs = inputs,
        .input_count = row->input_count,
        .model_count = mc_output_count(row, MC_ROLE_MODEL, NULL),
        .side_count = side_count(row->method),
        .has_base = mc_output_count(row, MC_ROLE_BASE, NULL) > 0,
    };
    const mc_status status = inputs ? mc_merged_new(&parts, out, error) : mc_fail_memory(error);
    mc_free(inputs);
    return mc_in_tensor(error, row->name, status);
}

static mc_status mean_source(const mc_output *row, mc_source **out, mc_error *error)
{
    mc_source **const inputs = input_sources(row);
    const mc_status status = inputs ? mc_mean_new(row->name, inputs, row->input_count, out, error)
                                    : mc_fail_memory(error);
    mc_free(inputs);
    return mc_in_tensor(error, row->name, status);
}

mc_status mc_output_resolve(mc_output *row, const mc_outputs *table, const mc_labels *labels,
                            mc_error *error)
{
    mc_source *source = NULL;
    assert(row->input_count > 0);
    switch (row->action) {
    case MC_ACTION_COPY:
        source = mc_source_ref(row->inputs[0].source);
        break;
    case MC_ACTION_MEAN:
        MC_TRY(mc_output_check(row, labels, error));
        MC_TRY(mean_source(row, &source, error));
        break;
    case MC_ACTION_MERGE:
        MC_TRY(mc_output_check(row, labels, error));
        MC_TRY(merged_source(row, row->params, table, &source, error));
        break;
    }
    return mc_output_set_source(row, source, error);
}

mc_status mc_outputs_resolve(mc_outputs *outputs, const mc_labels *labels, mc_error *error)
{
    for (size_t i = 0; i < outputs->count; i++)
        if (!outputs->rows[i].source)
            MC_TRY(mc_output_resolve(&outputs->rows[i], outputs, labels, error));
    return MC_OK;
}

mc_status mc_outputs_convert(mc_outputs *outputs, mc_dtype dtype, mc_error *error)
{
    for (size_t i = 0; i < outputs->count; i++) {
        mc_output *const row = &outputs->rows[i];
        if (mc_dtype_kind_of(row->dtype) != MC_KIND_FLOAT)
            continue;
        row->dtype = dtype;
        if (row->source)
            MC_TRY(mc_output_set_source(row, mc_source_ref(row->source), error));
    }
    return MC_OK;
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Where a row goes. */
typedef struct place {
    int rank;
    size_t index; /* now */
} place;

static int compare_places(const void *a, const void *b)
{
    const place *const x = a, *const y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

mc_status mc_outputs_order(mc_outputs *outputs, const mc_writer *writer, mc_error *error)
{
    place *const places = mc_alloc(outputs->count * sizeof *places);
    mc_output *const ordered = mc_alloc(outputs->count * sizeof *ordered);
    if (!places || !ordered) {
        mc_free(places);
        mc_free(ordered);
        return mc_fail_memory(error);
    }
    for (size_t i = 0; i < outputs->count; i++)
        places[i] = (place){writer->rank(outputs->rows[i].dtype), i};
    qsort(places, outputs->count, sizeof *places, compare_places);
    for (size_t i = 0; i < outputs->count; i++)
        ordered[i] = outputs->rows[places[i].index];
    mc_free(places);
    mc_free(outputs->rows);
    outputs->rows = ordered;
    outputs->capacity = outputs->count;
    return MC_OK;
}

/* ---- new values for rows that exist ---------------------------------------------------------- */

/* What a row will have once all rows have theirs. */
typedef struct binding {
    mc_params *params; /* borrowed; NULL: the row keeps its own */
    mc_source *source;
} binding;

static mc_status bind_row(const mc_output *row, const mc_outputs *table, binding *out,
                          mc_error *error)
{
    mc_source *made = NULL;
    MC_TRY(merged_source(row, out->params, table, &made, error));
    if (made->dtype == row->dtype) {
        out->source = made;
        return MC_OK;
    }
    const mc_status status = mc_source_cast(made, row->dtype, &out->source, error);
    mc_source_unref(made);
    return status;
}

static void commit(mc_outputs *outputs, const binding *bindings)
{
    for (size_t i = 0; i < outputs->count; i++) {
        mc_output *const row = &outputs->rows[i];
        if (!bindings[i].source)
            continue;
        mc_params_unref(row->params);
        row->params = mc_params_ref(bindings[i].params);
        mc_source_unref(row->source);
        row->source = mc_source_ref(bindings[i].source);
    }
}

mc_status mc_outputs_bind(mc_outputs *outputs, mc_row_params values, void *user, mc_error *error)
{
    binding *const bindings = mc_alloc_zero(outputs->count, sizeof *bindings);
    mc_status status = bindings ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < outputs->count; i++) {
        const mc_output *const row = &outputs->rows[i];
        if (row->action != MC_ACTION_MERGE || row->method->scope == MC_MODEL)
            continue;
        bindings[i].params = values(row, user);
        if (bindings[i].params)
            status = bind_row(row, outputs, &bindings[i], error);
    }
    if (status == MC_OK)
        commit(outputs, bindings);
    for (size_t i = 0; bindings && i < outputs->count; i++)
        mc_source_unref(bindings[i].source);
    mc_free(bindings);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

int64_t mc_output_bytes_read(const mc_output *row)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < row->input_count; i++)
        bytes += row->inputs[i].source->bytes;
    return bytes;
}

mc_source **mc_outputs_sources(const mc_outputs *outputs)
{
    mc_source **const sources = mc_alloc(outputs->count * sizeof *sources);
    for (size_t i = 0; sources && i < outputs->count; i++)
        sources[i] = outputs->rows[i].source;
    return sources;
}

const char **mc_outputs_names(const mc_outputs *outputs)
{
    const char **const names = mc_alloc(outputs->count * sizeof *names);
    for (size_t i = 0; names && i < outputs->count; i++)
        names[i] = outputs->rows[i].name;
    return names;
}

mc_status mc_outputs_dict(const mc_outputs *outputs, mc_state_dict **out, mc_error *error)
{
    mc_state_dict *dict = NULL;
    mc_status status = mc_state_dict_new(&dict, error);
    for (size_t i = 0; status == MC_OK && i < outputs->count; i++)
        status = mc_state_dict_set(dict, outputs->rows[i].name, outputs->rows[i].source, error);
    if (status == MC_OK)
        *out = dict;
    else
        mc_state_dict_free(dict);
    return status;
}
