#include "merge/plan.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/agreement.h"
#include "merge/align.h"
#include "merge/execute.h"
#include "merge/lineage.h"
#include "merge/lineup.h"
#include "merge/plan_tokenizer.h"
#include "merge/report.h"
#include "merge/row_params.h"
#include "model/model.h"
#include "model/statistics.h"

#include <stdio.h>
#include <string.h>

const mc_model *mc_plan_donor(const mc_plan *plan)
{
    if (plan->donor)
        return plan->donor;
    return plan->models[plan->keep ? plan->keep - 1 : plan->model_count - 1];
}

mc_status mc_plan_check_models(const mc_plan *plan, mc_error *error)
{
    for (size_t i = 0; i < plan->all_count; i++)
        MC_TRY(mc_model_check(plan->models[i], error));
    return MC_OK;
}

mc_status mc_plan_set_search(mc_plan *plan, const json_t *search, mc_error *error)
{
    char *const text = mc_json_write(search, JSON_COMPACT);
    mc_free(plan->search);
    plan->search = text;
    return text ? MC_OK : mc_fail_memory(error);
}

/* Works on a list that a failure cut short: what was not copied is NULL. */
static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; texts && i < count; i++)
        mc_free(texts[i]);
    mc_free(texts);
}

void mc_plan_free(mc_plan *plan)
{
    if (!plan)
        return;
    mc_outputs_free(&plan->outputs);
    mc_model_call_free(plan->call);
    mc_outfit_free(&plan->outfit);
    mc_modules_free(&plan->modules);
    free_texts(plan->passthrough, plan->passthrough_count);
    free_texts(plan->exclude, plan->exclude_count);
    free_texts(plan->matrices, plan->matrix_count);
    mc_free(plan->then);
    mc_free(plan->side_names);
    for (size_t i = 0; plan->cards && i < plan->model_count + (plan->base != NULL); i++)
        mc_card_metadata_free(&plan->cards[i]);
    mc_free(plan->cards);
    mc_free(plan->models);
    mc_report_free(plan->report);
    mc_free(plan->recipe);
    mc_free(plan->search);
    mc_free(plan->transplant);
    mc_free(plan->decompress);
    mc_free(plan->parameters);
    mc_free(plan->tokenizer);
    mc_free(plan->method_origin);
    mc_free(plan->method_text);
    mc_free(plan);
}

/* ---- making ---------------------------------------------------------------------------------- */

static mc_status copy_models(const mc_plan_input *input, mc_plan *plan, mc_error *error)
{
    /*
     * One array in the order that alignment and labels rely on: models, base, then one run of
     * models per side input.
     */
    const size_t most = input->model_count * (1 + input->side_count) + 1;
    plan->models = mc_alloc_zero(most, sizeof *plan->models);
    plan->side_names = mc_alloc_zero(input->side_count, sizeof *plan->side_names);
    if (!plan->models || !plan->side_names)
        return mc_fail_memory(error);
    size_t count = 0;
    for (size_t i = 0; i < input->model_count; i++)
        plan->models[count++] = input->models[i];
    if (input->base)
        plan->models[count++] = input->base;
    for (size_t k = 0; k < input->side_count; k++) {
        plan->side_names[k] = input->side_names[k];
        for (size_t i = 0; i < input->model_count; i++)
            plan->models[count++] = input->sides[k][i];
    }
    plan->model_count = input->model_count;
    plan->all_count = count;
    plan->base = input->base;
    plan->side_count = input->side_count;
    return MC_OK;
}

static mc_status copy_text(const char *text, char **out, mc_error *error)
{
    *out = text ? mc_strdup(text) : NULL;
    return *out || !text ? MC_OK : mc_fail_memory(error);
}

/* Copies a list of texts; what was copied before a failure is in *out, with its count. */
static mc_status copy_texts(const char *const *texts, size_t count, char ***out, size_t *out_count,
                            mc_error *error)
{
    char **const copy = mc_alloc_zero(count, sizeof *copy);
    if (!copy)
        return mc_fail_memory(error);
    *out = copy;
    *out_count = count;
    for (size_t i = 0; i < count; i++)
        if (!(copy[i] = mc_strdup(texts[i])))
            return mc_fail_memory(error);
    return MC_OK;
}

