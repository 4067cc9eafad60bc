#include "bench/bench.h"

#include "base/build_id.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "bench/journal.h"
#include "bench/sides.h"
#include "model/model.h"

#include <mergecraft/version.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SETTINGS = 64 };

/*
 * Rows before those of the methods: each task's own model, which others are normalised by, and the
 * base, as the lower end.
 */
enum { INDIVIDUAL, BASE, METHODS };

/*
 * A benchmark. Every row is scored at every point of its grid, for every seed:
 *
 *     seed ─▶ models ─▶ row ─▶ point: journal, or merge and score ─▶ journal
 *
 * Points are indexed by points[row · seeds + seed][point].
 */
typedef struct bench {
    const mc_suite *suite;
    mc_bench_options options;
    mc_bench_data data;
    mc_bench_journal journal;
    mc_bench_point **points; /* [rows · seeds], each of as many points as the row's grid has */
    size_t rows, done, total;
} bench;

/* ---- the grid ------------------------------------------------------------------------------- */

static size_t points_of(const bench *b, size_t row)
{
    return row < METHODS ? 1 : mc_suite_points(&b->suite->methods[row - METHODS]);
}

static const char *name_of(const bench *b, size_t row)
{
    return row == INDIVIDUAL ? "individual"
           : row == BASE     ? "base"
                             : b->suite->methods[row - METHODS].name;
}

static mc_bench_point *point_at(const bench *b, size_t row, size_t seed, size_t point)
{
    return &b->points[row * b->suite->seed_count + seed][point];
}

static mc_status make_points(bench *b, mc_error *error)
{
    const size_t seeds = b->suite->seed_count;
    b->rows = METHODS + b->suite->method_count;
    b->points = mc_alloc_zero(b->rows * seeds, sizeof *b->points);
    if (!b->points)
        return mc_fail_memory(error);
    for (size_t i = 0; i < b->rows * seeds; i++) {
        const size_t count = points_of(b, i / seeds);
        b->points[i] = mc_alloc_zero(count, sizeof **b->points);
        if (!b->points[i])
            return mc_fail_memory(error);
        for (size_t p = 0; p < count; p++)
            MC_TRY(mc_bench_point_new(b->suite, &b->points[i][p], error));
        b->total += count;
    }
    return MC_OK;
}

static void free_points(bench *b)
{
    const size_t seeds = b->suite->seed_count;
    for (size_t i = 0; b->points && i < b->rows * seeds; i++) {
        for (size_t p = 0; b->points[i] && p < points_of(b, i / seeds); p++)
            mc_bench_point_free(&b->points[i][p]);
        mc_free(b->points[i]);
    }
    mc_free(b->points);
}

/* ---- one merge ------------------------------------------------------------------------------ */

/* What one merge of a seed works with; `settings` is refilled for each point of the row. */
typedef struct job {
    bench *bench;
    const mc_bench_models *models;
    size_t row, seed;
    const mc_suite_method *method; /* NULL: individual or base */
    const char *settings[MOST_SETTINGS];
    size_t setting_count;
    char *parameters; /* as JSON; NULL before a merge */
    json_t *warnings; /* of the point; borrowed */
} job;

/* Keeps what only the values of the merge show: the plan's report from line `from`. */
static mc_status keep_warnings(const job *j, const mc_plan *plan, size_t from, mc_error *error)
{
    const mc_report *const report = mc_plan_report(plan);
    for (size_t i = from; i < mc_report_count(report); i++) {
        json_t *line = mc_json_put(json_object(), "parameters", mc_json_text(j->parameters));
        line = mc_json_put(line, "text", mc_json_text(mc_report_line(report, i)));
        if (!line || json_array_append_new(j->warnings, line) != 0)
            return mc_fail_memory(error);
    }
    return MC_OK;
}

/*
 * Passes on the warnings of a point, whether this run has computed it or an earlier one. Under
 * strict the first is an error.
 */
