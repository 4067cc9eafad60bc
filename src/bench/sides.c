#include "bench/sides.h"

#include "base/memory.h"

#include <mergecraft/observe.h>

#include <string.h>

void mc_bench_close_sides(mc_bench_sides *sides)
{
    for (size_t i = 0; sides->models && i < sides->count * sides->task_count; i++)
        mc_model_close(sides->models[i]);
    mc_free(sides->models);
    mc_free(sides->names);
    mc_free(sides->by_task);
    *sides = (mc_bench_sides){0};
}

static mc_status make_room(size_t count, size_t tasks, mc_bench_sides *out, mc_error *error)
{
    out->names = mc_alloc_zero(count, sizeof *out->names);
    out->by_task = mc_alloc_zero(count, sizeof *out->by_task);
    out->models = mc_alloc_zero(count * tasks, sizeof *out->models);
    if (!out->names || !out->by_task || !out->models)
        return mc_fail_memory(error);
    out->count = count;
    out->task_count = tasks;
    for (size_t s = 0; s < count; s++)
        out->by_task[s] = (const mc_model *const *)(out->models + s * tasks);
    return MC_OK;
}

/* ---- named by the suite ---------------------------------------------------------------------- */

static mc_status open_named(const mc_suite *suite, const mc_suite_method *method, const char *seed,
                            mc_bench_sides *out, mc_error *error)
{
    for (size_t s = 0; s < out->count; s++) {
        out->names[s] = method->sides[s].name;
        for (size_t t = 0; t < out->task_count; t++) {
            char *const name = mc_suite_model(suite, method->sides[s].models[t], seed);
            const mc_status status = name ? mc_model_open(
                                                name, &out->models[s * out->task_count + t], error)
                                          : mc_fail_memory(error);
            mc_free(name);
            MC_TRY(status);
        }
    }
    return MC_OK;
}

/* ---- statistics ------------------------------------------------------------------------------ */

typedef struct request {
    const mc_bench_models *models;
    const mc_bench_data *data;
    const char *const *settings; /* of the method and its add-ons */
    size_t setting_count;
    mc_pipeline_run run;
    mc_observe_result *results; /* [tasks] */
} request;

static mc_status observe_each(const request *r, bool grams, mc_error *error)
{
    const mc_observe_options what = {.grams = grams, .fishers = !grams};
    for (size_t t = 0; t < r->models->task_count; t++)
        MC_TRY(mc_pipeline_observe(r->models->pipelines[t],
                                   mc_model_state_dict(r->models->models[t]),
                                   r->models->suite->tasks[t].task, r->data->validation[t], &what,
                                   &r->run, NULL, &r->results[t], error));
    return MC_OK;
}

static mc_status observe_together(const request *r, bool learns, mc_error *error)
{
    const size_t tasks = r->models->task_count;
    mc_observed_model *const observed = mc_alloc_zero(tasks, sizeof *observed);
    if (!observed)
        return mc_fail_memory(error);
    for (size_t t = 0; t < tasks; t++)
        observed[t] = (mc_observed_model){r->models->models[t], r->models->pipelines[t],
                                          r->models->suite->tasks[t].task, r->data->validation[t]};
    const mc_status status = learns ? mc_learn_coefficients(observed, tasks, r->models->base,
                                                            r->settings, r->setting_count, &r->run,
                                                            NULL, r->results, error)
                                    : mc_observe_propagated(observed, tasks, r->settings,
                                                            r->setting_count, &r->run, NULL,
                                                            r->results, error);
    mc_free(observed);
    return status;
}

/* The statistics that a method reads; NULL: none. */
static const char *statistics_of(const mc_method *method)
{
    static const char *const known[] = {"grams", "fishers", "propagated_grams", "coefficients"};
    for (const mc_side_input *side = method->sides; side && side->name; side++)
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strcmp(side->name, known[i]) == 0)
                return side->name;
    return NULL;
}

static mc_status compute(const char *name, const request *r, mc_error *error)
{
    if (strcmp(name, "coefficients") == 0 || strcmp(name, "propagated_grams") == 0)
        return observe_together(r, strcmp(name, "coefficients") == 0, error);
    return observe_each(r, strcmp(name, "grams") == 0, error);
}

static mc_status open_statistics(const char *name, const request *r, mc_bench_sides *out,
                                 mc_error *error)
{
    MC_TRY(compute(name, r, error));
    out->names[0] = name;
    for (size_t t = 0; t < out->task_count; t++) {
        MC_TRY(mc_model_open(r->results[t].path, &out->models[t], error));
        MC_TRY(mc_model_take_side(out->models[t], name, error));
    }
    return MC_OK;
}

static mc_status find_statistics(const char *name, request *r, mc_bench_sides *out, mc_error *error)
{
    r->results = mc_alloc_zero(out->task_count, sizeof *r->results);
    const mc_status status = r->results ? open_statistics(name, r, out, error)
                                        : mc_fail_memory(error);
    mc_free(r->results);
    return status;
}

mc_status mc_bench_open_sides(const mc_suite_method *method, const char *seed,
                              const mc_bench_models *models, const mc_bench_data *data,
                              const char *const *settings, size_t setting_count,
                              const mc_bench_options *options, mc_bench_sides *out, mc_error *error)
{
    const char *const statistics = method->side_count > 0 ? NULL : statistics_of(method->method);
    request r = {.models = models,
                 .data = data,
                 .settings = settings,
                 .setting_count = setting_count,
                 .run = {.cancel = options->cancel}};
    MC_TRY(make_room(statistics ? 1 : method->side_count, models->task_count, out, error));
    return statistics ? find_statistics(statistics, &r, out, error)
                      : open_named(models->suite, method, seed, out, error);
}