static mc_status copy_options(const mc_plan_input *input, mc_plan *plan, mc_error *error)
{
    plan->method = input->method;
    plan->outputs.seed = input->seed;
    plan->outputs.model_type = mc_model_type(mc_plan_donor(plan));
    plan->strict = input->strict;
    plan->allow_unused = input->allow_unused;
    plan->convert = input->convert;
    plan->dtype = input->dtype;
    plan->keep = input->keep;
    MC_TRY(copy_texts(input->passthrough, input->passthrough_count, &plan->passthrough,
                      &plan->passthrough_count, error));
    MC_TRY(copy_texts(input->exclude, input->exclude_count, &plan->exclude, &plan->exclude_count,
                      error));
    MC_TRY(copy_texts(input->matrices, input->matrix_count, &plan->matrices, &plan->matrix_count,
                      error));
    plan->outputs.matrices = (const char *const *)plan->matrices;
    plan->outputs.matrix_count = plan->matrix_count;
    plan->then = mc_alloc_zero(input->then_count, sizeof *plan->then);
    if (!plan->then)
        return mc_fail_memory(error);
    for (; plan->then_count < input->then_count; plan->then_count++)
        plan->then[plan->then_count] = input->then[plan->then_count];
    MC_TRY(copy_text(input->method_origin, &plan->method_origin, error));
    return copy_text(input->method_text, &plan->method_text, error);
}

/* Of settings, those of all tensors; borrowed texts, in new memory. NULL: no memory. */
static const char **for_all(const char *const *settings, size_t count, size_t *found)
{
    const char **const list = mc_alloc_zero(count, sizeof *list);
    *found = 0;
    for (size_t i = 0; list && i < count; i++)
        if (!mc_setting_where(settings[i]))
            list[(*found)++] = settings[i];
    return list;
}

/*
 * Adds the settings of some tensors to the parameters of all, in their order, in which they apply
 * when the record is merged again: one that is set again moves to the end.
 */
static json_t *add_selected(json_t *object, const char *const *settings, size_t count)
{
    for (size_t i = 0; object && i < count; i++) {
        const char *const equals = strchr(settings[i], '=');
        if (!equals || !mc_setting_where(settings[i]))
            continue;
        char *const name = mc_strndup(settings[i], (size_t)(equals - settings[i]));
        double number;
        json_t *const value = mc_parse_number(equals + 1, &number) ? json_real(number)
                                                                   : mc_json_text(equals + 1);
        if (name) {
            (void)json_object_del(object, name);
            object = mc_json_put(object, name, value);
        } else {
            json_decref(value);
            json_decref(object);
            object = NULL;
        }
        mc_free(name);
    }
    return object;
}

/* The parameters as JSON, in new memory; NULL: no memory. */
static char *parameters_text(const mc_params *params, const char *const *settings, size_t count)
{
    json_error_t ignored;
    char *const all = mc_params_json(params);
    json_t *const object = all ? add_selected(json_loads(all, 0, &ignored), settings, count) : NULL;
    char *const text = object ? mc_json_write(object, mc_json_shortest(object)) : NULL;
    json_decref(object);
    mc_free(all);
    return text;
}

/*
 * Parses the parameters of all tensors, here and nowhere else, and checks that they fit the method
 * and the number of models.
 */
