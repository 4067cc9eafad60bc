/* Merging state dicts: mc_dict_map and mc_model_merge. */
#include "merge/lineup.h"

static mc_status merge_rows(const mc_lineup *lineup, mc_outputs *outputs, mc_state_dict **out,
                            mc_report *report, mc_error *error)
{
    mc_model_call *call = NULL;
    mc_status status = mc_lineup_make(lineup, outputs, &call, report, error);
    mc_model_call_free(call);
    if (status == MC_OK)
        status = mc_outputs_resolve(outputs, &lineup->labels, error);
    return status == MC_OK ? mc_outputs_dict(outputs, out, error) : status;
}

static mc_status merge(const mc_method *method, const mc_merge_input *input, bool common,
                       mc_state_dict **out, mc_report *report, mc_error *error)
{
    mc_outputs outputs = {
        .seed = input->seed, .matrices = input->matrices, .matrix_count = input->matrix_count};
    mc_lineup lineup = {.method = method,
                        .input = input,
                        .labels.model_count = input->model_count,
                        .common = common};
    MC_TRY(mc_lineup_check(method, input, error));
    MC_TRY(mc_params_parse_chain(method, input->then, input->then_count, input->params,
                                 input->param_count, input->model_count, &lineup.params, error));
    const mc_status status = merge_rows(&lineup, &outputs, out, report, error);
    mc_outputs_free(&outputs);
    mc_params_unref(lineup.params);
    return status;
}

mc_status mc_model_merge(const mc_method *method, const mc_merge_input *input, mc_state_dict **out,
                         mc_report *report, mc_error *error)
{
    return merge(method, input, false, out, report, error);
}

mc_status mc_dict_map(const mc_method *method, const mc_merge_input *input, mc_state_dict **out,
                      mc_report *report, mc_error *error)
{
    if (method && method->scope == MC_MODEL)
        return mc_fail(error, MC_USAGE,
                       "%s merges whole state dicts: expected a method that merges layer by layer",
                       method->name);
    return merge(method, input, true, out, report, error);
}
