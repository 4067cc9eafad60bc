/*
 * Models come one after the other; of each only what is orthogonal to the merge so far is added:
 *
 *     merged_1 = τ_1,   merged_t = merged_(t−1) + D_t
 *
 * D_t is τ_t without its part in the leading singular directions of merged_(t−1). The authors'
 * code scales the merge to the mean norm of the task vectors after every step, and undoes that
 * before the next one: as D_t depends on directions only, one scaling at the end is the same. It
 * needs the norms of the whole model.
 */
#include "methods/matrix.h"

typedef struct workspace {
    double *merged, *delta;    /* [m, n] */
    double *copy, *u, *vt, *s; /* of the decomposition */
    double *half, *inner;      /* [k, n], [k, k] */
    double *work;
} workspace;

static size_t scratch_bytes(const mc_layer *layer)
{
    const size_t size = (size_t)layer->size;
    if (!layer->matrix)
        return 2 * size * sizeof(double);
    const matrix_size s = matrix_size_of(layer);
    const size_t doubles = 3 * size + s.k * (s.m + s.n) + s.k + s.k * s.n + s.k * s.k +
                           mc_svd_work(s.m, s.n, matrix_svd_kind(s));
    return doubles * sizeof(double);
}

static workspace workspace_of(const mc_layer *layer)
{
    double *scratch = layer->scratch;
    workspace w = {.merged = matrix_take(&scratch, layer->count),
                   .delta = matrix_take(&scratch, layer->count)};
    if (!layer->matrix)
        return w;
    const matrix_size s = matrix_size_of(layer);
    w.copy = matrix_take(&scratch, layer->count);
    w.u = matrix_take(&scratch, s.m * s.k);
    w.vt = matrix_take(&scratch, s.k * s.n);
    w.s = matrix_take(&scratch, s.k);
    w.half = matrix_take(&scratch, s.k * s.n);
    w.inner = matrix_take(&scratch, s.k * s.k);
    w.work = scratch;
    return w;
}

/*
 * The number of leading directions: the first index at which the share of the values so far exceeds
 * alpha; 0 if none does.
 */
static size_t leading(const double *s, size_t count, double alpha)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < count; i++)
        total += s[i];
    for (size_t i = 0; i < count; i++) {
        sum += s[i];
        if (sum / total > alpha)
            return i;
    }
    return 0;
}

/*
 * delta −= U Q Vᵀ, where Q is UᵀΔV on its diagonal and among the leading directions. Null
 * directions of the merge are arbitrary and left alone.
 */
static mc_status remove_merged(const mc_layer *layer, const workspace *w)
{
    const matrix_size size = matrix_size_of(layer);
    memcpy(w->copy, w->merged, layer->count * sizeof *w->copy);
    MC_TRY(mc_svd(matrix_svd_kind(size), size.m, size.n, size.k, w->copy, w->u, w->s, w->vt,
                  w->work, layer->error));
    const size_t known = mc_svd_rank(w->s, size.k, size.m, size.n, mc_svd_epsilon(matrix_wide));
    const size_t top = leading(w->s, size.k, mc_number(layer, "alpha"));
    for (size_t i = 0; i < size.m; i++)
        for (size_t r = known; r < size.k; r++)
            w->u[i * size.k + r] = 0;
    MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, size.k, size.n, size.m, 1, w->u, w->delta, 0,
                      w->half, layer->error));
    MC_TRY(mc_product(MC_PLAIN, MC_TRANSPOSED, size.k, size.k, size.n, 1, w->half, w->vt, 0,
                      w->inner, layer->error));
    for (size_t i = 0; i < size.k; i++)
        for (size_t j = 0; j < size.k; j++)
            if (i >= known || j >= known || (i != j && (i >= top || j >= top)))
                w->inner[i * size.k + j] = 0;
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, size.k, size.n, size.k, 1, w->inner, w->vt, 0, w->half,
                      layer->error));
    return mc_product(MC_PLAIN, MC_PLAIN, size.m, size.n, size.k, -1, w->u, w->half, 1, w->delta,
                      layer->error);
}

static double square_of(const double *a, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * a[i];
    return sum;
}

/*
 * Merges a layer without the final factor, in the scratch; squares[t] += ‖τ_t‖² unless NULL. It
 * runs twice per layer: once for the norms of the whole model, once for the result.
 */
static mc_status merge_in_order(const mc_layer *layer, workspace *w, double *squares)
{
    *w = workspace_of(layer);
    memset(w->merged, 0, layer->count * sizeof *w->merged);
    for (size_t t = 0; t < layer->model_count; t++) {
        matrix_task_vector(w->delta, layer->models[t], layer->base, layer->count);
        if (squares)
            squares[t] += square_of(w->delta, layer->count);
        if (t > 0 && layer->matrix)
            MC_TRY(remove_merged(layer, w));
        for (size_t i = 0; i < layer->count; i++)
            w->merged[i] += w->delta[i];
    }
    return MC_OK;
}

/* ‖τ_t‖² of every model, and that of the merge; the state is the factor of the merge. */
static size_t state_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(double);
}

static size_t partial_size(const mc_layer *layer)
{
    return (layer->model_count + 1) * sizeof(double);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    double *const squares = partial;
    workspace w;
    MC_TRY(merge_in_order(layer, &w, squares));
    squares[layer->model_count] += square_of(w.merged, layer->count);
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    double *const sums = into;
    const double *const more = from;
    for (size_t t = 0; t <= layer->model_count; t++)
        sums[t] += more[t];
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    const double *const squares = total;
    const double norm = sqrt(squares[layer->model_count]);
    double mean = 0;
    (void)round;
    (void)more;
    for (size_t t = 0; t < layer->model_count; t++)
        mean += sqrt(squares[t]) / (double)layer->model_count;
    if (!isfinite(mean) || !isfinite(norm))
        return mc_fail(layer->error, MC_FORMAT,
                       "expected finite values for norms, found NaN or infinity");
    *(double *)state = norm > 0 ? mean / norm : 0;
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .partial_size = partial_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

MC_LAYER_MERGE(
    opcm, .help = "base plus the task vectors one by one, each without its part in those before",
    .paper = "Tang et al. 2025, Merging models on the fly (OPCM), arXiv:2501.09522",
    .scope = MC_TENSOR, .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true,
    .scratch_bytes = scratch_bytes, .model_statistics = &statistics,
    .params =
        MC_PARAMS({"alpha", MC_NUMBER,
                   "share of the singular values whose directions are kept free of later models",
                   .fallback = .5, .maximum = 1}))
{
    workspace w;
    MC_TRY(merge_in_order(layer, &w, NULL));
    matrix_add_update(layer, *(const double *)layer->model_state, w.merged);
    return MC_OK;
}