static mc_status parse_params(const mc_plan *plan, const char *const *settings, size_t count,
                              mc_params **params, char **json, mc_error *error)
{
    size_t plain = 0;
    const char **const list = for_all(settings, count, &plain);
    if (!list)
        return mc_fail_memory(error);
    if (plain < count && plan->method->scope == MC_MODEL) {
        mc_free(list);
        return mc_fail(error, MC_USAGE,
                       "%s merges whole state dicts: expected parameters of all tensors, found one "
                       "with @",
                       plan->method->name);
    }
    const mc_status status = mc_params_parse_chain(plan->method, plan->then, plan->then_count, list,
                                                   plain, plan->model_count, params, error);
    mc_free(list);
    MC_TRY(status);
    *json = plain < count ? parameters_text(*params, settings, count) : mc_params_json(*params);
    if (*json)
        return MC_OK;
    mc_params_unref(*params);
    *params = NULL;
    return mc_fail_memory(error);
}

/* The parameters of each row, in new memory, one reference each (free_row_params). */
static mc_status make_row_params(const mc_plan *plan, const char *const *settings, size_t count,
                                 mc_params ***out, mc_error *error)
{
    const mc_row_settings given = {.method = plan->method,
                                   .then = plan->then,
                                   .then_count = plan->then_count,
                                   .settings = settings,
                                   .count = count,
                                   .model_count = plan->model_count,
                                   .allow_unused = plan->allow_unused};
    *out = mc_alloc_zero(plan->outputs.count, sizeof **out);
    return *out ? mc_row_settings_apply(&given, &plan->outputs, *out, error)
                : mc_fail_memory(error);
}

static void free_row_params(const mc_plan *plan, mc_params **params)
{
    for (size_t i = 0; params && i < plan->outputs.count; i++)
        mc_params_unref(params[i]);
    mc_free(params);
}

static bool has_selected(const char *const *settings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (mc_setting_where(settings[i]))
            return true;
    return false;
}

/* Gives rows their own parameters before they are resolved. */
static mc_status select_params(mc_plan *plan, const char *const *settings, size_t count,
                               mc_error *error)
{
    mc_params **params = NULL;
    if (!has_selected(settings, count))
        return MC_OK;
    const mc_status status = make_row_params(plan, settings, count, &params, error);
    for (size_t i = 0; status == MC_OK && i < plan->outputs.count; i++)
        if (params[i]) {
            mc_params_unref(plan->outputs.rows[i].params);
            plan->outputs.rows[i].params = mc_params_ref(params[i]);
        }
    free_row_params(plan, params);
    return status;
}

/* Fills rows from state dicts that are aligned. */
static mc_status line_up(mc_plan *plan, const mc_alignment *aligned,
                         const mc_plan_tokenizer *tokenizer, mc_params *params,
                         const mc_plan_input *input, mc_error *error)
{
    const size_t lists_at = plan->model_count + (plan->base != NULL);
    mc_side_dicts *const sides = mc_alloc_zero(plan->side_count, sizeof *sides);
    if (!sides)
        return mc_fail_memory(error);
    for (size_t k = 0; k < plan->side_count; k++)
        sides[k] = (mc_side_dicts){.name = plan->side_names[k],
                                   .items = aligned->dicts + lists_at + k * plan->model_count,
                                   .count = plan->model_count};
    const mc_merge_input dicts = {
        .models = aligned->dicts,
        .model_count = plan->model_count,
        .base = plan->base ? aligned->dicts[plan->model_count] : NULL,
        .sides = sides,
        .side_count = plan->side_count,
        .passthrough = (const char *const *)plan->passthrough,
        .passthrough_count = plan->passthrough_count,
        .exclude = (const char *const *)plan->exclude,
        .exclude_count = plan->exclude_count,
        .keep = plan->keep,
        .seed = plan->outputs.seed,
        .strict = plan->strict,
        .allow_unused = plan->allow_unused,
    };
    const mc_lineup lineup = {.method = plan->method,
                              .params = params,
                              .input = &dicts,
                              .labels = {aligned->labels, plan->model_count},
                              .name_of = mc_alignment_origin,
                              .names = aligned};
    mc_status status = mc_lineup_make(&lineup, &plan->outputs, &plan->call, plan->report, error);
    if (status == MC_OK)
        status = select_params(plan, input->params, input->param_count, error);
    if (status == MC_OK && plan->convert)
        status = mc_outputs_convert(&plan->outputs, plan->dtype, error);
    if (status == MC_OK)
        status = mc_plan_tokenizer_check(tokenizer, plan, error);
    if (status == MC_OK)
        status = mc_outputs_resolve(&plan->outputs, &lineup.labels, error);
    mc_free(sides);
    return status;
}

