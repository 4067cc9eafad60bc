/*
 * Two scores of each element of each task vector, over the whole model: how large it is in its own
 * model (intra), and how far the models agree about it (inter). Their product, cut below a quantile
 * and brought to 0 … 1, is its weight in the mean.
 *
 *     CLIP     two order statistics of |τ| per model: the bounds that outliers are clipped to
 *     SCORE    one order statistic of the scores per model, and the largest score
 *     FOUND
 *
 * Scores have signs and thresholds are of magnitudes: one search sees the
 * positive scores, with zeros in the place of the others, and one the negative scores. The wanted
 * one is in the first unless its rank is among the zeros.
 */
#include "methods/elementary.h"
#include "methods/threshold.h"

enum { RAW, NORMALISED };    /* values of `inter` */
enum { CLIP, SCORE, FOUND }; /* phases */
enum { SEARCHES = 2 };       /* per model, in each phase */
enum { LOW, HIGH };          /* searches of CLIP */
enum { POSITIVE, NEGATIVE }; /* searches of SCORE */

typedef struct bounds {
    mc_real low, high;         /* of |τ| */
    mc_real quantile, largest; /* of scores */
} bounds;

/* Followed by the searches, SEARCHES per model. */
typedef struct found {
    int phase;
    bounds of[];
} found;

static size_t bounds_bytes(const mc_layer *layer)
{
    return (sizeof(found) + layer->model_count * sizeof(bounds) + 7) / 8 * 8;
}

static order_search *searches_of(const mc_layer *layer, const void *state)
{
    return (order_search *)(uintptr_t)((const char *)state + bounds_bytes(layer));
}

static size_t state_size(const mc_layer *layer)
{
    return bounds_bytes(layer) + SEARCHES * layer->model_count * sizeof(order_search);
}

static void begin(const mc_layer *layer, void *state)
{
    threshold_begin(searches_of(layer, state), SEARCHES * layer->model_count, layer->size);
}

/* ---- scores --------------------------------------------------------------------------------- */

static double clip(mc_real size, const bounds *b)
{
    const mc_real raised = size < b->low ? b->low : size;
    return (double)(raised > b->high ? b->high : raised);
}

/* The clipped magnitude, from 0 to 1; 0 where all are equal. */
static double normalised(mc_real task, const bounds *b)
{
    const double range = (double)b->high - (double)b->low;
    return range > 0 ? (clip(mc_absolute(task), b) - (double)b->low) / range : 0;
}

static double sign_of(mc_real task)
{
    return task > 0 ? 1 : task < 0 ? -1 : 0;
}

/*
 * A model's contribution to the agreement about an element: its task vector, or that normalised
 * with its sign.
 */
static double opinion(mc_real task, const bounds *b, bool raw)
{
    return raw ? (double)task : sign_of(task) * normalised(task, b);
}

static mc_real task_at(const mc_layer *layer, size_t t, size_t i)
{
    return layer->models[t][i] - layer->base[i];
}

/* scores[t] of element i, for all models. */
static void score(const mc_layer *layer, const found *f, bool raw, size_t i, mc_real *scores)
{
    const double models = (double)layer->model_count;
    double sum = 0;
    for (size_t t = 0; t < layer->model_count; t++)
        sum += opinion(task_at(layer, t, i), &f->of[t], raw);
    for (size_t t = 0; t < layer->model_count; t++) {
        const mc_real task = task_at(layer, t, i);
        const double size = normalised(task, &f->of[t]);
        const double intra = elementary_exp(models * size * size);
        scores[t] = (mc_real)(intra * elementary_tanh((double)task * sum));
    }
}

/* ---- statistics ----------------------------------------------------------------------------- */

/* The largest score of each model, and how many scores that is of; then the searches' parts. */
typedef struct largest_score {
    uint64_t count;
    double value;
} largest_score;

static size_t partial_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(largest_score) +
           threshold_partial_size(searches_of(layer, layer->model_state),
                                  SEARCHES * layer->model_count);
}

static void *searches_at(const mc_layer *layer, const void *partial)
{
    return (char *)(uintptr_t)partial + layer->model_count * sizeof(largest_score);
}

static void clip_block(const mc_layer *layer, const order_search *searches, void *partial,
                       size_t start, size_t length)
{
    for (size_t s = 0; s < SEARCHES * layer->model_count; s++)
        threshold_add(searches, SEARCHES * layer->model_count, s, partial,
                      layer->models[s / SEARCHES] + start, layer->base + start, length);
}

static void score_block(const mc_layer *layer, const order_search *searches, void *partial,
                        largest_score *largest, mc_real *scores, size_t start, size_t length)
{
    const bool raw = mc_number(layer, "inter") == RAW;
    const size_t models = layer->model_count;
    mc_real values[MC_TILE_BLOCK], one[MC_TILE_BLOCK];
    for (size_t i = 0; i < length; i++)
        score(layer, layer->model_state, raw, start + i, scores + i * models);
    for (size_t t = 0; t < models; t++) {
        for (size_t i = 0; i < length; i++) {
            values[i] = scores[i * models + t];
            const double value = (double)values[i];
            if (largest[t].count++ == 0 || value > largest[t].value)
                largest[t].value = value;
        }
        for (size_t k = 0; k < SEARCHES; k++) {
            const size_t s = SEARCHES * t + k;
            for (size_t i = 0; i < length; i++) {
                const mc_real wanted = k == POSITIVE ? values[i] : -values[i];
                one[i] = wanted > 0 ? wanted : 0;
            }
            threshold_add(searches, SEARCHES * models, s, partial, one, NULL, length);
        }
    }
}

