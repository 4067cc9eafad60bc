/* Merges pipelines into pipelines. */
#include "base/memory.h"
#include "base/system.h"
#include "merge/findings.h"
#include "merge/plan.h"
#include "model/model.h"
#include "pipeline/pipeline.h"

static mc_status merge_weights(const mc_method *method, const mc_pipeline *const *pipelines,
                               size_t count, const mc_pipeline *base, const mc_merge_input *input,
                               const mc_state_dict **models, mc_state_dict **out, mc_report *report,
                               mc_error *error)
{
    mc_merge_input all = input ? *input : (mc_merge_input){0};
    for (size_t i = 0; i < count; i++) {
        models[i] = pipelines[i]->weights;
        if (!models[i])
            return mc_fail(error, MC_USAGE, "pipeline %zu: expected weights, found none", i + 1);
    }
    if (base && !base->weights)
        return mc_fail(error, MC_USAGE, "the base's pipeline: expected weights, found none");
    all.models = models;
    all.model_count = count;
    /* A base of the input counts if no pipeline is given. */
    all.base = base ? base->weights : all.base;
    return mc_model_merge(method, &all, out, report, error);
}

/* Reports what the encoder's reads of merged weights have noticed. */
static mc_status report_reads(const mc_state_dict *weights, mc_report *report, bool strict,
                              mc_error *error)
{
    mc_run_result result = {0};
    mc_findings_of_reads(weights, &result);
    return mc_findings_report_dict(&result, weights, report, strict, error);
}

static mc_status pipeline_like(const mc_pipeline *like, const mc_state_dict *weights,
                               mc_pipeline **out, mc_error *error)
{
    mc_pipeline *pipeline = NULL;
    MC_TRY(mc_pipeline_new(like->config_text, like->folder, &like->options, &pipeline, error));
    const mc_status status = mc_pipeline_load(pipeline, weights, error);
    if (status == MC_OK)
        *out = pipeline;
    else
        mc_pipeline_close(pipeline);
    return status;
}

mc_status mc_pipeline_merge(const mc_method *method, const mc_pipeline *const *pipelines,
                            size_t count, const mc_pipeline *base, const mc_merge_input *input,
                            mc_pipeline **out, mc_report *report, mc_error *error)
{
    mc_state_dict *merged = NULL;
    mc_pipeline *made = NULL;
    if (count == 0)
        return mc_fail(error, MC_USAGE, "expected pipelines, found none");
    const mc_state_dict **const models = mc_alloc_zero(count, sizeof *models);
    mc_status status = models ? merge_weights(method, pipelines, count, base, input, models,
                                              &merged, report, error)
                              : mc_fail_memory(error);
    if (status == MC_OK)
        /* As in a merge of models: the last one gives configuration, labels and tokenizer. */
        status = pipeline_like(pipelines[count - 1], merged, &made, error);
    if (status == MC_OK)
        status = report_reads(merged, report, input && input->strict, error);
    if (status == MC_OK)
        *out = made;
    else
        mc_pipeline_close(made);
    /* The pipeline has a state dict of its own, which keeps the sources. */
    mc_state_dict_free(merged);
    mc_free(models);
    return status;
}

/* ---- from a plan ----------------------------------------------------------------------------- */

mc_status mc_pipeline_load_plan(mc_pipeline *pipeline, const mc_plan *plan, mc_report *report,
                                mc_error *error)
{
    mc_state_dict *weights = NULL;
    MC_TRY(mc_plan_state_dict(plan, &weights, error));
    mc_status status = mc_pipeline_load(pipeline, weights, error);
    if (status == MC_OK)
        status = report_reads(weights, report, plan->strict, error);
    mc_state_dict_free(weights);
    if (status == MC_OK)
        /* Afterwards: a model that changed while it was read would give a mixture of both. */
        status = mc_plan_check_models(plan, error);
    return status;
}

mc_status mc_pipeline_for_plan(const mc_plan *plan, const mc_pipeline_options *options,
                               mc_pipeline **out, mc_error *error)
{
    const mc_model *const last = mc_plan_donor(plan);
    if (!last->config_text)
        return mc_fail_at(error, MC_NOT_FOUND, last->folder, NULL, -1,
                          "expected config.json, found none");
    return mc_pipeline_new(last->config_text, last->folder, options, out, error);
}

mc_status mc_pipeline_from_plan(const mc_plan *plan, const mc_pipeline_options *options,
                                mc_pipeline **out, mc_run_result *result, mc_error *error)
{
    const double start = mc_seconds();
    mc_pipeline *pipeline = NULL;
    MC_TRY(mc_pipeline_for_plan(plan, options, &pipeline, error));
    const mc_status status = mc_pipeline_load_plan(pipeline, plan, plan->report, error);
    if (status != MC_OK) {
        mc_pipeline_close(pipeline);
        return status;
    }
    if (result)
        *result = (mc_run_result){.tensors = mc_encoder_weight_count(pipeline->encoder),
                                  .seconds = mc_seconds() - start};
    *out = pipeline;
    return MC_OK;
}