static mc_status warn(const bench *b, size_t row, const mc_bench_point *point, mc_error *error)
{
    size_t i;
    const json_t *line;
    json_array_foreach(point->warnings, i, line)
    {
        const char *const parameters = json_string_value(json_object_get(line, "parameters"));
        const char *const text = json_string_value(json_object_get(line, "text"));
        if (b->options.strict)
            return mc_fail(error, MC_MISMATCH, "%s %s: %s (strict)", name_of(b, row), parameters,
                           text);
        if (b->options.warning)
            b->options.warning(name_of(b, row), parameters, text, b->options.user);
    }
    return MC_OK;
}

static mc_status merge_to_memory(job *j, const mc_plan *plan, mc_state_dict **out, mc_error *error)
{
    const mc_bench_options *const options = &j->bench->options;
    const mc_run_options run = {
        .threads = options->threads, .memory = options->memory, .cancel = options->cancel};
    const size_t before = mc_report_count(mc_plan_report(plan));
    mc_free(j->parameters);
    j->parameters = mc_strdup(mc_plan_parameters(plan));
    if (!j->parameters)
        return mc_fail_memory(error);
    MC_TRY(mc_plan_materialize(plan, NULL, &run, out, NULL, error));
    const mc_status status = keep_warnings(j, plan, before, error);
    if (status != MC_OK)
        mc_state_dict_free(*out);
    return status;
}

static mc_status plan_and_merge(job *j, const mc_bench_sides *sides, mc_state_dict **out,
                                mc_error *error)
{
    const mc_suite_method *const method = j->method;
    mc_plan *plan = NULL;
    const mc_plan_input input = {.method = method->method,
                                 .models = (const mc_model *const *)j->models->models,
                                 .model_count = j->models->task_count,
                                 .base = j->models->base,
                                 .side_names = sides->names,
                                 .sides = sides->by_task,
                                 .side_count = sides->count,
                                 .params = j->settings,
                                 .param_count = j->setting_count,
                                 .then = method->then,
                                 .then_count = method->then_count,
                                 /* Heads are not merged: each task is scored with its own. */
                                 .exclude = (const char *const *)j->models->heads,
                                 .exclude_count = j->models->head_count,
                                 .keep = 1};
    mc_status status = mc_plan_new(&input, &plan, error);
    if (status == MC_OK)
        status = merge_to_memory(j, plan, out, error);
    mc_plan_free(plan);
    return status;
}

static mc_status merge(job *j, mc_state_dict **out, mc_error *error)
{
    const bench *const b = j->bench;
    mc_bench_sides sides = {0};
    mc_status status = mc_bench_open_sides(j->method, b->suite->seeds[j->seed], j->models, &b->data,
                                           j->settings, j->setting_count, &b->options, &sides,
                                           error);
    if (status == MC_OK)
        status = plan_and_merge(j, &sides, out, error);
    mc_bench_close_sides(&sides);
    return status;
}

/* ---- one point ------------------------------------------------------------------------------ */

/* Scores each task's own model, or the base with each task's head. */
static mc_status score_given(const job *j, mc_bench_point *out, mc_error *error)
{
    for (size_t t = 0; t < j->models->task_count; t++) {
        const mc_model *const model = j->row == INDIVIDUAL ? j->models->models[t] : j->models->base;
        MC_TRY(mc_bench_score_task(j->models, &j->bench->data, t, mc_model_state_dict(model),
                                   &out->scores[t], error));
    }
    out->parameters = mc_strdup("{}");
    return out->parameters ? MC_OK : mc_fail_memory(error);
}

/* Scores one merge on all tasks. Its time is that of the merge alone. */
static mc_status score_merge(job *j, mc_bench_point *out, mc_error *error)
{
    mc_state_dict *merged = NULL;
    const double start = mc_seconds();
    MC_TRY(merge(j, &merged, error));
    out->seconds = mc_seconds() - start;
    mc_status status = MC_OK;
    for (size_t t = 0; status == MC_OK && t < j->models->task_count; t++)
        status = mc_bench_score_task(j->models, &j->bench->data, t, merged, &out->scores[t], error);
    mc_state_dict_free(merged);
    return status;
}

