#include "score.h"

#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "progress.h"
#include "written.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- preparation ----------------------------------------------------------------------------- */

static mc_status load_default(score_job *job, const common_options *common, mc_error *error)
{
    fetch_display display = fetch_begin(common);
    const mc_hub_options hub = fetch_options(&display);
    const mc_status status = mc_glue_load_default(job->task, job->split, &hub, &job->data, error);
    fetch_end(&display);
    return status;
}

mc_status score_prepare(const score_settings *settings, const common_options *common,
                        score_job *job, mc_error *error)
{
    job->options.threads = (int)settings->threads;
    mc_status status = settings->task ? find_task(settings->task, &job->task, error) : MC_OK;
    if (status == MC_OK)
        status = parse_precision(settings->dtype_option, settings->dtype, &job->options.precision,
                                 error);
    if (status == MC_OK && settings->task)
        status = find_split(job->task, settings->split, &job->split, error);
    if (status == MC_OK && settings->predictions)
        status = written_check("--predictions", settings->predictions, settings->overwrite,
                               settings->data, error);
    if (status != MC_OK || !settings->task)
        return status;
    status = settings->data ? mc_glue_load(job->task, settings->data, job->split, &job->data, error)
                            : load_default(job, common, error);
    if (status == MC_OK && settings->limit)
        mc_glue_limit(job->data, settings->limit);
    return status;
}

mc_status score_load_own(const score_settings *settings, const mc_pipeline *pipeline,
                         score_job *job, mc_error *error)
{
    if (settings->task)
        return MC_OK;
    mc_status status = mc_pipeline_task(pipeline, settings->data, &settings->columns,
                                        &job->own_task, error);
    job->task = job->own_task;
    if (status == MC_OK)
        status = mc_glue_load(job->task, settings->data, NULL, &job->data, error);
    if (status == MC_OK && settings->limit)
        mc_glue_limit(job->data, settings->limit);
    return status;
}

void score_free(score_job *job)
{
    mc_glue_data_free(job->data);
    job->data = NULL;
    mc_glue_task_free(job->own_task);
    job->own_task = NULL;
}

/* ---- predictions ----------------------------------------------------------------------------- */

/* A label of a task, or the value of a regression; null if it is missing. */
static json_t *json_value(const mc_glue_task *task, double value)
{
    if (isnan(value))
        return json_null();
    return task->label_count ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *json_prediction(const score_job *job, const mc_evaluation *result, size_t index)
{
    const mc_glue_example example = mc_glue_example_at(job->data, index);
    json_t *const scores = json_array();
    for (size_t i = 0; i < result->label_count; i++)
        json_array_append_new(scores,
                              json_real((double)result->scores[index * result->label_count + i]));
    return json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)example.index, "label",
                     json_value(job->task, example.label), "prediction",
                     json_value(job->task, result->predictions[index]), "scores", scores);
}

typedef struct scored {
    const score_job *job;
    const mc_evaluation *result;
} scored;

