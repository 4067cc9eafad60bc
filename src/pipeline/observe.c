/* Statistics of a model: texts → tokens → activations and gradients → a file. */
#include <mergecraft/observe.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/system.h"
#include "model/statistics.h"
#include "nn/observe.h"
#include "pipeline/batch.h"
#include "pipeline/labels.h"
#include "pipeline/scores.h"
#include "pipeline/statistics_cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * The state of an observation; close() frees it.
 *
 * Steps of an observation. A file in the cache is named by a hash of everything that its values
 * depend on, so a file that exists holds these values.
 *
 *   tokens ──▶ labels (empirical) ──▶ digests of the weights ──▶ key ──▶ cached? ──▶ done
 *                                                                           │ no
 *                                                                           ▼
 *                                 file ◀── Fisher information ◀── Gram matrices
 */
typedef struct observation {
    const mc_pipeline *pipeline;
    const mc_state_dict *weights;
    const mc_glue_task *task;
    const mc_glue_data *data;
    const mc_observe_options *options;
    const mc_pipeline_run *run;
    mc_token_batch tokens;
    double *labels; /* of MC_FISHER_EMPIRICAL: columns of the logits, or values */
    json_t *digests, *shared;
    mc_state_dict *out;
    mc_observe_result *result;
    double done; /* tokens of passes that are complete */
    int passes;
} observation;

static void close(observation *o)
{
    mc_token_batch_free(&o->tokens);
    mc_free(o->labels);
    json_decref(o->digests);
    json_decref(o->shared);
    mc_state_dict_free(o->out);
}

/* ---- tokens and labels ----------------------------------------------------------------------- */

static mc_status tokenize(observation *o, mc_error *error)
{
    MC_TRY(mc_token_batch_make(o->pipeline, o->data, false, &o->tokens, error));
    o->result->truncated = o->tokens.truncated;
    o->result->examples = o->tokens.batch.count;
    o->result->tokens = o->tokens.starts[o->tokens.batch.count];
    return MC_OK;
}

static double column_of(const size_t *map, size_t count, double label)
{
    for (size_t i = 0; i < count; i++)
        if ((double)map[i] == label)
            return (double)i;
    return (double)NAN;
}

static mc_status read_labels(observation *o, size_t *map, mc_error *error)
{
    const size_t labels = o->pipeline->label_count;
    MC_TRY(mc_match_labels(o->pipeline, o->task, map, &o->result->labels_guessed, error));
    const bool values = mc_pipeline_scoring(o->pipeline) == MC_SCORE_PLAIN;
    if (values != (o->task->label_count == 0))
        return mc_fail_at(error, MC_MISMATCH, o->pipeline->folder, NULL, -1,
                          "expected a %s for the labels of %s, found a %s",
                          values ? "classifier" : "regression", o->task->name,
                          values ? "regression" : "classifier");
    for (size_t i = 0; i < o->tokens.batch.count; i++) {
        const double label = mc_glue_example_at(o->data, i).label;
        o->labels[i] = o->task->label_count > 0 ? column_of(map, labels, label) : label;
        if (isnan(o->labels[i]))
            return mc_fail(error, MC_USAGE,
                           "example %zu: expected a label for the empirical form, found none",
                           i + 1);
    }
    return MC_OK;
}

static mc_status find_labels(observation *o, mc_error *error)
{
    if (!o->options->fishers || o->options->form != MC_FISHER_EMPIRICAL)
        return MC_OK;
    size_t *const map = mc_alloc_zero(o->pipeline->label_count, sizeof *map);
    o->labels = mc_alloc(o->tokens.batch.count * sizeof *o->labels);
    const mc_status status = map && o->labels ? read_labels(o, map, error) : mc_fail_memory(error);
    mc_free(map);
    return status;
}

/* ---- observing ------------------------------------------------------------------------------- */

static void on_tokens(double tokens, void *user)
{
    const observation *const o = user;
    const size_t total = o->result->tokens * (size_t)o->passes;
    o->run->progress((size_t)(o->done + tokens), total, o->run->user);
}

static mc_status new_trace(const observation *o, bool whole, mc_trace_f32 **out, mc_error *error)
{
    const volatile int *const cancel = o->run ? o->run->cancel : NULL;
    MC_TRY(mc_trace_new_f32(o->pipeline->config, "config.json", whole, o->pipeline->options.threads,
                            out, error));
    return mc_trace_load_f32(*out, o->weights, cancel, error);
}

