#include "search/score.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "merge/materialize.h"
#include "merge/plan.h"
#include "model/model.h"
#include "model/parts.h"
#include "pipeline/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- examples -------------------------------------------------------------------------------- */

/* Whether an example is held out: spread evenly, since a file may be sorted by topics. */
static bool is_held_out(double share, size_t index)
{
    return floor((double)(index + 1) * share) > floor((double)index * share);
}

/*
 * The step that adds an example. Of n steps, step 0 and 1 have 1/2^(n−1) of the examples each, and
 * every later one as many as all before it: 1/4, 1/2, 1. Spread evenly, too.
 */
static size_t step_of(size_t steps, size_t index)
{
    for (size_t step = 0; step + 1 < steps; step++)
        if (index % ((size_t)1 << (steps - 1 - step)) == 0)
            return step;
    return steps - 1;
}

/* Makes a data set of the examples that `step` adds (MC_HELD_OUT: that are held out). */
static mc_status select_step(const mc_scorer *s, const mc_search_task *task, size_t step,
                             mc_glue_data **out, mc_error *error)
{
    const size_t count = mc_glue_count(task->data);
    const double share = task->held_out ? 0 : s->input->validate;
    size_t *const chosen = mc_alloc(count * sizeof *chosen);
    size_t found = 0, kept = 0;
    if (!chosen)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        const bool out_of_trials = is_held_out(share, i);
        const size_t its = out_of_trials ? MC_HELD_OUT : step_of(s->step_count, kept++);
        if (its == step)
            chosen[found++] = i;
    }
    const mc_status status = mc_glue_select(task->data, chosen, found, out, error);
    mc_free(chosen);
    return status;
}

static mc_status check_part(const mc_search_task *task, const mc_glue_data *part, const char *what,
                            mc_error *error)
{
    if (mc_glue_labelled(part))
        return MC_OK;
    return mc_fail_at(error, MC_USAGE, mc_glue_path(task->data), NULL, -1,
                      "task %s: expected examples with labels %s, found none", task->task->name,
                      what);
}

