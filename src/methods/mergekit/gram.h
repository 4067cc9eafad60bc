/*
 * Methods that move on a sphere or weigh models by their angles: slerp, nuslerp, multislerp,
 * karcher, model_stock. Whatever they do, the result is a linear combination of the models (or of
 * their task vectors), and its coefficients follow from the inner products of all pairs. So one
 * pass sums up the products in double, along the tree of leaves, and a second one combines.
 */
#ifndef MC_METHODS_MERGEKIT_GRAM_H
#define MC_METHODS_MERGEKIT_GRAM_H

#include <mergecraft/method.h>

/*
 * The state begins with the factors [model_count] for `apply`: out = Σ factors[m] · x_m, where x_m
 * is a model; or, where there is a base, out = base + Σ factors[m] · x_m, where x_m is a task
 * vector. What a method needs besides comes after them.
 */
static inline size_t gram_state_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(double);
}

static inline size_t gram_count(const mc_layer *layer)
{
    return layer->model_count * (layer->model_count + 1) / 2;
}

static inline size_t gram_size(const mc_layer *layer)
{
    return gram_count(layer) * sizeof(double);
}

/* The inner product of x_i and x_j. */
static inline double gram_at(const double *gram, size_t i, size_t j)
{
    const size_t high = i > j ? i : j, low = i > j ? j : i;
    return gram[high * (high + 1) / 2 + low];
}

/* Task vectors of a block of every model. */
static inline size_t gram_scratch(const mc_layer *layer)
{
    return layer->model_count * MC_TILE_BLOCK * sizeof(mc_real);
}

/*
 * Models, or task vectors, of the block at `start`: x_m begins at the result + m · MC_TILE_BLOCK.
 */
static inline mc_real *gram_block(const mc_layer *layer, size_t start, size_t count)
{
    mc_real *const block = layer->scratch;
    for (size_t m = 0; m < layer->model_count; m++) {
        mc_real *const x = block + m * MC_TILE_BLOCK;
        if (layer->base)
            mc_tile_subtract(x, layer->models[m] + start, layer->base + start, count);
        else
            mc_tile_copy(x, layer->models[m] + start, count);
    }
    return block;
}

/* Adds the products of elements start … start + count − 1. */
static inline void gram_add(const mc_layer *layer, double *gram, size_t start, size_t count)
{
    for (const size_t end = start + count; start < end; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, end);
        const mc_real *const block = gram_block(layer, start, length);
        double *at = gram;
        for (size_t i = 0; i < layer->model_count; i++)
            for (size_t j = 0; j <= i; j++)
                *at++ += mc_tile_dot(block + i * MC_TILE_BLOCK, block + j * MC_TILE_BLOCK, length);
    }
}

static inline mc_status gram_accumulate(const mc_layer *layer, void *partial)
{
    gram_add(layer, partial, 0, layer->count);
    return MC_OK;
}

static inline void gram_combine(const mc_layer *layer, void *into, const void *from)
{
    double *const sums = into;
    const double *const more = from;
    for (size_t i = 0; i < gram_count(layer); i++)
        sums[i] += more[i];
}

/* The combination for elements start … start + count − 1. */
static inline void gram_apply_run(const mc_layer *layer, const double *factors, size_t start,
                                  size_t count)
{
    mc_real sum[MC_TILE_BLOCK];
    for (const size_t end = start + count; start < end; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, end);
        const mc_real *const block = gram_block(layer, start, length);
        mc_tile_scale(sum, block, (mc_real)factors[0], length);
        for (size_t m = 1; m < layer->model_count; m++)
            mc_tile_add_scaled(sum, sum, (mc_real)factors[m], block + m * MC_TILE_BLOCK, length);
        if (layer->base)
            mc_tile_add(layer->out + start, layer->base + start, sum, length);
        else
            mc_tile_copy(layer->out + start, sum, length);
    }
}

static inline void gram_apply(const mc_layer *layer)
{
    gram_apply_run(layer, layer->state, 0, layer->count);
}

#endif
