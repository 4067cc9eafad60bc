/*
 * The inside of a plan: the table of outputs, the models that its tensors come from, and the
 * outfit. Code that fills its own rows (recipes) makes a plan of them with mc_plan_from_rows;
 * everything that runs, prints or records plans reads only this.
 */
#ifndef MC_MERGE_PLAN_H
#define MC_MERGE_PLAN_H

#include "merge/model_call.h"
#include "merge/modules.h"
#include "merge/outfit.h"
#include "merge/outputs.h"
#include "model/card_metadata.h"

struct mc_plan {
    mc_outputs outputs;
    mc_model_call *call; /* of a method of scope MC_MODEL; else NULL */
    mc_outfit outfit;
    mc_modules modules; /* of sentence-transformers, merged by plans of their own */
    mc_report *report;
    mc_card_metadata *cards; /* what the models' own cards say; model_count, then the base's */

    const mc_model **models; /* model_count, then the base if there is one, then the sides' */
    size_t model_count, all_count;
    const mc_model *base;
    const mc_model *donor; /* NULL: the model `keep` */
    const char **side_names;
    size_t side_count;

    char *recipe; /* verbatim; NULL: the plan is of one method, or a transplant */
    char *search; /* of a search that chose the parameters, as JSON; NULL: there was none */
    /* Of a transplant of models[1]'s vocabulary: its settings as JSON; NULL: it is none. */
    char *transplant;
    char *decompress; /* of one task (decompress.h): its settings as JSON; else NULL */
    bool no_card;     /* README.md is not written */

    /* Of a plan of one method, for mc_plan_bind, model card and provenance; else NULL. */
    const mc_method *method;
    char *parameters;       /* in force, as JSON; "{}" of a recipe */
    const mc_method **then; /* add-ons */
    size_t then_count;
    char **passthrough, **exclude, **matrices;
    size_t passthrough_count, exclude_count, matrix_count;
    size_t keep;     /* as in mc_plan_input */
    char *tokenizer; /* the choice, as JSON for mergecraft.json; NULL: there is none */
    bool strict, allow_unused, convert;
    bool untied; /* a tied head of the model whose configuration it has is a tensor of its own */
    mc_dtype dtype;
    char *method_origin, *method_text; /* NULL, or as the program gave them */
};

/* What a plan is made of by those who fill rows themselves. */
typedef struct mc_plan_rows {
    mc_outputs outputs; /* rows are resolved */
    mc_outfit outfit;
    mc_report *report; /* what was noticed; not NULL */
    /* model_count that are merged, then the base if there is one, then others that rows read */
    const mc_model *const *models;
    size_t model_count, all_count;
    const mc_model *base;
    const mc_model *donor;  /* whose configuration the result has; NULL: the last that is merged */
    const char *recipe;     /* its text, for model card and provenance; copied */
    const char *transplant; /* as in mc_plan; copied */
    const char *decompress; /* the same */
    bool no_card;           /* do not write README.md */
    bool strict;
} mc_plan_rows;

/*
 * Makes a plan of rows, and sorts them into the order of the output. Takes over outputs, outfit and
 * report, also on failure; models remain the caller's and must stay open until the plan is freed.
 * mc_plan_bind rejects such a plan: bind rows with mc_outputs_bind.
 */
mc_status mc_plan_from_rows(mc_plan_rows *rows, mc_plan **out, mc_error *error);

/* Records in mergecraft.json that a search chose the parameters. */
mc_status mc_plan_set_search(mc_plan *plan, const json_t *search, mc_error *error);

/*
 * The model whose configuration and tokenizer the result has: that of the rows, or else the last
 * unless another is kept.
 */
const mc_model *mc_plan_donor(const mc_plan *plan);

/* MC_CHANGED if a file of a model changed since the model was opened. */
mc_status mc_plan_check_models(const mc_plan *plan, mc_error *error);

#endif