/* Takes the number of the task out of the parameters: it is not chosen, and differs per task. */
static mc_status forget_task(job *j, mc_error *error)
{
    json_error_t ignored;
    json_t *const object = json_loads(j->parameters, 0, &ignored);
    char *text = NULL;
    if (object && json_object_del(object, j->method->per_task) == 0)
        text = json_dumps(object, mc_json_shortest(object));
    mc_free(j->parameters);
    j->parameters = text ? mc_strdup(text) : NULL;
    free(text); /* jansson's */
    json_decref(object);
    return j->parameters ? MC_OK : mc_fail_memory(error);
}

/*
 * For a method that makes one model per task: passes it the number of the task, and scores each
 * model on its task. The time is the mean per model, merge and evaluation.
 */
static mc_status score_per_task(job *j, mc_bench_point *out, mc_error *error)
{
    const double start = mc_seconds();
    for (size_t t = 0; t < j->models->task_count; t++) {
        char setting[256];
        mc_state_dict *merged = NULL;
        snprintf(setting, sizeof setting, "%s=%zu", j->method->per_task, t + 1);
        j->settings[j->setting_count++] = setting;
        mc_status status = merge(j, &merged, error);
        j->setting_count--;
        if (status == MC_OK)
            status = mc_bench_score_task(j->models, &j->bench->data, t, merged, &out->scores[t],
                                         error);
        mc_state_dict_free(merged);
        MC_TRY(status);
    }
    out->seconds = (mc_seconds() - start) / (double)j->models->task_count;
    return forget_task(j, error);
}

static mc_status score_point(job *j, mc_bench_point *out, mc_error *error)
{
    if (!j->method)
        return score_given(j, out, error);
    MC_TRY(j->method->per_task ? score_per_task(j, out, error) : score_merge(j, out, error));
    out->parameters = j->parameters;
    j->parameters = NULL;
    return MC_OK;
}

/*
 * A hash of everything that the scores of a point depend on: the library's build, models, tokens,
 * labels, heads, tasks, metrics and the method's settings.
 */
static uint64_t key_of(const job *j)
{
    const bench *const b = j->bench;
    const uint64_t numbers[] = {j->row < METHODS ? j->row : METHODS, j->models->fingerprint,
                                b->data.fingerprint};
    uint64_t hash = mc_hash_text(MC_HASH_START, mc_version());
    hash = mc_hash_text(hash, mc_build_id());
    hash = mc_hash_bytes(hash, numbers, sizeof numbers);
    hash = mc_hash_bytes(hash, &b->suite->validation, sizeof b->suite->validation);
    for (size_t i = 0; i < j->models->head_count; i++)
        hash = mc_hash_text(hash, j->models->heads[i]);
    for (size_t t = 0; t < b->suite->task_count; t++) {
        const mc_suite_task *const task = &b->suite->tasks[t];
        hash = mc_hash_text(hash, task->name);
        /* The default metric is that of the task. */
        hash = mc_hash_text(hash, task->task->name);
        hash = mc_hash_text(hash, task->metric ? task->metric : "");
    }
    if (!j->method)
        return hash;
    hash = mc_hash_text(hash, j->method->method->family);
    hash = mc_hash_text(hash, j->method->method->name);
    hash = mc_hash_text(hash, j->method->per_task ? j->method->per_task : "");
    for (size_t i = 0; i < j->method->then_count; i++)
        hash = mc_hash_text(hash, j->method->then[i]->name);
    for (size_t i = 0; i < j->setting_count; i++)
        hash = mc_hash_text(hash, j->settings[i]);
    return hash;
}

/*
 * Whether the journal may hold the point. Files of side inputs are not part of the key, so such a
 * merge is always computed again.
 */
static bool may_resume(const job *j)
{
    return !j->method || j->method->side_count == 0;
}

