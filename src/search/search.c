#include <mergecraft/search.h>

#include "base/build_id.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "merge/plan.h"
#include "merge/plugin.h"
#include "merge/report.h"
#include "model/model.h"
#include "search/command.h"
#include "search/journal.h"
#include "search/score.h"
#include "search/strategy.h"
#include "search/subject.h"
#include "search/together.h"

#include <mergecraft/version.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Default number of trials for strategies that do not end by themselves. */
enum { USUAL_TRIALS = 20 };

/* The first trials, which are always scored on all examples: a median of fewer is unreliable. */
enum { WARM_UP = 4 };

/* A point that the strategy has requested. */
typedef struct asked {
    double *values; /* [dimensions] */
    json_t *parameters;
    char *text; /* the same */
    int owner;  /* the process that computes it; −1: its score is known */
    json_t *line;
    mc_status status; /* of computing the line, on the owner … */
    mc_error error;   /* … with its error */
} asked;

/*
 * A search. The strategy requests one point after another (mc_trials_ask):
 *
 *     point ─▶ values ─▶ in the journal?  ─ yes ─▶ score of the line
 *                            │ no
 *                            ├▶ tried before? ─ yes ─▶ its score ─▶ journal
 *                            └▶ bind ─▶ load ─▶ score ───────────▶ journal
 *
 * Several processes run the strategy in step. If points do not depend on scores, as many are
 * collected as there are processes, and each computes one. They are journalled in their order, so
 * that the journal is that of one process.
 */
struct mc_trials {
    const mc_search_input *input;
    mc_search_options options;
    mc_space space;
    mc_subject subject;
    mc_scorer scorer;
    mc_search_journal journal;
    size_t next_line;   /* of the journal, from which trials are replayed */
    size_t wanted;      /* trials; SIZE_MAX: as many as the strategy has */
    size_t count, best; /* trials so far; number of the best, 0: none */
    double best_score;
    json_t *known; /* from parameters, as text, to the line of their first trial */
    char *first_failure;
    asked *asked;                   /* [room] points that are not computed yet … */
    size_t asked_count, room;       /* … and how many are collected before they are */
    double *values;                 /* [dimensions] of the current trial */
    mc_task_score *scores;          /* [tasks] */
    double *rungs[MC_SEARCH_STEPS]; /* [count] scores after each step of the trials so far */
    size_t rung_counts[MC_SEARCH_STEPS], rung_capacities[MC_SEARCH_STEPS];
    mc_status status;
    mc_error *error;
    char *recipe; /* of the best trial */
};

struct mc_search {
    mc_trials trials;
    mc_search_input input;
};

static bool is_better(const mc_trials *t, double score, double than)
{
    return t->scorer.minimize ? score < than : score > than;
}

/* ---- the header ------------------------------------------------------------------------------ */

static uint64_t hash_method(uint64_t hash, const mc_method *method)
{
    hash = mc_hash_text(hash, method->name);
    hash = mc_hash_text(hash, method->family ? method->family : "");
    (void)mc_plugin_hash_code(method, &hash); /* the user decides what --resume continues */
    return hash;
}

static uint64_t hash_model(uint64_t hash, const mc_model *model)
{
    const uint64_t number = model ? mc_model_fingerprint(model) : 0;
    return mc_hash_bytes(hash, &number, sizeof number);
}

static uint64_t hash_texts(uint64_t hash, const char *const *texts, size_t count)
{
    hash = mc_hash_bytes(hash, &count, sizeof count);
    for (size_t i = 0; i < count; i++)
        hash = mc_hash_text(hash, texts[i]);
    return hash;
}

/* Everything of a merge that its values depend on. */
static uint64_t hash_merge(uint64_t hash, const mc_plan_input *merge)
{
    hash = hash_method(hash, merge->method);
    for (size_t i = 0; i < merge->then_count; i++)
        hash = hash_method(hash, merge->then[i]);
    for (size_t i = 0; i < merge->model_count; i++)
        hash = hash_model(hash, merge->models[i]);
    hash = hash_model(hash, merge->base);
    for (size_t k = 0; k < merge->side_count; k++)
        for (size_t i = 0; i < merge->model_count; i++)
            hash = hash_model(mc_hash_text(hash, merge->side_names[k]), merge->sides[k][i]);
    hash = hash_texts(hash, merge->params, merge->param_count);
    hash = hash_texts(hash, merge->passthrough, merge->passthrough_count);
    hash = hash_texts(hash, merge->exclude, merge->exclude_count);
    hash = hash_texts(hash, merge->matrices, merge->matrix_count);
    hash = hash_texts(hash, merge->tokens, merge->token_count);
    hash = mc_hash_text(hash, merge->tokenizer ? merge->tokenizer : "");
    const uint64_t numbers[] = {merge->keep, merge->seed, (uint64_t)merge->pad_vocabulary,
                                merge->convert, merge->convert ? (uint64_t)merge->dtype : 0};
    return mc_hash_bytes(hash, numbers, sizeof numbers);
}

static uint64_t hash_recipe(uint64_t hash, const mc_trials *t)
{
    hash = mc_hash_text(hash, t->subject.template);
    for (size_t i = 0; i < mc_recipe_model_count(t->subject.recipe); i++)
        if (mc_recipe_opened(t->subject.recipe, i))
            hash = hash_model(hash, mc_recipe_opened(t->subject.recipe, i));
    return hash;
}

