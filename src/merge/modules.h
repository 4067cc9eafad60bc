/*
 * Modules of sentence-transformers in their own folders, with weights (a dense layer after the
 * pooling). Each is merged as the model is, by its own plan.
 */
#ifndef MC_MERGE_MODULES_H
#define MC_MERGE_MODULES_H

#include <mergecraft/merge.h>

#include "merge/outfit.h"

typedef struct mc_module {
    char *folder;      /* "2_Dense" */
    mc_model **models; /* opened here */
    size_t count, capacity;
    mc_plan *plan;
} mc_module;

typedef struct mc_modules {
    mc_module *items;
    size_t count, capacity;
} mc_modules;

/*
 * Opens the module of `model`, whose folder has the same name, as the next of module->models.
 * *found is false if the model has none.
 */
mc_status mc_module_open(mc_module *module, const mc_model *model, bool *found, mc_error *error);

/* Opens the module of each model and makes module->plan. */
typedef mc_status mc_module_planner(mc_module *module, void *user, mc_error *error);

/*
 * Calls `plan` for each module whose weights are among the files of `outfit`, and removes the
 * weights from the outfit. A module whose plan fails stays there as a copy, and is reported; under
 * strict it is an error. Zero-initialise *out; free it also after a failure.
 */
mc_status mc_modules_plan_by(mc_outfit *outfit, mc_module_planner *plan, void *user, bool strict,
                             mc_modules *out, mc_report *report, mc_error *error);

/* The same with a plan of the input's method. The outfit belongs to the model `last`. */
mc_status mc_modules_plan(const mc_plan_input *input, const mc_model *last, mc_outfit *outfit,
                          mc_modules *out, mc_report *report, mc_error *error);
void mc_modules_free(mc_modules *modules);

/*
 * Gives the plans of that method other parameters; plans that average are left alone. See
 * mc_plan_bind.
 */
mc_status mc_modules_bind(mc_modules *modules, const mc_method *method, const char *const *params,
                          size_t param_count, mc_error *error);

/*
 * Computes the weights and writes each module's as FOLDER/model.safetensors. Reports what only the
 * values show.
 */
mc_status mc_modules_write(const mc_modules *modules, mc_report *report, mc_folder *folder,
                           mc_error *error);

#endif
