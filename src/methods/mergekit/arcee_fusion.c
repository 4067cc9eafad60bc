#include "methods/elementary.h"
#include "methods/mergekit/ranks.h"

/*
 * An element's importance is its distance from the base, times the Kullback-Leibler divergence of
 * its row's softmax from the base's. Elements more important than the median plus one and a half
 * times the distance of the quartiles are taken from the model.
 */
enum { MEDIAN, LOWER, UPPER, SEARCHES };

typedef struct fusion_state {
    bool searching; /* otherwise this round computes divergences */
    order_search searches[SEARCHES];
    mc_real threshold;
    double divergences[]; /* [rows] */
} fusion_state;

static const fusion_state *state_of(const mc_layer *layer)
{
    return layer->state;
}

/* A vector is one row. */
static size_t row_length(const mc_layer *layer)
{
    return (size_t)(layer->rank > 0 ? layer->shape[layer->rank - 1] : 1);
}

static size_t row_count(const mc_layer *layer)
{
    return (size_t)layer->size / row_length(layer);
}

/* ---- divergences ----------------------------------------------------------------------------- */
/* Every pass is a loop over plain arrays, which compilers vectorise. */
static mc_real largest_of(const mc_real *values, size_t count)
{
    mc_real lanes[MC_TILE_LANES], largest = values[0];
    for (size_t l = 0; l < MC_TILE_LANES; l++)
        lanes[l] = largest;
    size_t i = 0;
    for (; i + MC_TILE_LANES <= count; i += MC_TILE_LANES)
        for (size_t l = 0; l < MC_TILE_LANES; l++)
            lanes[l] = values[i + l] > lanes[l] ? values[i + l] : lanes[l];
    for (; i < count; i++)
        largest = values[i] > largest ? values[i] : largest;
    for (size_t l = 0; l < MC_TILE_LANES; l++)
        largest = lanes[l] > largest ? lanes[l] : largest;
    return largest;
}

/* The sum of doubles, in the lanes of mc_tile_dot. */
static double total_of(const double *values, size_t count)
{
    double lanes[MC_TILE_LANES] = {0};
    size_t i = 0;
    for (; i + MC_TILE_LANES <= count; i += MC_TILE_LANES)
        for (size_t l = 0; l < MC_TILE_LANES; l++)
            lanes[l] += values[i + l];
    for (size_t l = 0; i + l < count; l++)
        lanes[l] += values[i + l];
    return mc_tile_lanes_total(lanes);
}

/* The numerators of a row's softmax; its largest value is subtracted so that none overflows. */
MC_PASS void exponentials(const mc_real *values, mc_real largest, double *out, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = elementary_exp((double)values[i] - (double)largest);
}

/* p = the terms of the divergence of two softmaxes, from numerators and their sums */
MC_PASS void divergence_terms(double *p, double p_total, const double *q, double q_total,
                              size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const double mine = p[i] / p_total + 1e-8;
        p[i] = mine * elementary_log(mine / (q[i] / q_total + 1e-8));
    }
}

/* `space` has room for twice as many doubles. */
static double divergence(const mc_real *model, const mc_real *base, size_t count, double *space)
{
    double *const p = space, *const q = space + count;
    exponentials(model, largest_of(model, count), p, count);
    exponentials(base, largest_of(base, count), q, count);
    divergence_terms(p, total_of(p, count), q, total_of(q, count), count);
    /* Rounding could make it negative, and the order of magnitudes is that of their bits. */
    const double total = total_of(p, count);
    return total < 0 ? 0 : total;
}

static size_t scratch_bytes(const mc_layer *layer)
{
    return 2 * row_length(layer) * sizeof(double);
}

static void add_divergences(const mc_layer *layer, double *divergences)
{
    const size_t length = row_length(layer);
    for (size_t start = 0; start < layer->count; start += length)
        divergences[((size_t)layer->first + start) / length] = divergence(
            layer->models[0] + start, layer->base + start, length, layer->scratch);
}

/* ---- quartiles ------------------------------------------------------------------------------- */
MC_PASS void score_run(const mc_real *model, const mc_real *base, mc_real factor, mc_real *scores,
                       size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        scores[i] = mc_absolute(model[i] - base[i]) * factor;
}