static size_t scratch_bytes(const mc_layer *layer)
{
    return MC_TILE_BLOCK * layer->model_count * sizeof(mc_real);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    const found *const f = layer->model_state;
    const order_search *const searches = searches_of(layer, f);
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        if (f->phase == CLIP)
            clip_block(layer, searches, searches_at(layer, partial), start, length);
        else
            score_block(layer, searches, searches_at(layer, partial), partial, layer->scratch,
                        start, length);
    }
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    largest_score *const all = into;
    const largest_score *const more = from;
    for (size_t t = 0; t < layer->model_count; t++) {
        if (more[t].count > 0 && (all[t].count == 0 || more[t].value > all[t].value))
            all[t].value = more[t].value;
        all[t].count += more[t].count;
    }
    order_combine(searches_of(layer, layer->model_state), SEARCHES * layer->model_count,
                  searches_at(layer, into), searches_at(layer, from));
}

/* The rank of an index that a formula gives, limited to 0 … size − 1. */
static int64_t rank_of(double index, int64_t size)
{
    const double last = (double)(size - 1), rank = trunc(index);
    return (int64_t)(rank < 0 ? 0 : rank > last ? last : rank);
}

/* The rank in ascending scores below which a score counts as 0. */
static int64_t quantile_rank(const mc_layer *layer)
{
    return rank_of((double)layer->size * (1 - mc_number(layer, "ratio")), layer->size);
}

static int64_t rank_in(const mc_layer *layer, int phase, size_t search)
{
    const double size = (double)layer->size, share = mc_number(layer, "clip");
    if (phase == CLIP)
        return search == LOW ? rank_of(size * share, layer->size)
                             : rank_of(size * (1 - share) - 1, layer->size);
    const int64_t rank = quantile_rank(layer);
    return search == POSITIVE ? rank : layer->size - 1 - rank;
}

static void end_phase(const mc_layer *layer, found *f, const largest_score *largest)
{
    order_search *const searches = searches_of(layer, f);
    for (size_t t = 0; t < layer->model_count; t++) {
        const double first = searches[SEARCHES * t].threshold;
        const double second = searches[SEARCHES * t + 1].threshold;
        bounds *const b = &f->of[t];
        if (f->phase == CLIP) {
            b->low = (mc_real)first;
            b->high = (mc_real)second;
        } else {
            b->quantile = (mc_real)(first > 0 ? first : -second);
            b->largest = (mc_real)largest[t].value;
        }
    }
    f->phase++;
    if (f->phase == SCORE)
        begin(layer, f);
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    found *const f = state;
    order_search *const searches = searches_of(layer, f);
    const size_t count = SEARCHES * layer->model_count;
    (void)round;
    for (size_t s = 0; s < count; s++)
        searches[s].rank = rank_in(layer, f->phase, s % SEARCHES);
    if (!threshold_next(searches, count, searches_at(layer, total)))
        end_phase(layer, f, total);
    *more = f->phase != FOUND;
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .begin = begin,
                                         .partial_size = partial_size,
                                         .order_free = true,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

/* ---- merging -------------------------------------------------------------------------------- */

/*
 * A score as a weight. Where the quantile is the largest score, the authors' code divides 0 by 0;
 * here all weights are 1, but for a model that is equal to the base and has nothing to weigh.
 */
static double weight_of(mc_real value, const bounds *b)
{
    const double range = (double)b->largest - (double)b->quantile;
    if (b->high == 0)
        return 0;
    return range <= 0 ? 1 : value <= b->quantile ? 0 : ((double)(value - b->quantile)) / range;
}

MC_LAYER_MERGE(
    pcb,
    .help = "base plus the mean of the task vectors, weighted by size and agreement of elements",
    .paper = "Du et al. 2024, Parameter competition balancing, arXiv:2410.02396",
    .scope = MC_ELEMENTWISE, .needs_base = true, .scratch_bytes = scratch_bytes,
    .model_statistics = &statistics,
    .params = MC_PARAMS({"ratio", MC_NUMBER, "share of the scores, the highest, that have weight",
                         .fallback = .1, .maximum = 1},
                        {"scale", MC_NUMBER, "factor of the mean", .fallback = 1.2},
                        {"clip", MC_NUMBER,
                         "share of the smallest and of the largest magnitudes that is clipped",
                         .fallback = 1e-4, .maximum = .5},
                        {"inter", MC_CHOICE,
                         "agreement of task vectors as they are, or of normalised ones",
                         .choices = MC_NAMES("raw", "normalised")}))
{
    const found *const f = layer->model_state;
    const bool raw = mc_number(layer, "inter") == RAW;
    const double scale = mc_number(layer, "scale");
    mc_real *const scores = layer->scratch;
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0, weights = 0;
        score(layer, f, raw, i, scores);
        for (size_t t = 0; t < layer->model_count; t++) {
            const mc_real task = task_at(layer, t, i);
            const double weight = weight_of(scores[t], &f->of[t]);
            sum += weight * sign_of(task) * clip(mc_absolute(task), &f->of[t]);
            sum += task != task ? (double)task : 0;
            weights += weight;
        }
        const double divisor = weights > 1e-12 ? weights : 1e-12;
        layer->out[i] = (mc_real)((double)layer->base[i] + scale * sum / divisor);
    }
    return MC_OK;
}