static mc_status fill_rows(mc_plan *plan, const mc_plan_tokenizer *tokenizer, mc_params *params,
                           const mc_plan_input *input, mc_error *error)
{
    mc_alignment aligned = {0};
    mc_status status = mc_align(plan->models, plan->model_count, plan->all_count, &aligned,
                                plan->report, error);
    if (status == MC_OK)
        status = mc_plan_tokenizer_align(tokenizer, &aligned, error);
    if (status == MC_OK) {
        /*
         * Only the model that the outfit comes from decides whether its configuration has to be
         * untied.
         */
        plan->untied = aligned.untied[plan->keep ? plan->keep - 1 : plan->model_count - 1];
        status = line_up(plan, &aligned, tokenizer, params, input, error);
    }
    mc_alignment_free(&aligned);
    return status;
}

/* Passes on what was ignored, skipped or converted when the models were opened. */
static mc_status add_notes(const mc_plan *plan, const mc_model *model, mc_error *error)
{
    for (size_t i = 0; i < mc_model_note_count(model); i++) {
        const char *const note = mc_model_note(model, i);
        MC_TRY(plan->strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", note)
                            : mc_report_add(plan->report, error, "%s", note));
    }
    return MC_OK;
}

static mc_status add_all_notes(const mc_plan *plan, mc_error *error)
{
    for (size_t i = 0; i < plan->all_count; i++)
        MC_TRY(add_notes(plan, plan->models[i], error));
    return MC_OK;
}

static mc_status check_agreement(const mc_plan *plan, mc_error *error)
{
    const mc_model *const last = mc_plan_donor(plan);
    if (plan->exclude_count == 0) /* otherwise labels and head are those of one model */
        MC_TRY(
            mc_agree_on_labels(plan->models, plan->model_count, plan->strict, plan->report, error));
    return mc_agree_on_configs(plan->models, plan->all_count, last, false, plan->strict,
                               plan->report, error);
}

/* Checks that statistics were made for the model in whose place they are given. */
static mc_status check_statistics(const mc_plan_input *input, mc_error *error)
{
    for (size_t k = 0; k < input->side_count; k++)
        for (size_t i = 0; i < input->model_count; i++)
            MC_TRY(mc_statistics_check(input->sides[k][i], input->models[i], error));
    return MC_OK;
}

static mc_status make_rows(mc_plan *plan, const mc_plan_input *input,
                           const mc_plan_tokenizer *tokenizer, mc_error *error)
{
    mc_params *params = NULL;
    MC_TRY(
        parse_params(plan, input->params, input->param_count, &params, &plan->parameters, error));
    mc_status status = add_all_notes(plan, error);
    if (status == MC_OK)
        status = input->report_repeated ? mc_lineage_check(plan, error) : MC_OK;
    if (status == MC_OK)
        status = fill_rows(plan, tokenizer, params, input, error);
    mc_params_unref(params);
    return status;
}

/*
 * The order matters: untying changes the configuration of the outfit, modules take their weights
 * out of it, and the tokenizer replaces files last.
 */
static mc_status make_outfit(mc_plan *plan, const mc_plan_input *input,
                             const mc_plan_tokenizer *tokenizer, mc_error *error)
{
    MC_TRY(check_agreement(plan, error));
    MC_TRY(mc_outfit_from_model(mc_plan_donor(plan), plan->strict, &plan->outfit, plan->report,
                                error));
    if (plan->untied)
        MC_TRY(mc_outfit_untie(&plan->outfit, plan->report, error));
    MC_TRY(mc_modules_plan(input, mc_plan_donor(plan), &plan->outfit, &plan->modules, plan->report,
                           error));
    MC_TRY(mc_lineage_read_cards(plan, error));
    return mc_plan_tokenizer_dress(tokenizer, input, plan, error);
}

