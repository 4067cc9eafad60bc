#include "pipeline/pipeline.h"

#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "checkpoint/renames.h"
#include "model/model.h"

#include <stdio.h>
#include <string.h>

/* A few of the encoder's groups per thread, so that threads hardly wait for each other. */
enum { BATCH_TOKENS_A_THREAD = 4096 };

static const mc_dtype dtypes[] = {
    [MC_PRECISION_F32] = MC_F32, [MC_PRECISION_BF16] = MC_BF16, [MC_PRECISION_INT8] = MC_I8};

void mc_pipeline_close(mc_pipeline *pipeline)
{
    if (!pipeline)
        return;
    for (size_t i = 0; pipeline->labels && i < pipeline->label_count; i++)
        mc_free(pipeline->labels[i]);
    mc_free(pipeline->labels);
    mc_state_dict_free(pipeline->weights);
    mc_encoder_free(pipeline->encoder);
    mc_tokenizer_close(pipeline->tokenizer);
    json_decref(pipeline->config);
    mc_free(pipeline->config_text);
    mc_free(pipeline->folder);
    mc_free(pipeline);
}

/* ---- labels ---------------------------------------------------------------------------------- */

/* id2label if it names all labels, else LABEL_0, … as in transformers. */
static mc_status read_labels(mc_pipeline *pipeline, mc_error *error)
{
    const json_t *const map = json_object_get(pipeline->config, "id2label");
    pipeline->label_count = (size_t)mc_encoder_label_count(pipeline->encoder);
    pipeline->labels = mc_alloc_zero(pipeline->label_count, sizeof *pipeline->labels);
    pipeline->named = json_object_size(map) == pipeline->label_count;
    for (size_t i = 0; pipeline->labels && i < pipeline->label_count; i++) {
        char id[24];
        snprintf(id, sizeof id, "%zu", i);
        const char *const name = json_string_value(json_object_get(map, id));
        /* Names count only if there is one for each label. */
        pipeline->named &= name != NULL;
        pipeline->labels[i] = name ? mc_strdup(name) : mc_format("LABEL_%zu", i);
        if (!pipeline->labels[i])
            return mc_fail_memory(error);
    }
    return pipeline->labels ? MC_OK : mc_fail_memory(error);
}

size_t mc_pipeline_label_count(const mc_pipeline *pipeline)
{
    return pipeline->label_count;
}

const char *mc_pipeline_label(const mc_pipeline *pipeline, size_t index)
{
    return pipeline->labels[index];
}

/* ---- opening --------------------------------------------------------------------------------- */

static mc_pipeline_options resolve(const mc_pipeline_options *options)
{
    mc_pipeline_options resolved = options ? *options : (mc_pipeline_options){0};
    if (resolved.threads <= 0)
        resolved.threads = mc_cpu_count();
    if (resolved.batch_tokens == 0)
        resolved.batch_tokens = (size_t)resolved.threads * BATCH_TOKENS_A_THREAD;
    return resolved;
}

static size_t smaller_limit(size_t a, size_t b)
{
    return a && (!b || a < b) ? a : b;
}

/* Rejects tokenizers with ids beyond the encoder's rows, which only some texts would reveal. */
static mc_status check_vocabulary(const mc_pipeline *pipeline, mc_error *error)
{
    const size_t tokens = mc_tokenizer_vocabulary_size(pipeline->tokenizer);
    const size_t rows = (size_t)mc_encoder_vocabulary_size(pipeline->encoder);
    if (tokens <= rows)
        return MC_OK;
    return mc_fail_at(error, MC_MISMATCH, pipeline->folder, NULL, -1,
                      "expected a tokenizer of at most %zu tokens (vocab_size), found %zu", rows,
                      tokens);
}

/*
 * Order of members does not matter to mc_pipeline_close, which accepts a pipeline that is half
 * made.
 */
