#include "merge/outputs.h"

#include "base/memory.h"
#include "merge/mean.h"
#include "merge/merged.h"
#include "merge/survey.h"
#include "model/parts.h"
#include "tensor/cast.h"

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

/*
 * Only the models decide the dtype: a float32 base does not widen a merge of bfloat16 models.
 * Methods of mergekit take the widest dtype of all, as there. A copy keeps the dtype of its input.
 */
static void widen(mc_output *row, const mc_input *input)
{
    const mc_dtype dtype = input->source->dtype;
    const char *const family = row->method ? row->method->family : NULL; /* NULL: the user's own */
    const bool widens = input->role == MC_ROLE_MODEL ||
                        (input->role == MC_ROLE_BASE && family && strcmp(family, "mergekit") == 0);
    if (!widens)
        return;
    if (row->input_count == 0 || row->action == MC_ACTION_COPY)
        row->dtype = dtype;
    else
        row->dtype = mc_dtype_widest(row->dtype, dtype);
}

mc_status mc_output_add_input(mc_output *row, const mc_input *input, mc_error *error)
{
    const bool renamed = input->name && strcmp(input->name, row->name) != 0;
    /* Models, base, sides: merged sources find their inputs by position. */
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

static size_t label_index(const mc_labels *labels, const mc_input *input)
{
    /* Slices of a recipe may have bases of their own: there a base is one of the models. */
    return input->role == MC_ROLE_BASE && !labels->places ? labels->model_count : input->model;
}

/* Where the model of an input is written; NULL if that is not known. */
static const char *place_of(const mc_labels *labels, const mc_input *input)
{
    return labels->places && input->role != MC_ROLE_SIDE
               ? labels->places[label_index(labels, input)]
               : NULL;
}

const char *mc_label_of(const mc_labels *labels, const mc_input *input, char *buffer, size_t size)
{
    if (labels->texts && input->role != MC_ROLE_SIDE)
        return labels->texts[label_index(labels, input)];
    if (input->role == MC_ROLE_BASE)
        snprintf(buffer, size, "the base");
    else if (input->role == MC_ROLE_SIDE)
        snprintf(buffer, size, "side input '%s'", input->side);
    else
        snprintf(buffer, size, "model %zu", input->model + 1);
    return buffer;
}

/* Whether two shapes differ only in the number of tokens. */
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
    return mc_fail_at(error, MC_MISMATCH, place_of(labels, b), row->name, -1,
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
    return mc_fail_at(error, MC_MISMATCH, place_of(labels, input), row->name, -1,
                      "expected floats, found %s in %s", mc_dtype_name(input->source->dtype),
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
    /*
     * Methods compute in float32 or float64; the one rounding to the dtype of the file happens
     * here.
     */
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

/* The sources of the inputs as one array, in order; the caller frees it. NULL: no memory. */
static mc_source **input_sources(const mc_output *row)
{
    mc_source **const sources = mc_alloc(row->input_count * sizeof *sources);
    for (size_t i = 0; sources && i < row->input_count; i++)
        sources[i] = row->inputs[i].source;
    return sources;
}

/*
 * The number of side inputs that a step's method gets; none if they are optional and the row has
 * none.
 */
static size_t side_count(const mc_output *row, const mc_method *method)
{
    const mc_side_input *const sides = method->sides;
    size_t count = 0;
    if (mc_output_count(row, MC_ROLE_SIDE, NULL) == 0)
        return 0;
    while (sides && sides[count].name)
        count++;
    return count;
}

/*
 * A row while its source is made: the method is the first step, each add-on a further one.
 *
 *     params = method ─▶ parts ─▶ survey, if needed ─▶ source, params = params->then ─▶ … ─▶ NULL
 *
 * All rows take a step together, since a survey looks at the parts of all of them.
 */
typedef struct making {
    const mc_output *row;
    mc_params *params; /* of the next step; NULL: there is none */
    mc_source *source; /* NULL before the first step */
    mc_survey *survey; /* of the next step */
    mc_source **inputs;
    mc_merged_parts parts;
} making;

static void end_making(making *m)
{
    mc_survey_unref(m->survey);
    mc_free(m->inputs);
    m->survey = NULL;
    m->inputs = NULL;
}

static bool gets(const mc_output *row, const mc_method *method, const mc_input *input)
{
    if (input->role == MC_ROLE_BASE)
        return method->needs_base || method->takes_base;
    return input->role == MC_ROLE_MODEL || side_count(row, method) > 0;
}

/* Models, base and side inputs as far as this step's method uses them, and what was made so far. */
static mc_status fill_parts(making *m, const mc_outputs *table, mc_error *error)
{
    const mc_output *const row = m->row;
    const mc_method *const method = m->params->method;
    mc_merged_parts *const parts = &m->parts;
    *parts = (mc_merged_parts){.method = method,
                               .params = m->params,
                               .name = row->name,
                               .model_type = table->model_type,
                               .seed = table->seed,
                               .matrices = table->matrices,
                               .matrix_count = table->matrix_count,
                               .side_count = side_count(row, method),
                               .has_merged = m->source != NULL};
    m->inputs = mc_alloc((row->input_count + 1) * sizeof *m->inputs);
    if (!m->inputs)
        return mc_fail_memory(error);
    for (size_t i = 0; i < row->input_count; i++) {
        if (!gets(row, method, &row->inputs[i]))
            continue;
        parts->model_count += row->inputs[i].role == MC_ROLE_MODEL;
        parts->has_base = parts->has_base || row->inputs[i].role == MC_ROLE_BASE;
        m->inputs[parts->input_count++] = row->inputs[i].source;
    }
    if (m->source) /* add-ons have no side inputs: it comes last */
        m->inputs[parts->input_count++] = m->source;
    parts->inputs = m->inputs;
    return MC_OK;
}

/*
 * Shares one survey among all rows that the method of row `first` makes in this step. It looks at
 * the whole model, so all these rows must have the same parameters.
 */
static mc_status share_survey(making *all, size_t count, size_t first, mc_error *error)
{
    const mc_params *const params = all[first].params;
    mc_merged_parts *const layers = mc_alloc(count * sizeof *layers);
    mc_survey *survey = NULL;
    size_t found = 0;
    mc_status status = layers ? MC_OK : mc_fail_memory(error);
    for (size_t i = first; status == MC_OK && i < count; i++) {
        if (!all[i].params || all[i].params->method != params->method)
            continue;
        if (!mc_params_equal(all[i].params, params))
            status = mc_fail_at(error, MC_UNSUPPORTED, NULL, all[i].row->name, -1,
                                "expected one set of parameters for all tensors that %s merges, as "
                                "it looks at the whole model",
                                params->method->name);
        layers[found++] = all[i].parts;
    }
    if (status == MC_OK)
        status = mc_survey_new(layers, found, &survey, error);
    for (size_t i = first; status == MC_OK && i < count; i++)
        if (all[i].params && all[i].params->method == params->method)
            all[i].survey = mc_survey_ref(survey);
    mc_survey_unref(survey);
    mc_free(layers);
    return status;
}

/* Replaces the source by that of the next step. */
static mc_status make_step(making *m, mc_error *error)
{
    mc_source *made = NULL;
    m->parts.survey = m->survey;
    MC_TRY(mc_in_tensor(error, m->row->name, mc_merged_new(&m->parts, &made, error)));
    mc_source_unref(m->source);
    m->source = made;
    m->params = m->params->then;
    return MC_OK;
}

static mc_status make_steps(making *all, size_t count, const mc_outputs *table, mc_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].params)
            MC_TRY(fill_parts(&all[i], table, error));
    for (size_t i = 0; i < count; i++)
        if (all[i].params && all[i].params->method->model_statistics && !all[i].survey)
            MC_TRY(share_survey(all, count, i, error));
    for (size_t i = 0; i < count; i++)
        if (all[i].params)
            MC_TRY(make_step(&all[i], error));
    return MC_OK;
}

static bool has_steps(const making *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].params)
            return true;
    return false;
}

