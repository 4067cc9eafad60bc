/*
 * LoRA adapters: several merged into one, and one extracted from a fine-tuned model. Nothing of a
 * base model is needed to merge adapters. To bake adapters into their base, open BASE+ADAPTER
 * (model.h) and merge it by the method mergekit:passthrough.
 *
 *     mc_lora_open          opens an adapter: a folder as PEFT saves it, a file, a Hub repository
 *     mc_lora_merge         adapters → the plan of one adapter
 *     mc_lora_extract       a fine-tuned model and its base → the plan of an adapter
 *     mc_lora_run           computes a plan into a folder that PEFT loads
 *
 * Files of kohya's scripts and of diffusers, which have no configuration, are merged into such a
 * file: pytorch_lora_weights.safetensors, with the names of the inputs.
 *
 * Factors are computed while they are written, a module at a time per thread: memory does not grow
 * with the model. Results are the same bits for any number of threads on one machine; across CPUs
 * they differ by rounding, since BLAS picks its kernels by CPU.
 *
 * Thread-safety: open adapters may be used by several threads at once, a plan by one.
 *
 * Errors of all: MC_UNSUPPORTED  LAPACK is not installed, or an adapter is not plain LoRA
 */
#ifndef MERGECRAFT_LORA_H
#define MERGECRAFT_LORA_H

#include <mergecraft/merge.h>

MC_BEGIN_DECLS

typedef struct mc_lora mc_lora;

/*
 * Opens an adapter; reads its configuration and the headers of its weights. `hub` may be NULL.
 * Close it with mc_lora_close, which accepts NULL.
 *
 * Errors: MC_NOT_FOUND    no such path or repository, or no weights beside adapter_config.json
 *         MC_UNSUPPORTED  another kind of adapter (LoHa, LoKr, IA3, …)
 *         MC_FORMAT       a factor is missing, or adapter_config.json is malformed
 */
MC_API mc_status mc_lora_open(const char *name, const mc_hub_options *hub, mc_lora **out,
                              mc_error *error);
MC_API void mc_lora_close(mc_lora *lora);

/*
 * Makes an adapter of tensors that the program has, under the names of PEFT's files, and the text
 * of an adapter_config.json; NULL: names as in kohya's or diffusers' files. A run with such
 * adapters is never resumed.
 */
MC_API mc_status mc_lora_wrap(const char *name, const mc_state_dict *dict, const char *config,
                              mc_lora **out, mc_error *error);

/* As the user wrote it. */
MC_API const char *mc_lora_name(const mc_lora *lora);
/* The base model that its configuration names; NULL if it names none. */
MC_API const char *mc_lora_base(const mc_lora *lora);

/*
 * Makes a model of `base` with adapters applied, in order, lazily; its configuration and files are
 * those of the base. For models and adapters that the program has: BASE+ADAPTER (model.h) does the
 * same for files. Close it with mc_model_close before the base and the adapters.
 *
 * Errors: MC_MISMATCH  the base lacks a tensor that an adapter updates, or shapes do not fit
 */
MC_API mc_status mc_lora_apply(const mc_model *base, const mc_lora *const *adapters, size_t count,
                               mc_model **out, mc_error *error);

/* How many singular values are kept of each module. */
typedef struct mc_lora_rank {
    int64_t rank;  /* that many; 0: the default of the function, or by energy */
    double energy; /* the fewest whose squares sum to this share of all, 0 < energy ≤ 1; 0: off */
    int64_t max_rank; /* no more than that with `energy`; 0: no bound */
    /*
     * Decompose matrices exactly. By default those with more than 256 rows and columns are
     * decomposed by randomised block Krylov iteration (Musco and Musco 2015, arXiv:1504.05477)
     * with 10 further directions, until half a pass lowers the squared error by less than 0.1 %.
     * The error of the result is measured in either case. Products of factors (merging without a
     * method on whole updates) are always exact.
     */
    bool exact;
    uint64_t seed; /* of the random directions, and of methods that draw random numbers */
    /*
     * Bound on the memory of all computations together, in bytes; 0: none. Fewer modules are
     * computed at once. A module that needs more is an error. The result does not depend on it.
     */
    int64_t memory;
    void *reserved[3]; /* must be zero */
} mc_lora_rank;

/*
 * The methods that only adapters have: name, help and parameters, without functions; index <
 * mc_lora_method_count.
 */
MC_API size_t mc_lora_method_count(void);
MC_API const mc_method *mc_lora_method_at(size_t index);

