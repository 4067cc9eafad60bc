/*
 * A text-classification pipeline, as in transformers: tokenizer, encoder and labels of a model. It says what the model makes of
 * texts, and how good it is on a GLUE task:
 *
 *     mc_pipeline_open(model, NULL, &pipeline, &error);
 *     mc_pipeline_evaluate(pipeline, task, data, NULL, &evaluation, &error);
 *
 * Its weights are packed copies: the model may be closed. Other weights of the same shapes, such as a merge that is computed while it
 * is read, can be loaded into the same memory with mc_pipeline_load.
 *
 * Everything that takes a `const mc_pipeline *` may be called from several threads at once. Results are the same for any number of
 * threads and any batch size, on one CPU.
 */
#ifndef MERGECRAFT_PIPELINE_H
#define MERGECRAFT_PIPELINE_H

#include <mergecraft/glue.h>
#include <mergecraft/merge.h>
#include <mergecraft/model.h>
#include <mergecraft/tokenizer.h>

typedef struct mc_pipeline mc_pipeline;

/*
 * What matrix products are computed in; attention, normalisation and activations are in float32 always. INT8: dynamic quantization,
 * symmetric, each row of weights and of activations with a scale of its own; the sums are exact.
 */
typedef enum mc_precision { MC_PRECISION_F32, MC_PRECISION_BF16, MC_PRECISION_INT8 } mc_precision;

/* Zero means the default everywhere. */
typedef struct mc_pipeline_options {
    mc_precision precision;
    int threads;         /* 0: one for each processor that the process may use */
    size_t batch_tokens; /* tokens that are computed at a time; 0: 4096 a thread */
} mc_pipeline_options;

/*
 * Opens a model with its tokenizer and loads its weights; close with mc_pipeline_close, which accepts NULL. Options may be NULL.
 * MC_UNSUPPORTED for an architecture, a tokenizer or a precision that is not known, or a CPU without bf16 or int8 products for those; MC_FORMAT for a
 * configuration that contradicts itself or the tensors; MC_NOT_FOUND without config.json or tokenizer files.
 */
MC_API mc_status mc_pipeline_open(const mc_model *model, const mc_pipeline_options *options,
                                  mc_pipeline **out, mc_error *error);

/*
 * A pipeline without weights: `config` is the text of a config.json, `folder` holds the tokenizer's files. mc_pipeline_load has to be
 * called before anything is computed (MC_USAGE otherwise).
 */
MC_API mc_status mc_pipeline_new(const char *config, const char *folder,
                                 const mc_pipeline_options *options, mc_pipeline **out,
                                 mc_error *error);

/*
 * Loads the weights that the encoder needs, each read once; the rest of the state dict is ignored, and not computed if it is lazy.
 * The memory of weights that were loaded before is used again. Errors name the tensor: missing, of another shape than the
 * configuration says, NaN or infinite. After an error the pipeline has no weights. Not while another thread uses the pipeline.
 */
MC_API mc_status mc_pipeline_load(mc_pipeline *pipeline, const mc_state_dict *weights,
                                  mc_error *error);

/*
 * Merges the models of pipelines into a pipeline: configuration, labels, tokenizer and options are the last one's. `input` says
 * everything but the models and the base, which may be NULL here: what a merge of state dicts makes of those of the pipelines
 * (mc_model_merge) is loaded. `report` may be NULL.
 */
MC_API mc_status mc_pipeline_merge(const mc_method *method, const mc_pipeline *const *pipelines,
                                   size_t count, const mc_pipeline *base,
                                   const mc_merge_input *input, mc_pipeline **out,
                                   mc_report *report, mc_error *error);

/*
 * Merges what a plan says into a pipeline, in memory: nothing is written, and only the tensors that the encoder needs are
 * read and computed. Configuration, labels and tokenizer are the last model's, as in the folder that mc_plan_run writes; so are
 * the bits of the weights. `result` may be NULL; it tells tensors and seconds. The plan's models must stay open as long as the pipeline.
 */
MC_API mc_status mc_pipeline_from_plan(const mc_plan *plan, const mc_pipeline_options *options,
                                       mc_pipeline **out, mc_run_result *result, mc_error *error);

