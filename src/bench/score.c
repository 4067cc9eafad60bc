#include "bench/score.h"

#include "base/hash.h"
#include "base/memory.h"
#include "model/model.h"
#include "model/parts.h"
#include "pipeline/batch.h"
#include "pipeline/labels.h"

#include <fnmatch.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- data ----------------------------------------------------------------------------------- */

static uint64_t hash_labels(uint64_t hash, const mc_glue_data *data)
{
    for (size_t i = 0; i < mc_glue_count(data); i++) {
        const double label = mc_glue_example_at(data, i).label;
        hash = mc_hash_bytes(hash, &label, sizeof label);
    }
    return hash;
}

static mc_status load_task(const mc_suite_task *task, const mc_hub_options *hub, mc_glue_data **out,
                           mc_error *error)
{
    MC_TRY(task->data ? mc_glue_load(task->task, task->data, NULL, out, error)
                      : mc_glue_load_default(task->task, NULL, hub, out, error));
    if (!mc_glue_labelled(*out))
        return mc_fail_at(error, MC_MISMATCH, mc_glue_path(*out), NULL, -1,
                          "expected labels to score, found none");
    return MC_OK;
}

/*
 * Whether an example is in the validation part. The part is spread evenly over the file, whose
 * order may follow topics or labels, and is the same for every model.
 */
static bool is_validation(double share, size_t index)
{
    return floor((double)(index + 1) * share) > floor((double)index * share);
}

static mc_status select_validation(double share, const mc_glue_data *data, mc_glue_data **out,
                                   mc_error *error)
{
    size_t count = 0, *const indices = mc_alloc(mc_glue_count(data) * sizeof *indices);
    if (!indices)
        return mc_fail_memory(error);
    for (size_t i = 0; i < mc_glue_count(data); i++)
        if (is_validation(share, i))
            indices[count++] = i;
    const mc_status status = mc_glue_select(data, indices, count, out, error);
    mc_free(indices);
    return status;
}

/* Without examples in one of the parts there is nothing to choose by, or nothing to report. */
static mc_status check_parts(const mc_suite *suite, size_t task, size_t validation, size_t all,
                             mc_error *error)
{
    if (validation > 0 && validation < all)
        return MC_OK;
    return mc_fail_at(error, MC_USAGE, suite->path, NULL, -1,
                      "task '%s': expected examples in the validation part and in the rest, found "
                      "%zu and %zu",
                      suite->tasks[task].name, validation, all - validation);
}

mc_status mc_bench_load(const mc_suite *suite, const mc_hub_options *hub, mc_bench_data *out,
                        mc_error *error)
{
    *out = (mc_bench_data){.of = mc_alloc_zero(suite->task_count, sizeof *out->of),
                           .validation = mc_alloc_zero(suite->task_count, sizeof *out->validation),
                           .fingerprint = MC_HASH_START};
    if (!out->of || !out->validation)
        return mc_fail_memory(error);
    out->count = suite->task_count;
    for (size_t t = 0; t < suite->task_count; t++) {
        MC_TRY(load_task(&suite->tasks[t], hub, &out->of[t], error));
        MC_TRY(select_validation(suite->validation, out->of[t], &out->validation[t], error));
        MC_TRY(check_parts(suite, t, mc_glue_count(out->validation[t]), mc_glue_count(out->of[t]),
                           error));
        out->fingerprint = hash_labels(out->fingerprint, out->of[t]);
    }
    return MC_OK;
}

void mc_bench_data_free(mc_bench_data *data)
{
    for (size_t t = 0; data->validation && t < data->count; t++)
        mc_glue_data_free(data->validation[t]);
    for (size_t t = 0; data->of && t < data->count; t++)
        mc_glue_data_free(data->of[t]);
    mc_free(data->validation);
    mc_free(data->of);
    *data = (mc_bench_data){0};
}

/* ---- models --------------------------------------------------------------------------------- */

/* Opens models and base in one call, so that missing files are downloaded together. */
static mc_status open_all(mc_bench_models *m, const char *seed, const mc_bench_options *options,
                          char **names, mc_error *error)
{
    const mc_suite *const suite = m->suite;
    mc_model **const all = mc_alloc_zero(suite->task_count + 1, sizeof *all);
    bool complete = all != NULL;
    for (size_t t = 0; t < suite->task_count; t++)
        complete = (names[t] = mc_suite_model(suite, suite->tasks[t].model, seed)) && complete;
    complete = (names[suite->task_count] = mc_suite_model(suite, suite->base, seed)) && complete;
    const mc_status status = complete
                                 ? mc_models_open((const char *const *)names, suite->task_count + 1,
                                                  options->hub, false, all, error)
                                 : mc_fail_memory(error);
    for (size_t t = 0; status == MC_OK && t < suite->task_count; t++)
        m->models[t] = all[t];
    if (status == MC_OK)
        m->base = all[suite->task_count];
    mc_free(all);
    return status;
}

