/*
 * Merging: state dicts in, state dict out; or models in, folder out. Everything is lazy until run.
 *
 *     mc_dict_map     applies a method to every name that all state dicts have → lazy state dict
 *     mc_model_merge  the same after matching: passthrough layers, missing names, buffers
 *     mc_plan_new     the same for models → a plan that can be inspected, changed, and run
 *
 * Results are the same bits for any number of threads and memory budget, and on any CPU unless the
 * method is MC_SAME_ON_MACHINE.
 *
 * Structs that callers fill are zero-initialised: zero is the default of every field, also of those
 * that later versions make of the reserved space.
 *
 * Thread-safety: different plans, reports and state dicts may be used at the same time; one of them
 * by several threads only while none changes it.
 */
#ifndef MERGECRAFT_MERGE_H
#define MERGECRAFT_MERGE_H

#include <mergecraft/comm.h>
#include <mergecraft/method.h>
#include <mergecraft/model.h>

MC_BEGIN_DECLS

/* A side input of a method: one further state dict per model. */
typedef struct mc_side_dicts {
    const char *name;
    const mc_state_dict *const *items;
    size_t count;
} mc_side_dicts;

/* What a method is applied to. Everything is borrowed. */
typedef struct mc_merge_input {
    const mc_state_dict *const *models; /* the fine-tuned models */
    size_t model_count;
    const mc_state_dict *base; /* NULL: none */
    const mc_side_dicts *sides;
    size_t side_count;
    const char *const *params; /* "NAME=VALUE" each */
    size_t param_count;
    const char *const *passthrough; /* shell patterns of names to average; mc_model_merge only */
    size_t passthrough_count;
    /* Shell patterns of names that are not merged: the tensors of one model are copied. */
    const char *const *exclude;
    size_t exclude_count;
    size_t keep;   /* that model, counted from 1; 0: the last */
    uint64_t seed; /* of methods that draw random numbers */
    bool strict;   /* treat warnings as errors */
    /*
     * Add-ons (mc_method.add_on) that change the result, one after the other. Their parameters are
     * among `params`, as "ADD-ON.NAME=VALUE".
     */
    const mc_method *const *then;
    size_t then_count;
    /*
     * Shell patterns of names: tensors of rank 2 that fit one are matrices to methods that
     * decompose matrices (mc_layer.matrix). None: those that are neither an embedding nor a head.
     */
    const char *const *matrices;
    size_t matrix_count;
    /*
     * Report patterns that no name matches; otherwise they are wrong usage, unless they match the
     * usual name of a head, such as "classifier.weight".
     */
    bool allow_unused;
    /* Set by the library for methods of scope MC_MODEL; read them by mc_input_number. */
    const mc_param *method_params;
    const mc_value *method_values;
    /* The method that runs, also set by the library; a program's own may begin a larger struct. */
    const mc_method *method;
    void *reserved[4]; /* must be zero */
} mc_merge_input;

/*
 * Returns the number (integer, flag, index of the choice) of a parameter, for the body of an
 * MC_MODEL_MERGE; NaN if the method has no such parameter.
 */
static inline double mc_input_number(const mc_merge_input *input, const char *name)
{
    for (size_t i = 0; input->method_params && input->method_params[i].name; i++)
        if (strcmp(input->method_params[i].name, name) == 0)
            return input->method_values[i].numbers[0];
    return (double)NAN;
}

/* The same for a per_input parameter: one number per model. NULL if there is no such parameter. */
static inline const double *mc_input_numbers(const mc_merge_input *input, const char *name)
{
    for (size_t i = 0; input->method_params && input->method_params[i].name; i++)
        if (strcmp(input->method_params[i].name, name) == 0)
            return input->method_values[i].numbers;
    return NULL;
}

/*
 * Warnings, one line each ("2 tensors are only in the base and left out: …"). Functions that accept
 * a report add to it; it may be NULL.
 */
typedef struct mc_report mc_report;
MC_API mc_status mc_report_new(mc_report **out, mc_error *error);
MC_API void mc_report_free(mc_report *report); /* accepts NULL */
MC_API size_t mc_report_count(const mc_report *report);
MC_API const char *mc_report_line(const mc_report *report, size_t index);