MC_API void mc_pipeline_close(mc_pipeline *pipeline);

/* The weights that were loaded last, as they came (lazy, or those of the model's files); NULL if there are none. Borrowed. */
MC_API const mc_state_dict *mc_pipeline_state_dict(const mc_pipeline *pipeline);
MC_API const mc_tokenizer *mc_pipeline_tokenizer(const mc_pipeline *pipeline); /* borrowed */
/* How many tokens of a text count: the smaller of what tokenizer and encoder allow; longer ones are truncated. */
MC_API size_t mc_pipeline_max_length(const mc_pipeline *pipeline);
/* Number of labels (1 for regression), and their names: id2label, or LABEL_0 …. Valid as long as the pipeline. */
MC_API size_t mc_pipeline_label_count(const mc_pipeline *pipeline);
MC_API const char *mc_pipeline_label(const mc_pipeline *pipeline, size_t index);

/* A text, or a pair of texts (pair NULL: a single one), in UTF-8; what is not UTF-8 becomes U+FFFD. Borrowed. */
typedef struct mc_text_input {
    const char *text;
    size_t size;
    const char *pair;
    size_t pair_size;
} mc_text_input;

/* How to run; NULL, or zero, for the defaults. */
typedef struct mc_pipeline_run {
    const volatile int *cancel; /* stop (MC_INTERRUPTED) once it is not 0; NULL: never */
    /* Called after every batch with the number of examples that are done, from the calling thread; NULL: no calls. */
    void (*progress)(size_t done, size_t total, void *user);
    void *user;
    size_t *truncated; /* set to the number of texts that were too long; NULL: not wanted */
} mc_pipeline_run;

/* Token ids, segment types and count of one text, with special tokens, truncated as the pipeline does it. */
MC_API mc_status mc_pipeline_tokenize(const mc_pipeline *pipeline, const mc_text_input *text,
                                      mc_encoding *out, mc_error *error);

/* Logits of `count` texts: out[count][labels], row-major float32. */
MC_API mc_status mc_pipeline_logits(const mc_pipeline *pipeline, const mc_text_input *texts,
                                    size_t count, const mc_pipeline_run *run, float *out,
                                    mc_error *error);

/*
 * Scores as transformers' pipeline shows them: out[count][labels]; softmax, or sigmoid for a single label or several
 * that do not exclude each other (problem_type), or the plain value for regression.
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

/* How good a pipeline is on the examples of a task. */
typedef struct mc_evaluation {
    size_t examples;
    bool labelled; /* false: the split has no labels, and there are no metrics */
    mc_metric metrics[MC_GLUE_METRICS];
    size_t metric_count;
    mc_metric loss;      /* mc_glue_loss of the logits; NaN without labels */
    bool guessed;        /* the model's labels do not tell the task's: they were taken in order */
    size_t truncated;    /* examples that were longer than the model can read */
    size_t label_count;  /* columns of scores */
    double *predictions; /* [examples]: the task's label, or the value for regression */
    float *
        scores; /* [examples][label_count]: as mc_pipeline_classify, in the model's order of labels */
    double seconds; /* tokenizing and computing */
} mc_evaluation;

/*
 * Predicts every example and compares. Labels are matched by name ("entailment"; case, '-', '_' and blanks do not matter);
 * LABEL_0, numbers, and names that tell nothing are taken in the task's order, and `guessed` says so. MC_MISMATCH if the
 * model's labels cannot be the task's. Free with mc_evaluation_free.
 */
MC_API mc_status mc_pipeline_evaluate(const mc_pipeline *pipeline, const mc_glue_task *task,
                                      const mc_glue_data *data, const mc_pipeline_run *run,
                                      mc_evaluation *out, mc_error *error);
MC_API void mc_evaluation_free(mc_evaluation *evaluation);

/*
 * Loads a split of a GLUE task from where data sets are: the folder in the environment's MERGECRAFT_DATA, if it is set, else
 * the Hub's data set nyu-mll/glue (hub.h), from the cache or downloaded as `hub` says, which may be NULL.
 */
MC_API mc_status mc_glue_load_default(const mc_glue_task *task, const char *split,
                                      const mc_hub_options *hub, mc_glue_data **out,
                                      mc_error *error);

#endif
