/*
 * All task vectors in one: in each element the sign of their mean, and the largest magnitude of
 * those that have it. A model of one task is the base plus what agrees with the task's own signs,
 * scaled to the task vector's size. Sizes are sums of the tensors' means, as in the authors' code:
 * a bias weighs as much as a matrix.
 */
#include <mergecraft/method.h>

/* The size of the task's own vector, and of what it shares with the unified one. */
typedef struct sizes {
    double own, shared;
} sizes;

/* The task that the result is for; 0: the unified vector, which needs no statistics. */
static size_t task_of(const mc_layer *layer)
{
    return (size_t)mc_number(layer, "task");
}

static size_t size_of_sizes(const mc_layer *layer)
{
    (void)layer;
    return sizeof(sizes);
}

static size_t partial_size(const mc_layer *layer)
{
    return task_of(layer) > 0 ? sizeof(sizes) : 0;
}

/* The element of the unified task vector; 0 counts as negative. */
static mc_real unified(const mc_layer *layer, size_t i)
{
    mc_real sum = 0, largest = 0;
    for (size_t t = 0; t < layer->model_count; t++)
        sum += layer->models[t][i] - layer->base[i];
    const mc_real sign = sum > 0 ? 1 : -1;
    for (size_t t = 0; t < layer->model_count; t++) {
        const mc_real size = (layer->models[t][i] - layer->base[i]) * sign;
        largest = size > largest ? size : largest;
    }
    return sum != sum ? sum : sign * largest;
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    sizes *const found = partial;
    const mc_real *const model = layer->models[task_of(layer) - 1];
    double own = 0, shared = 0;
    for (size_t i = 0; i < layer->count; i++) {
        const mc_real task = model[i] - layer->base[i], all = unified(layer, i);
        own += (double)mc_absolute(task);
        shared += task * all > 0 ? (double)mc_absolute(all) : 0;
    }
    found->own += own / (double)layer->size;
    found->shared += shared / (double)layer->size;
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    sizes *const sum = into;
    const sizes *const more = from;
    (void)layer;
    sum->own += more->own;
    sum->shared += more->shared;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)layer;
    (void)round;
    (void)more;
    memcpy(state, total, sizeof(sizes));
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = size_of_sizes,
                                         .partial_size = partial_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    if (values[0].numbers[0] <= (double)model_count)
        return MC_OK;
    return mc_fail(error, MC_USAGE, "task: expected a model from 1 to %zu, or 0, found %g",
                   model_count, values[0].numbers[0]);
}

MC_LAYER_MERGE(
    emr, .help = "base plus one task vector for all models, or the part of it that fits one task",
    .paper = "Huang et al. 2024, EMR-Merging, arXiv:2405.17461", .scope = MC_ELEMENTWISE,
    .needs_base = true, .check = check, .model_statistics = &statistics,
    .params = MC_PARAMS({"task", MC_INTEGER,
                         "the model whose task the result is for, from 1; 0: the unified one",
                         .maximum = 1000000}))
{
    const sizes *const found = layer->model_state;
    const size_t task = task_of(layer);
    const double scale = task && found->shared > 0 ? found->own / found->shared : 1;
    for (size_t i = 0; i < layer->count; i++) {
        const mc_real all = unified(layer, i), base = layer->base[i];
        const mc_real own = task ? layer->models[task - 1][i] - base : all;
        const bool kept = own * all > 0 || all != all;
        layer->out[i] = kept ? (mc_real)((double)base + scale * (double)all) : base;
    }
    return MC_OK;
}
