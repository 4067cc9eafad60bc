/*
 * For LoRA-like updates. The task vectors of a layer side by side have one basis U of their
 * outputs; in that basis, P_t = UᵀΔ_t, they are trimmed to their largest elements, over the whole
 * model, and merged. Tensors that are not matrices stay at the base.
 */
#include "methods/matrix.h"
#include "methods/threshold.h"

enum { TIES, LINEAR, TV }; /* values of `mode`; tv is the authors' name for linear */
enum { MEAN, SUM };        /* values of `aggregate` */
/* Singular values up to here count as noise, as in the authors' code. */
static const double smallest = 1e-5;

typedef struct workspace {
    double *u;     /* [m, k] */
    double *parts; /* [models][k, n] */
    size_t k, rank;
} workspace;

/* The task vectors side by side are [m, models · n]. */
static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_oriented_size(layer);
    const size_t wide = s.n * layer->model_count, k = s.m < wide ? s.m : wide;
    const mc_svd_kind kind = mc_svd_kind_for(s.m, wide, matrix_wide);
    const size_t doubles = s.m * wide + s.m * k + k + k * wide + mc_svd_work(s.m, wide, kind) +
                           2 * s.m * s.n;
    return doubles * sizeof(double) + s.n * sizeof(mc_real);
}

/*
 * Zeroes the parts of inputs that a model leaves as they are: the decomposition gives rounding
 * there, and the mean counts a model wherever its part is not 0.
 */
static void clear_untouched(const mc_layer *layer, const workspace *w, const mc_real *model,
                            size_t t)
{
    const matrix_size s = matrix_oriented_size(layer);
    for (size_t j = 0; j < s.n; j++) {
        bool touched = false;
        for (size_t i = 0; i < s.m && !touched; i++) {
            const size_t at = matrix_place(layer, s, i, j);
            touched = model[at] != layer->base[at];
        }
        for (size_t r = 0; r < w->rank && !touched; r++)
            w->parts[r * s.n * layer->model_count + t * s.n + j] = 0;
    }
}

static mc_status decompose(const mc_layer *layer, workspace *w, double **rest)
{
    const matrix_size s = matrix_oriented_size(layer);
    const size_t wide = s.n * layer->model_count, k = s.m < wide ? s.m : wide;
    const mc_svd_kind kind = mc_svd_kind_for(s.m, wide, matrix_wide);
    double *scratch = layer->scratch;
    double *const all = matrix_take(&scratch, s.m * wide);
    double *const one = matrix_take(&scratch, s.m * s.n);
    double *const values = matrix_take(&scratch, k);
    *w = (workspace){
        .u = matrix_take(&scratch, s.m * k), .parts = matrix_take(&scratch, k * wide), .k = k};
    for (size_t t = 0; t < layer->model_count; t++) {
        matrix_oriented_task(layer, one, layer->models[t]);
        for (size_t i = 0; i < s.m; i++)
            memcpy(all + i * wide + t * s.n, one + i * s.n, s.n * sizeof *one);
    }
    MC_TRY(mc_svd(kind, s.m, wide, k, all, w->u, values, w->parts, scratch, layer->error));
    while (w->rank < k && values[w->rank] > smallest)
        w->rank++;
    matrix_scale_rows(w->parts, values, w->rank, wide);
    for (size_t t = 0; t < layer->model_count; t++)
        clear_untouched(layer, w, layer->models[t], t);
    *rest = scratch;
    return MC_OK;
}

/* Row r of P_t. */
static const double *part_row(const mc_layer *layer, const workspace *w, size_t t, size_t r)
{
    const size_t n = matrix_oriented_size(layer).n;
    return w->parts + r * n * layer->model_count + t * n;
}

/* ---- thresholds ----------------------------------------------------------------------------- */

static size_t state_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(order_search);
}

static void begin(const mc_layer *layer, void *state)
{
    /*
     * An upper bound of the values: their number depends on ranks and is known after the first
     * round.
     */
    threshold_begin(state, layer->model_count, layer->size);
}