/* A hash of the header and of everything else that scores depend on. */
static uint64_t fingerprint(const mc_trials *t, const json_t *header)
{
    uint64_t hash = mc_hash_text(MC_HASH_START, mc_version());
    hash = mc_hash_text(hash, mc_build_id());
    hash = t->input->merge ? hash_merge(hash, t->input->merge) : hash_recipe(hash, t);
    hash = mc_scorer_hash(&t->scorer, hash);
    char *const text = mc_json_write(header, JSON_COMPACT | JSON_SORT_KEYS);
    hash = mc_hash_text(hash, text ? text : "");
    mc_free(text);
    return hash;
}

static json_t *tasks_json(const mc_trials *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->scorer.task_count; i++) {
        const mc_scorer_task *const task = &t->scorer.tasks[i];
        const double weight = task->given->weight > 0 ? task->given->weight : 1;
        json_t *one = json_pack(
            "{s:o, s:o, s:s, s:f, s:I, s:I}", "task", mc_json_text(task->given->task->name),
            "split", mc_json_text(task->given->split), "metric", task->metric, "weight", weight,
            "examples", (json_int_t)task->examples, "held_out", (json_int_t)task->held_out);
        if (task->given->head)
            one = mc_json_put(one, "head", mc_json_text(mc_model_name(task->given->head)));
        list = mc_json_append(list, one);
    }
    return list;
}

static json_t *models_json(const mc_trials *t)
{
    const mc_plan_input *const merge = t->input->merge;
    json_t *list = json_array();
    for (size_t i = 0; merge && i < merge->model_count; i++)
        list = mc_json_append(list, mc_json_text(mc_model_name(merge->models[i])));
    for (size_t i = 0; !merge && i < mc_recipe_model_count(t->subject.recipe); i++)
        list = mc_json_append(list, mc_json_text(mc_recipe_model(t->subject.recipe, i)));
    return list;
}

static json_t *settings_json(const mc_plan_input *merge)
{
    json_t *list = json_array();
    for (size_t i = 0; merge && i < merge->param_count; i++)
        list = mc_json_append(list, mc_json_text(merge->params[i]));
    return list;
}

static const char *objective_text(const mc_trials *t)
{
    static const char *const texts[] = {"mean", "min", "relative", "worst-relative"};
    return texts[t->input->objective];
}

static const char *strategy_text(const mc_trials *t)
{
    return t->input->strategy ? t->input->strategy : "random";
}

static json_t *header_json(const mc_trials *t)
{
    const mc_search_input *const input = t->input;
    const mc_plan_input *const merge = input->merge;
    char digits[24];
    json_t *line = json_pack("{s:s, s:i, s:s}", "type", "search", "version", 1, "mergecraft",
                             mc_version());
    line = mc_json_put(line, "method", mc_json_text(merge ? merge->method->name : NULL));
    line = mc_json_put(line, "recipe", mc_json_text(t->subject.template));
    line = mc_json_put(line, "models", models_json(t));
    line = mc_json_put(line, "base",
                       mc_json_text(merge && merge->base ? mc_model_name(merge->base) : NULL));
    line = mc_json_put(line, "parameters", settings_json(merge));
    line = mc_json_put(line, "strategy", json_string(strategy_text(t)));
    line = mc_json_put(line, "seed", json_integer((json_int_t)input->seed));
    line = mc_json_put(line, "direction",
                       json_string(t->scorer.minimize ? "minimize" : "maximize"));
    line = mc_json_put(line, "objective",
                       input->command ? json_null() : json_string(objective_text(t)));
    line = mc_json_put(line, "command", mc_json_text(input->command));
    line = mc_json_put(line, "validate", json_real(input->validate));
    line = mc_json_put(line, "halving", json_integer((json_int_t)input->halving));
    line = mc_json_put(line, "space", mc_space_json(&t->space));
    line = mc_json_put(line, "tasks", tasks_json(t));
    if (!line)
        return NULL;
    snprintf(digits, sizeof digits, "%016" PRIx64, fingerprint(t, line));
    return mc_json_put(line, "fingerprint", json_string(digits));
}

/* ---- single models --------------------------------------------------------------------------- */

static bool is_relative(const mc_search_input *input)
{
    return input->objective == MC_SEARCH_RELATIVE || input->objective == MC_SEARCH_WORST_RELATIVE;
}

static void note_parent(mc_trials *t, const json_t *scores)
{
    for (size_t i = 0; i < t->scorer.task_count; i++) {
        const json_t *const value = json_object_get(json_array_get(scores, i), "value");
        double *const parent = &t->scorer.tasks[i].parent;
        if (json_is_number(value) &&
            (isnan(*parent) || is_better(t, json_number_value(value), *parent)))
            *parent = json_number_value(value);
    }
}

/* The journal's line of a single model; NULL: none. */
static const json_t *parent_line(const mc_trials *t, const char *name)
{
    size_t from = 0;
    for (const json_t *line; (line = mc_search_journal_next(&t->journal, "parent", &from));) {
        const char *const model = json_string_value(json_object_get(line, "model"));
        if (model && strcmp(model, name) == 0)
            return line;
    }
    return NULL;
}

static mc_status make_parent(mc_trials *t, const mc_model *model, json_t **out, mc_error *error)
{
    MC_TRY(mc_scorer_model(&t->scorer, model, t->options.cancel, t->scores, error));
    *out = mc_json_put(
        json_pack("{s:s, s:o}", "type", "parent", "model", mc_json_text(mc_model_name(model))),
        "scores", mc_scorer_json(&t->scorer, t->scores));
    return *out ? MC_OK : mc_fail_memory(error);
}

