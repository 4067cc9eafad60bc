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
    rank_search searches[SEARCHES];
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
/*
 * The softmax of a row: its largest value, which is subtracted so that exp does not overflow, and
 * the sum of the exponentials.
 */
typedef struct soft {
    double largest, total;
} soft;

static soft soft_of(const mc_real *values, size_t count)
{
    double lanes[MC_TILE_LANES] = {0};
    mc_real largest = values[0];
    for (size_t i = 1; i < count; i++)
        largest = values[i] > largest ? values[i] : largest;
    for (size_t i = 0; i < count; i += MC_TILE_LANES) {
        const size_t left = count - i, length = left < MC_TILE_LANES ? left : MC_TILE_LANES;
        for (size_t l = 0; l < length; l++)
            lanes[l] += elementary_exp((double)values[i + l] - (double)largest);
    }
    return (soft){(double)largest, mc_tile_lanes_total(lanes)};
}

static double soft_max(soft s, mc_real value)
{
    return elementary_exp((double)value - s.largest) / s.total + 1e-8;
}

static double divergence(const mc_real *model, const mc_real *base, size_t count)
{
    const soft p = soft_of(model, count), q = soft_of(base, count);
    double lanes[MC_TILE_LANES] = {0};
    for (size_t i = 0; i < count; i += MC_TILE_LANES) {
        const size_t left = count - i, length = left < MC_TILE_LANES ? left : MC_TILE_LANES;
        for (size_t l = 0; l < length; l++) {
            const double mine = soft_max(p, model[i + l]);
            lanes[l] += mine * elementary_log(mine / soft_max(q, base[i + l]));
        }
    }
    /* Rounding could make it negative, and the order of magnitudes is that of their bits. */
    const double total = mc_tile_lanes_total(lanes);
    return total < 0 ? 0 : total;
}

static void add_divergences(const mc_layer *layer, double *divergences)
{
    const size_t length = row_length(layer);
    for (size_t start = 0; start < layer->count; start += length)
        divergences[((size_t)layer->first + start) / length] = divergence(
            layer->models[0] + start, layer->base + start, length);
}

/* ---- quartiles ------------------------------------------------------------------------------- */
static void score(const mc_layer *layer, size_t start, size_t count, mc_real *scores)
{
    const size_t length = row_length(layer);
    size_t row = ((size_t)layer->first + start) / length;
    size_t left = length - ((size_t)layer->first + start) % length;
    for (size_t i = 0; i < count; row++, left = length) {
        const mc_real factor = (mc_real)state_of(layer)->divergences[row];
        const size_t end = i + left < count ? i + left : count;
        for (; i < end; i++)
            scores[i] = mc_absolute(layer->models[0][start + i] - layer->base[start + i]) * factor;
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

static mc_real threshold_of(const rank_search *found)
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
    return state_of(layer)->searching ? rank_partial_size(state_of(layer)->searches, SEARCHES)
                                      : row_count(layer) * sizeof(double);
}

static size_t partial_zeros(const mc_layer *layer)
{
    return state_of(layer)->searching ? rank_zeros(state_of(layer)->searches, SEARCHES)
                                      : partial_size(layer);
}

static int64_t stride(const mc_layer *layer, int round)
{
    (void)round;
    return state_of(layer)->searching ? rank_stride(state_of(layer)->searches, SEARCHES) : 1;
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
        rank_combine(state_of(layer)->searches, SEARCHES, into, from);
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
    *more = !rank_done(s->searches, SEARCHES);
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

MC_LAYER_MERGE(arcee_fusion, .help = "the base, with the elements of the model that matter most",
               .paper = "arcee-ai 2024, Arcee Fusion, as mergekit has it", .scope = MC_ROW,
               .needs_base = true, .max_models = 1, .statistics = &statistics)
{
    const mc_real threshold = state_of(layer)->threshold;
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t count = mc_tile_block(start, layer->count);
        const mc_real *const model = layer->models[0] + start, *const base = layer->base + start;
        mc_real scores[MC_TILE_BLOCK];
        score(layer, start, count, scores);
        for (size_t i = 0; i < count; i++)
            layer->out[start + i] = base[i] + (scores[i] < threshold ? 0 : model[i] - base[i]);
    }
    return MC_OK;
}