static mc_status make(mc_plan *plan, const mc_plan_input *input, mc_error *error)
{
    mc_plan_tokenizer tokenizer = {0};
    MC_TRY(check_statistics(input, error));
    MC_TRY(copy_models(input, plan, error));
    MC_TRY(copy_options(input, plan, error));
    MC_TRY(mc_report_new(&plan->report, error));
    mc_status status = mc_plan_tokenizer_new(plan, input, &tokenizer, error);
    if (status == MC_OK)
        status = make_rows(plan, input, &tokenizer, error);
    if (status == MC_OK)
        status = make_outfit(plan, input, &tokenizer, error);
    mc_plan_tokenizer_free(&tokenizer);
    MC_TRY(status);
    return mc_outputs_order(&plan->outputs, &mc_writer_safetensors, error);
}

/* Checks base, number of models and sides before any tensor is compared. */
static mc_status check_method(const mc_plan_input *input, mc_error *error)
{
    mc_side_dicts *const sides = mc_alloc_zero(input->side_count, sizeof *sides);
    if (!sides)
        return mc_fail_memory(error);
    for (size_t k = 0; k < input->side_count; k++)
        sides[k] = (mc_side_dicts){.name = input->side_names[k], .count = input->model_count};
    const mc_merge_input dicts = {
        .model_count = input->model_count,
        .base = input->base ? mc_model_state_dict(input->base) : NULL,
        .sides = sides,
        .side_count = input->side_count,
        .keep = input->keep,
        .then = input->then,
        .then_count = input->then_count,
    };
    const mc_status status = mc_lineup_check(input->method, &dicts, error);
    mc_free(sides);
    return status;
}

