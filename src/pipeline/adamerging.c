/*
 * The coefficients of adamerging: θ = θ0 + Σ λ_t τ_t with one λ per tensor and model, or per model,
 * for which the mean entropy of the predictions on every model's examples is least. Labels are not
 * used. Heads are not merged: each model keeps its own.
 *
 *   λ ─▶ θ ─▶ entropy of each task ─▶ ∂/∂θ, summed over tasks ─▶ ∂/∂λ_t = ⟨∂/∂θ, τ_t⟩ ─▶ Adam ─┐
 *   ▲                                                                                        │
 *   └────────────────────────────────────────────────────────────────────────────────────────┘
 */
#include "base/memory.h"
#include "base/system.h"
#include "base/team.h"
#include "model/model.h"
#include "model/parts.h"
#include "pipeline/joint.h"
#include "pipeline/scores.h"

#include <math.h>
#include <string.h>

/* Elements that are read from all models at a time. */
enum { CHUNK = 1 << 14 };

typedef struct adaptation {
    mc_joint joint;
    size_t count, weights; /* models, tensors of the network */
    bool *adapted;         /* [weights] tensors that all models and the base have in one shape */
    double *lambda;        /* [weights][count]; mode=task: all tensors have those of the first */
    double *slope;         /* [weights][count] derivatives by lambda */
    double *mean, *square; /* of Adam */
    float **gradients;     /* [weights] by the merged tensor; NULL: not wanted */
    bool per_task, clamp;
} adaptation;

static void close(adaptation *a)
{
    for (size_t i = 0; a->gradients && i < a->weights; i++)
        mc_free(a->gradients[i]);
    mc_free(a->gradients);
    mc_free(a->adapted);
    mc_free(a->lambda);
    mc_free(a->slope);
    mc_free(a->mean);
    mc_free(a->square);
    mc_joint_close(&a->joint);
}

static double parameter(const adaptation *a, const char *name)
{
    const mc_params *const p = a->joint.params;
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->method->params[i].name, name) == 0)
            return p->values[i].numbers[0];
    return (double)NAN;
}

/* ---- what is learned ------------------------------------------------------------------------- */

static mc_status check_models(const mc_observed_model *models, size_t count, mc_error *error)
{
    for (size_t t = 0; t < count; t++)
        if (models[t].pipeline->label_count < 2 ||
            mc_pipeline_scoring(models[t].pipeline) != MC_SCORE_SOFTMAX)
            return mc_fail_at(error, MC_UNSUPPORTED, mc_model_name(models[t].model), NULL, -1,
                              "adamerging: expected a classifier with at least two labels that "
                              "exclude each other");
    return MC_OK;
}

static size_t size_of(const mc_weight *w)
{
    return (size_t)w->shape[0] * (size_t)(w->rank == 2 ? w->shape[1] : 1);
}

static bool is_of_shape(const mc_source *source, const mc_weight *w)
{
    bool same = source && mc_source_rank(source) == w->rank;
    for (int i = 0; same && i < w->rank; i++)
        same = mc_source_shape(source)[i] == w->shape[i];
    return same;
}

/* Tensors of the encoder that models and base have; heads stay as each model has them. */
static bool is_adapted(const adaptation *a, const mc_weight *w)
{
    const mc_part_role role = mc_part_of(mc_model_type(a->joint.models[0].model), w->name).role;
    bool all = role != MC_PART_HEAD && role != MC_PART_OUTPUT_HEAD;
    for (size_t i = 0; all && i <= a->count; i++)
        all = is_of_shape(mc_state_dict_find(a->joint.alignment.dicts[i], w->name), w);
    return all;
}

static mc_status set_up(adaptation *a, mc_error *error)
{
    const mc_network *const n = mc_joint_network(&a->joint, 0);
    a->weights = n->weight_count;
    const size_t total = a->weights * a->count;
    a->adapted = mc_alloc_zero(a->weights, sizeof *a->adapted);
    a->lambda = mc_alloc(total * sizeof *a->lambda);
    a->slope = mc_alloc_zero(total, sizeof *a->slope);
    a->mean = mc_alloc_zero(total, sizeof *a->mean);
    a->square = mc_alloc_zero(total, sizeof *a->square);
    a->gradients = mc_alloc_zero(a->weights, sizeof *a->gradients);
    if (!a->adapted || !a->lambda || !a->slope || !a->mean || !a->square || !a->gradients)
        return mc_fail_memory(error);
    a->per_task = parameter(a, "mode") > 0;
    a->clamp = parameter(a, "clamp") > 0;
    for (size_t i = 0; i < total; i++)
        a->lambda[i] = parameter(a, "initial");
    for (size_t i = 0; i < a->weights; i++) {
        a->adapted[i] = is_adapted(a, &n->weights[i]);
        if (a->adapted[i] &&
            !(a->gradients[i] = mc_alloc(size_of(&n->weights[i]) * sizeof **a->gradients)))
            return mc_fail_memory(error);
    }
    return MC_OK;
}