static size_t partial_size(const mc_layer *layer)
{
    if (mc_number(layer, "topk") >= 100)
        return 0;
    const size_t size = threshold_partial_size(layer->model_state, layer->model_count);
    return size > 0 ? sizeof(uint64_t) + size : 0;
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    const order_search *const searches = layer->model_state;
    uint64_t *const counted = partial;
    workspace w;
    double *rest;
    if (!layer->matrix)
        return MC_OK;
    MC_TRY(decompose(layer, &w, &rest));
    const size_t n = matrix_oriented_size(layer).n;
    mc_real *const values = (mc_real *)rest;
    *counted += w.rank * n;
    for (size_t t = 0; t < layer->model_count; t++)
        for (size_t r = 0; r < w.rank; r++) {
            const double *const row = part_row(layer, &w, t, r);
            for (size_t j = 0; j < n; j++)
                values[j] = (mc_real)row[j];
            threshold_add(searches, layer->model_count, t, counted + 1, values, NULL, n);
        }
    return MC_OK;
}

/*
 * Looks for the (d − int(d · topk))-th smallest magnitude: the authors keep what is not below it.
 */
static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    order_search *const searches = state;
    const uint64_t *const counted = total;
    const uint64_t kept = (uint64_t)((double)*counted * mc_number(layer, "topk") / 100);
    (void)round;
    for (size_t t = 0; t < layer->model_count; t++) {
        searches[t].rank = (int64_t)(*counted - kept) - (kept < *counted ? 1 : 0);
        if (*counted == 0)
            searches[t].phase = ORDER_DONE;
    }
    *more = threshold_next(searches, layer->model_count, counted + 1);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .begin = begin,
                                         .partial_size = partial_size,
                                         .order_free = true,
                                         .accumulate = accumulate,
                                         .combine = threshold_combine_counted,
                                         .next = next};

/* ---- merging -------------------------------------------------------------------------------- */

static double kept(const mc_layer *layer, const workspace *w, size_t t, size_t r, size_t j)
{
    const order_search *const searches = layer->model_state;
    const double value = part_row(layer, w, t, r)[j];
    const bool all = mc_number(layer, "topk") >= 100;
    return all || mc_absolute((mc_real)value) >= (mc_real)searches[t].threshold ? value : 0;
}

/* merged [rank, n], scaled */
static void merge_parts(const mc_layer *layer, const workspace *w, double *merged)
{
    const size_t n = matrix_oriented_size(layer).n;
    const bool ties = mc_number(layer, "mode") == TIES;
    const bool mean = mc_number(layer, "aggregate") == MEAN;
    const double scale = mc_number(layer, "scale");
    for (size_t r = 0; r < w->rank; r++)
        for (size_t j = 0; j < n; j++) {
            double total = 0, sum = 0, count = 0;
            for (size_t t = 0; t < layer->model_count; t++)
                total += kept(layer, w, t, r, j);
            for (size_t t = 0; t < layer->model_count; t++) {
                const double value = kept(layer, w, t, r, j);
                const bool counts = ties ? value * total > 0 : value != 0;
                sum += counts ? value : 0;
                count += counts;
            }
            merged[r * n + j] = scale * sum / (mean && count > 1 ? count : 1);
        }
}

MC_LAYER_MERGE(
    knots, .help = "base plus low-rank updates, trimmed and merged in the basis that they share",
    .paper = "Stoica et al. 2024, KnOTS, arXiv:2410.19735", .scope = MC_TENSOR,
    .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true, .scratch_bytes = scratch_bytes,
    .model_statistics = &statistics,
    .params = MC_PARAMS({"mode", MC_CHOICE, "elect signs, or not; tv is an alias of linear",
                         .choices = MC_NAMES("ties", "linear", "tv")},
                        {"topk", MC_NUMBER, "percent of a model's elements that is kept",
                         .fallback = 20, .maximum = 100},
                        {"scale", MC_NUMBER, "factor of the update", .fallback = .6},
                        {"aggregate", MC_CHOICE, "divide by the models that take part, or not",
                         .choices = MC_NAMES("mean", "sum")}))
{
    workspace w;
    double *rest;
    if (!layer->matrix) {
        mc_tile_copy(layer->out, layer->base, layer->count);
        return MC_OK;
    }
    const matrix_size s = matrix_oriented_size(layer);
    MC_TRY(decompose(layer, &w, &rest));
    double *const merged = layer->scratch; /* the task vectors are not needed any more */
    double *const update = matrix_take(&rest, s.m * s.n);
    merge_parts(layer, &w, merged);
    for (size_t i = 0; i < s.m; i++) /* leading columns of U, close together */
        memmove(w.u + i * w.rank, w.u + i * w.k, w.rank * sizeof *w.u);
    MC_TRY(
        mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, w.rank, 1, w.u, merged, 0, update, layer->error));
    matrix_add_oriented_update(layer, 1, update);
    return MC_OK;
}