/*
 * Appends a line that process `owner` has made on all processes; process 0 writes it. `status` is
 * how making it ended. Takes the line over.
 */
static mc_status add_line(mc_trials *t, int owner, mc_status status, json_t *line, mc_error *error)
{
    const mc_comm *const comm = t->options.comm;
    status = mc_search_share_line(comm, owner, status, &line, error);
    if (status != MC_OK) {
        json_decref(line);
        return status;
    }
    return mc_comm_agree(comm, mc_search_journal_add(&t->journal, line, error), error);
}

/* Scores one model as it is, on process 0, or takes its line, which may follow trials. */
static mc_status score_parent(mc_trials *t, const mc_model *model, mc_error *error)
{
    const json_t *line = parent_line(t, mc_model_name(model));
    if (!line) {
        json_t *made = NULL;
        const bool mine = mc_comm_rank(t->options.comm) == 0;
        const mc_status status = mine ? make_parent(t, model, &made, error) : MC_OK;
        MC_TRY(add_line(t, 0, status, made, error));
        line = t->journal.lines[t->journal.count - 1];
    }
    note_parent(t, json_object_get(line, "scores"));
    return MC_OK;
}

static mc_status score_parents(mc_trials *t, mc_error *error)
{
    const mc_plan_input *const merge = t->input->merge;
    if (t->scorer.task_count == 0 || (!t->input->parents && !is_relative(t->input)))
        return MC_OK;
    for (size_t i = 0; merge && i < merge->model_count; i++)
        MC_TRY(score_parent(t, merge->models[i], error));
    for (size_t i = 0; !merge && i < mc_recipe_model_count(t->subject.recipe); i++)
        if (mc_recipe_opened(t->subject.recipe, i))
            MC_TRY(score_parent(t, mc_recipe_opened(t->subject.recipe, i), error));
    return MC_OK;
}

/* ---- one trial ------------------------------------------------------------------------------- */

/* The result of a trial. */
typedef struct outcome {
    double score; /* NaN: it failed */
    double rungs[MC_SEARCH_STEPS];
    size_t rung_count; /* steps that it was scored on; 0: it is not scored on tasks */
    bool stopped;
    size_t same_as;
    double seconds;
    json_t *warnings; /* what the values of its merge showed; NULL: nothing */
    char failure[sizeof(((mc_error *)0)->text) + 2048]; /* "": none */
} outcome;

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The upper median, so that of two trials the better one counts. */
static double median_of(const double *numbers, size_t count)
{
    double *const sorted = mc_alloc((count + 1) * sizeof *sorted);
    if (!sorted)
        return NAN;
    memcpy(sorted, numbers, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_numbers);
    const double median = sorted[count / 2];
    mc_free(sorted);
    return median;
}

/* Whether to stop a trial that has this score after a step. */
static bool is_hopeless(const mc_trials *t, size_t step, double score)
{
    const size_t count = t->rung_counts[step];
    return step + 1 < t->scorer.step_count && count >= WARM_UP &&
           (isnan(score) || is_better(t, median_of(t->rungs[step], count), score));
}

static mc_status score_steps(mc_trials *t, outcome *out, mc_error *error)
{
    mc_predictions *kept = NULL;
    MC_TRY(mc_scorer_load(&t->scorer, t->subject.plan, t->subject.plan->report, error));
    mc_status status = mc_predictions_new(&t->scorer, &kept, error);
    for (size_t step = 0; status == MC_OK && step < t->scorer.step_count && !out->stopped; step++) {
        status = mc_scorer_run(&t->scorer, step + 1, kept, t->options.cancel, t->scores, error);
        if (status != MC_OK)
            break;
        out->score = out->rungs[out->rung_count++] = mc_scorer_combine(&t->scorer, t->scores);
        out->stopped = is_hopeless(t, step, out->score);
    }
    mc_predictions_free(kept);
    if (status == MC_OK && isnan(out->score))
        return mc_fail(error, MC_FORMAT, "the score is not a number");
    return status;
}

/* Errors of the machine or of the inputs rather than of the parameters. */
static bool ends_search(mc_status status)
{
    return status == MC_NO_MEMORY || status == MC_IO || status == MC_NO_SPACE ||
           status == MC_CHANGED || status == MC_INTERRUPTED || status == MC_NOT_FOUND ||
           status == MC_BUSY;
}

/*
 * Moves the lines of a trial out of the plan's report, which is on the best merge only. The journal
 * holds those of each trial.
 */
static mc_status take_warnings(const mc_plan *plan, size_t from, outcome *out, mc_error *error)
{
    mc_report *const report = plan->report;
    json_t *lines = mc_report_count(report) > from ? json_array() : NULL;
    for (size_t i = from; i < mc_report_count(report); i++)
        lines = mc_json_append(lines, mc_json_text(mc_report_line(report, i)));
    const bool failed = mc_report_count(report) > from && !lines;
    mc_report_cut(report, from);
    out->warnings = lines;
    return failed ? mc_fail_memory(error) : MC_OK;
}