static void score(const mc_layer *layer, size_t start, size_t count, mc_real *scores)
{
    const size_t length = row_length(layer);
    size_t row = ((size_t)layer->first + start) / length;
    size_t left = length - ((size_t)layer->first + start) % length;
    for (size_t i = 0, run; i < count; i += run, row++, left = length) {
        run = left < count - i ? left : count - i;
        score_run(layer->models[0] + start + i, layer->base + start + i,
                  (mc_real)state_of(layer)->divergences[row], scores + i, run);
    }
}

static size_t searches(const mc_layer *layer)
{
    (void)layer;
    return SEARCHES;
}

static void keys(const mc_layer *layer, size_t column, size_t start, size_t count, mc_bits *out)
{
    mc_real scores[MC_TILE_BLOCK];
    (void)column;
    score(layer, start, count, scores);
    for (size_t i = 0; i < count; i++)
        out[i] = mc_bits_of(mc_absolute(scores[i]));
}

static int64_t rank(const mc_layer *layer, size_t search, int64_t zeros)
{
    static const double quantiles[] = {[MEDIAN] = 0.5, [LOWER] = 0.25, [UPPER] = 0.75};
    (void)zeros;
    return (int64_t)(quantiles[search] * (double)(layer->size - 1));
}

static const rank_selection selection = {
    .searches = searches, .sharing = SEARCHES, .keys = keys, .rank = rank};

static mc_real threshold_of(const order_search *found)
{
    const mc_real median = mc_real_of(found[MEDIAN].key);
    return median + (mc_real)1.5 * (mc_real_of(found[UPPER].key) - mc_real_of(found[LOWER].key));
}

/* ---- statistics ------------------------------------------------------------------------------ */
static size_t state_size(const mc_layer *layer)
{
    return sizeof(fusion_state) + row_count(layer) * sizeof(double);
}

static size_t partial_size(const mc_layer *layer)
{
    return state_of(layer)->searching ? order_partial_size(state_of(layer)->searches, SEARCHES)
                                      : row_count(layer) * sizeof(double);
}

static size_t partial_zeros(const mc_layer *layer)
{
    return state_of(layer)->searching ? order_partial_zeros(state_of(layer)->searches, SEARCHES)
                                      : partial_size(layer);
}

static int64_t stride(const mc_layer *layer, int round)
{
    (void)round;
    return state_of(layer)->searching ? order_stride(state_of(layer)->searches, SEARCHES) : 1;
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    if (state_of(layer)->searching)
        return rank_accumulate(layer, &selection, state_of(layer)->searches, partial);
    add_divergences(layer, partial);
    return MC_OK;
}

/* A row is in one partial result and zero in the others. */
static void combine(const mc_layer *layer, void *into, const void *from)
{
    double *const all = into;
    const double *const more = from;
    if (state_of(layer)->searching)
        order_combine(state_of(layer)->searches, SEARCHES, into, from);
    else
        for (size_t i = 0; i < row_count(layer); i++)
            all[i] += more[i];
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    fusion_state *const s = state;
    (void)round;
    if (!s->searching) {
        memcpy(s->divergences, total, row_count(layer) * sizeof(double));
        rank_begin(layer, &selection, s->searches);
        s->searching = true;
        *more = true;
        return MC_OK;
    }
    rank_next(layer, &selection, s->searches, total);
    *more = !order_done(s->searches, SEARCHES);
    if (!*more)
        s->threshold = threshold_of(s->searches);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .partial_size = partial_size,
                                         .partial_zeros = partial_zeros,
                                         .order_free = true,
                                         .stride = stride,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

MC_PASS void choose(const mc_real *scores, mc_real threshold, const mc_real *model,
                    const mc_real *base, mc_real *out, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = base[i] + (scores[i] < threshold ? 0 : model[i] - base[i]);
}

MC_LAYER_MERGE(arcee_fusion, .help = "the base, with the elements of the model that matter most",
               .paper = "arcee-ai 2024, Arcee Fusion, as mergekit has it", .scope = MC_ROW,
               .needs_base = true, .max_models = 1, .statistics = &statistics,
               .scratch_bytes = scratch_bytes)
{
    const mc_real threshold = state_of(layer)->threshold;
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t count = mc_tile_block(start, layer->count);
        const mc_real *const model = layer->models[0] + start, *const base = layer->base + start;
        mc_real scores[MC_TILE_BLOCK];
        score(layer, start, count, scores);
        choose(scores, threshold, model, base, layer->out + start, count);
    }
    return MC_OK;
}