static mc_status run_point(job *j, size_t point, mc_error *error)
{
    bench *const b = j->bench;
    mc_bench_point *const out = point_at(b, j->row, j->seed, point);
    const char *const name = name_of(b, j->row), *const seed = b->suite->seeds[j->seed];
    if (b->options.cancel && __atomic_load_n(b->options.cancel, __ATOMIC_RELAXED))
        return mc_fail(error, MC_INTERRUPTED, "interrupted");
    if (b->options.progress)
        b->options.progress(b->done, b->total, name, b->options.user);
    b->done++;
    const uint64_t key = key_of(j);
    if (may_resume(j) && mc_bench_journal_find(&b->journal, key, b->suite, out))
        return warn(b, j->row, out, error);
    j->warnings = out->warnings;
    json_array_clear(j->warnings); /* a line of the journal may be incomplete */
    MC_TRY(score_point(j, out, error));
    /* Also under strict: a run without it then need not compute the point again. */
    if (may_resume(j))
        MC_TRY(mc_bench_journal_add(&b->journal, key, name, seed, b->suite, out, error));
    return warn(b, j->row, out, error);
}

static mc_status run_row(bench *b, const mc_bench_models *models, size_t row, size_t seed,
                         mc_error *error)
{
    job j = {.bench = b, .models = models, .row = row, .seed = seed};
    mc_status status = MC_OK;
    j.method = row < METHODS ? NULL : &b->suite->methods[row - METHODS];
    j.setting_count = j.method ? j.method->axis_count : 0;
    if (j.setting_count >= MOST_SETTINGS)
        return mc_fail(error, MC_USAGE, "%s: expected fewer than %d parameters, found %zu",
                       j.method->name, MOST_SETTINGS, j.setting_count);
    for (size_t point = 0; status == MC_OK && point < points_of(b, row); point++) {
        if (j.method)
            mc_suite_point(j.method, point, j.settings);
        status = run_point(&j, point, error);
    }
    mc_free(j.parameters);
    return status;
}

/* Reports scores that others cannot be divided by: they have no average, and none is the best. */
static mc_status check_own_scores(const bench *b, size_t seed, mc_error *error)
{
    const mc_bench_point *const own = point_at(b, INDIVIDUAL, seed, 0);
    for (size_t t = 0; t < b->suite->task_count; t++) {
        const mc_part_score *const s = &own->scores[t];
        if (!(s->validation > 0))
            MC_TRY(
                mc_bench_warn(b->suite, b->suite->seeds[seed], t, &b->options, error,
                              "expected a score above 0 of the task's own model on the validation "
                              "part, found %g: the first parameters of each method are taken",
                              s->validation));
        if (!(s->rest > 0))
            MC_TRY(mc_bench_warn(
                b->suite, b->suite->seeds[seed], t, &b->options, error,
                "expected a score above 0 of the task's own model, found %g: scores are "
                "not normalised",
                s->rest));
    }
    return MC_OK;
}

static mc_status run_seed(bench *b, size_t seed, mc_error *error)
{
    mc_bench_models models;
    mc_status status = mc_bench_open(b->suite, b->suite->seeds[seed], &b->data, &b->options,
                                     &models, error);
    for (size_t row = 0; status == MC_OK && row < b->rows; row++) {
        status = run_row(b, &models, row, seed, error);
        if (status == MC_OK && row == INDIVIDUAL)
            status = check_own_scores(b, seed, error);
    }
    mc_bench_close(&models);
    return status;
}

/* ---- the table ------------------------------------------------------------------------------ */

static double divided(double value, double by)
{
    return by > 0 ? value / by : (double)NAN;
}

/*
 * The average over tasks of a model's scores, each relative to the task's own model of that seed.
 */
static double average_of(const bench *b, const mc_bench_point *point, size_t seed, bool validation)
{
    const mc_bench_point *const own = point_at(b, INDIVIDUAL, seed, 0);
    double sum = 0;
    for (size_t t = 0; t < b->suite->task_count; t++)
        sum += validation ? divided(point->scores[t].validation, own->scores[t].validation)
                          : divided(point->scores[t].rest, own->scores[t].rest);
    return sum / (double)b->suite->task_count;
}