/* The merge of the bound plan, and its score. */
static mc_status score_bound(mc_trials *t, size_t number, const char *parameters, outcome *out,
                             mc_error *error)
{
    const mc_plan *const plan = t->subject.plan;
    const size_t before = mc_report_count(plan->report);
    const mc_status status = t->input->command
                                 ? mc_command_score(t->input, &t->options, plan, number, parameters,
                                                    &out->score, error)
                                 : score_steps(t, out, error);
    const mc_status taken = take_warnings(plan, before, out, status == MC_OK ? error : NULL);
    return status != MC_OK ? status : taken;
}

static mc_status compute(mc_trials *t, size_t number, const char *parameters, outcome *out,
                         mc_error *error)
{
    mc_error failure = MC_ERROR_NONE;
    const double begin = mc_seconds();
    mc_status status = mc_subject_bind(&t->subject, t->values, &failure);
    if (status == MC_OK)
        status = score_bound(t, number, parameters, out, &failure);
    out->seconds = mc_seconds() - begin;
    if (status == MC_OK)
        return MC_OK;
    if (ends_search(status)) {
        if (error)
            *error = failure;
        return status;
    }
    out->score = NAN;
    out->rung_count = 0;
    out->stopped = false;
    mc_error_message(&failure, out->failure, sizeof out->failure);
    return MC_OK;
}

/* Copies the result of an earlier trial with the same parameters, except its time. */
static void repeat(const json_t *earlier, outcome *out)
{
    const char *const failure = json_string_value(json_object_get(earlier, "error"));
    const json_t *const score = json_object_get(earlier, "score");
    out->same_as = (size_t)json_integer_value(json_object_get(earlier, "trial"));
    out->score = json_is_number(score) ? json_number_value(score) : NAN;
    out->stopped = json_is_true(json_object_get(earlier, "stopped"));
    out->warnings = json_incref(json_object_get(earlier, "warnings"));
    snprintf(out->failure, sizeof out->failure, "%s", failure ? failure : "");
}

static json_t *number_json(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

static json_t *rungs_json(const outcome *o)
{
    json_t *list = json_array();
    for (size_t i = 0; i < o->rung_count; i++)
        list = mc_json_append(list, number_json(o->rungs[i]));
    return list;
}

static json_t *trial_json(const mc_trials *t, size_t number, json_t *parameters,
                          const json_t *earlier, const outcome *o)
{
    json_t *line = json_pack("{s:s, s:I, s:O}", "type", "trial", "trial", (json_int_t)number,
                             "parameters", parameters);
    line = mc_json_put(line, "score", number_json(o->score));
    if (earlier)
        line = mc_json_put(line, "scores", json_incref(json_object_get(earlier, "scores")));
    else
        line = mc_json_put(line, "scores",
                           o->rung_count > 0 ? mc_scorer_json(&t->scorer, t->scores)
                                             : json_array());
    if (t->scorer.step_count > 1 && o->rung_count > 0)
        line = mc_json_put(line, "steps", rungs_json(o));
    if (o->same_as > 0)
        line = mc_json_put(line, "same_as", json_integer((json_int_t)o->same_as));
    if (o->stopped)
        line = mc_json_put(line, "stopped", json_true());
    if (o->warnings)
        line = mc_json_put(line, "warnings", json_incref(o->warnings));
    if (*o->failure)
        line = mc_json_put(line, "error", mc_json_text(o->failure));
    return mc_json_put(line, "seconds", json_real(round(o->seconds * 1e4) / 1e4));
}

static json_t *parameters_json(const mc_trials *t)
{
    json_t *object = json_object();
    for (size_t i = 0; i < t->space.count; i++)
        object = mc_json_put(object, t->space.dimensions[i].name,
                             mc_dimension_json(&t->space.dimensions[i], t->values[i]));
    return object;
}

static mc_status compute_line(mc_trials *t, size_t number, asked *a, mc_error *error)
{
    outcome *const out = mc_alloc_zero(1, sizeof *out);
    if (!out)
        return mc_fail_memory(error);
    memcpy(t->values, a->values, t->space.count * sizeof *t->values);
    mc_status status = MC_OK;
    if (t->options.cancel && __atomic_load_n(t->options.cancel, __ATOMIC_RELAXED))
        status = mc_fail(error, MC_INTERRUPTED, "interrupted");
    else
        status = compute(t, number, a->text, out, error);
    if (status == MC_OK && !(a->line = trial_json(t, number, a->parameters, NULL, out)))
        status = mc_fail_memory(error);
    json_decref(out->warnings);
    mc_free(out);
    return status;
}

/* The line of a trial with the parameters of an earlier one. */
static mc_status repeat_line(const mc_trials *t, asked *a, mc_error *error)
{
    const json_t *const earlier = json_object_get(t->known, a->text);
    outcome *const out = mc_alloc_zero(1, sizeof *out);
    if (!out)
        return mc_fail_memory(error);
    repeat(earlier, out);
    a->line = trial_json(t, t->count + 1, a->parameters, earlier, out);
    json_decref(out->warnings);
    mc_free(out);
    return a->line ? MC_OK : mc_fail_memory(error);
}

/* Adds the line of a trial to the journal. */
static mc_status make_trial(mc_trials *t, asked *a, mc_error *error)
{
    /* Process 0 repeats the trial: sending its result to all takes as long. */
    const int owner = a->owner < 0 ? 0 : a->owner;
    if (a->owner < 0 && mc_comm_rank(t->options.comm) == 0)
        a->status = repeat_line(t, a, &a->error);
    if (a->status != MC_OK && error)
        *error = a->error;
    json_t *const line = a->line;
    a->line = NULL;
    MC_TRY(add_line(t, owner, a->status, line, error));
    t->next_line = t->journal.count;
    return MC_OK;
}

/* ---- the sequence ---------------------------------------------------------------------------- */

/* The scores after each step, which decide about trials that follow. */
static mc_status note_rungs(mc_trials *t, const json_t *line, mc_error *error)
{
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(line, "steps"), i, value)
    {
        if (i >= MC_SEARCH_STEPS || !json_is_number(value))
            continue;
        if (!MC_GROW(t->rungs[i], t->rung_counts[i], t->rung_capacities[i]))
            return mc_fail_memory(error);
        t->rungs[i][t->rung_counts[i]++] = json_number_value(value);
    }
    return MC_OK;
}