static double coefficient(const adaptation *a, size_t weight, size_t task)
{
    const double value = a->lambda[(a->per_task ? 0 : weight) * a->count + task];
    return a->clamp ? fmin(fmax(value, 0), 1) : value;
}

/* ---- one step -------------------------------------------------------------------------------- */

/* A run of elements: the base, and the task vector of one model. */
typedef struct stretch {
    float *base, *task;
} stretch;

static mc_status read_run(const adaptation *a, size_t weight, size_t task, int64_t first,
                          int64_t count, const stretch *r, mc_error *error)
{
    const char *const name = mc_joint_network(&a->joint, 0)->weights[weight].name;
    const mc_source *const model = mc_state_dict_find(a->joint.alignment.dicts[task], name);
    MC_TRY(mc_source_read_f32(model, first, count, r->task, error));
    for (int64_t i = 0; i < count; i++)
        r->task[i] -= r->base[i];
    return MC_OK;
}

/* One run of a merged tensor, or of the derivatives by its coefficients. */
typedef mc_status use_run(adaptation *a, size_t weight, int64_t first, int64_t count,
                          const stretch *r, mc_error *error);

static mc_status merge_run(adaptation *a, size_t weight, int64_t first, int64_t count,
                           const stretch *r, mc_error *error)
{
    float *const to = mc_trace_weight_f32(a->joint.traces[0], weight) + first;
    memcpy(to, r->base, (size_t)count * sizeof *to);
    for (size_t t = 0; t < a->count; t++) {
        const float factor = (float)coefficient(a, weight, t);
        MC_TRY(read_run(a, weight, t, first, count, r, error));
        for (int64_t i = 0; i < count; i++)
            to[i] += factor * r->task[i];
    }
    for (size_t t = 1; t < a->count; t++)
        if (a->joint.traces[t] != a->joint.traces[0])
            memcpy(mc_trace_weight_f32(a->joint.traces[t], weight) + first, to,
                   (size_t)count * sizeof *to);
    return MC_OK;
}

static mc_status slope_run(adaptation *a, size_t weight, int64_t first, int64_t count,
                           const stretch *r, mc_error *error)
{
    const float *const gradient = a->gradients[weight] + first;
    for (size_t t = 0; t < a->count; t++) {
        double sum = 0;
        MC_TRY(read_run(a, weight, t, first, count, r, error));
        for (int64_t i = 0; i < count; i++)
            sum += (double)gradient[i] * (double)r->task[i];
        a->slope[weight * a->count + t] += sum;
    }
    return MC_OK;
}

typedef struct pass {
    adaptation *a;
    use_run *use;
} pass;

/* A tensor: its runs in order, so that sums have the same bits for any number of threads. */
static mc_status use_tensor(void *arg, int worker, size_t item, mc_error *error)
{
    const pass *const p = arg;
    adaptation *const a = p->a;
    const mc_weight *const w = &mc_joint_network(&a->joint, 0)->weights[item];
    const mc_source *const base = mc_state_dict_find(a->joint.alignment.dicts[a->count], w->name);
    const int64_t size = (int64_t)size_of(w), step = CHUNK;
    (void)worker;
    if (!a->adapted[item])
        return MC_OK;
    float *const buffer = mc_alloc(2 * CHUNK * sizeof *buffer);
    mc_status status = buffer ? MC_OK : mc_fail_memory(error);
    const stretch r = {buffer, buffer + CHUNK};
    for (int64_t first = 0; status == MC_OK && first < size; first += step) {
        const int64_t count = size - first < step ? size - first : step;
        status = mc_source_read_f32(base, first, count, r.base, error);
        if (status == MC_OK)
            status = p->use(a, item, first, count, &r, error);
    }
    mc_free(buffer);
    return mc_in_tensor(error, w->name, status);
}

static mc_status each_tensor(adaptation *a, use_run *use, mc_error *error)
{
    pass p = {a, use};
    return mc_parallel(a->weights, a->joint.models[0].pipeline->options.threads, use_tensor, &p,
                       error);
}

/* What is not merged, from the task's own model: its head. */
static mc_status load_own(adaptation *a, size_t task, mc_error *error)
{
    mc_trace_f32 *const trace = a->joint.traces[task];
    for (size_t i = 0; i < a->weights; i++)
        if (!a->adapted[i])
            MC_TRY(mc_trace_load_weight_f32(trace, a->joint.alignment.dicts[task], i, error));
    return MC_OK;
}

/* The task's examples of this step: the next ones, from the beginning after the last. */
static mc_status observe_task(adaptation *a, size_t task, size_t step, double *entropy,
                              mc_error *error)
{
    const mc_batch *const batch = &a->joint.batches[task].batch;
    const double wanted = parameter(a, "batch");
    const size_t all = batch->count, count = wanted < (double)all ? (size_t)wanted : all;
    const size_t steps = all / count, first = step % steps * count;
    MC_TRY(load_own(a, task, error));
    return mc_observe_entropy(a->joint.traces[task], batch, first, count, a->gradients, entropy,
                              error);
}