/*
 * Applies a layer method to every name that all models (and the base, and every side input) have,
 * in the order of the first model. The result is lazy and keeps its own references to the inputs'
 * tensors. Names that some lack are left out and reported.
 *
 * Errors: MC_USAGE     no method, or it does not fit: parameters, base, number of models, sides
 *         MC_MISMATCH  no name is common, or shapes differ
 */
MC_API mc_status mc_dict_map(const mc_method *method, const mc_merge_input *input,
                             mc_state_dict **out, mc_report *report, mc_error *error);

/*
 * Merges state dicts with a method of any scope. The result has every name of every fine-tuned
 * model: merged if all have it; averaged if it is passed through, or if a model, the base or a side
 * lacks it; copied from the last model if it is not a float tensor. Lazy. Errors as mc_dict_map.
 */
MC_API mc_status mc_model_merge(const mc_method *method, const mc_merge_input *input,
                                mc_state_dict **out, mc_report *report, mc_error *error);

/*
 * Progress of a whole run. A method that needs statistics of the whole model reads the models at
 * least once before the merge; each of these passes counts like the bytes of the output.
 */
typedef struct mc_progress {
    int64_t bytes_done, bytes_total; /* of the output */
    int64_t bytes_read;
    double seconds;
    /*
     * Estimated from the measured cost of each kind of work: passes over the inputs,
     * decompositions, writing. Negative while unknown, such as during a pass of unknown length.
     */
    double seconds_left;
} mc_progress;

/* What one of several processes did in a run (mergecraft/comm.h). */
typedef struct mc_process_result {
    char host[64];                     /* the name of its machine, cut to 63 bytes */
    int64_t bytes_read, bytes_written; /* as in mc_run_result */
    int64_t memory;                    /* peak physical memory of the process so far, in bytes */
    double seconds;
} mc_process_result;

/* How to run. */
typedef struct mc_run_options {
    int threads; /* 0: all CPUs that the process may use; 1: the calling thread only */
    /*
     * Bytes that tiles of all threads may take; at least one tile is computed. 0: 64 MiB, and a
     * quarter of the available memory for tensors that methods of scope MC_TENSOR get as a whole.
     * Does not change the result.
     */
    int64_t memory;
    int64_t shard_size; /* bytes per file; 0: 5 GB */
    bool overwrite;     /* replace an existing model folder */
    bool no_sync;       /* do not flush data to disk */
    /* Stops the run (MC_INTERRUPTED) once it is not 0; NULL: never. */
    const volatile int *cancel;
    /* Called about ten times per second from the thread that runs; may be NULL. */
    void (*progress)(const mc_progress *progress, void *user);
    void *user;
    /* Processes that run the same plan together, a share each; NULL: this one runs all of it. */
    const mc_comm *comm;
    mc_process_result *processes; /* receives one result per process of comm; may be NULL */
    void *reserved[2];            /* must be zero */
} mc_run_options;

#define MC_RUN_DEFAULT                                                                             \
    {                                                                                              \
        0                                                                                          \
    }

/* What a run did. */
typedef struct mc_run_result {
    size_t tensors;
    int64_t bytes_read;    /* of tensors, from files */
    int64_t bytes_written; /* of tensors, by this run */
    int64_t bytes_resumed; /* of tensors, written by an interrupted run */
    double seconds;        /* of the slowest of several processes */
    /*
     * Values that became infinite or NaN although those of the models are finite: they exceed the
     * range of the output's dtype. The number of tensors with such values, and the index of the
     * first in the output. A run that resumes includes what the interrupted run has found.
     */
    int64_t overflowed;
    size_t overflowed_tensors, overflowed_first;
    /*
     * Tensors that the method could only average (mc_layer_averaged): their number, the index of
     * the first in the output, and the reason. The same holds for a run that resumes.
     */
    size_t averaged_tensors, averaged_first;
    char averaged_reason[128];
} mc_run_result;