/* Counts a trial that is in the journal now. Of equal scores, the first is the best. */
static mc_status note_trial(mc_trials *t, const json_t *line, const char *text, mc_error *error)
{
    const json_t *const score = json_object_get(line, "score");
    const char *const failure = json_string_value(json_object_get(line, "error"));
    t->count++;
    if (failure && !t->first_failure && !(t->first_failure = mc_strdup(failure)))
        return mc_fail_memory(error);
    if (json_is_number(score) && !json_is_true(json_object_get(line, "stopped")) &&
        (t->best == 0 || is_better(t, json_number_value(score), t->best_score))) {
        t->best = t->count;
        t->best_score = json_number_value(score);
    }
    if (!json_object_get(t->known, text) &&
        json_object_set(t->known, text, (json_t *)(uintptr_t)line) != 0)
        return mc_fail_memory(error);
    return note_rungs(t, line, error);
}

static void report(const mc_trials *t, const json_t *line, const char *parameters, bool resumed)
{
    const json_t *const score = json_object_get(line, "score");
    const mc_search_trial trial = {.number = t->count,
                                   .total = t->wanted == SIZE_MAX ? 0 : t->wanted,
                                   .parameters = parameters,
                                   .score = json_is_number(score) ? json_number_value(score)
                                                                  : (double)NAN,
                                   .error = json_string_value(json_object_get(line, "error")),
                                   .stopped = json_is_true(json_object_get(line, "stopped")),
                                   .resumed = resumed,
                                   .best = t->best,
                                   .best_score = t->best_score,
                                   .line = t->journal.texts[t->next_line - 1]};
    if (t->options.trial)
        t->options.trial(&trial, t->options.user);
}

/*
 * A trial of the journal must be the one that the strategy asks for. The file may have been edited:
 * the lines of repeated trials and of the result copy its score and scores.
 */
static mc_status check_line(const mc_trials *t, const json_t *line, const json_t *parameters,
                            mc_error *error)
{
    const json_t *const score = json_object_get(line, "score");
    if (!json_is_array(json_object_get(line, "scores")) ||
        (!json_is_number(score) && !json_is_null(score)))
        return mc_fail_at(error, MC_FORMAT, t->journal.path, NULL, -1,
                          "line %zu: expected a trial with 'score' and 'scores'", t->next_line);
    if (json_integer_value(json_object_get(line, "trial")) == (json_int_t)t->count + 1 &&
        json_equal(json_object_get(line, "parameters"), parameters))
        return MC_OK;
    return mc_fail_at(error, MC_FORMAT, t->journal.path, NULL, -1,
                      "expected trial %zu of this search in line %zu, found another trial",
                      t->count + 1, t->next_line);
}

static mc_status take_line(mc_trials *t, asked *a, const json_t *line, mc_error *error)
{
    if (line)
        return check_line(t, line, a->parameters, error);
    return make_trial(t, a, error);
}

static mc_status run_trial(mc_trials *t, asked *a, mc_error *error)
{
    const json_t *line = mc_search_journal_next(&t->journal, "trial", &t->next_line);
    const bool resumed = line != NULL;
    mc_status status = take_line(t, a, line, error);
    line = status == MC_OK ? t->journal.lines[t->next_line - 1] : NULL;
    if (line)
        status = note_trial(t, line, a->text, error);
    MC_TRY(mc_comm_agree(t->options.comm, status, error));
    report(t, line, a->text, resumed);
    return MC_OK;
}

static void free_asked(mc_trials *t)
{
    for (size_t i = 0; i < t->asked_count; i++) {
        mc_free(t->asked[i].values);
        mc_free(t->asked[i].text);
        json_decref(t->asked[i].parameters);
        json_decref(t->asked[i].line);
    }
    t->asked_count = 0;
}

/* Whether a point has to be computed: not in the journal, and not tried before it. */
static bool is_new(const mc_trials *t, size_t index, size_t *from)
{
    const char *const text = t->asked[index].text;
    if (mc_search_journal_next(&t->journal, "trial", from) || json_object_get(t->known, text))
        return false;
    for (size_t i = 0; i < index; i++)
        if (strcmp(t->asked[i].text, text) == 0)
            return false;
    return true;
}

/*
 * Computes the points that were asked for, one per process, and journals them in their order.
 * `status`: whether this process could ask for them. All processes call this equally often, even
 * after a failure of their own: it is collective, and the others would wait forever.
 */
