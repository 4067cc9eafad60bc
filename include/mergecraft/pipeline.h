/*
 * Text-classification pipelines, as in transformers: the tokenizer, encoder and labels of a model.
 * A pipeline classifies texts and scores the model on a GLUE task:
 *
 *     mc_pipeline_open(model, NULL, &pipeline, &error);
 *     mc_pipeline_evaluate(pipeline, task, data, NULL, &evaluation, &error);
 *
 * A pipeline packs its own copies of the weights, so the model may be closed. mc_pipeline_load
 * replaces them by other weights of the same shapes, such as a lazy merge.
 *
 * Threads: functions that take a `const mc_pipeline *` may run in several threads at once. Results
 * are the same for any number of threads and any batch size on one CPU.
 */
#ifndef MERGECRAFT_PIPELINE_H
#define MERGECRAFT_PIPELINE_H

#include <mergecraft/glue.h>
#include <mergecraft/merge.h>
#include <mergecraft/model.h>
#include <mergecraft/tokenizer.h>

MC_BEGIN_DECLS

typedef struct mc_pipeline mc_pipeline;

/*
 * Number format of matrix products; attention, normalisation and activations are always float32.
 * INT8 is dynamic, symmetric quantisation: one scale per row of weights and of activations, and
 * exact sums.
 */
typedef enum mc_precision { MC_PRECISION_F32, MC_PRECISION_BF16, MC_PRECISION_INT8 } mc_precision;

/* Zero is the default of every field. */
typedef struct mc_pipeline_options {
    mc_precision precision;
    int threads;         /* 0: all CPUs that the process may use */
    size_t batch_tokens; /* tokens per batch; 0: 4096 per thread */
    /*
     * Stops opening and loading within a second (MC_INTERRUPTED) once it is not 0; NULL: never.
     * The pipeline keeps the pointer for mc_pipeline_load.
     */
    const volatile int *cancel;
    void *reserved[4]; /* must be zero */
} mc_pipeline_options;

/*
 * Opens the tokenizer of a model and loads its weights. `options` may be NULL. Close with
 * mc_pipeline_close.
 *
 * Errors: MC_UNSUPPORTED  architecture, tokenizer or precision is not known; the CPU has no bf16 or
 *                         int8 products; oneDNN is not installed
 *         MC_FORMAT       the configuration contradicts itself or the tensors; NaN in a weight
 *         MC_NOT_FOUND    config.json or the tokenizer's files are missing
 *         MC_INTERRUPTED  options->cancel
 */
MC_API mc_status mc_pipeline_open(const mc_model *model, const mc_pipeline_options *options,
                                  mc_pipeline **out, mc_error *error);

/*
 * Creates a pipeline without weights from the text of a config.json and the folder with the
 * tokenizer's files. Call mc_pipeline_load before anything is computed.
 *
 * Errors: as mc_pipeline_open
 */
MC_API mc_status mc_pipeline_new(const char *config, const char *folder,
                                 const mc_pipeline_options *options, mc_pipeline **out,
                                 mc_error *error);

/*
 * Loads the weights that the encoder needs, reading each once. Other tensors of the state dict are
 * ignored; lazy ones are not computed. Reuses the memory of the previous weights: in a sweep over
 * merges, only the merge and the encoder take time. After an error the pipeline has no weights. No
 * other thread may use the pipeline meanwhile.
 *
 * Errors: MC_NOT_FOUND    a tensor is missing
 *         MC_MISMATCH     a tensor has another shape than the configuration says, or no floats
 *         MC_FORMAT       NaN or infinity in a weight
 *         MC_INTERRUPTED  cancel of the pipeline's options
 */
MC_API mc_status mc_pipeline_load(mc_pipeline *pipeline, const mc_state_dict *weights,
                                  mc_error *error);

/*
 * Merges the models of pipelines into a new pipeline. Configuration, labels, tokenizer and options
 * are those of the last one. `base` and `report` may be NULL. `input` (may be NULL) is as for
 * mc_model_merge; its models and base are ignored.
 */
MC_API mc_status mc_pipeline_merge(const mc_method *method, const mc_pipeline *const *pipelines,
                                   size_t count, const mc_pipeline *base,
                                   const mc_merge_input *input, mc_pipeline **out,
                                   mc_report *report, mc_error *error);

/*
 * Runs a plan in memory and makes a pipeline of the result: only the tensors that the encoder needs
 * are read and computed, and nothing is written. Configuration, labels, tokenizer and the bits of
 * the weights equal those of the folder that mc_plan_run writes. `result` may be NULL; it receives
 * tensors and seconds. The plan's models must stay open as long as the pipeline.
 */
MC_API mc_status mc_pipeline_from_plan(const mc_plan *plan, const mc_pipeline_options *options,
                                       mc_pipeline **out, mc_run_result *result, mc_error *error);

MC_API void mc_pipeline_close(mc_pipeline *pipeline); /* accepts NULL */

