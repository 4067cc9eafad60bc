#include "pipeline/joint.h"

#include "base/memory.h"
#include "model/model.h"
#include "model/statistics.h"
#include "pipeline/statistics_cache.h"

#include <stdlib.h>
#include <string.h>

void mc_joint_close(mc_joint *j)
{
    for (size_t t = 0; j->traces && t < j->count; t++) {
        bool shared = false;
        for (size_t s = 0; s < t; s++)
            shared = shared || j->traces[s] == j->traces[t];
        if (!shared)
            mc_trace_free_f32(j->traces[t]);
    }
    for (size_t t = 0; j->batches && t < j->count; t++)
        mc_token_batch_free(&j->batches[t]);
    for (size_t t = 0; j->found && t < j->count; t++)
        mc_state_dict_free(j->found[t]);
    mc_free(j->settings);
    mc_free(j->traces);
    mc_free(j->batches);
    mc_free(j->found);
    mc_params_unref(j->params);
    mc_alignment_free(&j->alignment);
    *j = (mc_joint){0};
}

/* ---- models, parameters, files --------------------------------------------------------------- */

static mc_status align(mc_joint *j, const mc_model *base, mc_error *error)
{
    const size_t all = j->count + j->has_base;
    const mc_model **const models = mc_alloc(all * sizeof *models);
    mc_report *ignored = NULL;
    if (!models)
        return mc_fail_memory(error);
    for (size_t t = 0; t < j->count; t++)
        models[t] = j->models[t].model;
    models[all - 1] = j->has_base ? base : models[all - 1];
    /* The plan of the merge aligns the same models and reports what was renamed. */
    mc_status status = mc_report_new(&ignored, error);
    if (status == MC_OK)
        status = mc_align(models, j->count, all, &j->alignment, ignored, error);
    mc_report_free(ignored);
    mc_free(models);
    return status;
}

/* Settings of add-ons, "ADD-ON.NAME=VALUE", change the merge, but not what it learns before. */
static bool is_own(const char *setting)
{
    return strcspn(setting, ".") >= strcspn(setting, "=");
}

static mc_status parse(mc_joint *j, const mc_method *method, const char *const *params,
                       size_t count, mc_error *error)
{
    j->settings = mc_alloc((count + 1) * sizeof *j->settings);
    if (!j->settings)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        if (is_own(params[i]))
            j->settings[j->setting_count++] = params[i];
    return mc_params_parse(method, j->settings, j->setting_count, j->count, &j->params, error);
}

/* The digests of what the encoder reads, by the names of the model's files. */
static mc_status digests_of(const mc_observed_model *m, const mc_state_dict *dict, json_t **out,
                            mc_error *error)
{
    const mc_encoder *const encoder = m->pipeline->encoder;
    const size_t count = mc_encoder_weight_count(encoder);
    const char **const names = mc_alloc(count * sizeof *names);
    if (!names)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        names[i] = mc_encoder_weight_name(encoder, i);
    const mc_status status = mc_digests(dict, names, count, m->pipeline->options.threads, out,
                                        error);
    mc_free(names);
    return status;
}

static mc_status hash_dict(const mc_joint *j, size_t index, uint64_t *hash, mc_error *error)
{
    const mc_observed_model *const m = &j->models[index < j->count ? index : 0];
    json_t *digests = NULL;
    MC_TRY(digests_of(m, j->alignment.dicts[index], &digests, error));
    char *const text = json_dumps(digests, JSON_COMPACT);
    json_decref(digests);
    if (!text)
        return mc_fail_memory(error);
    *hash = mc_hash_text(*hash, text);
    free(text);
    return MC_OK;
}

/* Everything that the values depend on. */
static mc_status find_key(const mc_joint *j, const mc_method *method, uint64_t *out,
                          mc_error *error)
{
    char *const params = mc_params_json(j->params);
    if (!params)
        return mc_fail_memory(error);
    uint64_t hash = mc_hash_text(MC_HASH_START, MC_STATISTICS_VERSION);
    hash = mc_hash_text(hash, method->name);
    hash = mc_hash_text(hash, params);
    mc_free(params);
    for (size_t t = 0; t < j->count; t++) {
        const uint64_t tokens = mc_hash_tokens(&j->batches[t]);
        hash = mc_hash_bytes(hash, &tokens, sizeof tokens);
        hash = mc_hash_text(hash, j->models[t].pipeline->config_text);
    }
    for (size_t i = 0; i < j->count + j->has_base; i++)
        MC_TRY(hash_dict(j, i, &hash, error));
    *out = hash;
    return MC_OK;
}

static mc_status tokenize(mc_joint *j, bool shuffled, mc_error *error)
{
    j->batches = mc_alloc_zero(j->count, sizeof *j->batches);
    if (!j->batches)
        return mc_fail_memory(error);
    for (size_t t = 0; t < j->count; t++)
        MC_TRY(mc_token_batch_make(j->models[t].pipeline, j->models[t].data, shuffled,
                                   &j->batches[t], error));
    return MC_OK;
}