static mc_status run_asked(mc_trials *t, mc_status status, mc_error *error)
{
    const mc_comm *const comm = t->options.comm;
    size_t from = t->next_line;
    int owner = 0;
    status = mc_comm_agree(comm, status, error);
    for (size_t i = 0; status == MC_OK && i < t->asked_count; i++)
        t->asked[i].owner = is_new(t, i, &from) ? owner++ : -1;
    for (size_t i = 0; status == MC_OK && i < t->asked_count; i++)
        if (t->asked[i].owner == mc_comm_rank(comm))
            t->asked[i].status = compute_line(t, t->count + 1 + i, &t->asked[i],
                                              &t->asked[i].error);
    for (size_t i = 0; status == MC_OK && i < t->asked_count; i++)
        status = run_trial(t, &t->asked[i], error);
    free_asked(t);
    return status;
}

/* A point of the strategy, as values and as JSON. */
static mc_status take_point(mc_trials *t, const double *unit, asked *a, mc_error *error)
{
    *a = (asked){.error = MC_ERROR_NONE, .values = mc_alloc(t->space.count * sizeof *a->values)};
    if (!a->values)
        return mc_fail_memory(error);
    for (size_t i = 0; i < t->space.count; i++)
        a->values[i] = t->values[i] = mc_dimension_value(&t->space.dimensions[i], unit[i]);
    a->parameters = parameters_json(t);
    a->text = a->parameters ? mc_json_write(a->parameters, JSON_COMPACT) : NULL;
    return a->text ? MC_OK : mc_fail_memory(error);
}

static mc_status ask(mc_trials *t, const double *unit, mc_error *error)
{
    const mc_status status = take_point(t, unit, &t->asked[t->asked_count++], error);
    const bool enough = t->asked_count == t->room || t->count + t->asked_count == t->wanted;
    return enough || status != MC_OK ? run_asked(t, status, error) : MC_OK;
}

bool mc_trials_ask(mc_trials *t, const double *unit, double *score)
{
    if (t->status != MC_OK || t->count + t->asked_count >= t->wanted)
        return false;
    t->status = ask(t, unit, t->error);
    if (t->status != MC_OK)
        return false;
    *score = NAN;
    if (t->room > 1)
        return true;
    const json_t *const found = json_object_get(t->journal.lines[t->next_line - 1], "score");
    const double value = json_is_number(found) ? json_number_value(found) : (double)NAN;
    *score = t->scorer.minimize ? -value : value;
    return true;
}

/* ---- the end --------------------------------------------------------------------------------- */

static const json_t *line_of(const mc_trials *t, size_t trial)
{
    size_t from = 0;
    const json_t *line;
    do
        line = mc_search_journal_next(&t->journal, "trial", &from);
    while (line && json_integer_value(json_object_get(line, "trial")) != (json_int_t)trial);
    return line;
}