/* The suite's patterns decide if there are any, else the tensor's role. */
static bool is_head(const mc_suite *suite, const mc_model *model, const char *name)
{
    for (size_t i = 0; i < suite->head_count; i++)
        if (fnmatch(suite->heads[i], name, 0) == 0)
            return true;
    if (suite->head_count > 0)
        return false;
    const mc_part_role role = mc_part_of(mc_model_type(model), name).role;
    return role == MC_PART_HEAD || role == MC_PART_OUTPUT_HEAD;
}

static bool is_known(const mc_bench_models *m, const char *name)
{
    for (size_t i = 0; i < m->head_count; i++)
        if (strcmp(m->heads[i], name) == 0)
            return true;
    return false;
}

/*
 * Lists the names of all heads' tensors, each once. Heads of different tasks may have different
 * names and shapes; all of them stay out of the merge.
 */
static mc_status find_heads(mc_bench_models *m, mc_error *error)
{
    size_t capacity = 0;
    for (size_t t = 0; t < m->task_count; t++) {
        const mc_state_dict *const dict = mc_model_state_dict(m->models[t]);
        for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
            const char *const name = mc_state_dict_name(dict, i);
            if (!is_head(m->suite, m->models[t], name) || is_known(m, name))
                continue;
            if (!MC_GROW(m->heads, m->head_count, capacity) ||
                !(m->heads[m->head_count] = mc_strdup(name)))
                return mc_fail_memory(error);
            m->head_count++;
        }
    }
    if (m->head_count > 0)
        return MC_OK;
    return mc_fail_at(error, MC_MISMATCH, m->suite->path, NULL, -1,
                      "expected tensors of a head in the models, found none; name them with heads");
}

mc_status mc_bench_warn(const mc_suite *suite, const char *seed, size_t task,
                        const mc_bench_options *options, mc_error *error, const char *format, ...)
{
    char text[512], line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(line, sizeof line, "%s%s%s%s", suite->seed_count > 1 ? "seed " : "",
             suite->seed_count > 1 ? seed : "", suite->seed_count > 1 ? ": " : "", text);
    if (options->strict)
        return mc_fail(error, MC_MISMATCH, "%s: %s (strict)", suite->tasks[task].name, line);
    if (options->warning)
        options->warning(suite->tasks[task].name, NULL, line, options->user);
    return MC_OK;
}

/* Reports an order of labels that is guessed. */
static mc_status check_labels(const mc_bench_models *m, size_t task, const char *seed,
                              const mc_bench_options *options, mc_error *error)
{
    const mc_pipeline *const pipeline = m->pipelines[task];
    size_t *const map = mc_alloc_zero(pipeline->label_count + 1, sizeof *map);
    bool guessed = false;
    if (!map)
        return mc_fail_memory(error);
    const mc_status status = mc_match_labels(pipeline, m->suite->tasks[task].task, map, &guessed,
                                             error);
    mc_free(map);
    if (status != MC_OK || !guessed)
        return status;
    return mc_bench_warn(m->suite, seed, task, options, error,
                         "the model's labels have no names: the order of the task's labels is "
                         "assumed");
}

/* What predictions depend on beside the weights: the configuration and the tokens. */
static mc_status hash_inputs(mc_bench_models *m, size_t task, const mc_glue_data *data,
                             const char *seed, const mc_bench_options *options, mc_error *error)
{
    const mc_pipeline *const pipeline = m->pipelines[task];
    mc_token_batch tokens = {0};
    mc_status status = mc_token_batch_make(pipeline, data, false, &tokens, error);
    if (status == MC_OK) {
        const uint64_t hash = mc_hash_tokens(&tokens);
        m->fingerprint = mc_hash_text(m->fingerprint, pipeline->config_text);
        m->fingerprint = mc_hash_bytes(m->fingerprint, &hash, sizeof hash);
        if (tokens.truncated)
            status = mc_bench_warn(m->suite, seed, task, options, error,
                                   "%zu of %zu examples were truncated", tokens.truncated,
                                   mc_glue_count(data));
    }
    mc_token_batch_free(&tokens);
    return status;
}

static mc_status fill(mc_bench_models *m, const char *seed, const mc_bench_data *data,
                      const mc_bench_options *options, char **names, mc_error *error)
{
    const mc_pipeline_options how = {.threads = options->threads, .cancel = options->cancel};
    MC_TRY(open_all(m, seed, options, names, error));
    MC_TRY(find_heads(m, error));
    m->fingerprint = MC_HASH_START;
    for (size_t t = 0; t <= m->task_count; t++) {
        const mc_model *const model = t < m->task_count ? m->models[t] : m->base;
        const uint64_t hash = mc_model_fingerprint(model);
        m->fingerprint = mc_hash_bytes(m->fingerprint, &hash, sizeof hash);
    }
    for (size_t t = 0; t < m->task_count; t++) {
        MC_TRY(mc_pipeline_open(m->models[t], &how, &m->pipelines[t], error));
        MC_TRY(hash_inputs(m, t, data->of[t], seed, options, error));
        MC_TRY(check_labels(m, t, seed, options, error));
    }
    return MC_OK;
}

