#include "methods/matrix.h"

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_size_of(layer);
    const size_t doubles = s.m * s.n + s.k * (s.m + s.n) + s.k +
                           mc_svd_work(s.m, s.n, matrix_svd_kind(s));
    return doubles * sizeof(double);
}

/*
 * Raises small singular values: those after the first ones that make up a share beta of the sum
 * become the last of these. Null directions are arbitrary: they stay zero, where the authors' code
 * would raise them too.
 */
static void raise(double *s, size_t count, size_t known, double beta)
{
    double total = 0, sum = 0, floor = 0;
    for (size_t i = 0; i < count; i++)
        total += s[i];
    for (size_t i = 0; i < known && floor == 0; i++) {
        sum += s[i];
        floor = sum >= beta * total ? s[i] : 0;
    }
    for (size_t i = 0; i < count; i++)
        s[i] = i >= known ? 0 : s[i] < floor ? floor : s[i];
}

MC_LAYER_MERGE(boost, .help = "add-on: raises the small singular values of the merged task vector",
               .paper = "Skorobogat et al. 2025, Subspace-boosted model merging, arXiv:2506.16506",
               .scope = MC_TENSOR, .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true,
               .add_on = true, .scratch_bytes = scratch_bytes,
               .params = MC_PARAMS(
                   {"beta", MC_NUMBER, "share of the sum of singular values that is left as it is",
                    .fallback = .01, .maximum = 1},
                   {"alpha", MC_NUMBER, "factor of the task vector", .fallback = 1}))
{
    const double alpha = mc_number(layer, "alpha");
    if (!layer->matrix) {
        for (size_t i = 0; i < layer->count; i++)
            layer->out[i] = (mc_real)((double)layer->base[i] +
                                      alpha * ((double)layer->merged[i] - (double)layer->base[i]));
        return MC_OK;
    }
    const matrix_size size = matrix_size_of(layer);
    double *scratch = layer->scratch;
    double *const task = matrix_take(&scratch, size.m * size.n);
    double *const u = matrix_take(&scratch, size.m * size.k);
    double *const vt = matrix_take(&scratch, size.k * size.n);
    double *const s = matrix_take(&scratch, size.k);
    matrix_task_vector(task, layer->merged, layer->base, layer->count);
    MC_TRY(mc_svd(matrix_svd_kind(size), size.m, size.n, size.k, task, u, s, vt, scratch,
                  layer->error));
    raise(s, size.k, mc_svd_rank(s, size.k, size.m, size.n, mc_svd_epsilon(matrix_wide)),
          mc_number(layer, "beta"));
    matrix_scale_rows(vt, s, size.k, size.n);
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, size.m, size.n, size.k, 1, u, vt, 0, task, layer->error));
    matrix_add_update(layer, alpha, task);
    return MC_OK;
}