/* Adds SIDE/NAME, which takes over the array. */
static mc_status add_array(observation *o, const char *side, const mc_weight *w, float **array,
                           mc_error *error)
{
    const bool gram = strcmp(side, "grams") == 0;
    const int64_t square[] = {w->shape[1], w->shape[1]};
    char *const name = mc_format("%s/%s", side, w->name);
    mc_source *source = NULL;
    mc_status status = name ? mc_source_wrap(MC_F32, gram ? 2 : w->rank, gram ? square : w->shape,
                                             *array, mc_free, *array, &source, error)
                            : mc_fail_memory(error);
    if (status == MC_OK)
        /* The source owns the array now; mc_observed_free must not free it. */
        *array = NULL;
    if (status == MC_OK)
        status = mc_state_dict_set(o->out, name, source, error);
    mc_source_unref(source);
    mc_free(name);
    return status;
}

static mc_status add_arrays(observation *o, const char *side, const mc_network *n,
                            mc_observed *found, mc_error *error)
{
    for (size_t i = 0; i < n->weight_count; i++) {
        /*
         * Layers that read the same value have one Gram matrix; the file names its owner for the
         * others.
         */
        const size_t owner = found->owner[i];
        if (owner != i)
            o->shared = mc_json_put(o->shared, n->weights[i].name,
                                    json_string(n->weights[owner].name));
        else if (found->arrays[i])
            MC_TRY(add_array(o, side, &n->weights[i], &found->arrays[i], error));
    }
    return o->shared ? MC_OK : mc_fail_memory(error);
}

static mc_likelihood likelihood_of(const mc_pipeline *pipeline)
{
    switch (mc_pipeline_scoring(pipeline)) {
    case MC_SCORE_SOFTMAX:
        return MC_LIKELIHOOD_SOFTMAX;
    case MC_SCORE_SIGMOID:
        return MC_LIKELIHOOD_SIGMOID;
    case MC_SCORE_PLAIN:
        break;
    }
    return MC_LIKELIHOOD_NORMAL;
}

/* One kind of statistics. */
static mc_status observe(observation *o, bool grams, mc_error *error)
{
    const mc_watch watch = {.cancel = o->run ? o->run->cancel : NULL,
                            .progress = o->run && o->run->progress ? on_tokens : NULL,
                            .user = o};
    const mc_gradients_of form = o->options->form == MC_FISHER_EMPIRICAL ? MC_OF_OWN_LABEL
                                                                         : MC_OF_LABELS;
    mc_trace_f32 *trace = NULL;
    mc_observed found = {0};
    mc_status status = new_trace(o, grams, &trace, error);
    if (status == MC_OK && grams)
        o->result->singular = mc_grams_are_singular(mc_trace_network_f32(trace), o->result->tokens);
    if (status == MC_OK)
        status = grams
                     ? mc_observe_grams(trace, &o->tokens.batch, &watch, &found, error)
                     : mc_observe_fisher(trace, &o->tokens.batch, form, likelihood_of(o->pipeline),
                                         o->labels, &watch, &found, error);
    if (status == MC_OK)
        status = add_arrays(o, grams ? "grams" : "fishers", mc_trace_network_f32(trace), &found,
                            error);
    /* Progress of the next kind begins where this one ended. */
    o->done += (double)o->result->tokens;
    mc_observed_free(&found);
    mc_trace_free_f32(trace);
    return status;
}

/* ---- where from ------------------------------------------------------------------------------ */

static mc_status find_digests(observation *o, mc_error *error)
{
    const size_t count = mc_encoder_weight_count(o->pipeline->encoder);
    const char **const names = mc_alloc(count * sizeof *names);
    if (!names)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        names[i] = mc_encoder_weight_name(o->pipeline->encoder, i);
    const mc_status status = mc_digests(o->weights, names, count, o->pipeline->options.threads,
                                        &o->digests, error);
    mc_free(names);
    return status;
}

static const char *form_name(mc_fisher_form form)
{
    return form == MC_FISHER_EMPIRICAL ? "empirical" : "exact";
}

/*
 * Everything that the values depend on. Tokens and labels rather than texts: they also depend on
 * the files of the tokenizer and on the task.
 */
static mc_status find_key(const observation *o, uint64_t *out, mc_error *error)
{
    char *const digests = json_dumps(o->digests, JSON_COMPACT);
    if (!digests)
        return mc_fail_memory(error);
    uint64_t hash = mc_hash_text(MC_HASH_START, MC_STATISTICS_VERSION);
    hash = mc_hash_text(hash, digests);
    hash = mc_hash_text(hash, o->pipeline->config_text);
    const uint64_t numbers[] = {mc_hash_tokens(&o->tokens), o->options->grams, o->options->fishers,
                                o->options->fishers ? o->options->form : 0};
    hash = mc_hash_bytes(hash, numbers, sizeof numbers);
    *out = o->labels ? mc_hash_bytes(hash, o->labels, o->tokens.batch.count * sizeof *o->labels)
                     : hash;
    free(digests);
    return MC_OK;
}

