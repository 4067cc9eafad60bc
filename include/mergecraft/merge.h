/*
 * Merging: state dicts in, state dict out; or models in, folder out. In both, the work is lazy until it is run:
 *
 *     mc_dict_map      method on every name that all state dicts have    → lazy state dict
 *     mc_model_merge   the same, with everything lined up: passthrough layers, names that only some models have, buffers
 *     mc_plan_new      the same for models                              → a plan that can be looked at, and run
 *
 * Results are the same bits for any number of threads, memory bound and CPU.
 */
#ifndef MERGECRAFT_MERGE_H
#define MERGECRAFT_MERGE_H

#include <mergecraft/method.h>
#include <mergecraft/model.h>

MC_BEGIN_DECLS

/* A named list of state dicts beside the models; as many items as models. */
typedef struct mc_list {
    const char *name;
    const mc_state_dict *const *items;
    size_t count;
} mc_list;

/* What a method is applied to. Everything is borrowed. */
typedef struct mc_merge_input {
    const mc_state_dict *const *models; /* the fine-tuned models */
    size_t model_count;
    const mc_state_dict *base; /* NULL if there is none */
    const mc_list *lists;
    size_t list_count;
    const char *const *params; /* "NAME=VALUE", each */
    size_t param_count;
    const char *const *passthrough; /* shell patterns of names that are averaged; mc_model_merge */
    size_t passthrough_count;
    /* Shell patterns of names that are not merged: the tensors of one model are copied. */
    const char *const *exclude;
    size_t exclude_count;
    size_t keep;   /* that model, counted from 1; 0: the last */
    uint64_t seed; /* of methods that draw random numbers */
    bool strict;   /* make an error of what is otherwise reported */
    /* For methods of scope MC_MODEL: their parameters and values, set by the library. See mc_input_number. */
    const mc_param *method_params;
    const mc_value *method_values;
    /* The method that is called, set by the library too: one that a program makes may be the beginning of a larger struct. */
    const mc_method *method;
} mc_merge_input;

/*
 * The number (integer, flag, index of the choice) that a parameter of the method has, for the body of an MC_MODEL_MERGE; NaN if it has no
 * such parameter.
 */
static inline double mc_input_number(const mc_merge_input *input, const char *name)
{
    for (size_t i = 0; input->method_params && input->method_params[i].name; i++)
        if (strcmp(input->method_params[i].name, name) == 0)
            return input->method_values[i].numbers[0];
    return (double)NAN;
}

/* The same for a per_input parameter: one number per model. NULL if the method has no such parameter. */
static inline const double *mc_input_numbers(const mc_merge_input *input, const char *name)
{
    for (size_t i = 0; input->method_params && input->method_params[i].name; i++)
        if (strcmp(input->method_params[i].name, name) == 0)
            return input->method_values[i].numbers;
    return NULL;
}

/*
 * What was noticed and not kept silent about: one line each ("2 tensors are only in the base …"). A report is filled by
 * functions that accept one (or NULL) and freed by the caller.
 */
typedef struct mc_report mc_report;
MC_API mc_status mc_report_new(mc_report **out, mc_error *error);
MC_API void mc_report_free(mc_report *report);
MC_API size_t mc_report_count(const mc_report *report);
MC_API const char *mc_report_line(const mc_report *report, size_t index);

/*
 * Applies a layer method to every name that all models (and the base, and every list) have, in the order of the first model;
 * the result is lazy and keeps its own references to the inputs' tensors. Names that some lack are left out and reported;
 * MC_MISMATCH if no name is common or shapes differ; MC_USAGE for parameters that the method does not take.
 */
MC_API mc_status mc_dict_map(const mc_method *method, const mc_merge_input *input,
                             mc_state_dict **out, mc_report *report, mc_error *error);

/*
 * Merges state dicts with a method of any scope. Every name of every fine-tuned model is in the result: merged where all have it; averaged
 * over the fine-tuned models where it is passed through, only some have it, or the base lacks it; copied from the last where
 * it is not a float tensor. Lazy, as mc_dict_map.
 */
MC_API mc_status mc_model_merge(const mc_method *method, const mc_merge_input *input,
                                mc_state_dict **out, mc_report *report, mc_error *error);

/* How far a run is; bytes are those of the whole run. */
typedef struct mc_progress {
    int64_t bytes_done, bytes_total; /* of the output */
    int64_t bytes_read;
    double seconds;
} mc_progress;

/*
 * How to run. Zero means the default everywhere: MC_RUN_DEFAULT sets none. Functions of another version of the library see
 * only the fields it knew.
 */
typedef struct mc_run_options {
    int threads;        /* 0: one for each processor that the process may use; 1: the calling one */
    int64_t memory;     /* bytes for tiles; 0: 64 MiB. The result does not depend on it. */
    int64_t shard_size; /* bytes a file; 0: 5 GB */
    bool overwrite;     /* replace a folder that exists */
    bool no_sync;       /* leave it to the system when data reaches the disk */
    const volatile int *cancel; /* stop cleanly (MC_INTERRUPTED) once it is not 0; NULL: never */
    /* Called about ten times a second from the thread that runs; NULL: no calls. */
    void (*progress)(const mc_progress *progress, void *user);
    void *user;
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
    int64_t bytes_resumed; /* of tensors, found from an earlier run that was stopped */
    double seconds;
} mc_run_result;

/*
 * Computes every tensor of a lazy state dict into memory, on all processors. The result is a new state dict that holds
 * its tensors and depends on no file. Memory: that of the result and options->memory.
 */