mc_status mc_bench_open(const mc_suite *suite, const char *seed, const mc_bench_data *data,
                        const mc_bench_options *options, mc_bench_models *out, mc_error *error)
{
    char **const names = mc_alloc_zero(suite->task_count + 1, sizeof *names);
    *out = (mc_bench_models){.suite = suite,
                             .task_count = suite->task_count,
                             .models = mc_alloc_zero(suite->task_count, sizeof *out->models),
                             .pipelines = mc_alloc_zero(suite->task_count, sizeof *out->pipelines)};
    const mc_status status = names && out->models && out->pipelines
                                 ? fill(out, seed, data, options, names, error)
                                 : mc_fail_memory(error);
    for (size_t i = 0; names && i <= suite->task_count; i++)
        mc_free(names[i]);
    mc_free(names);
    return status;
}

void mc_bench_close(mc_bench_models *m)
{
    for (size_t t = 0; t < m->task_count; t++) {
        mc_pipeline_close(m->pipelines ? m->pipelines[t] : NULL);
        mc_model_close(m->models ? m->models[t] : NULL);
    }
    for (size_t i = 0; i < m->head_count; i++)
        mc_free(m->heads[i]);
    mc_free(m->heads);
    mc_free(m->pipelines);
    mc_free(m->models);
    mc_model_close(m->base);
    *m = (mc_bench_models){0};
}

/* ---- scores --------------------------------------------------------------------------------- */

/* A copy of the encoder's state dict, with the head of the task's own model. */
static mc_status with_head(const mc_bench_models *m, size_t task, const mc_state_dict *encoder,
                           mc_state_dict **out, mc_error *error)
{
    const mc_state_dict *const own = mc_model_state_dict(m->models[task]);
    MC_TRY(mc_state_dict_copy(encoder, out, error));
    for (size_t i = 0; i < m->head_count; i++) {
        mc_source *const head = mc_state_dict_find(own, m->heads[i]);
        if (head)
            MC_TRY(mc_state_dict_set(*out, m->heads[i], head, error));
    }
    return MC_OK;
}

/*
 * The metric of one part. Labels of the other part become NaN, which the metrics count as missing,
 * so that predictions are computed only once.
 */
static mc_status score_part(const mc_suite_task *task, double share, bool validation,
                            const mc_glue_data *data, const mc_evaluation *all, mc_metric *out,
                            mc_error *error)
{
    mc_metric metrics[MC_GLUE_METRICS];
    double *const labels = mc_alloc(all->examples * sizeof *labels);
    if (!labels)
        return mc_fail_memory(error);
    for (size_t i = 0; i < all->examples; i++)
        labels[i] = is_validation(share, i) == validation ? mc_glue_example_at(data, i).label
                                                          : (double)NAN;
    const size_t count = mc_glue_score(task->task, all->predictions, labels, all->examples,
                                       metrics);
    mc_free(labels);
    if (count == 0)
        return mc_fail_memory(error);
    size_t wanted = 0;
    for (size_t i = 0; task->metric && i < count; i++)
        wanted = strcmp(metrics[i].name, task->metric) == 0 ? i : wanted;
    *out = metrics[wanted];
    return MC_OK;
}

static mc_status score_both(const mc_suite *suite, size_t task, const mc_glue_data *data,
                            const mc_evaluation *all, mc_part_score *out, mc_error *error)
{
    mc_metric validation, rest;
    const mc_suite_task *const of = &suite->tasks[task];
    MC_TRY(score_part(of, suite->validation, true, data, all, &validation, error));
    MC_TRY(score_part(of, suite->validation, false, data, all, &rest, error));
    *out = (mc_part_score){validation.value, rest.value, rest.standard_error};
    return MC_OK;
}

mc_status mc_bench_score_task(const mc_bench_models *models, const mc_bench_data *data, size_t task,
                              const mc_state_dict *encoder, mc_part_score *out, mc_error *error)
{
    const mc_suite *const suite = models->suite;
    mc_pipeline *const pipeline = models->pipelines[task];
    mc_state_dict *weights = NULL;
    mc_evaluation all = {0};
    mc_status status = with_head(models, task, encoder, &weights, error);
    if (status == MC_OK)
        status = mc_pipeline_load(pipeline, weights, error);
    if (status == MC_OK)
        status = mc_pipeline_evaluate(pipeline, suite->tasks[task].task, data->of[task], NULL, &all,
                                      error);
    if (status == MC_OK)
        status = score_both(suite, task, data->of[task], &all, out, error);
    mc_evaluation_free(&all);
    mc_state_dict_free(weights);
    return status;
}