/*
 * The best point of a row on the validation part; of equal ones the first. Parameters are never
 * chosen on the part that is reported. A point without a score, such as of a merge with NaN, loses
 * to any other.
 */
static const mc_bench_point *choose(const bench *b, size_t row, size_t seed)
{
    const mc_bench_point *best = point_at(b, row, seed, 0);
    for (size_t p = 1; p < points_of(b, row); p++) {
        const mc_bench_point *const one = point_at(b, row, seed, p);
        const double score = average_of(b, one, seed, true);
        best = score > average_of(b, best, seed, true) ||
                       (isfinite(score) && isnan(average_of(b, best, seed, true)))
                   ? one
                   : best;
    }
    return best;
}

/*
 * Adds one seed's scores. Seeds share the examples, so their errors are not independent: the mean
 * of the errors is taken as the error of the mean. Tasks have different examples, so their
 * variances add up.
 */
static void add_seed(const bench *b, mc_bench_line *line, const mc_bench_point *point, size_t seed)
{
    const double share = 1 / (double)b->suite->seed_count;
    const double tasks = (double)b->suite->task_count;
    const mc_bench_point *const own = point_at(b, INDIVIDUAL, seed, 0);
    double value = 0, variance = 0;
    for (size_t t = 0; t < b->suite->task_count; t++) {
        const mc_part_score *const s = &point->scores[t];
        line->scores[t].value += share * s->rest;
        line->scores[t].normalised += share * divided(s->rest, own->scores[t].rest);
        line->scores[t].standard_error += share * s->error;
        value += s->rest / tasks;
        variance += s->error * s->error / tasks / tasks;
    }
    line->row.average.value += share * value;
    line->row.average.normalised += share * average_of(b, point, seed, false);
    line->row.average.standard_error += share * sqrt(variance);
    line->row.seconds += share * point->seconds;
}

/* The sample standard deviation of the average over seeds; NaN for a single one. */
static double deviation_of(const bench *b, size_t row, double mean)
{
    double sum = 0;
    for (size_t seed = 0; seed < b->suite->seed_count; seed++) {
        const mc_bench_point *const point = choose(b, row, seed);
        double value = 0;
        for (size_t t = 0; t < b->suite->task_count; t++)
            value += point->scores[t].rest / (double)b->suite->task_count;
        sum += (value - mean) * (value - mean);
    }
    return b->suite->seed_count > 1 ? sqrt(sum / (double)(b->suite->seed_count - 1)) : (double)NAN;
}

static mc_status add_line(const bench *b, size_t row, mc_bench_result *result, mc_error *error)
{
    const mc_suite *const suite = b->suite;
    mc_bench_line *const line = &result->lines[result->count++];
    line->name = mc_strdup(name_of(b, row));
    line->scores = mc_alloc_zero(suite->task_count, sizeof *line->scores);
    line->chosen = mc_alloc_zero(suite->seed_count, sizeof *line->chosen);
    if (!line->name || !line->scores || !line->chosen)
        return mc_fail_memory(error);
    for (size_t seed = 0; seed < suite->seed_count; seed++) {
        const mc_bench_point *const point = choose(b, row, seed);
        add_seed(b, line, point, seed);
        line->chosen[seed] = mc_strdup(point->parameters);
        if (!line->chosen[seed])
            return mc_fail_memory(error);
    }
    line->row.name = line->name;
    line->row.points = points_of(b, row);
    line->row.scores = line->scores;
    line->row.deviation = deviation_of(b, row, line->row.average.value);
    line->row.chosen = (const char *const *)line->chosen;
    return MC_OK;
}

