/*
 * The values of a method's parameters: parsed, checked, and resolved, so that a per_input parameter
 * has one value per model whatever the user wrote.
 *
 * A mc_params is counted by reference and may be shared by many layers and threads while nobody
 * changes it. To change a value of a shared one, copy it, set the value, and check the copy.
 */
#ifndef MC_MERGE_PARAMS_H
#define MC_MERGE_PARAMS_H

#include <mergecraft/merge.h>

#include "base/error.h"

#include <stdatomic.h>

typedef struct mc_params {
    atomic_size_t references;
    const mc_method *method;
    size_t model_count;
    size_t count;
    mc_value *values; /* in the order of the method's parameters; their numbers lie in `numbers` */
    double *numbers;
    size_t number_count;
    bool *given;            /* [number_count] whether a number was set; else it is the default */
    struct mc_params *then; /* of the add-on that changes the result; owned; NULL if none does */
} mc_params;

/* In the place of a model's index: all models. */
#define MC_ALL_INPUTS SIZE_MAX

/*
 * Creates the defaults of a method that merges model_count models. Not checked: a required
 * parameter may be missing (mc_params_check).
 */
mc_status mc_params_new(const mc_method *method, size_t model_count, mc_params **out,
                        mc_error *error);

/*
 * Parses "NAME=VALUE" settings and checks the result. For a per_input parameter, VALUE may be a
 * list of model_count values: "0.3,0.7" or "[0.3, 0.7]"; "NAME[2]=VALUE" is that of model 2.
 * Errors: MC_USAGE  an unknown name (with a suggestion), a value of another type or out of range, a
 *                   list of another length than the models, a required parameter that is missing
 */
mc_status mc_params_parse(const mc_method *method, const char *const *settings, size_t count,
                          size_t model_count, mc_params **out, mc_error *error);

/*
 * The same for a method and the add-ons that change its result one after the other: settings of an
 * add-on are "ADD-ON.NAME=VALUE". Errors: also MC_USAGE if one of `then` is not an add-on.
 */
mc_status mc_params_parse_chain(const mc_method *method, const mc_method *const *then,
                                size_t then_count, const char *const *settings, size_t count,
                                size_t model_count, mc_params **out, mc_error *error);

/*
 * Checks settings each by itself: whether required ones are missing, or values do not fit together,
 * is left open.
 */
mc_status mc_params_check_settings(const mc_method *method, const mc_method *const *then,
                                   size_t then_count, const char *const *settings, size_t count,
                                   size_t model_count, mc_error *error);

/*
 * Sets one value, from text as the command line has it or from a number (MC_FLAG: 0 or 1,
 * MC_CHOICE: an index). `input` is the index of a model, or MC_ALL_INPUTS; a parameter that is not
 * per_input takes MC_ALL_INPUTS only. A text for all inputs may be a list. Errors: MC_USAGE, as
 * above.
 */
mc_status mc_params_set_text(mc_params *params, const char *name, size_t input, const char *text,
                             mc_error *error);
mc_status mc_params_set_number(mc_params *params, const char *name, size_t input, double number,
                               mc_error *error);

/* Checks that required parameters are set and that the values fit together (mc_method.check). */
mc_status mc_params_check(const mc_params *params, mc_error *error);

/* Returns the method's warning about these values (mc_method.note); NULL if there is none. */
const char *mc_params_note(const mc_params *params);

/* Reports that warning; MC_USAGE instead if strict. `report` may be NULL. */
mc_status mc_params_report(const mc_params *params, bool strict, mc_report *report,
                           mc_error *error);

mc_status mc_params_copy(const mc_params *params, mc_params **out, mc_error *error);
/*
 * The same method, number of models and values; whether they were set or defaults does not count.
 */
bool mc_params_equal(const mc_params *a, const mc_params *b);

mc_params *mc_params_ref(mc_params *params);
void mc_params_unref(mc_params *params); /* accepts NULL */

/*
 * All values as one JSON object, per_input ones as lists, those of add-ons as "ADD-ON.NAME",
 * in new memory (mc_free); NULL if there is no memory.
 */
char *mc_params_json(const mc_params *params);

#endif