/*
 * Computes every tensor of a lazy state dict into memory, on all CPUs. The result holds its tensors
 * and depends on no file. Needs the memory of the result plus options->memory.
 */
MC_API mc_status mc_state_dict_materialize(const mc_state_dict *dict, const mc_run_options *options,
                                           mc_state_dict **out, mc_run_result *result,
                                           mc_error *error);

/*
 * Writes a state dict to a new folder: model.safetensors, or shards with an index. The folder
 * appears under its name once it is complete.
 *
 * Errors: MC_EXISTS  the folder exists, without options->overwrite
 */
MC_API mc_status mc_state_dict_save(const mc_state_dict *dict, const char *folder,
                                    const mc_run_options *options, mc_run_result *result,
                                    mc_error *error);

/* The models to merge, and how. Everything is borrowed. */
typedef struct mc_plan_input {
    const mc_method *method;
    const mc_model *const *models;
    size_t model_count;
    const mc_model *base;                /* NULL: none */
    const char *const *side_names;       /* further sides, as the method names them … */
    const mc_model *const *const *sides; /* … each of model_count models */
    size_t side_count;
    /*
     * "NAME=VALUE" each. "NAME@WHERE=VALUE" is the value of some tensors. WHERE is a block or a
     * range ("3", "0-5"), a role or a group ("query", "mlp-up", "attention", "mlp", "embedding"),
     * both ("0-5/mlp"), or a shell pattern of names. If several match a tensor, the last applies.
     */
    const char *const *params;
    size_t param_count;
    const char *const *passthrough; /* shell patterns of names to average */
    size_t passthrough_count;
    /*
     * Names that are not merged, such as heads of different sizes: their tensors, and the result's
     * configuration, labels and tokenizer, are those of the model `keep`, counted from 1; 0: the
     * last.
     */
    const char *const *exclude;
    size_t exclude_count, keep;
    const mc_method *const *then; /* add-ons and matrices: as in mc_merge_input */
    size_t then_count;
    const char *const *matrices;
    size_t matrix_count;
    /*
     * The tokenizer of the result, for models whose vocabularies differ: "union" (the base's, or
     * that of the model which is kept, and the tokens of the others), "base", or a model by its
     * name. Tensors with rows of tokens are then merged token by token. NULL: row by row, and
     * differing vocabularies are an error.
     */
    const char *tokenizer;
    /*
     * Tokens of the result and where their rows come from: "TOKEN=SOURCE" with zero, MODEL,
     * MODEL:TOKEN or MODEL:#ROW as source; ",force" at the end replaces the rows of models that
     * have the token, too. Without a source: the base's row, else the mean of the models' rows.
     */
    const char *const *tokens;
    size_t token_count;
    int64_t pad_vocabulary; /* rows of the result are a multiple of it; 0: no padding */
    /*
     * alpaca, chatml, exaone, llama3, mistral; auto: the one that most models have; or a template.
     * NULL: that of the tokenizer.
     */
    const char *chat_template;
    uint64_t seed;
    bool strict;       /* treat warnings as errors */
    bool allow_unused; /* as in mc_merge_input */
    /* Report a model that is given twice or as the base, too, and a single model: typing errors. */
    bool report_repeated;
    bool convert;   /* write every float tensor as `dtype` … */
    mc_dtype dtype; /* … of kind FLOAT. Otherwise: per tensor, the widest dtype of the models */
    /*
     * Of a method that the program makes: where its text is from and the text, for mergecraft.json;
     * either may be NULL. A run with method_origin is never resumed: the method may have changed.
     */
    const char *method_origin;
    const char *method_text;
    void *reserved[4]; /* must be zero */
} mc_plan_input;

/* How an output tensor is made. */
typedef enum mc_action {
    MC_ACTION_MERGE, /* by the method, of all its inputs */
    MC_ACTION_MEAN,  /* mean of the models that have it */
    MC_ACTION_COPY   /* the tensor of one model, bit for bit */
} mc_action;