/* What to merge. Everything is borrowed. */
typedef struct mc_lora_merge_input {
    /*
     * cat, linear, svd, ties, dare_linear, dare_ties, magnitude_prune and those with _svd: the
     * meaning of PEFT's add_weighted_adapter. knots_ties, knots_dare_ties, knots_linear: in the
     * joint singular basis of all updates (Stoica et al. 2024, arXiv:2410.19735). core_linear,
     * core_ties, core_dare_ties: in the core space of all factors (Panariello et al. 2025,
     * arXiv:2509.17786). Otherwise the name of a method of scope MC_ELEMENTWISE or MC_ROW (see
     * mc_method_find): it merges the updates B·A, and the result is truncated to the rank.
     */
    const char *method;
    const mc_lora *const *adapters;
    size_t adapter_count;
    const char *const *params; /* "NAME=VALUE" each: weights, density, majority_sign_method, … */
    size_t param_count;
    mc_lora_rank rank; /* default: the highest rank of the adapters; of cat, their sum */
    bool strict;       /* treat warnings as errors */
    bool convert;      /* write factors as `dtype`; otherwise as the widest of the adapters' */
    mc_dtype dtype;
    void *reserved[4]; /* must be zero */
} mc_lora_merge_input;

/* What to extract. Everything is borrowed. */
typedef struct mc_lora_extract_input {
    const mc_model *model, *base;
    mc_lora_rank rank; /* default: rank 32 */
    /* Shell patterns of tensors: not adapted but saved whole; left out of the adapter. */
    const char *const *save;
    size_t save_count;
    const char *const *exclude;
    size_t exclude_count;
    bool embeddings; /* adapt embeddings, too; by default those that changed are saved whole */
    int threads;     /* that compare the models' tensors; 0: all CPUs */
    bool strict;     /* treat warnings as errors */
    bool convert;    /* write factors as `dtype`; otherwise as float32 */
    mc_dtype dtype;
    void *reserved[4]; /* must be zero */
} mc_lora_extract_input;

typedef struct mc_lora_plan mc_lora_plan;

/*
 * Make the plan of an adapter. Adapters and models must stay open until the plan is freed;
 * mc_lora_plan_free accepts NULL. Extraction reads all tensors to find those that differ. With an
 * energy, both functions decompose every update, to know the ranks.
 *
 * Errors: MC_USAGE     a method, parameter or rank that does not fit
 *         MC_MISMATCH  modules of different shapes, nothing to do, or a warning under strict
 */
MC_API mc_status mc_lora_merge(const mc_lora_merge_input *input, mc_lora_plan **out,
                               mc_error *error);
MC_API mc_status mc_lora_extract(const mc_lora_extract_input *input, mc_lora_plan **out,
                                 mc_error *error);
MC_API void mc_lora_plan_free(mc_lora_plan *plan);

/* The warnings; valid as long as the plan. */
MC_API const mc_report *mc_lora_plan_report(const mc_lora_plan *plan);

/* One module of the adapter, or a tensor that is saved whole. Text is valid as long as the plan. */
typedef struct mc_lora_line {
    const char *path;      /* "model.layers.0.self_attn.q_proj"; of a whole tensor, its name */
    bool whole;            /* the fields below are 0 */
    int64_t rows, columns; /* of the update */
    int64_t rank;
    int64_t experts; /* 1 unless factors of several experts are stacked */
    /*
     * The share of the update's squared values that the factors keep: 1 if they are exact, NAN
     * until it is computed. An interrupted run's are not known to the one that resumes it.
     */
    double energy;
} mc_lora_line;

MC_API size_t mc_lora_plan_count(const mc_lora_plan *plan);
MC_API void mc_lora_plan_line(const mc_lora_plan *plan, size_t index, mc_lora_line *line);

/*
 * The text of the adapter_config.json that a run writes; valid as long as the plan. NULL: the
 * result is a file without one.
 */
MC_API const char *mc_lora_plan_config(const mc_lora_plan *plan);

/*
 * The plan as one JSON object: method, parameters, adapters or model and base, warnings, modules
 * (path, shape, rank, energy), blocks (energy per transformer block), saved tensors. Free *out with
 * mc_plan_json_free.
 */
MC_API mc_status mc_lora_plan_json(const mc_lora_plan *plan, char **out, mc_error *error);

/*
 * Computes the adapter into a folder: adapter_model.safetensors and adapter_config.json (or
 * pytorch_lora_weights.safetensors alone), README.md (model card), mergecraft.json (provenance,
 * with the energy kept per module and block). Like mc_plan_run, it works in a hidden folder,
 * renames it when everything is on disk, and resumes. It adds values beyond the range of their
 * dtype to the plan's report; under strict they are MC_MISMATCH. `options` and `result` may be
 * NULL.
 *
 * Errors: MC_UNSUPPORTED  a factor beyond the range of float32
 */
MC_API mc_status mc_lora_run(mc_lora_plan *plan, const char *folder, const mc_run_options *options,
                             mc_run_result *result, mc_error *error);

/*
 * Makes a lazy state dict of the adapter's tensors, under the names of PEFT's files. Free it before
 * the plan.
 */
MC_API mc_status mc_lora_plan_state_dict(const mc_lora_plan *plan, mc_state_dict **out,
                                         mc_error *error);

MC_END_DECLS

#endif
