/* mergecraft merge --data: what data-driven methods need, computed on the models' examples. */
#include "merge.h"
#include "output.h"
#include "progress.h"
#include "signals.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one data set per model ------------------------------------------------------------------ */

/* Element `index` of a list with commas, in new memory; the whole text if it is not a list. */
static char *element_of(const char *text, size_t index)
{
    const bool file = text && access(text, F_OK) == 0;
    if (!text || file || !strchr(text, ','))
        return text ? format_text("%s", text) : NULL;
    for (; index > 0 && *text; index--) {
        text += strcspn(text, ",");
        text += *text == ',';
    }
    return format_text("%.*s", (int)strcspn(text, ","), text);
}

static size_t length_of(const char *text)
{
    size_t count = 1;
    for (; text && *text; text++)
        count += *text == ',';
    return count;
}

static mc_status check_list(const char *name, const char *text, size_t count, mc_error *error)
{
    const bool file = text && access(text, F_OK) == 0;
    if (!text || file || length_of(text) == 1 || length_of(text) == count)
        return MC_OK;
    if (count == 1)
        return mc_fail(error, MC_USAGE, "--%s: expected one item for all models, found %zu", name,
                       length_of(text));
    return mc_fail(error, MC_USAGE, "--%s: expected one item, or %zu (one per model), found %zu",
                   name, count, length_of(text));
}

/* The request for one model; free_request. */
static observe_request request_of(const observe_request *all, size_t index)
{
    observe_request one = *all;
    one.data = element_of(all->data, index);
    one.task = element_of(all->task, index);
    return one;
}

static void free_request(observe_request *one)
{
    free((char *)(uintptr_t)one->data);
    free((char *)(uintptr_t)one->task);
}

mc_status merge_check_examples(const merge_settings *settings, mc_error *error)
{
    observe_request first = request_of(&settings->observe, 0);
    const mc_status status = observe_check(&first, error);
    free_request(&first);
    return status;
}

/* ---- each model by itself -------------------------------------------------------------------- */

static bool has_side(const mc_method *method, const char *name)
{
    for (const mc_side_input *side = method->sides; side && side->name; side++)
        if (strcmp(side->name, name) == 0)
            return true;
    return false;
}

static mc_status observe_each(const merge_job *job, const text_list *operands, text_list *files,
                              mc_error *error)
{
    const merge_settings *const settings = job->settings;
    mc_status status = MC_OK;
    for (size_t i = 1; status == MC_OK && i < operands->count; i++) {
        mc_observe_result result;
        observe_request request = request_of(&settings->observe, i - 1);
        /* Only what the method reads is computed: gradients take much longer than activations. */
        request.what.grams = has_side(job->method.method, "grams");
        request.what.fishers = has_side(job->method.method, "fishers");
        status = observe_model(&request, operands->items[i], NULL, &settings->common, &result,
                               error);
        if (status == MC_OK)
            merge_append(files, format_text("%s", result.path));
        free_request(&request);
    }
    return status;
}

/* ---- all models together --------------------------------------------------------------------- */

/* The models of a merge, opened with their examples. */
typedef struct joint {
    const merge_job *job;
    size_t count;
    observed *opened;
    mc_observed_model *models;
    mc_observe_result *results;
    mc_model *base;
    mc_pipeline_run run;
} joint;

static void close_joint(joint *j)
{
    for (size_t i = 0; i < j->count; i++)
        observe_close(&j->opened[i]);
    mc_model_close(j->base);
    free(j->opened);
    free(j->models);
    free(j->results);
}

static mc_status open_joint(joint *j, const text_list *operands, mc_error *error)
{
    const merge_settings *const settings = j->job->settings;
    j->opened = allocate(j->count * sizeof *j->opened);
    j->models = allocate(j->count * sizeof *j->models);
    j->results = allocate(j->count * sizeof *j->results);
    memset(j->opened, 0, j->count * sizeof *j->opened);
    for (size_t i = 0; i < j->count; i++) {
        observe_request request = request_of(&settings->observe, i);
        const mc_status status = observe_open(&request, operands->items[i + 1], &settings->common,
                                              &j->opened[i], error);
        free_request(&request);
        if (status != MC_OK)
            return status;
        const observed *const o = &j->opened[i];
        j->models[i] = (mc_observed_model){o->model, o->pipeline, o->task, o->data};
    }
    return settings->base ? open_model(settings->base, &settings->common, &j->base, error) : MC_OK;
}