static mc_status fill(mc_pipeline *pipeline, const char *config, const char *folder,
                      const mc_pipeline_options *options, mc_error *error)
{
    pipeline->options = resolve(options);
    pipeline->folder = mc_strdup(folder);
    pipeline->config_text = mc_strdup(config);
    char *const file = mc_format("%s/config.json", folder);
    mc_status status = pipeline->folder && pipeline->config_text && file ? MC_OK
                                                                         : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_in_file(error, file,
                            mc_json_parse(config, strlen(config), &pipeline->config, error));
    if (status == MC_OK)
        status = mc_encoder_new(pipeline->config, file, dtypes[pipeline->options.precision],
                                &pipeline->encoder, error);
    mc_free(file);
    MC_TRY(status);
    /*
     * After the encoder: an architecture that is not known is reported without reading the
     * tokenizer.
     */
    MC_TRY(mc_tokenizer_open(folder, &pipeline->tokenizer, error));
    /* The tokenizer truncates to the smaller limit; 0 is none. */
    pipeline->max_length = smaller_limit(mc_tokenizer_max_length(pipeline->tokenizer),
                                         (size_t)mc_encoder_max_length(pipeline->encoder));
    MC_TRY(check_vocabulary(pipeline, error));
    return read_labels(pipeline, error);
}

mc_status mc_pipeline_new(const char *config, const char *folder,
                          const mc_pipeline_options *options, mc_pipeline **out, mc_error *error)
{
    /* The value indexes a table, and may come from another version of the header. */
    if (options && (size_t)options->precision >= sizeof dtypes / sizeof *dtypes)
        return mc_fail(error, MC_USAGE, "expected a precision of pipeline.h, found %d",
                       (int)options->precision);
    mc_pipeline *const pipeline = mc_alloc_zero(1, sizeof *pipeline);
    if (!pipeline)
        return mc_fail_memory(error);
    const mc_status status = fill(pipeline, config, folder, options, error);
    if (status != MC_OK) {
        mc_pipeline_close(pipeline);
        return status;
    }
    *out = pipeline;
    return MC_OK;
}

mc_status mc_pipeline_load(mc_pipeline *pipeline, const mc_state_dict *weights, mc_error *error)
{
    /* The encoder has its own form of the weights; merges of pipelines read these. */
    mc_state_dict *kept = NULL;
    MC_TRY(mc_rename_old(weights, &kept, error));
    mc_state_dict_free(pipeline->weights);
    /* If loading fails, the encoder has no weights either. */
    pipeline->weights = NULL;
    const mc_status status = mc_encoder_load(pipeline->encoder, kept, pipeline->options.threads,
                                             pipeline->options.cancel, error);
    if (status == MC_OK)
        pipeline->weights = kept;
    else
        mc_state_dict_free(kept);
    return status;
}

mc_status mc_pipeline_open(const mc_model *model, const mc_pipeline_options *options,
                           mc_pipeline **out, mc_error *error)
{
    mc_pipeline *pipeline = NULL;
    if (!mc_model_config(model))
        return mc_fail_at(error, MC_NOT_FOUND, mc_model_folder(model), NULL, -1,
                          "expected config.json, found none");
    MC_TRY(
        mc_pipeline_new(mc_model_config(model), mc_model_folder(model), options, &pipeline, error));
    mc_status status = mc_pipeline_load(pipeline, mc_model_state_dict(model), error);
    if (status == MC_OK)
        /* A file that changed while it was read gave a mixture of both. */
        status = mc_model_check(model, error);
    if (status != MC_OK) {
        mc_pipeline_close(pipeline);
        return mc_in_file(error, mc_model_name(model), status);
    }
    *out = pipeline;
    return MC_OK;
}

const mc_state_dict *mc_pipeline_state_dict(const mc_pipeline *pipeline)
{
    return pipeline->weights;
}

const mc_tokenizer *mc_pipeline_tokenizer(const mc_pipeline *pipeline)
{
    return pipeline->tokenizer;
}

size_t mc_pipeline_max_length(const mc_pipeline *pipeline)
{
    return pipeline->max_length;
}