/* One output tensor. Text and shape are valid as long as the plan. */
typedef struct mc_plan_line {
    const char *name;
    mc_dtype dtype;
    int rank;
    const int64_t *shape;
    int64_t bytes;
    mc_action action;
    const mc_method *method; /* MC_ACTION_MERGE; else NULL */
    size_t model_count;      /* models that it is made of, without the base */
    const char *model;       /* MC_ACTION_COPY: the model it is copied from; else NULL */
} mc_plan_line;

/*
 * Writes how the tensor is made, "median of 5", "average of 2" or "copy of MODEL", into buffer
 * (size bytes, NUL-terminated if size > 0). Returns buffer.
 */
MC_API char *mc_plan_line_text(const mc_plan_line *line, char *buffer, size_t size);

typedef struct mc_plan mc_plan;

/*
 * Matches the models' tensors and resolves every output tensor. The models must stay open until the
 * plan is freed; mc_plan_free accepts NULL.
 *
 * Errors: MC_USAGE     no method or models, or the method does not fit: parameters, base, sides
 *         MC_MISMATCH  shapes differ, nothing is common, or a warning under strict
 */
MC_API mc_status mc_plan_new(const mc_plan_input *input, mc_plan **out, mc_error *error);
MC_API void mc_plan_free(mc_plan *plan);

/*
 * Gives the plan other parameters, "NAME=VALUE" each; those not named take their defaults. Tensors
 * are not matched again. Results are the same bits as those of a new plan. State dicts made from
 * the plan before keep their values. On failure the plan is unchanged.
 *
 * Errors: MC_USAGE        the method does not take a parameter or its value
 *         MC_UNSUPPORTED  a method of scope MC_MODEL makes other tensors with these parameters
 */
MC_API mc_status mc_plan_bind(mc_plan *plan, const char *const *params, size_t param_count,
                              mc_error *error);

/* The output tensors in the order in which they are written; index < mc_plan_count. */
MC_API size_t mc_plan_count(const mc_plan *plan);
MC_API void mc_plan_line_at(const mc_plan *plan, size_t index, mc_plan_line *line);

/* The warnings of mc_plan_new, then those of its runs; valid as long as the plan. */
MC_API const mc_report *mc_plan_report(const mc_plan *plan);

/*
 * All parameters, defaults included, as one JSON object; those of add-ons as "ADD-ON.NAME". Valid
 * until the plan is bound or freed.
 */
MC_API const char *mc_plan_parameters(const mc_plan *plan);

/*
 * Bytes of tensors that a run reads (once; methods with statistics read more often) and writes, and
 * the most that it holds at a time. `options` may be NULL.
 */
MC_API void mc_plan_bytes(const mc_plan *plan, const mc_run_options *options, int64_t *read,
                          int64_t *written, int64_t *memory);

/* The share of one of several processes (mergecraft/comm.h) in a run. */
typedef struct mc_plan_share {
    int64_t bytes_read, bytes_written; /* as in mc_plan_bytes */
    /* In bytes, balanced between processes: reads, counted as often as they occur, plus writes. */
    double cost;
} mc_plan_share;

/*
 * Computes how `processes` processes, at least 1, share a run. `out` has one element per process.
 *
 * Errors: MC_NO_MEMORY
 */
MC_API mc_status mc_plan_shares(const mc_plan *plan, int processes, mc_plan_share *out,
                                mc_error *error);

/*
 * The plan as one JSON object: method, parameters, models, base, sides, warnings, tensors,
 * bytes_read, bytes_written, memory, and plan, with name, dtype, shape, bytes and "how" of every
 * output tensor. Free *out with mc_plan_json_free, which accepts NULL. `options` may be NULL.
 */
MC_API mc_status mc_plan_json(const mc_plan *plan, const mc_run_options *options, char **out,
                              mc_error *error);
MC_API void mc_plan_json_free(char *json);

/*
 * Checks whether a run into this folder could begin. mc_plan_run checks the same; call this before
 * weights are downloaded. `options` may be NULL.
 *
 * Errors: MC_EXISTS    the folder exists, without options->overwrite
 *         MC_USAGE     the folder is a model's or holds a model; or it lies inside a model's
 *                      folder, and is neither new nor an earlier result
 *         MC_NO_SPACE  no room for the result and for downloads to the same file system
 */