static bool write_lines(const void *arg, FILE *file)
{
    const score_job *const job = ((const scored *)arg)->job;
    const mc_evaluation *const result = ((const scored *)arg)->result;
    bool written = true;
    for (size_t i = 0; i < result->examples && written; i++) {
        json_t *const line = json_prediction(job, result, i);
        /* 9 digits give back the same float. */
        written = line && json_dumpf(line, file, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 &&
                  fputc('\n', file) != EOF;
        json_decref(line);
    }
    return written;
}

/* ---- the score ------------------------------------------------------------------------------- */

static void say_what_was_noticed(const score_job *job, const mc_pipeline *pipeline,
                                 const mc_evaluation *result)
{
    if (result->guessed) {
        char *text = format_text("the model does not name the labels of %s; taken in order:",
                                 job->task->name);
        for (size_t i = 0; i < job->task->label_count; i++) {
            char *const longer = format_text("%s%s %s = %s", text, i ? "," : "",
                                             mc_pipeline_label(pipeline, i), job->task->labels[i]);
            free(text);
            text = longer;
        }
        say("note", text);
        free(text);
    }
    if (result->truncated) {
        char *const text = format_text(
            "%zu of %zu examples are longer than %zu tokens and were truncated", result->truncated,
            result->examples, mc_pipeline_max_length(pipeline));
        say("note", text);
        free(text);
    }
    const size_t skipped = mc_glue_skipped(job->data);
    if (skipped) {
        char *const text = format_text("%zu line%s too short to hold an example %s left out",
                                       skipped, plural((int64_t)skipped),
                                       skipped == 1 ? "was" : "were");
        say("note", text);
        free(text);
    }
    const size_t unlabelled = mc_glue_unlabelled(job->data);
    if (!result->labelled) {
        say("note", job->own_task ? "the data have no labels: there is no score"
                                  : "the split has no labels: there is no score");
    } else if (unlabelled) {
        char *const text = format_text("%zu of %zu examples have no label and are left out of the "
                                       "score",
                                       unlabelled, result->examples);
        say("note", text);
        free(text);
    }
}

mc_status score_run(const score_settings *settings, const score_job *job,
                    const mc_pipeline *pipeline, const common_options *common, mc_evaluation *out,
                    mc_error *error)
{
    progress_display display = progress_begin(common);
    mc_pipeline_run run = {.cancel = job->options.cancel};
    display.unit = "tokens";
    if (display.bar || display.lines) {
        run.progress = progress_tokens;
        run.user = &display;
    }
    mc_status status = mc_pipeline_evaluate(pipeline, job->task, job->data, &run, out, error);
    progress_end(&display);
    if (status != MC_OK)
        return status;
    if (!common->quiet)
        say_what_was_noticed(job, pipeline, out);
    if (settings->predictions)
        status = written_make(settings->predictions, write_lines, &(scored){job, out}, error);
    if (status != MC_OK)
        mc_evaluation_free(out);
    return status;
}

/* ---- results --------------------------------------------------------------------------------- */

/* JSON has no NaN. */
static json_t *json_finite(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_metrics(const mc_evaluation *result)
{
    json_t *const metrics = json_object();
    for (size_t i = 0; i < result->metric_count; i++)
        json_object_set_new(metrics, result->metrics[i].name,
                            json_finite(result->metrics[i].value));
    return metrics;
}

static json_t *json_errors(const mc_evaluation *result)
{
    json_t *const errors = json_object();
    for (size_t i = 0; i < result->metric_count; i++)
        json_object_set_new(errors, result->metrics[i].name,
                            json_finite(result->metrics[i].standard_error));
    return errors;
}

static json_t *json_labels(const mc_pipeline *pipeline)
{
    json_t *const labels = json_array();
    for (size_t i = 0; i < mc_pipeline_label_count(pipeline); i++)
        json_array_append_new(labels, json_text(mc_pipeline_label(pipeline, i)));
    return labels;
}

json_t *score_json(const score_job *job, const mc_pipeline *pipeline, const mc_evaluation *result)
{
    json_t *const object = job->own_task
                               ? json_pack("{s:o}", "data", json_text(job->own_task->name))
                               : json_pack("{s:s, s:s}", "task", job->task->name, "split",
                                           job->split);
    json_t *const scores = json_pack(
        "{s:I, s:I, s:o, s:o, s:o, s:o, s:b, s:I, s:f}", "examples", (json_int_t)result->examples,
        "unlabelled", (json_int_t)mc_glue_unlabelled(job->data), "metrics", json_metrics(result),
        "standard_errors", json_errors(result), "loss", json_finite(result->loss.value), "labels",
        json_labels(pipeline), "labels_guessed", (int)result->guessed, "truncated",
        (json_int_t)result->truncated, "seconds", round(result->seconds * 1000) / 1000);
    json_object_update(object, scores);
    json_decref(scores);
    return object;
}

void score_print(const score_job *job, const char *model, const mc_evaluation *result)
{
    char *const name = visible_text(model);
    char *const data = job->own_task ? visible_text(job->own_task->name)
                                     : format_text("%s %s", job->task->name, job->split);
    printf("%s: %s, %zu example%s in %.2f s", name, data, result->examples,
           plural((int64_t)result->examples), result->seconds);
    for (size_t i = 0; i < result->metric_count; i++) {
        const mc_metric *const metric = &result->metrics[i];
        printf("%s %s %.4f", i ? "," : ":", metric->name, metric->value);
        if (!isnan(metric->standard_error))
            printf(" ± %.4f", metric->standard_error);
    }
    free(data);
    putchar('\n');
    free(name);
}