/*
 * An add-on that is used as a method changes the mean of the task vectors: makes that mean first.
 */
static mc_status make_mean_task(making *m, const mc_outputs *table, mc_error *error)
{
    mc_params *const params = m->params;
    mc_params *task = NULL;
    MC_TRY(mc_params_new(mc_method_find("mergecraft:task"), params->model_count, &task, error));
    m->params = task;
    mc_status status = fill_parts(m, table, error);
    if (status == MC_OK)
        status = make_step(m, error);
    end_making(m);
    mc_params_unref(task);
    m->params = params;
    return status;
}

/*
 * Makes the sources of rows with params, one step of all rows at a time, since a step may have to
 * see all rows.
 */
static mc_status make_all(making *all, size_t count, const mc_outputs *table, mc_error *error)
{
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < count; i++)
        if (all[i].params && all[i].params->method->add_on)
            status = make_mean_task(&all[i], table, error);
    while (status == MC_OK && has_steps(all, count)) {
        status = make_steps(all, count, table, error);
        for (size_t i = 0; i < count; i++)
            end_making(&all[i]);
    }
    return status;
}

static mc_status mean_source(const mc_output *row, mc_source **out, mc_error *error)
{
    mc_source **const inputs = input_sources(row);
    const mc_status status = inputs ? mc_mean_new(row->name, inputs, row->input_count, out, error)
                                    : mc_fail_memory(error);
    mc_free(inputs);
    return mc_in_tensor(error, row->name, status);
}