static mc_status find_files(mc_joint *j, const mc_method *method, const char *const *paths,
                            bool *cached, mc_error *error)
{
    uint64_t key = 0;
    *cached = true;
    MC_TRY(find_key(j, method, &key, error));
    for (size_t t = 0; t < j->count; t++) {
        const uint64_t own = mc_hash_bytes(key, &t, sizeof t);
        j->results[t] = (mc_observe_result){0};
        MC_TRY(mc_statistics_place(paths ? paths[t] : NULL, own, &j->results[t], error));
        *cached = *cached && j->results[t].cached;
    }
    for (size_t t = 0; t < j->count; t++)
        j->results[t].cached = *cached;
    return MC_OK;
}

mc_status mc_joint_new(const mc_observed_model *models, size_t count, const mc_model *base,
                       const mc_method *method, const char *const *params, size_t param_count,
                       const mc_pipeline_run *run, const char *const *paths, bool shuffled,
                       mc_observe_result *results, mc_joint *out, bool *cached, mc_error *error)
{
    *out = (mc_joint){
        .models = models, .count = count, .has_base = base != NULL, .run = run, .results = results};
    if (count == 0)
        return mc_fail(error, MC_USAGE, "expected models, found none");
    MC_TRY(align(out, base, error));
    MC_TRY(parse(out, method, params, param_count, error));
    MC_TRY(tokenize(out, shuffled, error));
    return find_files(out, method, paths, cached, error);
}

/* ---- networks -------------------------------------------------------------------------------- */

/* The networks must agree in everything but the number of labels. */
static mc_status check_same(const mc_joint *j, size_t index, mc_error *error)
{
    const mc_network *const a = mc_joint_network(j, 0), *const b = mc_joint_network(j, index);
    bool same = a->weight_count == b->weight_count && a->blocks == b->blocks &&
                a->heads == b->heads && a->epsilon == b->epsilon;
    for (size_t i = 0; same && i < a->weight_count; i++)
        same = strcmp(a->weights[i].name, b->weights[i].name) == 0;
    if (same)
        return MC_OK;
    return mc_fail_at(error, MC_MISMATCH, mc_model_name(j->models[index].model), NULL, -1,
                      "expected the architecture of %s, found another",
                      mc_model_name(j->models[0].model));
}

static mc_status make_trace(mc_joint *j, size_t index, bool whole, mc_error *error)
{
    const mc_pipeline *const pipeline = j->models[index].pipeline;
    for (size_t s = 0; s < index; s++)
        if (j->models[s].pipeline->label_count == pipeline->label_count) {
            j->traces[index] = j->traces[s];
            return MC_OK;
        }
    MC_TRY(mc_trace_new_f32(pipeline->config, "config.json", whole, pipeline->options.threads,
                            &j->traces[index], error));
    return check_same(j, index, error);
}

mc_status mc_joint_open(mc_joint *j, bool whole, mc_error *error)
{
    j->traces = mc_alloc_zero(j->count, sizeof *j->traces);
    j->found = mc_alloc_zero(j->count, sizeof *j->found);
    if (!j->traces || !j->found)
        return mc_fail_memory(error);
    for (size_t t = 0; t < j->count; t++) {
        mc_observe_result *const result = &j->results[t];
        MC_TRY(make_trace(j, t, whole, error));
        MC_TRY(mc_state_dict_new(&j->found[t], error));
        result->truncated = j->batches[t].truncated;
        result->examples = j->batches[t].batch.count;
        result->tokens = j->batches[t].starts[result->examples];
    }
    return MC_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static mc_status save_one(const mc_joint *j, size_t index, mc_error *error)
{
    const mc_observed_model *const m = &j->models[index];
    json_t *digests = NULL;
    MC_TRY(digests_of(m, mc_model_state_dict(m->model), &digests, error));
    char *const params = mc_params_json(j->params);
    json_t *const shared = json_object();
    const mc_statistics_origin origin = {.model = m->pipeline->folder,
                                         .task = m->task->name,
                                         .data = mc_glue_path(m->data),
                                         .form = params,
                                         .examples = j->results[index].examples,
                                         .tokens = j->results[index].tokens,
                                         .truncated = j->results[index].truncated,
                                         .singular = j->results[index].singular};
    const mc_status status = params && shared
                                 ? mc_statistics_write(j->results[index].path, j->found[index],
                                                       &origin, digests, shared, error)
                                 : mc_fail_memory(error);
    mc_free(params);
    json_decref(shared);
    json_decref(digests);
    return status;
}

mc_status mc_joint_save(const mc_joint *j, mc_error *error)
{
    for (size_t t = 0; t < j->count; t++)
        MC_TRY(save_one(j, t, error));
    return MC_OK;
}
