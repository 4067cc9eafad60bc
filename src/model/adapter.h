/*
 * LoRA adapters: folders as PEFT saves them (adapter_config.json beside adapter_model.safetensors
 * or .bin), and single files with the names that kohya's scripts and diffusers give. Opened, an
 * adapter is a list of modules that each update one weight; applied to a base model, each of those
 * weights becomes a lazy low-rank source.
 */
#ifndef MC_MODEL_ADAPTER_H
#define MC_MODEL_ADAPTER_H

#include "checkpoint/checkpoint.h"

#include <jansson.h>

/* The update of one weight: scale · B·A. Sources are owned. */
typedef struct mc_adapter_module {
    char *path;            /* of the module in the base model, "model.layers.0.self_attn.q_proj" */
    mc_source *a, *b;      /* as they are stored */
    mc_source *magnitude;  /* DoRA; NULL without */
    mc_source *alpha;      /* a scalar beside the factors (kohya); NULL: the configuration's */
    const char *parameter; /* of target_parameters, "down_proj"; owned by the configuration */
    bool embedding;        /* factors are those of an embedding: A [r, tokens], B [width, r] */
    int outer;             /* how many `base_layer` the name had: wrappers around this one */
} mc_adapter_module;

typedef struct mc_adapter {
    mc_checkpoint checkpoint;
    json_t *config; /* adapter_config.json; NULL for single files without one */
    mc_adapter_module *modules;
    size_t module_count, module_capacity;
    mc_state_dict *whole; /* tensors that replace the base's: biases, modules_to_save */
    bool flattened;       /* paths have underscores for dots: kohya's names */
    bool fan_in_fan_out;
} mc_adapter;

/* *out: whether `path` is a folder with an adapter_config.json. Fails only without memory. */
mc_status mc_adapter_is_folder(const char *path, bool *out, mc_error *error);

/*
 * Opens a folder or a file; only headers and scalars are read. Zero-initialise *out; close it also
 * after a failure.
 *
 * Errors: MC_NOT_FOUND    the folder has no adapter_model.safetensors and no .bin
 *         MC_UNSUPPORTED  another kind of adapter (LoHa, LoKr, IA³, prompt tuning, …)
 *         MC_FORMAT       a factor is missing, or adapter_config.json is malformed
 */
mc_status mc_adapter_open(const char *path, mc_adapter *out, mc_error *error);
void mc_adapter_close(mc_adapter *adapter);

/*
 * Makes an adapter of tensors under the names of PEFT's files, and the text of an
 * adapter_config.json. As mc_adapter_open otherwise.
 */
mc_status mc_adapter_wrap(const mc_state_dict *dict, const char *config, mc_adapter *out,
                          mc_error *error);

/* base_model_name_or_path; NULL if the adapter names none. */
const char *mc_adapter_base_name(const mc_adapter *adapter);

/*
 * What B·A of a module is multiplied by: alpha / r, or alpha / √r for rank-stabilised LoRA
 * (Kalajdzievski 2023, arXiv:2312.03732). `experts` share the rows of A evenly; 1 without experts.
 */
mc_status mc_adapter_scale(const mc_adapter *adapter, const mc_adapter_module *module,
                           int64_t experts, double *scale, mc_error *error);

/* The rank that the configuration gives a module: r, or the value of rank_pattern that fits. */
mc_status mc_adapter_rank(const mc_adapter *adapter, const mc_adapter_module *module, int64_t *rank,
                          mc_error *error);

/*
 * The number of experts whose factors a module of target_parameters stacks, by its rank and the
 * shapes; 1 for other modules.
 */
mc_status mc_adapter_experts(const mc_adapter *adapter, const mc_adapter_module *module,
                             int64_t *experts, mc_error *error);

/* MC_MISMATCH unless A has the rows that the configuration's rank and the experts ask for. */
mc_status mc_adapter_check_rank(const mc_adapter *adapter, const mc_adapter_module *module,
                                int64_t experts, mc_error *error);

/* What an adapter is applied to. */
typedef struct mc_adapter_base {
    const char *label;    /* of the adapter, for notes */
    const char *name;     /* of the base */
    const json_t *config; /* its config.json; may be NULL */
    mc_state_dict *dict;  /* its tensors, which are updated */
    mc_notes *notes;      /* what a user should know; may be NULL */
} mc_adapter_base;

/*
 * Updates the tensors of a base. Modules of a single file that belong to another component than
 * this base (a text encoder beside a UNet) are left out and noted; in a PEFT folder those are
 * errors.
 *
 * Errors: MC_MISMATCH  the base has no such tensor, or shapes do not fit
 */
mc_status mc_adapter_apply(const mc_adapter *adapter, const mc_adapter_base *base, mc_error *error);

#endif