MC_API mc_status mc_state_dict_materialize(const mc_state_dict *dict, const mc_run_options *options,
                                           mc_state_dict **out, mc_run_result *result,
                                           mc_error *error);

/*
 * Writes a state dict to a new folder: model.safetensors, or shards with an index. The folder appears under its name when it
 * is complete. MC_EXISTS if it is there already, unless options->overwrite.
 */
MC_API mc_status mc_state_dict_save(const mc_state_dict *dict, const char *folder,
                                    const mc_run_options *options, mc_run_result *result,
                                    mc_error *error);

/* What models are merged into. Everything is borrowed. */
typedef struct mc_plan_input {
    const mc_method *method;
    const mc_model *const *models;
    size_t model_count;
    const mc_model *base;                /* NULL if there is none */
    const char *const *list_names;       /* further lists, as the method names them … */
    const mc_model *const *const *lists; /* … each with model_count models */
    size_t list_count;
    const char *const *params; /* "NAME=VALUE", each */
    size_t param_count;
    const char *const *passthrough;
    size_t passthrough_count;
    /*
     * Names that are not merged, such as heads of different sizes: their tensors, and the result's
     * configuration, labels and tokenizer, are those of the model `keep`, counted from 1; 0: the
     * last.
     */
    const char *const *exclude;
    size_t exclude_count, keep;
    uint64_t seed;
    bool strict;
    bool convert; /* write every float tensor as `dtype` … */
    mc_dtype
        dtype; /* … one of floats; otherwise the widest dtype of the inputs, tensor by tensor */
    /*
     * Of a method that the program itself makes: where its text is from and the text, for mergecraft.json; each may be NULL. A run
     * with method_origin is never resumed, since nobody knows whether the method is still the same.
     */
    const char *method_origin;
    const char *method_text;
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
    size_t model_count;      /* how many models it is made of, the base not counted */
    const char *model;       /* MC_ACTION_COPY: the model it is copied from; else NULL */
} mc_plan_line;

/*
 * Writes how the tensor is made, "median of 5", "average of 2" or "copy of MODEL", into buffer
 * (size bytes, always NUL-terminated when size > 0). Returns buffer.
 */
MC_API char *mc_plan_line_text(const mc_plan_line *line, char *buffer, size_t size);

typedef struct mc_plan mc_plan;

/*
 * Lines the models up. The plan keeps what it needs of the models' tensors; the models must stay open until it is
 * freed (mc_plan_free accepts NULL). Errors: MC_USAGE (parameters, a base that is missing), MC_MISMATCH (shapes).
 */
MC_API mc_status mc_plan_new(const mc_plan_input *input, mc_plan **out, mc_error *error);
MC_API void mc_plan_free(mc_plan *plan);

/*
 * Gives the plan other parameters, "NAME=VALUE" each: those that are not named take their defaults.
 * The models are not lined up again. Results are the same bits as those of a new plan. State dicts
 * that the plan made before keep the values that they were made with. On failure the plan is
 * unchanged. Not while another thread uses the plan.
 * Errors: MC_USAGE        the method does not take a parameter or its value
 *         MC_UNSUPPORTED  a method of scope MC_MODEL makes other tensors with these parameters
 */
MC_API mc_status mc_plan_bind(mc_plan *plan, const char *const *params, size_t param_count,
                              mc_error *error);

MC_API size_t mc_plan_count(const mc_plan *plan);
MC_API void mc_plan_line_at(const mc_plan *plan, size_t index, mc_plan_line *line);
MC_API const mc_report *mc_plan_report(const mc_plan *plan);
/* The parameters that are in force, defaults included, as one JSON object. Valid as long as the plan. */
MC_API const char *mc_plan_parameters(const mc_plan *plan);
/* Bytes of tensors that a run reads (once; methods with statistics read more often) and writes, and holds at most at a time. */
MC_API void mc_plan_bytes(const mc_plan *plan, const mc_run_options *options, int64_t *read,
                          int64_t *written, int64_t *memory);

/*
 * Whether a run into this folder could begin: MC_EXISTS if it is there and options do not say overwrite, MC_USAGE if it and a
 * model lie inside of each other, MC_NO_SPACE if the result, and what of the models has to be downloaded to the same file
 * system (mc_models_open with headers_only), has no room. mc_plan_run checks that by itself, but a program may want to know it before it downloads. `options` may be NULL.
 */
MC_API mc_status mc_plan_check_target(const mc_plan *plan, const char *folder,
                                      const mc_run_options *options, mc_error *error);

/*
 * Runs the plan into a folder: weights, config.json, tokenizer files, README.md (model card), mergecraft.json (provenance).
 * It works in a hidden folder beside the target and renames it when all is on the disk. A run that was stopped,
 * by whatever, goes on where it was if inputs and options are the same. Errors: MC_EXISTS, MC_NO_SPACE (before
 * the work starts), MC_BUSY (another run writes there), MC_CHANGED (an input was modified), MC_INTERRUPTED.
 */
MC_API mc_status mc_plan_run(const mc_plan *plan, const char *folder, const mc_run_options *options,
                             mc_run_result *result, mc_error *error);

/* The lazy state dict that the plan makes, in output dtypes; the caller frees it, before the plan. */
MC_API mc_status mc_plan_state_dict(const mc_plan *plan, mc_state_dict **out, mc_error *error);

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

MC_END_DECLS

#endif
