/*
 * What is inside a plan: the table of outputs, the models that its tensors come from, and what the
 * result is besides tensors. Whoever has rows of their own (a recipe) makes a plan of them with
 * mc_plan_from_rows; everything that runs, prints or records plans reads only this.
 */
#ifndef MC_MERGE_PLAN_H
#define MC_MERGE_PLAN_H

#include "merge/model_call.h"
#include "merge/outputs.h"

struct mc_plan {
    mc_outputs outputs;
    mc_model_call *call; /* of a method of scope MC_MODEL; else NULL */
    mc_report *report;

    const mc_model **models; /* model_count, then the base if there is one, then the lists' */
    size_t model_count, all_count;
    const mc_model *base;
    const char **list_names;
    size_t list_count;

    /* Of a plan of one method; for model card and provenance. */
    const mc_method *method;
    char *parameters; /* in force, as JSON */
    char **passthrough;
    size_t passthrough_count;
    bool strict, convert;
    mc_dtype dtype;
    char *method_origin, *method_text; /* NULL, or as the program gave them */
};

/* The model that configuration, tokenizer and labels come from: the last. */
const mc_model *mc_plan_last(const mc_plan *plan);

/* MC_CHANGED if a file of a model is not what it was when the model was opened. */
mc_status mc_plan_check_models(const mc_plan *plan, mc_error *error);

#endif
