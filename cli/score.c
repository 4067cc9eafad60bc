#include "score.h"

#include "fetch.h"
#include "lookup.h"
#include "output.h"
#include "progress.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- preparation ----------------------------------------------------------------------------- */

static mc_status fail_write(const char *path, mc_error *error)
{
    /* Kept: mc_fail may change errno. */
    const int code = errno;
    mc_fail(error, code == ENOSPC ? MC_NO_SPACE : MC_IO, "cannot write: %s", strerror(code));
    snprintf(error->file, sizeof error->file, "%s", path);
    return error->code;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_standard_output(const struct stat *status)
{
    struct stat output;
    return fstat(STDOUT_FILENO, &output) == 0 && is_same(status, &output);
}

/* The target of a link: it is replaced, and the link stays. The caller frees it. */
static char *follow_links(const char *path)
{
    /* NULL if the target does not exist yet; the path is then used as it is. */
    char *const real = realpath(path, NULL);
    return real ? real : format_text("%s", path);
}

static mc_status check_folder_of(const char *path, mc_error *error)
{
    char *const folder = follow_links(path), *const slash = strrchr(folder, '/');
    if (slash)
        /* "/NAME" lies in "/". */
        slash[slash == folder] = '\0';
    const int result = access(slash ? folder : ".", W_OK | X_OK);
    const mc_status status = result == 0 ? MC_OK : fail_write(path, error);
    free(folder);
    return status;
}

/* Fails before models are opened and minutes are spent on scores that cannot be written. */
static mc_status check_predictions(const score_settings *settings, mc_error *error)
{
    const char *const path = settings->predictions;
    struct stat status, data;
    if (!*path || strcmp(path, "-") == 0)
        return mc_fail(error, MC_USAGE,
                       "--predictions: expected a file, such as /dev/stdout, found '%s'", path);
    if (stat(path, &status) != 0)
        return check_folder_of(path, error);
    /* The predictions would replace the examples. */
    if (settings->data && stat(settings->data, &data) == 0 && is_same(&status, &data))
        return mc_fail(error, MC_USAGE,
                       "--predictions: expected another file than that of the examples, found '%s'",
                       path);
    if (is_standard_output(&status))
        return MC_OK;
    if (S_ISREG(status.st_mode) && !settings->overwrite) {
        mc_fail(error, MC_EXISTS, "the file of --predictions exists; --overwrite replaces it");
        snprintf(error->file, sizeof error->file, "%s", path);
        return MC_EXISTS;
    }
    if (S_ISREG(status.st_mode))
        return check_folder_of(path, error);
    /* For fail_write: access succeeds for a folder. */
    errno = EISDIR;
    return !S_ISDIR(status.st_mode) && access(path, W_OK) == 0 ? MC_OK : fail_write(path, error);
}

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
        status = check_predictions(settings, error);
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

static bool write_lines(const score_job *job, const mc_evaluation *result, FILE *file)
{
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

/* Writes to a temporary file and renames it when it is complete. */
static mc_status write_file(const char *path, const score_job *job, const mc_evaluation *result,
                            mc_error *error)
{
    char *const target = follow_links(path);
    /* The process id keeps two runs apart; rename replaces the target in one step. */
    char *const partial = format_text("%s.%ld.partial", target, (long)getpid());
    /* "e": closed in programs that are started. */
    FILE *const file = fopen(partial, "we");
    bool written = file && write_lines(job, result, file);
    /* A full disk may show only when the buffer is flushed. */
    if (file && fclose(file) != 0)
        written = false;
    const mc_status status = written && rename(partial, target) == 0 ? MC_OK
                                                                     : fail_write(path, error);
    if (status != MC_OK && file)
        unlink(partial);
    free(partial);
    free(target);
    return status;
}

/* Devices and pipes are written to directly: they must not be replaced by a file. */
static mc_status write_stream(const char *path, const score_job *job, const mc_evaluation *result,
                              mc_error *error)
{
    FILE *const file = fopen(path, "we");
    bool written = file && write_lines(job, result, file);
    if (file && fclose(file) != 0)
        written = false;
    return written ? MC_OK : fail_write(path, error);
}

/*
 * Where predictions go:
 *
 *   no such file, a regular file   a partial file beside it, renamed when it is complete
 *   standard output                stdout, before the score is printed
 *   a device or pipe               opened and written directly
 */
static mc_status write_predictions(const char *path, const score_job *job,
                                   const mc_evaluation *result, mc_error *error)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return write_file(path, job, result, error);
    /* The score is printed after the predictions, also if standard output is a file. */
    if (is_standard_output(&status))
        return write_lines(job, result, stdout) ? MC_OK : fail_write(path, error);
    return S_ISREG(status.st_mode) ? write_file(path, job, result, error)
                                   : write_stream(path, job, result, error);
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
        status = write_predictions(settings->predictions, job, out, error);
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
