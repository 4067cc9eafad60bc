#include "methods/matrix.h"

/* How many singular directions are shared, and how many each task has of its own. */
typedef struct shares {
    size_t common, own;
} shares;

/*
 * Splits the directions: own = round((k − int(k · share)) / models), to even as Python rounds; the
 * rest of k is common. The authors' code lets common become negative where rounding up takes more
 * than there is; here a task gets fewer directions instead.
 */
static shares shares_of(const mc_layer *layer, matrix_size s)
{
    const double models = (double)layer->model_count;
    const size_t first = (size_t)((double)s.k * mc_number(layer, "common"));
    size_t own = (size_t)nearbyint((double)(s.k - first) / models);
    while (own * layer->model_count > s.k)
        own--;
    return (shares){.common = s.k - own * layer->model_count, .own = own};
}

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_oriented_size(layer);
    const mc_svd_kind kind = matrix_svd_kind(s);
    const size_t polar_u = mc_polar_work(s.m, s.k, kind), polar_v = mc_polar_work(s.k, s.n, kind);
    const size_t svd = mc_svd_work(s.m, s.n, kind), polar = polar_u > polar_v ? polar_u : polar_v;
    const size_t doubles = 3 * s.k * (s.m + s.n) + 2 * s.k + s.k * s.n + 2 * s.m * s.n +
                           (svd > polar ? svd : polar);
    return doubles * sizeof(double);
}

typedef struct bases {
    double *u, *s, *vt; /* [m, k], [k], [k, n]: the directions of all tasks, then the common ones */
} bases;

/*
 * Directions of zero values are arbitrary: they become zeros, which the polar factor ignores. So do
 * those at or below `rounding`.
 */
static void take_directions(bases to, matrix_size size, size_t at, size_t count, double rounding,
                            const double *u, const double *s, const double *vt)
{
    size_t known = mc_svd_rank(s, size.k, size.m, size.n, mc_svd_epsilon(matrix_wide));
    while (known > 0 && s[known - 1] <= rounding)
        known--;
    for (size_t r = 0; r < count; r++) {
        to.s[at + r] = r < known ? s[r] : 0;
        for (size_t i = 0; i < size.m; i++)
            to.u[i * size.k + at + r] = r < known ? u[i * count + r] : 0;
        for (size_t j = 0; j < size.n; j++)
            to.vt[(at + r) * size.n + j] = r < known ? vt[r * size.n + j] : 0;
    }
}

/*
 * The rounding error of Δ in its part outside of the common directions. A task without directions
 * of its own has nothing else there, so the largest value of that part cannot serve as a scale.
 */
static double rounding_of(matrix_size s, const double *delta)
{
    double square = 0;
    for (size_t i = 0; i < s.m * s.n; i++)
        square += delta[i] * delta[i];
    return mc_svd_epsilon(matrix_wide) * (double)(s.m > s.n ? s.m : s.n) * sqrt(square);
}

/* Replaces Δ by its part outside of the common directions C: Δ − C CᵀΔ. */
static mc_status remove_common(const mc_layer *layer, matrix_size s, size_t common, const double *c,
                               double *delta, double *products)
{
    MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, common, s.n, s.m, 1, c, delta, 0, products,
                      layer->error));
    return mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, common, -1, c, products, 1, delta,
                      layer->error);
}

static mc_status collect(const mc_layer *layer, matrix_size s, shares split, bases to,
                         double *delta, double *scratch)
{
    const mc_svd_kind kind = matrix_svd_kind(s);
    double *const u = matrix_take(&scratch, s.m * s.k);
    double *const vt = matrix_take(&scratch, s.k * s.n), *const values = matrix_take(&scratch, s.k);
    double *const c = matrix_take(&scratch, s.m * s.k);
    double *const products = matrix_take(&scratch, s.k * s.n);
    memset(delta, 0, layer->count * sizeof *delta);
    for (size_t t = 0; t < layer->model_count; t++)
        matrix_add_oriented(layer, delta, layer->models[t], 1);
    MC_TRY(mc_svd(kind, s.m, s.n, split.common, delta, u, values, vt, scratch, layer->error));
    take_directions(to, s, split.own * layer->model_count, split.common, 0, u, values, vt);
    for (size_t i = 0; i < s.m; i++) /* not `u`: its null directions are arbitrary */
        memcpy(c + i * split.common, to.u + i * s.k + split.own * layer->model_count,
               split.common * sizeof *c);
    for (size_t t = 0; split.own > 0 && t < layer->model_count; t++) {
        matrix_oriented_task(layer, delta, layer->models[t]);
        const double rounding = rounding_of(s, delta);
        MC_TRY(remove_common(layer, s, split.common, c, delta, products));
        MC_TRY(mc_svd(kind, s.m, s.n, split.own, delta, u, values, vt, scratch, layer->error));
        take_directions(to, s, t * split.own, split.own, rounding, u, values, vt);
    }
    return MC_OK;
}

MC_LAYER_MERGE(
    iso_cts,
    .help = "as iso_c, with some singular directions kept for what single tasks do not share",
    .paper = "Marczak et al. 2025, No task left behind, arXiv:2502.04959", .scope = MC_TENSOR,
    .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true, .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS({"alpha", MC_NUMBER, "factor of the update", .fallback = 1},
                        {"common", MC_NUMBER, "share of the directions that all tasks share",
                         .fallback = .8, .maximum = 1}))
{
    const double alpha = mc_number(layer, "alpha"), epsilon = matrix_stack_epsilon();
    if (!layer->matrix)
        return matrix_mean_rule(layer, alpha, NULL);
    const matrix_size s = matrix_oriented_size(layer);
    const mc_svd_kind kind = matrix_svd_kind(s);
    double *scratch = layer->scratch;
    const bases all = {.u = matrix_take(&scratch, s.m * s.k),
                       .s = matrix_take(&scratch, s.k),
                       .vt = matrix_take(&scratch, s.k * s.n)};
    double *const delta = matrix_take(&scratch, s.m * s.n);
    MC_TRY(collect(layer, s, shares_of(layer, s), all, delta, scratch));
    double sum = 0;
    for (size_t i = 0; i < s.k; i++)
        sum += all.s[i];
    double *const left = matrix_take(&scratch, s.m * s.k);
    double *const right = matrix_take(&scratch, s.k * s.n);
    MC_TRY(mc_polar(kind, s.m, s.k, all.u, epsilon, left, NULL, NULL, scratch, layer->error));
    MC_TRY(mc_polar(kind, s.k, s.n, all.vt, epsilon, right, NULL, NULL, scratch, layer->error));
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, s.k, 1, left, right, 0, delta, layer->error));
    matrix_add_oriented_update(layer, s.k ? alpha * sum / (double)s.k : 0, delta);
    return MC_OK;
}
