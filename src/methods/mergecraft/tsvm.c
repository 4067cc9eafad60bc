#include "methods/matrix.h"

/* How many singular triplets each model contributes: together they fill the smaller side. */
static size_t rank_of(const mc_layer *layer, matrix_size s)
{
    return s.k / layer->model_count;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/*
 * Scratch of two phases, which do not overlap: one model is decomposed at a time, of which `rank`
 * columns, values and rows stay; then all of them are made orthogonal.
 */
static size_t work_doubles(matrix_size s, size_t rank, size_t all)
{
    const mc_svd_kind kind = matrix_svd_kind(s);
    const size_t one = s.m * s.n + rank * (s.m + s.n) + s.k + mc_svd_work(s.m, s.n, kind);
    const size_t both = s.m * all + all * s.n +
                        most(mc_polar_work(s.m, all, kind), mc_polar_work(all, s.n, kind));
    return most(one, both);
}

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_size_of(layer);
    const size_t rank = rank_of(layer, s), all = rank * layer->model_count;
    return (all * (s.m + s.n) + all + s.m * s.n + work_doubles(s, rank, all)) * sizeof(double);
}

/*
 * The largest singular triplets of every model: u [m, all], s [all], vt [all, n]. Null directions
 * are arbitrary and set to zero.
 */
static mc_status collect(const mc_layer *layer, matrix_size size, size_t rank, double *u, double *s,
                         double *vt, double *scratch)
{
    const mc_svd_kind kind = matrix_svd_kind(size);
    const double *const weights = mc_numbers(layer, "weights");
    const size_t all = rank * layer->model_count;
    double *const delta = matrix_take(&scratch, size.m * size.n);
    double *const one_u = matrix_take(&scratch, size.m * rank);
    double *const one_vt = matrix_take(&scratch, rank * size.n);
    double *const one_s = matrix_take(&scratch, size.k);
    for (size_t t = 0; t < layer->model_count; t++) {
        memset(delta, 0, layer->count * sizeof *delta);
        matrix_add_task_vector(delta, layer->models[t], layer->base, weights[t], layer->count);
        MC_TRY(
            mc_svd(kind, size.m, size.n, rank, delta, one_u, one_s, one_vt, scratch, layer->error));
        const size_t known = mc_svd_rank(one_s, size.k, size.m, size.n,
                                         mc_svd_epsilon(matrix_wide));
        for (size_t r = 0; r < rank; r++) {
            const size_t at = t * rank + r;
            s[at] = r < known ? one_s[r] : 0;
            for (size_t i = 0; i < size.m; i++)
                u[i * all + at] = r < known ? one_u[i * rank + r] : 0;
            for (size_t j = 0; j < size.n; j++)
                vt[at * size.n + j] = r < known ? one_vt[r * size.n + j] : 0;
        }
    }
    return MC_OK;
}

MC_LAYER_MERGE(
    tsvm, .help = "base plus the largest singular directions of every task vector, made orthogonal",
    .paper = "Gargiulo et al. 2024, Task singular vectors, arXiv:2412.00081", .scope = MC_TENSOR,
    .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true, .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS({"alpha", MC_NUMBER, "factor of the update", .fallback = 1},
                        {"weights", MC_NUMBER, "factor of each model's task vector", .fallback = 1,
                         .per_input = true}))
{
    const double alpha = mc_number(layer, "alpha");
    const matrix_size size = layer->matrix ? matrix_size_of(layer) : (matrix_size){0};
    const size_t rank = rank_of(layer, size), all = rank * layer->model_count;
    if (rank == 0) /* also a matrix with fewer directions than models */
        return matrix_mean_rule(layer, alpha);
    const mc_svd_kind kind = matrix_svd_kind(size);
    const double epsilon = mc_svd_epsilon(matrix_wide);
    double *scratch = layer->scratch;
    double *const u = matrix_take(&scratch, size.m * all), *const s = matrix_take(&scratch, all);
    double *const vt = matrix_take(&scratch, all * size.n);
    double *const update = matrix_take(&scratch, size.m * size.n);
    MC_TRY(collect(layer, size, rank, u, s, vt, scratch));
    double *const left = matrix_take(&scratch, size.m * all);
    double *const right = matrix_take(&scratch, all * size.n);
    MC_TRY(mc_polar(kind, size.m, all, u, epsilon, left, NULL, scratch, layer->error));
    MC_TRY(mc_polar(kind, all, size.n, vt, epsilon, right, NULL, scratch, layer->error));
    matrix_scale_rows(right, s, all, size.n);
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, size.m, size.n, all, 1, left, right, 0, update,
                      layer->error));
    matrix_add_update(layer, alpha, update);
    return MC_OK;
}