static mc_status find_slopes(adaptation *a, size_t step, double *entropy, mc_error *error)
{
    const mc_network *const n = mc_joint_network(&a->joint, 0);
    MC_TRY(each_tensor(a, merge_run, error));
    for (size_t i = 0; i < a->weights; i++)
        if (a->adapted[i])
            memset(a->gradients[i], 0, size_of(&n->weights[i]) * sizeof **a->gradients);
    *entropy = 0;
    for (size_t t = 0; t < a->count; t++)
        MC_TRY(observe_task(a, t, step, entropy, error));
    memset(a->slope, 0, a->weights * a->count * sizeof *a->slope);
    return each_tensor(a, slope_run, error);
}

/* The coefficient of a model is that of all its tensors. */
static void share_slopes(adaptation *a)
{
    for (size_t i = 1; a->per_task && i < a->weights; i++)
        for (size_t t = 0; t < a->count; t++) {
            a->slope[t] += a->slope[i * a->count + t];
            a->slope[i * a->count + t] = 0;
        }
}

/*
 * Adam (Kingma & Ba 2014) with its usual constants. A coefficient that is clamped has no slope.
 */
static void adam_step(adaptation *a, double lr, double decay1, double decay2)
{
    for (size_t i = 0; i < a->weights * a->count; i++) {
        const bool held = a->clamp && (a->lambda[i] < 0 || a->lambda[i] > 1);
        const double g = held ? 0 : a->slope[i];
        a->mean[i] = .9 * a->mean[i] + .1 * g;
        a->square[i] = .999 * a->square[i] + .001 * g * g;
        a->lambda[i] -= lr / (1 - decay1) * a->mean[i] /
                        (sqrt(a->square[i]) / sqrt(1 - decay2) + 1e-8);
    }
}

static mc_status learn(adaptation *a, mc_error *error)
{
    const mc_pipeline_run *const watched = a->joint.run;
    const size_t steps = (size_t)parameter(a, "steps");
    const double lr = parameter(a, "lr");
    double decay1 = 1, decay2 = 1, entropy;
    for (size_t step = 0; step < steps; step++) {
        decay1 *= .9;
        decay2 *= .999;
        MC_TRY(mc_joint_check_cancel(&a->joint, error));
        MC_TRY(find_slopes(a, step, &entropy, error));
        share_slopes(a);
        adam_step(a, lr, decay1, decay2);
        for (size_t t = 0; t < a->count; t++)
            a->joint.results[t].entropy = entropy / (double)a->count;
        if (watched && watched->progress)
            watched->progress(step + 1, steps, watched->user);
    }
    return MC_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static mc_status add_coefficient(adaptation *a, size_t task, size_t weight, mc_error *error)
{
    static const int64_t one[] = {1};
    float *const value = mc_alloc(sizeof *value);
    if (!value)
        return mc_fail_memory(error);
    *value = (float)coefficient(a, weight, task);
    mc_source *source = NULL;
    mc_status status = mc_source_wrap(MC_F32, 1, one, value, mc_free, value, &source, error);
    if (status != MC_OK) {
        mc_free(value);
        return status;
    }
    char *const name = mc_format("coefficients/%s",
                                 mc_joint_network(&a->joint, 0)->weights[weight].name);
    status = name ? mc_state_dict_set(a->joint.found[task], name, source, error)
                  : mc_fail_memory(error);
    mc_free(name);
    mc_source_unref(source);
    return status;
}

static mc_status save(adaptation *a, mc_error *error)
{
    for (size_t t = 0; t < a->count; t++)
        for (size_t i = 0; i < a->weights; i++)
            if (a->adapted[i])
                MC_TRY(add_coefficient(a, t, i, error));
    return mc_joint_save(&a->joint, error);
}

static mc_status adapt(adaptation *a, mc_error *error)
{
    MC_TRY(mc_joint_open(&a->joint, false, error));
    MC_TRY(set_up(a, error));
    MC_TRY(learn(a, error));
    return save(a, error);
}

mc_status mc_learn_coefficients(const mc_observed_model *models, size_t count, const mc_model *base,
                                const char *const *params, size_t param_count,
                                const mc_pipeline_run *run, const char *const *paths,
                                mc_observe_result *results, mc_error *error)
{
    adaptation a = {.count = count};
    bool cached = false;
    const double start = mc_seconds();
    if (!base)
        return mc_fail(error, MC_USAGE, "adamerging needs a base model");
    MC_TRY(check_models(models, count, error));
    mc_status status = mc_joint_new(models, count, base, mc_method_find("adamerging"), params,
                                    param_count, run, paths, true, results, &a.joint, &cached,
                                    error);
    if (status == MC_OK && !cached)
        status = adapt(&a, error);
    for (size_t t = 0; status == MC_OK && t < count; t++)
        results[t].seconds = mc_seconds() - start;
    close(&a);
    return status;
}