MC_API mc_status mc_plan_check_target(const mc_plan *plan, const char *folder,
                                      const mc_run_options *options, mc_error *error);

/*
 * Runs the plan into a folder: weights, config.json, tokenizer and other files of the last model,
 * README.md (model card), mergecraft.json (provenance). Works in a hidden folder beside the target
 * and renames it once everything is on disk. An interrupted run resumes if inputs, options and
 * library are the same.
 *
 * Errors: those of mc_plan_check_target, before the work starts
 *         MC_BUSY         another run writes to the folder
 *         MC_CHANGED      an input was modified
 *         MC_INTERRUPTED  by options->cancel
 */
MC_API mc_status mc_plan_run(const mc_plan *plan, const char *folder, const mc_run_options *options,
                             mc_run_result *result, mc_error *error);

/* Makes a lazy state dict of the outputs, in their dtypes. Free it before the models are closed. */
MC_API mc_status mc_plan_state_dict(const mc_plan *plan, mc_state_dict **out, mc_error *error);

/*
 * Computes the outputs into memory, as mc_state_dict_materialize does. `part` is what to compute of
 * mc_plan_state_dict; NULL: all of it. What only the values show is added to the plan's report, as
 * by mc_plan_run: NaN and infinities of the models, overflow, averaged tensors.
 *
 * Errors: MC_MISMATCH  such a warning, under strict
 *         MC_CHANGED   an input was modified
 */
MC_API mc_status mc_plan_materialize(const mc_plan *plan, const mc_state_dict *part,
                                     const mc_run_options *options, mc_state_dict **out,
                                     mc_run_result *result, mc_error *error);

/*
 * Writes the path of the hidden folder in which a merge into `folder` works to `out`, of `size`
 * bytes. The folder does not have to exist.
 *
 * Errors: MC_USAGE  `folder` is not a name, such as "..", or `size` is too small
 */
MC_API mc_status mc_unfinished_folder(const char *folder, char *out, size_t size, mc_error *error);

/* What mc_clean removed: the path of the folder, empty if there was none, and the files in it. */
typedef struct mc_clean_result {
    char path[4096];
    size_t files;
    int64_t bytes;
} mc_clean_result;

/*
 * Removes what an interrupted merge left for the folder `target`: the hidden folder ".NAME.merging"
 * beside it, whose own name may be given, too. MC_OK also if there is none.
 *
 * Errors: MC_BUSY   a merge is writing to the folder
 *         MC_USAGE  `target` is not a name, such as ".."
 */
MC_API mc_status mc_clean(const char *target, mc_clean_result *out, mc_error *error);

/* A score of the result on a task of GLUE. */
typedef struct mc_score {
    const char *task, *split, *metric;
    double value, standard_error; /* the error: NaN if unknown */
    size_t examples;
    bool own_data; /* the examples are not those of the Hub */
} mc_score;

/*
 * Adds scores to the model card and the mergecraft.json of a folder that mc_plan_run wrote.
 *
 * Errors: MC_NOT_FOUND  no card or no mergecraft.json
 *         MC_FORMAT     the card has no front matter
 */
MC_API mc_status mc_add_scores(const char *folder, const mc_score *scores, size_t count,
                               mc_error *error);

/* What mc_verify read, and how many of the files are missing or differ. */
typedef struct mc_verify_result {
    size_t files, damaged;
    int64_t bytes;
} mc_verify_result;

/*
 * Compares the files of a folder that mc_plan_run wrote with the sizes and checksums in its
 * mergecraft.json. `report`, which may be NULL, receives a line per file that differs. Of
 * `options`, which may be NULL, cancel and progress are used.
 *
 * Errors: MC_CHANGED      files are missing or differ
 *         MC_NOT_FOUND    no mergecraft.json
 *         MC_UNSUPPORTED  it has no checksums
 */
MC_API mc_status mc_verify(const char *folder, const mc_run_options *options, mc_report *report,
                           mc_verify_result *out, mc_error *error);

MC_END_DECLS

#endif
