#include "methods/mergekit/ranks.h"

/*
 * Select: the elements whose task vectors vary most between the models. Calculate: each model's
 * weight by its squares there. Erase: elements against the elected sign do not count.
 */
typedef struct sce_state {
    bool summing; /* this round adds up squares; otherwise it searches */
    order_search search;
    double weights[]; /* [model_count] */
} sce_state;

static const sce_state *state_of(const mc_layer *layer)
{
    return layer->state;
}

static bool selects(const mc_layer *layer)
{
    return mc_number(layer, "select_topk") < 1;
}

/* Nothing is selected: the result is the base. */
static bool selects_none(const mc_layer *layer)
{
    return selects(layer) && state_of(layer)->search.none;
}

/* ---- selection ------------------------------------------------------------------------------- */
static size_t searches(const mc_layer *layer)
{
    (void)layer;
    return 1;
}

MC_PASS void add_task(double *sum, const mc_real *model, const mc_real *base, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        sum[i] += (double)(model[i] - base[i]);
}

MC_PASS void add_square(double *sum, const double *mean, const mc_real *model, const mc_real *base,
                        size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const double off = (double)(model[i] - base[i]) - mean[i];
        sum[i] += off * off;
    }
}

MC_PASS void divide(double *sum, double models, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        sum[i] /= models;
}

/* The variance between the models' task vectors, in double, rounded once. */
static void keys(const mc_layer *layer, size_t column, size_t start, size_t count, mc_bits *out)
{
    double mean[MC_TILE_BLOCK] = {0}, squares[MC_TILE_BLOCK] = {0};
    const double models = (double)layer->model_count;
    const mc_real *const base = layer->base + start;
    (void)column;
    for (size_t m = 0; m < layer->model_count; m++)
        add_task(mean, layer->models[m] + start, base, count);
    divide(mean, models, count);
    for (size_t m = 0; m < layer->model_count; m++)
        add_square(squares, mean, layer->models[m] + start, base, count);
    divide(squares, models, count);
    for (size_t i = 0; i < count; i++)
        out[i] = mc_bits_of(mc_absolute((mc_real)squares[i]));
}

/*
 * The rank of the selection. The share is one of the elements that vary at all; the product is
 * computed in float.
 */
static int64_t rank(const mc_layer *layer, size_t search, int64_t zeros)
{
    (void)search;
    const float share = (float)mc_number(layer, "select_topk");
    const int64_t selected = (int64_t)((float)(layer->size - zeros) * share);
    return selects(layer) && selected > 0 ? layer->size - selected : -1;
}

static const rank_selection selection = {
    .searches = searches, .sharing = 1, .by_zeros = true, .keys = keys, .rank = rank};

/* Makes masks of variances: all bits of what is selected. Nothing branches. */
MC_PASS void make_masks(mc_bits *variances, mc_bits key, mc_bits places, size_t count)
{
    const mc_bits size = (mc_bits)count;
    MC_INDEPENDENT
    for (mc_bits i = 0; i < size; i++)
        variances[i] = -(mc_bits)((variances[i] > key) | ((variances[i] == key) & (i < places)));
}

MC_PASS void mask(mc_real *task, const mc_bits *masks, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        task[i] = mc_real_of(mc_bits_of(task[i]) & masks[i]);
}

/* Task vectors of a block, zero where nothing is selected: scratch + m · MC_TILE_BLOCK. */
static mc_real *selected_tasks(const mc_layer *layer, size_t start, size_t count)
{
    mc_real *const tasks = layer->scratch;
    const order_search *const found = &state_of(layer)->search;
    const bool some = selects(layer);
    mc_bits masks[MC_TILE_BLOCK];
    if (some) {
        keys(layer, 0, start, count, masks);
        make_masks(masks, found->key, rank_places(found, (uint64_t)layer->first + start, count),
                   count);
    }
    for (size_t m = 0; m < layer->model_count; m++) {
        mc_real *const task = tasks + m * MC_TILE_BLOCK;
        mc_tile_subtract(task, layer->models[m] + start, layer->base + start, count);
        if (some)
            mask(task, masks, count);
    }
    return tasks;
}

/* ---- statistics ------------------------------------------------------------------------------ */
static size_t state_size(const mc_layer *layer)
{
    return sizeof(sce_state) + layer->model_count * sizeof(double);
}

static void begin(const mc_layer *layer, void *state)
{
    sce_state *const s = state;
    rank_begin(layer, &selection, &s->search);
    s->summing = s->search.phase == ORDER_DONE;
}

/*
 * Squares are summed per leaf, each in its own place, and the places in their order: so the sum has
 * the same bits whichever thread computed which leaf.
 */
static size_t partial_size(const mc_layer *layer)
{
    const size_t leaves = (size_t)((layer->size + MC_LEAF - 1) / MC_LEAF);
    return state_of(layer)->summing ? leaves * layer->model_count * sizeof(double)
                                    : order_partial_size(&state_of(layer)->search, 1);
}

