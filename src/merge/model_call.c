#include "merge/model_call.h"

#include "base/memory.h"

struct mc_model_call {
    const mc_method *method;
    mc_merge_input input;  /* points to what follows */
    mc_state_dict **dicts; /* owned: models, base, sides */
    size_t dict_count;
    mc_side_dicts *sides;
    size_t made; /* tensors that the first call made */
};

void mc_model_call_free(mc_model_call *call)
{
    if (!call)
        return;
    for (size_t i = 0; call->dicts && i < call->dict_count; i++)
        mc_state_dict_free(call->dicts[i]);
    mc_free(call->dicts);
    mc_free(call->sides);
    mc_free(call);
}

/* Adds a dict to those that the call owns; takes it over. */
static void keep(mc_model_call *call, mc_state_dict *dict)
{
    call->dicts[call->dict_count++] = dict;
}

static mc_status keep_subset(mc_model_call *call, const mc_state_dict *from,
                             const char *const *names, size_t count, mc_error *error)
{
    mc_state_dict *dict = NULL;
    MC_TRY(mc_state_dict_subset(from, names, count, &dict, error));
    keep(call, dict);
    return MC_OK;
}

/* Copies side inputs whole: their names need not be those of the models. */
static mc_status keep_lists(mc_model_call *call, const mc_merge_input *input, mc_error *error)
{
    for (size_t k = 0; k < input->side_count; k++) {
        call->sides[k] = input->sides[k];
        call->sides[k].items = (const mc_state_dict *const *)call->dicts + call->dict_count;
        for (size_t i = 0; i < input->sides[k].count; i++) {
            mc_state_dict *dict = NULL;
            MC_TRY(mc_state_dict_copy(input->sides[k].items[i], &dict, error));
            keep(call, dict);
        }
    }
    return MC_OK;
}

static size_t dict_total(const mc_merge_input *input)
{
    size_t total = input->model_count + 1;
    for (size_t k = 0; k < input->side_count; k++)
        total += input->sides[k].count;
    return total;
}

static mc_status fill(mc_model_call *call, const mc_merge_input *input, const char *const *names,
                      size_t count, mc_error *error)
{
    call->dicts = mc_alloc_zero(dict_total(input), sizeof *call->dicts);
    call->sides = mc_alloc_zero(input->side_count, sizeof *call->sides);
    if (!call->dicts || !call->sides)
        return mc_fail_memory(error);
    call->input = *input;
    call->input.models = (const mc_state_dict *const *)call->dicts;
    call->input.base = NULL;
    call->input.sides = call->sides;
    call->input.method = call->method;
    call->input.method_params = call->method->params;
    /* Only line-up uses these; the caller's memory behind them may be gone at a later call. */
    call->input.passthrough = NULL;
    call->input.passthrough_count = 0;
    call->input.exclude = NULL;
    call->input.exclude_count = 0;
    call->input.then = NULL;
    call->input.then_count = 0;
    call->input.matrices = NULL;
    call->input.matrix_count = 0;
    call->input.params = NULL;
    call->input.param_count = 0;
    for (size_t i = 0; i < input->model_count; i++)
        MC_TRY(keep_subset(call, input->models[i], names, count, error));
    if (call->method->needs_base || (call->method->takes_base && input->base)) {
        MC_TRY(keep_subset(call, input->base, names, count, error));
        call->input.base = call->dicts[call->dict_count - 1];
    }
    return keep_lists(call, input, error);
}

mc_status mc_model_call_new(const mc_method *method, const mc_merge_input *input,
                            const char *const *names, size_t count, mc_model_call **out,
                            mc_error *error)
{
    mc_model_call *const call = mc_alloc_zero(1, sizeof *call);
    if (!call)
        return mc_fail_memory(error);
    call->method = method;
    const mc_status status = fill(call, input, names, count, error);
    if (status == MC_OK)
        *out = call;
    else
        mc_model_call_free(call);
    return status;
}

mc_status mc_model_call_run(mc_model_call *call, const mc_params *params, mc_state_dict **out,
                            mc_error *error)
{
    mc_merge_input input = call->input;
    input.method_values = params->values;
    MC_TRY(call->method->merge(&input, out, error));
    /* The plan's rows were made from the result of the first call. */
    if (call->made == 0)
        call->made = mc_state_dict_count(*out);
    return MC_OK;
}

/* ---- new parameter values -------------------------------------------------------------------- */

static bool is_made_by(const mc_model_call *call, const mc_output *row)
{
    return row->action == MC_ACTION_MERGE && row->method == call->method;
}

/*
 * Checks that the method made the tensors of the rows again. Offsets and shards are fixed, so a
 * method that makes other tensors with other parameters, such as a rank, needs a new plan.
 */
static mc_status check_same_tensors(const mc_model_call *call, const mc_outputs *outputs,
                                    const mc_state_dict *made, mc_error *error)
{
    for (size_t i = 0; i < outputs->count; i++) {
        const mc_output *const row = &outputs->rows[i];
        if (!is_made_by(call, row))
            continue;
        const mc_source *const source = mc_state_dict_find(made, row->name);
        if (!source || !mc_source_same_shape(source, row->source) ||
            mc_dtype_kind_of(source->dtype) != mc_dtype_kind_of(row->dtype))
            return mc_fail_at(error, MC_UNSUPPORTED, NULL, row->name, -1,
                              "%s does not make this tensor with these parameters: make a new plan",
                              call->method->name);
    }
    if (call->made == mc_state_dict_count(made))
        return MC_OK;
    return mc_fail(error, MC_UNSUPPORTED,
                   "%s: expected %zu tensors as with the parameters before, found %zu: make a new "
                   "plan",
                   call->method->name, call->made, mc_state_dict_count(made));
}

mc_status mc_model_call_bind(mc_model_call *call, mc_params *params, mc_outputs *outputs,
                             mc_error *error)
{
    mc_state_dict *made = NULL;
    MC_TRY(mc_model_call_run(call, params, &made, error));
    mc_status status = check_same_tensors(call, outputs, made, error);
    for (size_t i = 0; status == MC_OK && i < outputs->count; i++) {
        mc_output *const row = &outputs->rows[i];
        if (!is_made_by(call, row))
            continue;
        mc_params_unref(row->params);
        row->params = mc_params_ref(params);
        status = mc_output_set_source(row, mc_source_ref(mc_state_dict_find(made, row->name)),
                                      error);
    }
    mc_state_dict_free(made);
    return status;
}
