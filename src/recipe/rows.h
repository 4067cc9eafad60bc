/*
 * From a stage of a recipe and its open models to rows of the table of outputs: which tensors of
 * which models each output tensor is made of, and with which parameters.
 */
#ifndef MC_RECIPE_ROWS_H
#define MC_RECIPE_ROWS_H

#include "merge/outputs.h"
#include "recipe/schema.h"

#include <mergecraft/model.h>
#include <mergecraft/recipe.h>

/* The models of a stage, by the texts of their references. */
typedef struct mc_recipe_models {
    const char *const *names;
    const mc_model *const *models;
    const mc_state_dict *const *dicts; /* the models', by names that are aligned with the donor's */
    /* The outfit of a stage's result; NULL for other models. */
    const struct mc_outfit *const *outfits;
    size_t read; /* how many have tensors in the merge; of the others only the tokenizer is used */
    size_t count;
} mc_recipe_models;

/* Where the blocks of the result come from, for its configuration: see outfit. */
typedef struct mc_recipe_stack {
    const char *module;    /* of the schema */
    const char *usual;     /* name of the module: mc_module_usual */
    const mc_model *model; /* of the first source */
    int64_t first, count;
} mc_recipe_stack;

typedef struct mc_recipe_rows {
    mc_outputs outputs;      /* not resolved */
    mc_recipe_stack *stacks; /* one per slice with a range; none of whole models */
    size_t stack_count, stack_capacity;
} mc_recipe_rows;

/* The model of that reference; NULL if there is none. */
const mc_model *mc_recipe_find(const mc_recipe_models *models, const char *text);

/*
 * Fills *out, zero-initialised; free it also after a failure. What a model lacks, and how its
 * tensor is made then, is reported; under strict it is an error.
 * Errors: MC_FORMAT    at a line of the recipe: blocks that do not exist, a parameter that is
 * missing
 *         MC_MISMATCH  under strict
 */
mc_status mc_recipe_rows_make(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                              const mc_recipe_models *models, const mc_recipe_options *options,
                              mc_recipe_rows *out, mc_report *report, mc_error *error);

/*
 * Sets the sources of a stage's rows. `names`: the models that have tensors, as the recipe names
 * them.
 * Errors: MC_MISMATCH  at a line of the recipe: shapes differ
 */
mc_status mc_recipe_rows_resolve(const mc_recipe_schema *schema, const mc_recipe_stage *stage,
                                 const char *const *names, size_t count, mc_outputs *outputs,
                                 mc_error *error);

/* The model that configuration and tokenizer come from: the base, or the first model. */
const mc_model *mc_recipe_donor(const mc_recipe_stage *stage, const mc_recipe_models *models);
void mc_recipe_rows_free(mc_recipe_rows *rows);

#endif
