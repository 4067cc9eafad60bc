/*
 * The table of outputs: one row per tensor that a merge writes, resolved once. Line-up fills rows
 * from models (lineup.h), recipes from YAML. The executor, dry runs, JSON, provenance, the resume
 * fingerprint and reports read rows and nothing else.
 *
 *     mc_outputs_add         appends a row: name, action, method, parameters
 *     mc_output_add_input    adds what the row is made of, under whatever name it has in its model
 *     mc_output_resolve      checks the inputs against each other and makes the row's lazy source
 *     mc_outputs_bind        gives rows that exist new parameter values
 *
 * A row does not depend on its neighbours: rows may be made in any order, and a process may run a
 * range of them. Not thread-safe while rows change; afterwards any number of threads may read.
 */
#ifndef MC_MERGE_OUTPUTS_H
#define MC_MERGE_OUTPUTS_H

#include <mergecraft/merge.h>

#include "checkpoint/writer.h"
#include "merge/params.h"
#include "tensor/source.h"

/* The role of an input in the method. */
typedef enum mc_role {
    MC_ROLE_MODEL, /* one of the models that are merged */
    MC_ROLE_BASE,  /* their base */
    MC_ROLE_SIDE   /* a tensor of a side input, such as Fisher information */
} mc_role;

/* One tensor that a row is made of. */
typedef struct mc_input {
    mc_source *source;
    mc_role role;
    size_t model; /* index of the model in its role: 0 … models − 1; 0 for the base */
    const char
        *side;  /* MC_ROLE_SIDE: the side input, as the method names it; static or the method's */
    char *name; /* in that model's own files; NULL: the row's name */
} mc_input;

typedef struct mc_output {
    char *name;
    mc_action action;
    const mc_method *method; /* MC_ACTION_MERGE; NULL otherwise */
    mc_params *params;       /* of this row and its add-ons; NULL if action is not a merge */
    mc_input *inputs;        /* models, then the base, then side inputs in the method's order */
    size_t input_count, input_capacity;
    mc_dtype dtype;    /* that is written; the widest of the models' unless converted */
    mc_source *source; /* lazy result in `dtype`; NULL until the row is resolved */
} mc_output;

typedef struct mc_outputs {
    mc_output *rows; /* in the order of the output */
    size_t count, capacity;
    uint64_t seed;          /* of methods that draw random numbers: keyed by seed and row name */
    const char *model_type; /* as config.json has it; borrowed; NULL: unknown */
    const char *const *matrices; /* mc_merge_input.matrices; borrowed */
    size_t matrix_count;
} mc_outputs;

void mc_outputs_free(mc_outputs *outputs); /* leaves an empty table */

/*
 * Appends a row. Copies the name, takes an own reference to params (may be NULL). `method` is
 * borrowed. *out stays valid until the next row is added.
 */
mc_status mc_outputs_add(mc_outputs *outputs, const char *name, mc_action action,
                         const mc_method *method, mc_params *params, mc_output **out,
                         mc_error *error);

/*
 * Adds an input: takes an own reference to its source and copies its name unless that is the row's.
 * Call it in the order of `inputs`.
 */
mc_status mc_output_add_input(mc_output *row, const mc_input *input, mc_error *error);

/* Inputs of a role; `first` receives the index of the first of them (may be NULL). */
size_t mc_output_count(const mc_output *row, mc_role role, size_t *first);

/*
 * The names of models in errors. texts[i]: model i; texts[model_count]: the base. Without texts
 * they are "model 1" … and "the base". places[i], if not NULL: where texts[i] is written, such as
 * "recipe.yml:3:12"; bases then have the index of their model.
 */
typedef struct mc_labels {
    const char *const *texts;
    size_t model_count;
    char *const *places;
} mc_labels;

/* The label of an input's model: one of labels->texts, or written to buffer (32 bytes or more). */
const char *mc_label_of(const mc_labels *labels, const mc_input *input, char *buffer, size_t size);

/* MC_MISMATCH, with the labels of the models, unless all inputs are floats of one shape. */
mc_status mc_output_check(const mc_output *row, const mc_labels *labels, mc_error *error);

/*
 * Makes row->source, with seed and model type of the table; checks the inputs of rows that are
 * computed. A method with statistics of the whole model sees only this row: use mc_outputs_resolve.
 * Rows of a method of scope MC_MODEL have their source set by line-up instead.
 *
 * Errors: MC_UNSUPPORTED  sources are nested too deep, or a method with statistics of the whole
 *                         model has other parameters in other rows
 */
mc_status mc_output_resolve(mc_output *row, const mc_outputs *table, const mc_labels *labels,
                            mc_error *error);

/* Resolves every row that has no source yet; errors as above. */
mc_status mc_outputs_resolve(mc_outputs *outputs, const mc_labels *labels, mc_error *error);

/* Sets the row's source, which it takes over, also on failure; casts it to row->dtype. */
mc_status mc_output_set_source(mc_output *row, mc_source *source, mc_error *error);

/* Writes every row of floats in this dtype. Before or after rows are resolved. */
mc_status mc_outputs_convert(mc_outputs *outputs, mc_dtype dtype, mc_error *error);

/* Sorts the rows into the order of the output format. */
mc_status mc_outputs_order(mc_outputs *outputs, const mc_writer *writer, mc_error *error);

/*
 * Gives each row of action MC_ACTION_MERGE the parameters that `values` returns for it (borrowed;
 * NULL keeps what it has) and a new source. Either every row changes or, on failure, none.
 */
typedef mc_params *(*mc_row_params)(const mc_output *row, void *user);
mc_status mc_outputs_bind(mc_outputs *outputs, mc_row_params values, void *user, mc_error *error);

/* Bytes that a run reads for the row, once. */
int64_t mc_output_bytes_read(const mc_output *row);

/* The rows' sources, and names, as arrays in new memory (mc_free); NULL: no memory. */
mc_source **mc_outputs_sources(const mc_outputs *outputs);
const char **mc_outputs_names(const mc_outputs *outputs);

/* A new state dict of the rows' sources. */
mc_status mc_outputs_dict(const mc_outputs *outputs, mc_state_dict **out, mc_error *error);

#endif
