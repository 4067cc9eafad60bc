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

/* What a single file may update beside other parts of a pipeline, by the prefix of its names. */
typedef enum mc_component {
    MC_COMPONENT_NONE, /* names without such a prefix */
    MC_COMPONENT_DENOISER,
    MC_COMPONENT_ENCODER_1,
    MC_COMPONENT_ENCODER_2,
    MC_COMPONENT_ENCODER_3,
    MC_COMPONENTS
} mc_component;

/* The update of one weight: scale · B·A. Sources are owned. */
typedef struct mc_adapter_module {
    char *path; /* of the module in the base model, "model.layers.0.self_attn.q_proj" */
    char *stem; /* what the names of its tensors in the file begin with */
    mc_component component;
    size_t ending;         /* of A's name: mc_adapter_tensor_name */
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
    /* Of such files: what diffusers writes into their metadata per component; NULL: nothing. */
    json_t *settings[MC_COMPONENTS];
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
 * adapter_config.json; NULL: of those of a file without one. As mc_adapter_open otherwise.
 */
mc_status mc_adapter_wrap(const mc_state_dict *dict, const char *config, mc_adapter *out,
                          mc_error *error);

/* The configuration that gives a module's rank and alpha; NULL if there is none. */
const json_t *mc_adapter_settings(const mc_adapter *adapter, const mc_adapter_module *module);

/* The tensors of a module. */
typedef enum mc_adapter_tensor { MC_ADAPTER_A, MC_ADAPTER_B, MC_ADAPTER_ALPHA } mc_adapter_tensor;

/*
 * The name of a tensor of the module in a file of the same convention, in new memory; NULL: no
 * memory.
 */
char *mc_adapter_tensor_name(const mc_adapter_module *module, mc_adapter_tensor what);

/* Whether files of the module's convention have alpha beside its factors. */
bool mc_adapter_has_alpha(const mc_adapter_module *module);

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
 * errors. The name of the base's folder decides which component it is (unet, transformer,
 * text_encoder, text_encoder_2, text_encoder_3); under another name, the names and shapes of its
 * tensors decide.
 *
 * Errors: MC_MISMATCH  the base has no such tensor, shapes do not fit, or several components do
 */
mc_status mc_adapter_apply(const mc_adapter *adapter, const mc_adapter_base *base, mc_error *error);

#endif
