#include "merge/trial.h"

#include "base/memory.h"
#include "merge/reduce.h"
#include "methods/variant.h"

/*
 * SMALL: elements of a tile. LARGEST: elements of the largest tensor on which a method of scope
 * MC_TENSOR is tried; such a method needs all of it.
 */
enum { SMALL = 256, LARGEST = 65536 };

typedef struct trial {
    const mc_job *given;
    mc_job job; /* borrows from `given`, but for its array of inputs */
    int64_t elements;
    float *base; /* in the place of a base that is not declared */
    mc_source *base_source;
} trial;

static void trial_free(trial *t)
{
    mc_source_unref(t->base_source);
    mc_free(t->base);
    mc_free(t->job.inputs);
}

/* The inputs of the job, and a base after the models. */
static mc_status add_base(trial *t, mc_error *error)
{
    const mc_job *const job = t->given;
    t->base = mc_alloc((size_t)job->count * sizeof *t->base);
    t->job.inputs = mc_alloc((job->input_count + 1) * sizeof *t->job.inputs);
    if (!t->base || !t->job.inputs)
        return mc_fail_memory(error);
    MC_TRY(
        mc_source_wrap(MC_F32, job->rank, job->shape, t->base, NULL, NULL, &t->base_source, error));
    size_t count = 0;
    for (size_t i = 0; i <= job->input_count; i++)
        t->job.inputs[i] = i == job->model_count ? t->base_source : job->inputs[count++];
    t->job.input_count = job->input_count + 1;
    t->job.has_base = true;
    return MC_OK;
}

/*
 * Sets up the trial on the layer's first elements. Statistics see only these: for them the layer is
 * that small.
 */
static mc_status set_up(trial *t, const mc_job *job, mc_error *error)
{
    const int64_t tile = mc_job_tile(job, SMALL);
    *t = (trial){.given = job, .job = *job, .elements = tile < job->count ? tile : job->count};
    t->job.inputs = NULL;
    if (!job->has_base && !job->method->takes_base)
        MC_TRY(add_base(t, error));
    else if (!(t->job.inputs = mc_alloc(job->input_count * sizeof *t->job.inputs)))
        return mc_fail_memory(error);
    else
        memcpy(t->job.inputs, job->inputs, job->input_count * sizeof *job->inputs);
    if (mc_job_statistics(job) && job->method->scope != MC_TENSOR)
        t->job.count = t->elements;
    return MC_OK;
}

static void fill(void *array, size_t bytes, float value)
{
    float *const numbers = array;
    for (size_t i = 0; i < bytes / sizeof value; i++)
        numbers[i] = value + (float)(i % 7);
}

/*
 * Computes one tile into `out`. `poison` fills output and scratch, `base` the undeclared base: a
 * method that reads either without right gives another result for another value.
 */
static mc_status run(trial *t, float poison, float base, float *out, mc_error *error)
{
    mc_workspace workspace = {0};
    void *state = NULL;
    int64_t ignored;
    mc_status status = MC_OK;
    if (t->base)
        fill(t->base, (size_t)t->given->count * sizeof *t->base, base);
    if (mc_job_statistics(&t->job))
        status = mc_reduction_run(&t->job, &workspace, &state, error);
    if (status == MC_OK)
        status = mc_workspace_load(&workspace, &t->job, 0, t->elements, state, error);
    if (status == MC_OK) {
        mc_layer *const layer = &workspace.layer;
        layer->out = (mc_real *)(void *)out;
        fill(out, (size_t)t->elements * sizeof *out, poison);
        fill(layer->scratch, mc_job_scratch_bytes(&t->job, t->elements), poison);
        status = mc_job_apply(&t->job, layer, &ignored);
    }
    mc_workspace_free(&workspace);
    mc_free(state);
    return status;
}

/* The first element in which two results differ; -1 if they are equal. */
static int64_t difference(const trial *t, const float *a, const float *b)
{
    for (int64_t i = 0; i < t->elements; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            return i;
    return -1;
}

static mc_status refuse(const trial *t, const char *what, mc_error *error)
{
    return mc_fail_at(error, MC_USAGE, NULL, t->given->name, -1, "method '%s' %s",
                      t->given->method->name, what);
}

enum { FIRST_POISON = 1000, OTHER_POISON = -500 };

/*
 * Three runs, each of which changes one thing:
 *
 *     output and scratch    base    compared with the run before
 *     FIRST_POISON          FIRST
 *     OTHER_POISON          FIRST   another result: it reads or leaves poison
 *     OTHER_POISON          OTHER   another result: it reads an undeclared base
 *
 * A method that fails is not judged: the merge reports its error.
 */
static mc_status compare(trial *t, float *first, float *second, mc_error *error)
{
    mc_error ignored = MC_ERROR_NONE;
    if (run(t, FIRST_POISON, FIRST_POISON, first, &ignored) != MC_OK ||
        run(t, OTHER_POISON, FIRST_POISON, second, &ignored) != MC_OK)
        return MC_OK;
    const int64_t at = difference(t, first, second);
    if (at >= 0 && first[at] == FIRST_POISON + (float)(at % 7) &&
        second[at] == OTHER_POISON + (float)(at % 7))
        return refuse(t, "does not write every element of layer->out", error);
    if (at >= 0)
        return refuse(t, "reads layer->out or layer->scratch before it writes to it", error);
    if (!t->base || run(t, OTHER_POISON, OTHER_POISON, first, &ignored) != MC_OK)
        return MC_OK;
    if (difference(t, first, second) >= 0)
        return refuse(t, "reads layer->base: its declaration needs .needs_base = true", error);
    return MC_OK;
}

mc_status mc_trial(const mc_job *job, mc_error *error)
{
    trial t;
    if (job->count == 0 || job->real != MC_F32 || mc_method_is_builtin(job->method) ||
        (job->method->scope == MC_TENSOR && job->count > LARGEST))
        return MC_OK;
    mc_status status = set_up(&t, job, error);
    float *const results = mc_alloc(2 * (size_t)t.elements * sizeof *results);
    if (status == MC_OK && !results)
        status = mc_fail_memory(error);
    if (status == MC_OK)
        status = compare(&t, results, results + t.elements, error);
    mc_free(results);
    trial_free(&t);
    return status;
}
