/*
 * An extraction while its plan is made: the tensors of both models, and what becomes of each.
 * extract.c decides that, extract_rows.c makes rows and computes them, extract_config.c collects
 * what is saved whole and writes the configuration.
 */
#ifndef MC_LORA_EXTRACT_H
#define MC_LORA_EXTRACT_H

#include "lora/plan.h"
#include "merge/align.h"
#include "model/model.h"
#include "model/parts.h"

/*
 * What becomes of a tensor: nothing, as it equals the base's; left out by an option; factors;
 * saved whole; changed, but PEFT can store it in no way.
 */
typedef enum mc_fate {
    MC_FATE_SAME,
    MC_FATE_LEFT_OUT,
    MC_FATE_ADAPTED,
    MC_FATE_WHOLE,
    MC_FATE_IMPOSSIBLE
} mc_fate;

/* A tensor of the fine-tuned model, with the base's. */
typedef struct mc_candidate {
    const char *name;        /* borrowed from the alignment */
    mc_source *tuned, *base; /* borrowed; base is NULL if the base lacks it */
    mc_part part;
    mc_fate fate;
} mc_candidate;

/* The tensors that a row updates. */
typedef struct mc_row_items {
    size_t *items;    /* [experts · parts], indices of candidates */
    size_t experts;   /* 1 of all that are not experts */
    size_t parts;     /* 2: gate and up of an expert, below each other */
    const char *leaf; /* of experts: the parameter that has them all, "gate_up_proj" */
} mc_row_items;

typedef struct mc_extracting {
    const mc_model *models[2]; /* fine-tuned, base */
    mc_alignment aligned;
    const char *type; /* model_type; may be NULL */
    mc_candidate *items;
    size_t count;
    mc_row_items *rows; /* in the order of the plan's */
    size_t row_count, row_capacity;
    mc_lora_rank how;
    const mc_lora_extract_input *input; /* while the plan is made */
    mc_lora_plan *plan;
} mc_extracting;

/* ---- extract.c ------------------------------------------------------------------------------- */

/* Whether the name has the ending, and something in front of it. */
bool mc_extract_has_ending(const char *name, const char *ending);

/* Whether PEFT can save the tensor: it belongs to a module, by its name, and holds floats. */
bool mc_extract_can_be_saved(const mc_candidate *item);

int mc_extract_threads(const mc_extracting *x);

/* ---- extract_rows.c -------------------------------------------------------------------------- */

/*
 * Makes the experts of a block adapted together or not at all: PEFT stacks their factors, as
 * transformers stacks their weights. PEFT matches by name, so it would take a module elsewhere that
 * is called as an expert's (a shared expert, a dense block) for experts too: those are saved whole.
 */
void mc_extract_settle_experts(mc_extracting *x);

/* Adds a row per module, or per parameter of all experts of a block, and finds their ranks. */
mc_status mc_extract_add_rows(mc_extracting *x, mc_error *error);

/* Bytes of one expert of a row (mc_lora_work). */
int64_t mc_extract_work(const void *user, size_t index, const mc_lora_rank *how);

/* Computes a row of the plan (mc_lora_compute). */
mc_status mc_extract_row(void *user, size_t index, double *a, double *b, mc_energy *energy,
                         mc_error *error);

/*
 * The module that a tensor belongs to, in new memory: the name up to its last dot. NULL: no memory.
 */
char *mc_extract_module_of(const char *name);

/* ---- extract_config.c ------------------------------------------------------------------------ */

/* Adds the tensors that are saved whole, and their modules to *modules; reports what is lost. */
mc_status mc_extract_add_wholes(const mc_extracting *x, json_t **modules, bool *biases,
                                mc_error *error);

/* Reports tensors that only the base has. */
mc_status mc_extract_report_missing(const mc_extracting *x, mc_error *error);

mc_status mc_extract_make_config(const mc_extracting *x, json_t *modules, bool biases,
                                 mc_error *error);

/* Fills the plan's summary, inputs, title and fingerprint. */
mc_status mc_extract_describe(const mc_extracting *x, mc_error *error);

#endif