static mc_status split_examples(mc_scorer *s, mc_scorer_task *t, mc_error *error)
{
    const mc_search_task *const given = t->given;
    for (size_t i = 0; i < s->step_count; i++) {
        MC_TRY(select_step(s, given, i, &t->steps[i], error));
        MC_TRY(check_part(given, t->steps[i], "in each part", error));
        t->examples += mc_glue_count(t->steps[i]);
    }
    if (given->held_out || s->input->validate > 0) {
        if (!given->held_out)
            MC_TRY(select_step(s, given, MC_HELD_OUT, &t->rest, error));
        const mc_glue_data *const rest = given->held_out ? given->held_out : t->rest;
        MC_TRY(check_part(given, rest, "that are held out", error));
        t->held_out = mc_glue_count(rest);
    }
    return MC_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static mc_status choose_metric(mc_scorer_task *t, mc_error *error)
{
    const char *const *const metrics = t->given->task->metrics, *const wanted = t->given->metric;
    t->metric = wanted ? wanted : metrics[0];
    bool known = !wanted || strcmp(wanted, "loss") == 0;
    for (size_t i = 0; !known && metrics[i]; i++)
        known = strcmp(metrics[i], wanted) == 0;
    return known ? MC_OK
                 : mc_fail(error, MC_USAGE, "task %s has no metric '%s': expected %s%s%s or loss",
                           t->given->task->name, wanted, metrics[0], metrics[1] ? ", " : "",
                           metrics[1] ? metrics[1] : "");
}

/* A loss is minimised; it cannot be combined with scores of which more is better. */
static mc_status choose_direction(mc_scorer *s, mc_error *error)
{
    size_t losses = 0;
    for (size_t t = 0; t < s->task_count; t++)
        losses += strcmp(s->tasks[t].metric, "loss") == 0;
    if (losses > 0 && losses < s->task_count)
        return mc_fail(error, MC_USAGE, "expected the metric loss for all tasks or for none");
    s->minimize = losses > 0 || s->input->minimize;
    return MC_OK;
}

static bool is_head(const mc_model *model, const char *name)
{
    const mc_part_role role = mc_part_of(mc_model_type(model), name).role;
    return role == MC_PART_HEAD || role == MC_PART_OUTPUT_HEAD;
}

/* Before the first trial: a model without a head is not a fault of the trial's parameters. */
static mc_status open_head(const mc_scorer *s, mc_scorer_task *t, mc_error *error)
{
    const mc_model *const head = t->given->head;
    const mc_state_dict *const own = head ? mc_model_state_dict(head) : NULL;
    bool found = false;
    for (size_t i = 0; own && !found && i < mc_state_dict_count(own); i++)
        found = is_head(head, mc_state_dict_name(own, i));
    if (head && !found)
        return mc_fail_at(error, MC_MISMATCH, mc_model_name(head), NULL, -1,
                          "task %s: expected a model with a head, found none",
                          t->given->task->name);
    return head ? mc_pipeline_open(head, &s->options, &t->pipeline, error) : MC_OK;
}

mc_status mc_scorer_new(const mc_search_input *input, const mc_search_options *options,
                        mc_scorer *out, mc_error *error)
{
    *out = (mc_scorer){.input = input,
                       .options = {.precision = input->precision,
                                   .threads = options->threads,
                                   .cancel = options->cancel},
                       .step_count = input->halving > 1 ? input->halving : 1,
                       .minimize = input->minimize};
    if (out->step_count > MC_SEARCH_STEPS)
        return mc_fail(error, MC_USAGE, "halving: expected at most %d steps, found %zu",
                       MC_SEARCH_STEPS, out->step_count);
    if (!(input->validate >= 0 && input->validate < 1))
        return mc_fail(error, MC_USAGE, "validate: expected a share from 0 to below 1, found %g",
                       input->validate);
    out->tasks = mc_alloc_zero(input->task_count, sizeof *out->tasks);
    if (!out->tasks)
        return mc_fail_memory(error);
    for (; out->task_count < input->task_count; out->task_count++) {
        mc_scorer_task *const t = &out->tasks[out->task_count];
        *t = (mc_scorer_task){.given = &input->tasks[out->task_count], .parent = NAN};
        MC_TRY(choose_metric(t, error));
        MC_TRY(open_head(out, t, error));
        MC_TRY(split_examples(out, t, error));
    }
    return choose_direction(out, error);
}

void mc_scorer_free(mc_scorer *s)
{
    /* The task at task_count may be half made. */
    for (size_t t = 0; s->tasks && t < s->input->task_count; t++) {
        for (size_t i = 0; i < MC_SEARCH_STEPS; i++)
            mc_glue_data_free(s->tasks[t].steps[i]);
        mc_glue_data_free(s->tasks[t].rest);
        mc_pipeline_close(s->tasks[t].pipeline);
    }
    mc_free(s->tasks);
    mc_pipeline_close(s->pipeline);
    *s = (mc_scorer){0};
}

static uint64_t hash_data(uint64_t hash, const mc_glue_data *data)
{
    for (size_t i = 0; data && i < mc_glue_count(data); i++) {
        const mc_glue_example e = mc_glue_example_at(data, i);
        const uint64_t sizes[] = {e.size, e.pair_size};
        hash = mc_hash_bytes(hash, sizes, sizeof sizes);
        hash = mc_hash_bytes(hash, e.text, e.size);
        hash = e.pair ? mc_hash_bytes(hash, e.pair, e.pair_size) : hash;
        hash = mc_hash_bytes(hash, &e.label, sizeof e.label);
    }
    return hash;
}

uint64_t mc_scorer_hash(const mc_scorer *s, uint64_t hash)
{
    const int precision = (int)s->options.precision;
    hash = mc_hash_bytes(hash, &precision, sizeof precision);
    for (size_t t = 0; t < s->task_count; t++) {
        const mc_search_task *const given = s->tasks[t].given;
        hash = mc_hash_text(hash, given->task->name);
        hash = mc_hash_text(hash, s->tasks[t].metric);
        hash = mc_hash_bytes(hash, &given->weight, sizeof given->weight);
        const uint64_t head = given->head ? mc_model_fingerprint(given->head) : 0;
        hash = mc_hash_bytes(hash, &head, sizeof head);
        hash = hash_data(hash, given->data);
        hash = hash_data(hash, given->held_out);
    }
    return hash;
}

/* ---- predictions ----------------------------------------------------------------------------- */

/* Of one task, what the steps so far gave. */
typedef struct task_predictions {
    double *values, *labels; /* [room] */
    size_t count, steps;
    double loss, loss_variance; /* sums of loss · examples, and of squared errors · examples² */
    size_t labelled;
} task_predictions;

struct mc_predictions {
    task_predictions *tasks;
    size_t task_count;
};

void mc_predictions_free(mc_predictions *p)
{
    for (size_t t = 0; p && t < p->task_count; t++) {
        mc_free(p->tasks[t].values);
        mc_free(p->tasks[t].labels);
    }
    if (p)
        mc_free(p->tasks);
    mc_free(p);
}

mc_status mc_predictions_new(const mc_scorer *s, mc_predictions **out, mc_error *error)
{
    mc_predictions *const p = mc_alloc_zero(1, sizeof *p);
    if (!p)
        return mc_fail_memory(error);
    p->tasks = mc_alloc_zero(s->task_count, sizeof *p->tasks);
    bool complete = p->tasks != NULL;
    for (; complete && p->task_count < s->task_count; p->task_count++) {
        const mc_scorer_task *const t = &s->tasks[p->task_count];
        /* Either the examples of the steps, or those held out. */
        const size_t room = t->examples > t->held_out ? t->examples : t->held_out;
        task_predictions *const one = &p->tasks[p->task_count];
        one->values = mc_alloc(room * sizeof *one->values);
        one->labels = mc_alloc(room * sizeof *one->labels);
        complete = one->values && one->labels;
    }
    if (complete) {
        *out = p;
        return MC_OK;
    }
    mc_predictions_free(p);
    return mc_fail_memory(error);
}

static void add_predictions(task_predictions *to, const mc_glue_data *data,
                            const mc_evaluation *found)
{
    const double labelled = (double)(found->examples - mc_glue_unlabelled(data));
    for (size_t i = 0; i < found->examples; i++) {
        to->values[to->count] = found->predictions[i];
        to->labels[to->count++] = mc_glue_example_at(data, i).label;
    }
    to->loss += found->loss.value * labelled;
    to->loss_variance += pow(found->loss.standard_error * labelled, 2);
    to->labelled += (size_t)labelled;
}

static mc_status predict(const mc_pipeline *pipeline, const mc_search_task *task,
                         const mc_glue_data *data, const volatile int *cancel, task_predictions *to,
                         mc_error *error)
{
    const mc_pipeline_run run = {.cancel = cancel};
    mc_evaluation found = {0};
    MC_TRY(mc_pipeline_evaluate(pipeline, task->task, data, &run, &found, error));
    add_predictions(to, data, &found);
    mc_evaluation_free(&found);
    return MC_OK;
}

static mc_status score_task(const mc_scorer_task *t, const task_predictions *p, mc_task_score *out,
                            mc_error *error)
{
    mc_metric metrics[MC_GLUE_METRICS];
    out->examples = p->count;
    if (strcmp(t->metric, "loss") == 0) {
        out->value = p->loss / (double)p->labelled;
        out->error = sqrt(p->loss_variance) / (double)p->labelled;
        return MC_OK;
    }
    const size_t count = mc_glue_score(t->given->task, p->values, p->labels, p->count, metrics);
    if (count == 0)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        if (strcmp(metrics[i].name, t->metric) == 0) {
            out->value = metrics[i].value;
            out->error = metrics[i].standard_error;
        }
    return MC_OK;
}

static mc_status run_task(const mc_scorer *s, const mc_pipeline *pipeline, size_t index,
                          size_t steps, const volatile int *cancel, task_predictions *p,
                          mc_task_score *out, mc_error *error)
{
    const mc_scorer_task *const t = &s->tasks[index];
    pipeline = t->pipeline ? t->pipeline : pipeline;
    if (steps == MC_HELD_OUT)
        MC_TRY(
            predict(pipeline, t->given, t->rest ? t->rest : t->given->held_out, cancel, p, error));
    for (; steps != MC_HELD_OUT && p->steps < steps; p->steps++)
        MC_TRY(predict(pipeline, t->given, t->steps[p->steps], cancel, p, error));
    return score_task(t, p, out, error);
}

static mc_status run_all(const mc_scorer *s, const mc_pipeline *pipeline, size_t steps,
                         mc_predictions *kept, const volatile int *cancel, mc_task_score *out,
                         mc_error *error)
{
    mc_predictions *own = NULL;
    if (!kept)
        MC_TRY(mc_predictions_new(s, &own, error));
    mc_predictions *const p = kept ? kept : own;
    mc_status status = MC_OK;
    for (size_t t = 0; status == MC_OK && t < s->task_count; t++)
        status = run_task(s, pipeline, t, steps, cancel, &p->tasks[t], &out[t], error);
    mc_predictions_free(own);
    return status;
}

/* ---- scores ---------------------------------------------------------------------------------- */

static bool has_heads(const mc_scorer *s)
{
    for (size_t t = 0; t < s->task_count; t++)
        if (s->tasks[t].given->head)
            return true;
    return false;
}

/* Whether a task is scored with the head that is loaded. */
static bool has_plain_tasks(const mc_scorer *s)
{
    for (size_t t = 0; t < s->task_count; t++)
        if (!s->tasks[t].given->head)
            return true;
    return false;
}

/* Loads tensors with the task's own head into its own encoder. */
static mc_status load_task(const mc_scorer_task *t, const mc_state_dict *tensors, mc_error *error)
{
    const mc_model *const head = t->given->head;
    const mc_state_dict *const own = mc_model_state_dict(head);
    mc_state_dict *weights = NULL;
    mc_status status = mc_state_dict_copy(tensors, &weights, error);
    for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(own); i++) {
        const char *const name = mc_state_dict_name(own, i);
        if (is_head(head, name))
            status = mc_state_dict_set(weights, name, mc_state_dict_find(own, name), error);
    }
    if (status == MC_OK)
        status = mc_pipeline_load(t->pipeline, weights, error);
    mc_state_dict_free(weights);
    return status == MC_OK ? mc_model_check(head, error) : status;
}