static bool is_layer_merge(const mc_output *row)
{
    return row->action == MC_ACTION_MERGE && row->method->scope != MC_MODEL;
}

/* Sets the sources of the first `count` rows that have none. */
static mc_status resolve(mc_output *rows, size_t count, const mc_outputs *table,
                         const mc_labels *labels, mc_error *error)
{
    making *const all = mc_alloc_zero(count, sizeof *all);
    mc_status status = all ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        mc_output *const row = &rows[i];
        /* Line-up has set the source already: made by a method of model scope. */
        if (row->source)
            continue;
        assert(row->input_count > 0);
        if (row->action == MC_ACTION_COPY)
            all[i].source = mc_source_ref(row->inputs[0].source);
        else
            status = mc_output_check(row, labels, error);
        all[i].row = row;
        if (status == MC_OK && row->action == MC_ACTION_MEAN)
            status = mean_source(row, &all[i].source, error);
        all[i].params = is_layer_merge(row) ? row->params : NULL;
    }
    if (status == MC_OK)
        status = make_all(all, count, table, error);
    for (size_t i = 0; all && i < count; i++) {
        end_making(&all[i]);
        if (status == MC_OK && all[i].source)
            status = mc_output_set_source(&rows[i], all[i].source, error);
        else
            mc_source_unref(all[i].source);
    }
    mc_free(all);
    return status;
}

mc_status mc_output_resolve(mc_output *row, const mc_outputs *table, const mc_labels *labels,
                            mc_error *error)
{
    return resolve(row, 1, table, labels, error);
}

mc_status mc_outputs_resolve(mc_outputs *outputs, const mc_labels *labels, mc_error *error)
{
    return resolve(outputs->rows, outputs->count, outputs, labels, error);
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

/* Where a row moves. */
typedef struct place {
    int rank;
    size_t index; /* now */
} place;

/* qsort is not stable: rows of one rank keep their order by their index. */
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

/* What a row receives once all rows have their new source. */
typedef struct binding {
    mc_params *params; /* borrowed; NULL: the row keeps its own */
    mc_source *source;
} binding;

/* Casts what was made to the row's dtype; takes it over. */
static mc_status cast_to_row(const mc_output *row, mc_source *made, mc_source **out,
                             mc_error *error)
{
    if (made->dtype == row->dtype) {
        *out = made;
        return MC_OK;
    }
    const mc_status status = mc_source_cast(made, row->dtype, out, error);
    mc_source_unref(made);
    return status;
}

/* New sources of the rows that get other parameters. */
static mc_status make_bindings(const mc_outputs *table, binding *bindings, mc_error *error)
{
    making *const all = mc_alloc_zero(table->count, sizeof *all);
    if (!all)
        return mc_fail_memory(error);
    for (size_t i = 0; i < table->count; i++)
        all[i] = (making){.row = &table->rows[i], .params = bindings[i].params};
    mc_status status = make_all(all, table->count, table, error);
    for (size_t i = 0; i < table->count; i++) {
        end_making(&all[i]);
        if (status == MC_OK && all[i].source)
            status = cast_to_row(&table->rows[i], all[i].source, &bindings[i].source, error);
        else
            mc_source_unref(all[i].source);
    }
    mc_free(all);
    return status;
}

/*
 * Replaces sources only after every row has its new one: a failure halfway leaves the plan as it
 * was.
 */
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
    for (size_t i = 0; status == MC_OK && i < outputs->count; i++)
        if (is_layer_merge(&outputs->rows[i]))
            bindings[i].params = values(&outputs->rows[i], user);
    if (status == MC_OK)
        status = make_bindings(outputs, bindings, error);
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
