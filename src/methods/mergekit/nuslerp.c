#include "methods/elementary.h"
#include "methods/mergekit/sphere.h"

enum { WEIGHT, FLATTEN, ROW_WISE }; /* parameters */

/* What counts as one vector: the tensor, each row, or each column. */
typedef enum vectors { WHOLE, ROWS, COLUMNS } vectors;

/*
 * The parameter is called row_wise and means vectors along the first dimension, which are the
 * columns of a stored [out, in] matrix: as in mergekit, whose recipes mean that.
 */
static vectors vectors_of(const mc_layer *layer)
{
    if (mc_number(layer, "nuslerp_flatten") != 0 || layer->rank < 2)
        return WHOLE;
    return mc_number(layer, "nuslerp_row_wise") != 0 ? COLUMNS : ROWS;
}

/* Elements of a row; all for a vector or a scalar. */
static size_t row_length(const mc_layer *layer)
{
    return (size_t)(layer->rank > 0 ? layer->shape[layer->rank - 1] : 1);
}

static size_t column_count(const mc_layer *layer)
{
    return layer->shape[0] > 0 ? (size_t)(layer->size / layer->shape[0]) : 0;
}

static size_t sum_count(const mc_layer *layer)
{
    return vectors_of(layer) == COLUMNS ? column_count(layer) : 1;
}

static size_t state_size(const mc_layer *layer)
{
    return sum_count(layer) * sizeof(arc);
}

static size_t partial_size(const mc_layer *layer)
{
    return sum_count(layer) * sizeof(pair_sums);
}

static mc_real offset_of(const mc_layer *layer, size_t model, size_t i)
{
    return layer->models[model][i] - (layer->base ? layer->base[i] : 0);
}

/* The sums of a run of the two vectors. */
static void add_run(const mc_layer *layer, pair_sums *sums, size_t start, size_t count)
{
    mc_real a[MC_TILE_BLOCK], b[MC_TILE_BLOCK];
    for (const size_t end = start + count; start < end; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, end);
        for (size_t i = 0; i < length; i++) {
            a[i] = offset_of(layer, 0, start + i);
            b[i] = offset_of(layer, 1, start + i);
        }
        pair_add(sums, a, b, length);
    }
}

static void add_columns(const mc_layer *layer, pair_sums *sums)
{
    const size_t columns = column_count(layer);
    size_t column = (size_t)layer->first % columns;
    for (size_t i = 0; i < layer->count; i++) {
        const double a = (double)offset_of(layer, 0, i), b = (double)offset_of(layer, 1, i);
        sums[column].dot += a * b;
        sums[column].a_squares += a * a;
        sums[column].b_squares += b * b;
        column = column + 1 == columns ? 0 : column + 1;
    }
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    if (vectors_of(layer) == COLUMNS)
        add_columns(layer, partial);
    else if (vectors_of(layer) == WHOLE)
        add_run(layer, partial, 0, layer->count);
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    for (size_t i = 0; i < sum_count(layer); i++)
        pair_combine(layer, (pair_sums *)into + i, (const pair_sums *)from + i);
}

/* How far to go: the share of the second model. */
static double place_of(const mc_layer *layer)
{
    const double *const weights = mc_numbers(layer, "weight");
    const double total = weights[0] + weights[1];
    return fabs(total) < 1e-6 ? 0.5 : weights[1] / total;
}

static arc arc_of(const pair_sums *sums, double t)
{
    const double shortest = 1e-7;
    const double a = sqrt(sums->a_squares), b = sqrt(sums->b_squares);
    const double dot = sums->dot / ((a < shortest ? shortest : a) * (b < shortest ? shortest : b));
    const double cosine = dot < -1 ? -1 : dot > 1 ? 1 : dot;
    if (1 - cosine * cosine <= 1e-16)
        return (arc){1 - t, t};
    const double angle = elementary_acos(cosine), sine = elementary_sin(angle);
    return (arc){elementary_sin((1 - t) * angle) / sine, elementary_sin(t * angle) / sine};
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    const double t = place_of(layer);
    for (size_t i = 0; i < sum_count(layer); i++)
        ((arc *)state)[i] = arc_of((const pair_sums *)total + i, t);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .partial_size = partial_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

/* A run whose elements all have the same arc (step 0), or each the next one. */
static void merge_run(const mc_layer *layer, const arc *at, size_t step, size_t start, size_t count)
{
    for (size_t i = start; i < start + count; i++, at += step) {
        const mc_real moved = (mc_real)at->first * offset_of(layer, 0, i) +
                              (mc_real)at->second * offset_of(layer, 1, i);
        layer->out[i] = layer->base ? layer->base[i] + moved : moved;
    }
}

static void merge_rows(const mc_layer *layer)
{
    const size_t length = row_length(layer);
    const double t = place_of(layer);
    for (size_t start = 0; start < layer->count; start += length) {
        pair_sums sums = {0};
        add_run(layer, &sums, start, length);
        const arc found = arc_of(&sums, t);
        merge_run(layer, &found, 0, start, length);
    }
}

static void merge_columns(const mc_layer *layer)
{
    const size_t columns = column_count(layer);
    for (size_t start = 0, next; start < layer->count; start = next) {
        const size_t column = ((size_t)layer->first + start) % columns;
        const size_t left = layer->count - start, whole = columns - column;
        next = start + (left < whole ? left : whole);
        merge_run(layer, (const arc *)layer->state + column, 1, start, next - start);
    }
}

MC_LAYER_MERGE(
    nuslerp,
    .help = "along the arc from the first model to the second, or between their task vectors",
    .paper = "Shoemake 1985, Animating rotation with quaternion curves, SIGGRAPH", .scope = MC_ROW,
    .takes_base = true, .min_models = 2, .max_models = 2, .statistics = &statistics,
    .params = MC_PARAMS([WEIGHT] = {"weight", MC_NUMBER,
                                    "weight of each model; the second's share is how far to go",
                                    .per_input = true, .required = true},
                        [FLATTEN] = {"nuslerp_flatten", MC_FLAG,
                                     "take the whole tensor for one vector", .fallback = 1},
                        [ROW_WISE] = {"nuslerp_row_wise", MC_FLAG,
                                      "otherwise: the columns of a matrix instead of its rows"}))
{
    switch (vectors_of(layer)) {
    case WHOLE:
        merge_run(layer, layer->state, 0, 0, layer->count);
        break;
    case ROWS:
        merge_rows(layer);
        break;
    case COLUMNS:
        merge_columns(layer);
        break;
    }
    return MC_OK;
}