static mc_status load_heads(const mc_scorer *s, const mc_state_dict *tensors, mc_error *error)
{
    for (size_t t = 0; t < s->task_count; t++)
        if (s->tasks[t].given->head)
            MC_TRY(load_task(&s->tasks[t], tensors, error));
    return MC_OK;
}

/* For tasks with own heads: the merge is computed once, and not once per task. */
static mc_status load_merge(mc_scorer *s, const mc_plan *plan, mc_report *report, mc_error *error)
{
    const mc_run_options run = {.threads = s->options.threads, .cancel = s->options.cancel};
    const mc_materialize_report where = {report, plan->strict, plan};
    mc_state_dict *lazy = NULL, *merged = NULL;
    MC_TRY(mc_plan_state_dict(plan, &lazy, error));
    mc_status status = mc_materialize(lazy, &where, &run, &merged, NULL, error);
    if (status == MC_OK && has_plain_tasks(s))
        status = mc_pipeline_load(s->pipeline, merged, error);
    if (status == MC_OK)
        status = load_heads(s, merged, error);
    mc_state_dict_free(merged);
    mc_state_dict_free(lazy);
    /* Afterwards: a model that changed while it was read would give a mixture of both. */
    return status == MC_OK ? mc_plan_check_models(plan, error) : status;
}