/* The value of a dimension in a trial's line; NaN if it has none. */
static double value_in(const mc_dimension *d, const json_t *parameters)
{
    const json_t *const value = json_object_get(parameters, d->name);
    const char *const text = json_string_value(value);
    for (size_t i = 0; text && i < d->choice_count; i++)
        if (strcmp(d->choices[i], text) == 0)
            return (double)i;
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static mc_status bind_best(mc_trials *t, mc_error *error)
{
    const json_t *const parameters = json_object_get(line_of(t, t->best), "parameters");
    for (size_t i = 0; i < t->space.count; i++)
        t->values[i] = value_in(&t->space.dimensions[i], parameters);
    MC_TRY(mc_subject_bind(&t->subject, t->values, error));
    if (!t->subject.template)
        return MC_OK;
    mc_free(t->recipe);
    t->recipe = mc_strdup(t->subject.recipe_text);
    return t->recipe ? MC_OK : mc_fail_memory(error);
}

/* Reports what the best trial's line holds; the journal may be of a search that was not strict. */
static mc_status report_best(const mc_trials *t, mc_error *error)
{
    const mc_plan *const plan = t->subject.plan;
    const json_t *const lines = json_object_get(line_of(t, t->best), "warnings");
    size_t i;
    const json_t *value;
    json_array_foreach(lines, i, value)
    {
        const char *const text = json_string_value(value);
        if (text && plan->strict)
            return mc_fail(error, MC_MISMATCH, "trial %zu: %s (strict)", t->best, text);
        if (text)
            MC_TRY(mc_report_add(plan->report, error, "%s", text));
    }
    return MC_OK;
}

static bool holds_out(const mc_trials *t)
{
    for (size_t i = 0; i < t->scorer.task_count; i++)
        if (t->scorer.tasks[i].held_out > 0)
            return true;
    return false;
}

static mc_status score_held_out(mc_trials *t, json_t **out, mc_error *error)
{
    *out = NULL;
    if (holds_out(t)) {
        /* Its trial has reported what this shows. */
        MC_TRY(mc_scorer_load(&t->scorer, t->subject.plan, NULL, error));
        MC_TRY(mc_scorer_run(&t->scorer, MC_HELD_OUT, NULL, t->options.cancel, t->scores, error));
        *out = mc_scorer_json(&t->scorer, t->scores);
    } else {
        *out = json_array();
    }
    return *out ? MC_OK : mc_fail_memory(error);
}

static mc_status make_result(mc_trials *t, json_t **out, mc_error *error)
{
    const json_t *const trial = line_of(t, t->best);
    json_t *held_out = NULL;
    MC_TRY(score_held_out(t, &held_out, error));
    json_t *line = json_pack(
        "{s:s, s:I, s:O, s:O, s:O}", "type", "result", "trial", (json_int_t)t->best, "parameters",
        json_object_get(trial, "parameters"), "score", json_object_get(trial, "score"), "scores",
        json_object_get(trial, "scores"));
    *out = mc_json_put(line, "held_out", held_out);
    return *out ? MC_OK : mc_fail_memory(error);
}

/* Process 0 scores the best merge on the examples that are held out. */
static mc_status add_result(mc_trials *t, mc_error *error)
{
    json_t *line = NULL;
    const bool mine = mc_comm_rank(t->options.comm) == 0;
    const mc_status status = mine ? make_result(t, &line, error) : MC_OK;
    return add_line(t, 0, status, line, error);
}

/* Whether a line of the journal is the result of the trials. The file may have been edited. */
static bool is_result(const mc_trials *t, const json_t *line)
{
    const json_t *const scores = json_object_get(line, "scores");
    const json_t *const held_out = json_object_get(line, "held_out");
    return json_integer_value(json_object_get(line, "trial")) == (json_int_t)t->best &&
           json_is_object(json_object_get(line, "parameters")) && json_is_array(scores) &&
           json_is_array(held_out) && json_array_size(scores) <= t->scorer.task_count &&
           json_array_size(held_out) <= t->scorer.task_count;
}

/* The journal of a search that had ended stays as it is. */
static mc_status finish(mc_trials *t, mc_error *error)
{
    if (t->best == 0)
        return mc_fail(error, MC_MISMATCH, "all %zu trials failed; the first: %s", t->count,
                       t->first_failure ? t->first_failure : "no trial was made");
    MC_TRY(mc_comm_agree(t->options.comm, bind_best(t, error), error));
    MC_TRY(mc_comm_agree(t->options.comm, report_best(t, error), error));
    const json_t *const last = mc_search_journal_last(&t->journal, "result");
    if (last && is_result(t, last) && t->next_line + 1 >= t->journal.count)
        return MC_OK;
    return add_result(t, error);
}

/* ---- running --------------------------------------------------------------------------------- */

static mc_status check_input(const mc_trials *t, const mc_strategy *strategy, mc_error *error)
{
    const mc_search_input *const input = t->input;
    bool parameters = false;
    for (size_t i = 0; i < t->space.count; i++)
        parameters = parameters || t->space.dimensions[i].switches == 0;
    if (!input->command == (input->task_count == 0))
        return mc_fail(error, MC_USAGE, "expected either tasks to score on or a command");
    if (input->command && (input->validate > 0 || input->halving > 1 || input->parents))
        return mc_fail(error, MC_USAGE,
                       "validate, halving and parents: expected tasks, found a command");
    if (input->command)
        MC_TRY(mc_command_check(input->command, error));
    if (strategy->only_switches && parameters)
        return mc_fail(error, MC_USAGE, "%s: expected the space models=subset alone",
                       strategy->name);
    if (input->halving > 1 && !strategy->independent)
        return mc_fail(error, MC_USAGE,
                       "halving: expected the strategy random or grid, found %s: the scores of "
                       "trials that stop early would mislead it",
                       strategy->name);
    return MC_OK;
}

static size_t trials_wanted(const mc_trials *t, const mc_strategy *strategy)
{
    const bool grid = strcmp(strategy->name, "grid") == 0;
    const size_t most = grid                      ? mc_grid_count(&t->space)
                        : strategy->only_switches ? 2 * t->space.count - 1
                                                  : SIZE_MAX;
    const size_t given = t->input->trials > 0 ? t->input->trials
                         : most == SIZE_MAX   ? USUAL_TRIALS
                                              : most;
    return given < most ? given : most;
}

/* Plans the recipe with the lower bounds of the space, which yields its models. */
static mc_status open_recipe(mc_trials *t, mc_error *error)
{
    for (size_t i = 0; i < t->space.count; i++)
        t->values[i] = t->space.dimensions[i].low;
    return t->subject.template ? mc_subject_bind(&t->subject, t->values, error) : MC_OK;
}

static mc_status prepare(mc_trials *t, const mc_strategy *strategy, mc_error *error)
{
    MC_TRY(mc_subject_new(t->input, &t->space, &t->subject, error));
    MC_TRY(check_input(t, strategy, error));
    MC_TRY(mc_scorer_new(t->input, &t->options, &t->scorer, error));
    /* Whether a trial stops early depends on all before it. */
    const bool independent = strategy->independent && t->scorer.step_count == 1;
    t->room = independent ? (size_t)mc_comm_size(t->options.comm) : 1;
    t->wanted = trials_wanted(t, strategy);
    t->values = mc_alloc_zero(t->space.count, sizeof *t->values);
    t->scores = mc_alloc_zero(t->scorer.task_count, sizeof *t->scores);
    t->asked = mc_alloc_zero(t->room, sizeof *t->asked);
    t->known = json_object();
    if (!t->values || !t->scores || !t->asked || !t->known)
        return mc_fail_memory(error);
    return open_recipe(t, error);
}

static mc_status open_journal(mc_trials *t, mc_error *error)
{
    json_t *const header = header_json(t);
    const char *const path = mc_comm_rank(t->options.comm) == 0 ? t->options.journal : NULL;
    const mc_status status = header ? mc_search_journal_open(path, t->options.resume, header,
                                                             &t->journal, error)
                                    : mc_fail_memory(error);
    json_decref(header);
    t->next_line = 1;
    return status;
}

static mc_status run(mc_trials *t, mc_error *error)
{
    const mc_comm *const comm = t->options.comm;
    const mc_strategy *strategy = NULL;
    MC_TRY(mc_strategy_find(strategy_text(t), &strategy, error));
    mc_status status = prepare(t, strategy, error);
    if (status == MC_OK)
        status = open_journal(t, error);
    MC_TRY(mc_search_share_journal(comm, status, &t->journal, error));
    MC_TRY(score_parents(t, error));
    t->error = error;
    status = strategy->run(&t->space, t->input->seed, t, error);
    if (t->status == MC_OK)
        t->status = run_asked(t, status, error);
    t->error = NULL;
    MC_TRY(t->status);
    return finish(t, error);
}

mc_status mc_search_run(const mc_search_input *input, const mc_search_options *options,
                        mc_search **out, mc_error *error)
{
    mc_search *const search = mc_alloc_zero(1, sizeof *search);
    const mc_status made = mc_comm_agree(options ? options->comm : NULL,
                                         search ? MC_OK : mc_fail_memory(error), error);
    if (!search || made != MC_OK) {
        mc_free(search);
        return made;
    }
    search->input = *input;
    mc_trials *const t = &search->trials;
    t->input = &search->input;
    t->journal.fd = -1;
    if (options)
        t->options = *options;
    const mc_status status = run(t, error);
    if (status == MC_OK)
        *out = search;
    else
        mc_search_free(search);
    return status;
}

void mc_search_free(mc_search *search)
{
    if (!search)
        return;
    mc_trials *const t = &search->trials;
    mc_scorer_free(&t->scorer);
    mc_subject_free(&t->subject);
    mc_space_free(&t->space);
    json_decref(t->known);
    free_asked(t);
    mc_free(t->asked);
    mc_search_journal_close(&t->journal);
    for (size_t i = 0; i < MC_SEARCH_STEPS; i++)
        mc_free(t->rungs[i]);
    mc_free(t->first_failure);
    mc_free(t->values);
    mc_free(t->scores);
    mc_free(t->recipe);
    mc_free(search);
}

/* ---- results --------------------------------------------------------------------------------- */

size_t mc_search_line_count(const mc_search *search)
{
    return search->trials.journal.count;
}

const char *mc_search_line(const mc_search *search, size_t index)
{
    return search->trials.journal.texts[index];
}

size_t mc_search_best(const mc_search *search, double *score)
{
    if (score)
        *score = search->trials.best_score;
    return search->trials.best;
}

const char *mc_search_result(const mc_search *search)
{
    const mc_search_journal *const journal = &search->trials.journal;
    return journal->texts[journal->count - 1];
}

const mc_report *mc_search_report(const mc_search *search)
{
    return mc_plan_report(search->trials.subject.plan);
}

const char *mc_search_recipe(const mc_search *search)
{
    return search->trials.recipe;
}

/* ---- the best merge -------------------------------------------------------------------------- */

static double number_of(const json_t *object, const char *name)
{
    const json_t *const value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* Writes the scores of the result line into card and mergecraft.json. */
static mc_status record_scores(const mc_trials *t, const char *folder, const json_t *result,
                               mc_error *error)
{
    const json_t *scores = json_object_get(result, "held_out");
    if (json_array_size(scores) == 0)
        scores = json_object_get(result, "scores");
    /* Those of a trial are as the journal has them, which may have more than there are tasks. */
    const size_t found = json_array_size(scores);
    const size_t count = found < t->scorer.task_count ? found : t->scorer.task_count;
    mc_score *const list = mc_alloc_zero(count, sizeof *list);
    if (!list)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        const json_t *const one = json_array_get(scores, i);
        const mc_scorer_task *const task = &t->scorer.tasks[i];
        list[i] = (mc_score){
            .task = task->given->task->name,
            .split = task->given->split ? task->given->split : "",
            .metric = task->metric,
            .value = number_of(one, "value"),
            .standard_error = number_of(one, "standard_error"),
            .examples = (size_t)json_integer_value(json_object_get(one, "examples")),
            .own_data = true};
    }
    const mc_status status = count > 0 ? mc_add_scores(folder, list, count, error) : MC_OK;
    mc_free(list);
    return status;
}

/* The search in mergecraft.json: enough to do it again, and the parameters that it chose. */
static json_t *provenance(const mc_trials *t, const json_t *result)
{
    static const char *const members[] = {"strategy", "seed",     "direction", "objective",
                                          "command",  "validate", "space",     "tasks"};
    json_t *object = json_pack(
        "{s:I, s:I, s:O, s:O, s:O}", "trials", (json_int_t)t->count, "trial", (json_int_t)t->best,
        "parameters", json_object_get(result, "parameters"), "score",
        json_object_get(result, "score"), "held_out", json_object_get(result, "held_out"));
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        object = mc_json_put(object, members[i],
                             json_incref(json_object_get(t->journal.lines[0], members[i])));
    return object;
}

mc_status mc_search_write(mc_search *search, const char *folder, const mc_run_options *options,
                          mc_run_result *result, mc_error *error)
{
    mc_trials *const t = &search->trials;
    const json_t *const line = t->journal.lines[t->journal.count - 1];
    json_t *const object = provenance(t, line);
    mc_status status = object ? mc_plan_set_search(t->subject.plan, object, error)
                              : mc_fail_memory(error);
    json_decref(object);
    if (status == MC_OK)
        status = mc_plan_run(t->subject.plan, folder, options, result, error);
    if (status == MC_OK && mc_comm_rank(t->options.comm) == 0)
        status = record_scores(t, folder, line, error);
    return mc_comm_agree(t->options.comm, status, error);
}