/* The weights that were loaded last, as they were given (lazy, or stored in files); NULL: none. */
MC_API const mc_state_dict *mc_pipeline_state_dict(const mc_pipeline *pipeline); /* borrowed */
MC_API const mc_tokenizer *mc_pipeline_tokenizer(const mc_pipeline *pipeline);   /* borrowed */
/* Tokens per text: the smaller of the tokenizer's and the encoder's limit. Texts are truncated. */
MC_API size_t mc_pipeline_max_length(const mc_pipeline *pipeline);
/* Number of labels; 1 for regression. */
MC_API size_t mc_pipeline_label_count(const mc_pipeline *pipeline);
/* A label's name: of id2label, or LABEL_0, …. Valid as long as the pipeline. */
MC_API const char *mc_pipeline_label(const mc_pipeline *pipeline, size_t index);

/*
 * A text, or a pair of texts (pair NULL: a single text), in UTF-8; invalid bytes become U+FFFD.
 * A size of 0 means that the text ends at its terminator.
 */
typedef struct mc_text_input {
    const char *text;
    size_t size;
    const char *pair;
    size_t pair_size;
} mc_text_input;

/* How to run; NULL, or zero in a field, for the defaults. */
typedef struct mc_pipeline_run {
    const volatile int *cancel; /* stops within a second (MC_INTERRUPTED) once it is not 0 */
    /*
     * Called from the calling thread when the first tokens are to be computed, several times per
     * second after that, and at the end, with the number of tokens that are computed. `total` is an
     * estimate until all texts are tokenized; at the end done is total.
     */
    void (*progress)(size_t done, size_t total, void *user);
    void *user;
    size_t *truncated; /* receives the number of texts that were truncated; may be NULL */
} mc_pipeline_run;

/* Encodes one text with special tokens, truncated as for the model. */
MC_API mc_status mc_pipeline_tokenize(const mc_pipeline *pipeline, const mc_text_input *text,
                                      mc_encoding *out, mc_error *error);

/*
 * Computes the logits of `count` texts: out[count][labels], row-major.
 *
 * Errors: MC_USAGE        the pipeline has no weights
 *         MC_FORMAT       logits are not finite
 *         MC_INTERRUPTED  run->cancel
 */
MC_API mc_status mc_pipeline_logits(const mc_pipeline *pipeline, const mc_text_input *texts,
                                    size_t count, const mc_pipeline_run *run, float *out,
                                    mc_error *error);

/*
 * Computes the scores that transformers' pipeline shows: out[count][labels]. Softmax, or sigmoid
 * for a single label or labels that do not exclude each other (problem_type), or the plain value
 * for regression.
 *
 * Errors: as mc_pipeline_logits
 */
MC_API mc_status mc_pipeline_classify(const mc_pipeline *pipeline, const mc_text_input *texts,
                                      size_t count, const mc_pipeline_run *run, float *out,
                                      mc_error *error);

/*
 * Describes a data set of your own (glue.h) with the pipeline's labels. Free with
 * mc_glue_task_free.
 */
MC_API mc_status mc_pipeline_task(const mc_pipeline *pipeline, const char *name,
                                  const mc_glue_columns *columns, mc_glue_task **out,
                                  mc_error *error);

/* The result of an evaluation. */
typedef struct mc_evaluation {
    size_t examples;
    bool labelled; /* false: the split has no labels, so there are no metrics */
    mc_metric metrics[MC_GLUE_METRICS];
    size_t metric_count;
    mc_metric loss;      /* mc_glue_loss of the logits; NaN without labels */
    bool guessed;        /* the model's label names do not match: they were taken in order */
    size_t truncated;    /* examples that were truncated */
    size_t label_count;  /* columns of scores */
    double *predictions; /* [examples]: the task's label, or the value for regression */
    float *scores;       /* [examples][label_count], in the model's order of labels */
    double seconds;      /* of tokenizing and computing */
} mc_evaluation;

/*
 * Predicts every example and compares. Labels match by name ("entailment"), ignoring case, '-', '_'
 * and blanks. Names without a meaning, such as LABEL_0, are taken in the task's order, and
 * `guessed` is set. Free with mc_evaluation_free.
 *
 * Errors: MC_MISMATCH  the model's labels cannot be the task's
 *         otherwise as mc_pipeline_logits
 */
MC_API mc_status mc_pipeline_evaluate(const mc_pipeline *pipeline, const mc_glue_task *task,
                                      const mc_glue_data *data, const mc_pipeline_run *run,
                                      mc_evaluation *out, mc_error *error);
MC_API void mc_evaluation_free(mc_evaluation *evaluation);

/*
 * Loads a split of a GLUE task from the folder that the environment variable MERGECRAFT_DATA names.
 * If it is not set, loads it from the Hub's data set nyu-mll/glue (hub.h): cached, or downloaded as
 * `hub` says, which may be NULL.
 */
MC_API mc_status mc_glue_load_default(const mc_glue_task *task, const char *split,
                                      const mc_hub_options *hub, mc_glue_data **out,
                                      mc_error *error);

MC_END_DECLS

#endif