mc_status mc_plan_new(const mc_plan_input *input, mc_plan **out, mc_error *error)
{
    if (input->model_count == 0)
        return mc_fail(error, MC_USAGE, "expected models to merge, found none");
    if (input->convert && mc_dtype_kind_of(input->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_USAGE, "expected a dtype of floats for the result, found %s",
                       mc_dtype_name(input->dtype));
    MC_TRY(check_method(input, error));
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

/* ---- of rows --------------------------------------------------------------------------------- */

static mc_status fill_from_rows(const mc_plan_rows *rows, mc_plan *plan, mc_error *error)
{
    plan->models = mc_alloc(rows->all_count * sizeof *plan->models);
    plan->recipe = rows->recipe ? mc_strdup(rows->recipe) : NULL;
    plan->transplant = rows->transplant ? mc_strdup(rows->transplant) : NULL;
    plan->decompress = rows->decompress ? mc_strdup(rows->decompress) : NULL;
    plan->parameters = mc_strdup("{}");
    if (!plan->models || !plan->parameters || (rows->recipe && !plan->recipe) ||
        (rows->transplant && !plan->transplant) || (rows->decompress && !plan->decompress))
        return mc_fail_memory(error);
    for (size_t i = 0; i < rows->all_count; i++)
        plan->models[i] = rows->models[i];
    plan->model_count = rows->model_count;
    plan->all_count = rows->all_count;
    plan->base = rows->base;
    plan->donor = rows->donor;
    plan->no_card = rows->no_card;
    plan->strict = rows->strict;
    MC_TRY(mc_lineage_read_cards(plan, error));
    return mc_outputs_order(&plan->outputs, &mc_writer_safetensors, error);
}

mc_status mc_plan_from_rows(mc_plan_rows *rows, mc_plan **out, mc_error *error)
{
    mc_plan *const plan = mc_alloc_zero(1, sizeof *plan);
    if (!plan) {
        mc_outputs_free(&rows->outputs);
        mc_outfit_free(&rows->outfit);
        mc_report_free(rows->report);
        rows->report = NULL;
        return mc_fail_memory(error);
    }
    plan->outputs = rows->outputs;
    plan->outfit = rows->outfit;
    plan->report = rows->report;
    rows->outputs = (mc_outputs){0};
    rows->outfit = (mc_outfit){0};
    rows->report = NULL;
    const mc_status status = fill_from_rows(rows, plan, error);
    if (status == MC_OK)
        *out = plan;
    else
        mc_plan_free(plan);
    return status;
}

/* ---- new parameter values -------------------------------------------------------------------- */

/* What a row gets: that of its place in the table. */
typedef struct row_binding {
    const mc_output *first;
    mc_params **params;
} row_binding;

static mc_params *params_of(const mc_output *row, void *user)
{
    const row_binding *const binding = user;
    return binding->params[row - binding->first];
}

static mc_status bind_rows(mc_plan *plan, const char *const *settings, size_t count,
                           mc_error *error)
{
    row_binding binding = {.first = plan->outputs.rows};
    mc_status status = make_row_params(plan, settings, count, &binding.params, error);
    if (status == MC_OK)
        status = mc_outputs_bind(&plan->outputs, params_of, &binding, error);
    free_row_params(plan, binding.params);
    return status;
}

mc_status mc_plan_bind(mc_plan *plan, const char *const *params, size_t param_count,
                       mc_error *error)
{
    mc_params *parsed = NULL;
    char *json = NULL;
    if (!plan->method)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a plan of one method, found one of a recipe");
    MC_TRY(parse_params(plan, params, param_count, &parsed, &json, error));
    mc_status status = plan->call ? mc_model_call_bind(plan->call, parsed, &plan->outputs, error)
                                  : bind_rows(plan, params, param_count, error);
    mc_params_unref(parsed);
    if (status == MC_OK)
        status = mc_modules_bind(&plan->modules, plan->method, params, param_count, error);
    if (status != MC_OK) {
        mc_free(json);
        return status;
    }
    mc_free(plan->parameters);
    plan->parameters = json;
    return MC_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

size_t mc_plan_count(const mc_plan *plan)
{
    return plan->outputs.count;
}

void mc_plan_line_at(const mc_plan *plan, size_t index, mc_plan_line *line)
{
    const mc_output *const row = &plan->outputs.rows[index];
    *line = (mc_plan_line){.name = row->name,
                           .dtype = row->dtype,
                           .rank = row->source->rank,
                           .shape = row->source->shape,
                           .bytes = row->source->bytes,
                           .action = row->action,
                           .method = row->method,
                           .model_count = mc_output_count(row, MC_ROLE_MODEL, NULL)};
    if (row->action == MC_ACTION_COPY)
        line->model = mc_model_name(plan->models[row->inputs[0].model]);
}

char *mc_plan_line_text(const mc_plan_line *line, char *buffer, size_t size)
{
    switch (line->action) {
    case MC_ACTION_MERGE:
        snprintf(buffer, size, "%s of %zu", line->method->name, line->model_count);
        break;
    case MC_ACTION_MEAN:
        snprintf(buffer, size, "average of %zu", line->model_count);
        break;
    case MC_ACTION_COPY:
        snprintf(buffer, size, "copy of %s", line->model);
        break;
    }
    return buffer;
}

const mc_report *mc_plan_report(const mc_plan *plan)
{
    return plan->report;
}

const char *mc_plan_parameters(const mc_plan *plan)
{
    return plan->parameters;
}

void mc_plan_bytes(const mc_plan *plan, const mc_run_options *options, int64_t *read,
                   int64_t *written, int64_t *memory)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    const mc_outputs *const outputs = &plan->outputs;
    mc_source **const sources = mc_outputs_sources(outputs);
    *read = *written = 0;
    for (size_t i = 0; i < outputs->count; i++) {
        *read += mc_output_bytes_read(&outputs->rows[i]);
        *written += outputs->rows[i].source->bytes;
    }
    *memory = sources ? mc_execute_memory(sources, outputs->count, options ? options : &standard)
                      : 0;
    mc_free(sources);
}

mc_status mc_plan_state_dict(const mc_plan *plan, mc_state_dict **out, mc_error *error)
{
    return mc_outputs_dict(&plan->outputs, out, error);
}