mc_status mc_scorer_load(mc_scorer *s, const mc_plan *plan, mc_report *report, mc_error *error)
{
    if (!s->pipeline && has_plain_tasks(s))
        MC_TRY(mc_pipeline_for_plan(plan, &s->options, &s->pipeline, error));
    return has_heads(s) ? load_merge(s, plan, report, error)
                        : mc_pipeline_load_plan(s->pipeline, plan, report, error);
}

mc_status mc_scorer_run(const mc_scorer *s, size_t steps, mc_predictions *kept,
                        const volatile int *cancel, mc_task_score *out, mc_error *error)
{
    return run_all(s, s->pipeline, steps, kept, cancel, out, error);
}

mc_status mc_scorer_model(const mc_scorer *s, const mc_model *model, const volatile int *cancel,
                          mc_task_score *out, mc_error *error)
{
    mc_pipeline *pipeline = NULL;
    mc_status status = load_heads(s, mc_model_state_dict(model), error);
    if (status == MC_OK && has_plain_tasks(s))
        status = mc_pipeline_open(model, &s->options, &pipeline, error);
    if (status == MC_OK)
        status = run_all(s, pipeline, s->step_count, NULL, cancel, out, error);
    mc_pipeline_close(pipeline);
    return mc_in_file(error, mc_model_name(model), status);
}

static double weight_of(const mc_scorer_task *t)
{
    return t->given->weight > 0 ? t->given->weight : 1;
}

double mc_scorer_combine(const mc_scorer *s, const mc_task_score *scores)
{
    const mc_search_objective how = s->input->objective;
    const bool relative = how == MC_SEARCH_RELATIVE || how == MC_SEARCH_WORST_RELATIVE;
    double sum = 0, weights = 0, worst = NAN;
    for (size_t t = 0; t < s->task_count; t++) {
        const mc_scorer_task *const task = &s->tasks[t];
        const double value = relative ? scores[t].value / task->parent : scores[t].value;
        if (!isfinite(value))
            return NAN;
        sum += weight_of(task) * value;
        weights += weight_of(task);
        worst = s->minimize ? fmax(worst, value) : fmin(worst, value);
    }
    return how == MC_SEARCH_MEAN || how == MC_SEARCH_RELATIVE ? sum / weights : worst;
}

/* JSON has no NaN. */
static json_t *number_json(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

json_t *mc_scorer_json(const mc_scorer *s, const mc_task_score *scores)
{
    json_t *list = json_array();
    for (size_t t = 0; t < s->task_count; t++)
        list = mc_json_append(list,
                              json_pack("{s:o, s:s, s:o, s:o, s:I}", "task",
                                        mc_json_text(s->tasks[t].given->task->name), "metric",
                                        s->tasks[t].metric, "value", number_json(scores[t].value),
                                        "standard_error", number_json(scores[t].error), "examples",
                                        (json_int_t)scores[t].examples));
    return list;
}