static size_t partial_zeros(const mc_layer *layer)
{
    return state_of(layer)->summing ? partial_size(layer)
                                    : order_partial_zeros(&state_of(layer)->search, 1);
}

static int64_t stride(const mc_layer *layer, int round)
{
    (void)round;
    return state_of(layer)->summing ? 1 : order_stride(&state_of(layer)->search, 1);
}

static void add_squares(const mc_layer *layer, double *sums)
{
    for (size_t start = 0; start < layer->count && !selects_none(layer); start += MC_TILE_BLOCK) {
        const size_t count = mc_tile_block(start, layer->count);
        const mc_real *const tasks = selected_tasks(layer, start, count);
        const size_t leaf = (size_t)((layer->first + (int64_t)start) / MC_LEAF);
        for (size_t m = 0; m < layer->model_count; m++)
            sums[leaf * layer->model_count + m] += mc_tile_squares(tasks + m * MC_TILE_BLOCK,
                                                                   count);
    }
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    if (!state_of(layer)->summing)
        return rank_accumulate(layer, &selection, &state_of(layer)->search, partial);
    add_squares(layer, partial);
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    if (!state_of(layer)->summing) {
        order_combine(&state_of(layer)->search, 1, into, from);
        return;
    }
    double *const all = into;
    const double *const more = from;
    for (size_t i = 0; i < partial_size(layer) / sizeof *all; i++)
        all[i] += more[i];
}

/* Mean squares, as shares of their sum; equal where there is next to nothing. */
static void set_weights(const mc_layer *layer, const double *sums, double *weights)
{
    const size_t models = layer->model_count;
    double total = 0;
    memset(weights, 0, models * sizeof *weights);
    for (int64_t leaf = 0; leaf * MC_LEAF < layer->size; leaf++)
        for (size_t m = 0; m < models; m++)
            weights[m] += sums[(size_t)leaf * models + m];
    for (size_t m = 0; m < models; m++) {
        weights[m] /= (double)layer->size;
        total += weights[m];
    }
    for (size_t m = 0; m < models; m++)
        weights[m] = fabs(total) < 1e-6 ? 1 / (double)models : weights[m] / total;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    sce_state *const s = state;
    (void)round;
    if (s->summing) {
        set_weights(layer, total, s->weights);
        return MC_OK;
    }
    rank_next(layer, &selection, &s->search, total);
    s->summing = s->search.phase == ORDER_DONE;
    *more = true;
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .begin = begin,
                                         .partial_size = partial_size,
                                         .partial_zeros = partial_zeros,
                                         .order_free = true,
                                         .stride = stride,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

/* ---- apply ----------------------------------------------------------------------------------- */
static size_t scratch_bytes(const mc_layer *layer)
{
    return layer->model_count * MC_TILE_BLOCK * sizeof(mc_real);
}

/* sum += weight · task, weights += weight, where the task vector has the sign of the total */
MC_PASS void add_agreeing(mc_real *sum, mc_real *weights, const mc_real *total, const mc_real *task,
                          mc_real weight, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const bool agrees = task[i] * (total[i] >= 0 ? (mc_real)1 : (mc_real)-1) > 0;
        sum[i] += agrees ? task[i] * weight : 0;
        weights[i] += agrees ? weight : 0;
    }
}

static void merge_block(const mc_layer *layer, size_t start, size_t count)
{
    mc_real total[MC_TILE_BLOCK], sum[MC_TILE_BLOCK] = {0}, weights[MC_TILE_BLOCK] = {0};
    const mc_real *const tasks = selected_tasks(layer, start, count);
    const mc_real smallest = (mc_real)1e-6;
    mc_tile_copy(total, tasks, count);
    for (size_t m = 1; m < layer->model_count; m++)
        mc_tile_add(total, total, tasks + m * MC_TILE_BLOCK, count);
    for (size_t m = 0; m < layer->model_count; m++)
        add_agreeing(sum, weights, total, tasks + m * MC_TILE_BLOCK,
                     (mc_real)state_of(layer)->weights[m], count);
    for (size_t i = 0; i < count; i++) {
        const mc_real mean = sum[i] / (weights[i] < smallest ? smallest : weights[i]);
        layer->out[start + i] = layer->base[start + i] + (total[i] != total[i] ? total[i] : mean);
    }
}

MC_LAYER_MERGE(
    sce,
    .help = "selects where the models differ most, weighs them by their squares there, "
            "drops what is against the elected sign",
    .paper = "Wan et al. 2024, FuseChat, arXiv:2408.07990", .scope = MC_ELEMENTWISE,
    .needs_base = true, .statistics = &statistics, .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS({"select_topk", MC_NUMBER,
                         "share of the differing elements that is selected", .fallback = 1},
                        {"int8_mask", MC_FLAG, "has no effect: masks take no memory here"}))
{
    if (selects_none(layer))
        mc_tile_copy(layer->out, layer->base, layer->count);
    else
        for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK)
            merge_block(layer, start, mc_tile_block(start, layer->count));
    return MC_OK;
}