static mc_status copy_names(const bench *b, mc_bench_result *result, mc_error *error)
{
    const mc_suite *const suite = b->suite;
    result->tasks = mc_alloc_zero(suite->task_count, sizeof *result->tasks);
    result->metrics = mc_alloc_zero(suite->task_count, sizeof *result->metrics);
    result->seeds = mc_alloc_zero(suite->seed_count, sizeof *result->seeds);
    if (!result->tasks || !result->metrics || !result->seeds)
        return mc_fail_memory(error);
    result->task_count = suite->task_count;
    result->seed_count = suite->seed_count;
    result->validation = suite->validation;
    bool complete = true;
    for (size_t t = 0; t < suite->task_count; t++) {
        const mc_suite_task *const task = &suite->tasks[t];
        result->tasks[t] = mc_strdup(task->name);
        result->metrics[t] = mc_strdup(task->metric ? task->metric : task->task->metrics[0]);
        complete = complete && result->tasks[t] && result->metrics[t];
    }
    for (size_t s = 0; s < suite->seed_count; s++)
        complete = (result->seeds[s] = mc_strdup(suite->seeds[s])) && complete;
    return complete ? MC_OK : mc_fail_memory(error);
}

static mc_status make_result(const bench *b, mc_bench_result **out, mc_error *error)
{
    mc_bench_result *const result = mc_alloc_zero(1, sizeof *result);
    if (!result)
        return mc_fail_memory(error);
    result->lines = mc_alloc_zero(b->rows, sizeof *result->lines);
    mc_status status = result->lines ? copy_names(b, result, error) : mc_fail_memory(error);
    for (size_t row = 0; status == MC_OK && row < b->rows; row++)
        status = add_line(b, row, result, error);
    if (status == MC_OK)
        *out = result;
    else
        mc_bench_free(result);
    return status;
}

/* ---- all together --------------------------------------------------------------------------- */

/* Seed by seed: only one seed's models are open at a time. */
static mc_status run_all(bench *b, mc_bench_result **out, mc_error *error)
{
    MC_TRY(mc_bench_journal_open(b->options.folder, &b->journal, error));
    MC_TRY(mc_bench_load(b->suite, b->options.hub, &b->data, error));
    MC_TRY(make_points(b, error));
    for (size_t seed = 0; seed < b->suite->seed_count; seed++)
        MC_TRY(run_seed(b, seed, error));
    return make_result(b, out, error);
}

mc_status mc_bench_run(const mc_suite *suite, const mc_bench_options *options,
                       mc_bench_result **out, mc_error *error)
{
    bench b = {.suite = suite, .options = options ? *options : (mc_bench_options){0}};
    const mc_status status = run_all(&b, out, error);
    free_points(&b);
    mc_bench_data_free(&b.data);
    mc_bench_journal_close(&b.journal);
    return status;
}

void mc_bench_free(mc_bench_result *result)
{
    if (!result)
        return;
    for (size_t i = 0; i < result->count; i++) {
        mc_bench_line *const line = &result->lines[i];
        for (size_t s = 0; line->chosen && s < result->seed_count; s++)
            mc_free(line->chosen[s]);
        mc_free(line->chosen);
        mc_free(line->scores);
        mc_free(line->name);
    }
    for (size_t t = 0; t < result->task_count; t++) {
        mc_free(result->tasks[t]);
        mc_free(result->metrics[t]);
    }
    for (size_t s = 0; s < result->seed_count; s++)
        mc_free(result->seeds[s]);
    mc_free(result->tasks);
    mc_free(result->metrics);
    mc_free(result->seeds);
    mc_free(result->lines);
    mc_free(result);
}

size_t mc_bench_task_count(const mc_bench_result *result)
{
    return result->task_count;
}

const char *mc_bench_task(const mc_bench_result *result, size_t index)
{
    return result->tasks[index];
}

size_t mc_bench_seed_count(const mc_bench_result *result)
{
    return result->seed_count;
}

size_t mc_bench_count(const mc_bench_result *result)
{
    return result->count;
}

const mc_bench_row *mc_bench_row_at(const mc_bench_result *result, size_t index)
{
    return &result->lines[index].row;
}