static mc_status save(observation *o, mc_error *error)
{
    const mc_statistics_origin origin = {.model = o->pipeline->folder,
                                         .task = o->task->name,
                                         .data = mc_glue_path(o->data),
                                         .form = form_name(o->options->form),
                                         .examples = o->result->examples,
                                         .tokens = o->result->tokens,
                                         .truncated = o->result->truncated,
                                         .singular = o->result->singular};
    return mc_statistics_write(o->result->path, o->out, &origin, o->digests, o->shared, error);
}

static mc_status check_form(mc_fisher_form form, mc_error *error)
{
    return form == MC_FISHER_EXACT || form == MC_FISHER_EMPIRICAL
               ? MC_OK
               : mc_fail(error, MC_USAGE,
                         "form: expected MC_FISHER_EXACT or MC_FISHER_EMPIRICAL, found %d",
                         (int)form);
}

/* ---- all together ---------------------------------------------------------------------------- */

static mc_status run_all(observation *o, mc_error *error)
{
    o->shared = json_object();
    o->passes = o->options->grams + o->options->fishers;
    MC_TRY(mc_state_dict_new(&o->out, error));
    if (o->options->grams)
        MC_TRY(observe(o, true, error));
    if (o->options->fishers)
        MC_TRY(observe(o, false, error));
    return save(o, error);
}

static mc_status observe_to(observation *o, const char *path, mc_error *error)
{
    uint64_t key = 0;
    MC_TRY(tokenize(o, error));
    MC_TRY(find_labels(o, error));
    /* The digests are also stored in the file: they identify the weights. */
    MC_TRY(find_digests(o, error));
    MC_TRY(find_key(o, &key, error));
    MC_TRY(mc_statistics_place(path, key, o->result, error));
    return o->result->cached ? MC_OK : run_all(o, error);
}

mc_status mc_pipeline_observe(const mc_pipeline *pipeline, const mc_state_dict *weights,
                              const mc_glue_task *task, const mc_glue_data *data,
                              const mc_observe_options *options, const mc_pipeline_run *run,
                              const char *path, mc_observe_result *result, mc_error *error)
{
    mc_observe_result ignored;
    observation o = {.pipeline = pipeline,
                     .weights = weights ? weights : pipeline->weights,
                     .task = task,
                     .data = data,
                     .options = options,
                     .run = run,
                     .result = result ? result : &ignored};
    *o.result = (mc_observe_result){0};
    MC_TRY(check_form(options->form, error));
    if (!options->grams && !options->fishers)
        return mc_fail(error, MC_USAGE, "expected grams or fishers to observe, found neither");
    if (!o.weights)
        return mc_fail(error, MC_USAGE, "expected a pipeline with weights, found none");
    const double start = mc_seconds();
    const mc_status status = observe_to(&o, path, error);
    o.result->seconds = mc_seconds() - start;
    close(&o);
    return status;
}

/* ---- statistics of others -------------------------------------------------------------------- */

static mc_status digests_of(const mc_state_dict *weights, json_t **out, mc_error *error)
{
    const size_t count = mc_state_dict_count(weights);
    const char **const names = mc_alloc((count + 1) * sizeof *names);
    if (!names)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        names[i] = mc_state_dict_name(weights, i);
    const mc_status status = mc_digests(weights, names, count, mc_cpu_count(), out, error);
    mc_free(names);
    return status;
}

mc_status mc_statistics_save(const mc_statistics_file *statistics, const char *path,
                             mc_error *error)
{
    const mc_statistics_origin origin = {.model = statistics->model,
                                         .data = statistics->data,
                                         .form = form_name(statistics->form),
                                         .examples = statistics->examples,
                                         .tokens = statistics->tokens};
    MC_TRY(check_form(statistics->form, error));
    json_t *digests = NULL, *shared = json_object();
    for (size_t i = 0; i < statistics->shared_count; i++)
        shared = mc_json_put(shared, statistics->shared[i][0],
                             mc_json_text(statistics->shared[i][1]));
    mc_status status = shared ? digests_of(statistics->weights, &digests, error)
                              : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_statistics_write(path, statistics->values, &origin, digests, shared, error);
    json_decref(digests);
    json_decref(shared);
    return status;
}