static mc_status find_statistics(joint *j, text_list *files, mc_error *error)
{
    const merge_settings *const settings = j->job->settings;
    const text_list *const params = &settings->params;
    const bool learns = has_side(j->job->method.method, "coefficients");
    const mc_status status = learns ? mc_learn_coefficients(j->models, j->count, j->base,
                                                            params->items, params->count, &j->run,
                                                            NULL, j->results, error)
                                    : mc_observe_propagated(j->models, j->count, params->items,
                                                            params->count, &j->run, NULL,
                                                            j->results, error);
    for (size_t i = 0; status == MC_OK && i < j->count; i++)
        merge_append(files, format_text("%s", j->results[i].path));
    return status;
}

/* Adds the weights of the models as a setting, as if the user had given them. */
static mc_status select_models(joint *j, mc_error *error)
{
    merge_settings *const settings = j->job->own_settings;
    double *const weights = allocate(j->count * sizeof *weights);
    char *text = format_text("%s", "weights=");
    const mc_status status = mc_greedy_soup(j->models, j->count, &j->run, weights, NULL, j->results,
                                            error);
    for (size_t i = 0; status == MC_OK && i < j->count; i++) {
        char *const longer = format_text("%s%s%g", text, i > 0 ? "," : "", weights[i]);
        free(text);
        text = longer;
    }
    free(weights);
    if (status != MC_OK) {
        free(text);
        return status;
    }
    merge_append(&settings->params, text);
    merge_append(&settings->owned, text);
    return MC_OK;
}

/* All members of a soup are scored on the same examples, which the first result counts. */
static mc_status say_what_was_noticed(const joint *j, mc_error *error)
{
    const merge_settings *const settings = j->job->settings;
    mc_status status = MC_OK;
    const size_t count = merge_selects_models(j->job->method.method) ? 1 : j->count;
    for (size_t i = 0; status == MC_OK && i < count; i++)
        status = observe_say(&settings->observe, &settings->common, &j->results[i], error);
    return status;
}

static mc_status run_joint(joint *j, const text_list *operands, text_list *files, mc_error *error)
{
    const common_options *const common = &j->job->settings->common;
    mc_status status = open_joint(j, operands, error);
    progress_display display = progress_begin(common);
    display.unit = has_side(j->job->method.method, "coefficients") ? "steps" : "tokens";
    j->run.cancel = catch_signals();
    if (display.bar || display.lines) {
        j->run.progress = progress_tokens;
        j->run.user = &display;
    }
    if (status == MC_OK)
        status = merge_selects_models(j->job->method.method) ? select_models(j, error)
                                                             : find_statistics(j, files, error);
    progress_end(&display);
    return status == MC_OK ? say_what_was_noticed(j, error) : status;
}

bool merge_selects_models(const mc_method *method)
{
    return method == mc_method_find("mergecraft:greedy_soup");
}

/* All members of a soup are scored on the same examples: those of a list would be ignored. */
static mc_status check_one_set(const observe_request *request, mc_error *error)
{
    const mc_status status = check_list("data", request->data, 1, error);
    return status == MC_OK ? check_list("task", request->task, 1, error) : status;
}

mc_status merge_observe(merge_job *job, const text_list *operands, text_list *files,
                        mc_error *error)
{
    const mc_method *const method = job->method.method;
    const observe_request *const request = &job->settings->observe;
    const size_t count = operands->count - 1;
    mc_status status = check_list("data", request->data, count, error);
    if (status == MC_OK)
        status = check_list("task", request->task, count, error);
    if (status == MC_OK && merge_selects_models(method))
        status = check_one_set(request, error);
    if (status != MC_OK)
        return status;
    if (!merge_selects_models(method) && !has_side(method, "coefficients") &&
        !has_side(method, "propagated_grams"))
        return observe_each(job, operands, files, error);
    joint j = {.job = job, .count = count};
    status = run_joint(&j, operands, files, error);
    close_joint(&j);
    return status;
}
