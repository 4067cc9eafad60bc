/*
 * ram and ramplus_tl: an element of a task vector is a change if its magnitude exceeds epsilon.
 * Changes that one model alone makes are taken in full, those of several as their mean. ramplus_tl
 * enlarges the former by a factor of the model and the tensor. RAM_RESCALES says which of the two.
 */
#ifndef MC_METHODS_MERGEKIT_RAM_H
#define MC_METHODS_MERGEKIT_RAM_H

#include <mergecraft/method.h>

#define RAM_EPSILON                                                                                \
    {                                                                                              \
        "epsilon", MC_NUMBER, "magnitude that a change must exceed", .fallback = 1e-5              \
    }

/* How many models change each element of a block. */
MC_PASS void ram_count(mc_real *changing, const mc_real *model, const mc_real *base,
                       mc_real epsilon, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        changing[i] += mc_absolute(model[i] - base[i]) > epsilon ? (mc_real)1 : (mc_real)0;
}

static inline void ram_count_all(const mc_layer *layer, size_t start, size_t count,
                                 mc_real *changing)
{
    mc_tile_fill(changing, 0, count);
    for (size_t m = 0; m < layer->model_count; m++)
        ram_count(changing, layer->models[m] + start, layer->base + start,
                  (mc_real)mc_number(layer, "epsilon"), count);
}

/* ---- statistics of ramplus_tl ---------------------------------------------------------------- */
/* Changes of a model that others make too, and that it makes alone. */
typedef struct ram_changes {
    uint64_t shared, own;
} ram_changes;

static inline size_t ram_partial_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(ram_changes);
}

/* What the own changes of each model are multiplied by. */
static inline size_t ram_state_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(double);
}

MC_PASS void ram_count_changes(ram_changes *found, const mc_real *changing, const mc_real *model,
                               const mc_real *base, mc_real epsilon, size_t count)
{
    mc_bits shared = 0, own = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const bool changes = mc_absolute(model[i] - base[i]) > epsilon;
        shared += changes && changing[i] > 1;
        own += changes && changing[i] == 1;
    }
    found->shared += shared;
    found->own += own;
}

static inline mc_status ram_accumulate(const mc_layer *layer, void *partial)
{
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t count = mc_tile_block(start, layer->count);
        mc_real changing[MC_TILE_BLOCK];
        ram_count_all(layer, start, count, changing);
        for (size_t m = 0; m < layer->model_count; m++)
            ram_count_changes((ram_changes *)partial + m, changing, layer->models[m] + start,
                              layer->base + start, (mc_real)mc_number(layer, "epsilon"), count);
    }
    return MC_OK;
}

static inline void ram_combine(const mc_layer *layer, void *into, const void *from)
{
    ram_changes *const all = into;
    const ram_changes *const more = from;
    for (size_t m = 0; m < layer->model_count; m++) {
        all[m].shared += more[m].shared;
        all[m].own += more[m].own;
    }
}

static inline mc_status ram_next(const mc_layer *layer, int round, void *state, const void *total,
                                 bool *more)
{
    (void)round;
    (void)more;
    const double epsilon = mc_number(layer, "epsilon"), alpha = mc_number(layer, "alpha");
    const ram_changes *const changes = total;
    for (size_t m = 0; m < layer->model_count; m++) {
        const double own = (double)changes[m].own;
        const double ratio = (double)changes[m].shared / (own < epsilon ? epsilon : own);
        const double bounded = ratio < 0 ? 0 : ratio > alpha ? alpha : ratio;
        ((double *)state)[m] = 1 + mc_number(layer, "r") * bounded;
    }
    return MC_OK;
}

static MC_UNUSED const mc_statistics ram_statistics = {.state_size = ram_state_size,
                                                       .partial_size = ram_partial_size,
                                                       .order_free = true,
                                                       .accumulate = ram_accumulate,
                                                       .combine = ram_combine,
                                                       .next = ram_next};

/* ---- apply ----------------------------------------------------------------------------------- */
/* sum += the model's change: times `own` where nobody else changes the element, else its share */
MC_PASS void ram_add(mc_real *sum, const mc_real *changing, const mc_real *model,
                     const mc_real *base, mc_real epsilon, mc_real own, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        const mc_real share = changing[i] == 1 ? task * own : task / changing[i];
        /* NaN exceeds nothing, so it is not counted as a change; but it must propagate. */
        sum[i] += mc_absolute(task) > epsilon ? share : task != task ? task : 0;
    }
}

static inline mc_status ram_apply(const mc_layer *layer)
{
    const mc_real epsilon = (mc_real)mc_number(layer, "epsilon");
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t count = mc_tile_block(start, layer->count);
        mc_real changing[MC_TILE_BLOCK], sum[MC_TILE_BLOCK] = {0};
        ram_count_all(layer, start, count, changing);
        for (size_t m = 0; m < layer->model_count; m++)
            ram_add(sum, changing, layer->models[m] + start, layer->base + start, epsilon,
                    RAM_RESCALES ? (mc_real)((const double *)layer->state)[m] : 1, count);
        mc_tile_add(layer->out + start, layer->base + start, sum, count);
    }
    return MC_OK;
}

#endif
