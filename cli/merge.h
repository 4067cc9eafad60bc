/* Shared by the files of mergecraft merge: its settings, and the objects of a run. */
#ifndef CLI_MERGE_H
#define CLI_MERGE_H

#include "lookup.h"
#include "observe.h"
#include "score.h"

#include <mergecraft/merge.h>
#include <mergecraft/recipe.h>

/* How many add-ons --then may name. */
enum { MERGE_MAX_THEN = 8 };

typedef struct merge_settings {
    common_options common;
    const char *output, *base, *dtype, *keep, *from, *tokenizer, *chat_template, *stages;
    const char *report; /* file of the HTML report */
    /* The method of the transplant that --from repeats; NULL: a merge. */
    const char *transplant;
    int64_t neighbours;
    text_list params, passthrough, exclude, tokens, sides, then, matrices;
    text_list owned; /* texts of --from */
    int64_t shard_size, memory;
    uint64_t seed, threads, pad_vocabulary;
    bool strict, dry_run, overwrite, no_sync, allow_unused;
    bool no_plan; /* models are opened and merge_job.input is filled: the caller makes plans */
    score_settings score;
    const char *stats;       /* files of statistics, one per model, with commas */
    observe_request observe; /* of --data without --eval */
} merge_settings;

typedef struct model_list {
    mc_model **models;
    size_t count;
} model_list;

/* The objects of a run; merge_close frees them. */
typedef struct merge_job {
    const merge_settings *settings;
    merge_settings *own_settings; /* the same, until it is known what --data is for */
    method_choice method;
    mc_recipe *recipe; /* instead of method and operands; NULL without one */
    char **names;      /* of the models, the base and the sides' models, in this order */
    size_t name_count;
    model_list all; /* opened */
    size_t model_count;
    text_list side_names; /* of --side, --stats and --data; owned */
    text_list side_files; /* one model per model and side input, side by side; owned */
    const mc_model *const **side_models; /* as many as side_names; model_count of each */
    const mc_method *then[MERGE_MAX_THEN];
    mc_plan_input input; /* unless it is of a recipe */
    mc_plan *plan;
    mc_process_result *processes; /* of the run, one per process; NULL: only this one */
    score_job score;
    mc_pipeline *pipeline;    /* with the result, once it was scored */
    mc_evaluation evaluation; /* of it */
} merge_job;

/* From the command line to a plan: checks arguments, opens all models (merge_plan.c). */
mc_status merge_prepare(merge_job *job, const text_list *operands, mc_error *error);
mc_run_options merge_run_options(const merge_settings *settings);
void merge_close(merge_job *job);
void merge_add_name(merge_job *job, const char *name, size_t length);
bool merge_is_complete(const merge_job *job);
mc_status merge_parse_dtype(const char *text, mc_dtype *dtype, mc_error *error);

/*
 * Computes what --data asks for (merge_data.c): statistics of every model, whose files are added to
 * *files; or, for methods that select models, their weights as a setting of the job.
 */
mc_status merge_observe(merge_job *job, const text_list *operands, text_list *files,
                        mc_error *error);
void merge_append(text_list *list, const char *text);
/* Frees a list whose texts are its own. */
void merge_free_texts(text_list *list);
bool merge_selects_models(const mc_method *method);
mc_status merge_check_examples(const merge_settings *settings, mc_error *error);

/* The same for a recipe in the place of method and models (merge_recipe.c). */
bool merge_is_recipe(const char *name);
mc_status merge_prepare_recipe(merge_job *job, const text_list *operands, mc_error *error);

/*
 * The settings and arguments of the merge that the mergecraft.json of --from records; *record: the
 * file, for merge_free_record. merge_compare_record fails with MC_CHANGED if the weights that were
 * written differ from those that the file records (merge_from.c).
 */
mc_status merge_take_record(merge_settings *settings, text_list *operands, json_t **record,
                            mc_error *error);
mc_status merge_compare_record(const merge_settings *settings, const json_t *record,
                               mc_error *error);
void merge_free_record(merge_settings *settings, json_t *record);

/*
 * Output (merge_output.c).
 *
 * Prints the lines of the report from number `first` on.
 */
void merge_print_warnings(const merge_job *job, size_t first);
mc_status merge_print_plan(const merge_job *job, const mc_run_options *run, mc_error *error);
mc_status merge_print_result(const merge_job *job, const mc_run_result *result, mc_error *error);

#endif
