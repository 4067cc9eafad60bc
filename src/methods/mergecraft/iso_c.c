#include "methods/matrix.h"

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_size_of(layer);
    return (2 * s.m * s.n + mc_polar_work(s.m, s.n, matrix_svd_kind(s))) * sizeof(double);
}

MC_LAYER_MERGE(iso_c,
               .help = "base plus the sum of the task vectors with all singular values made equal",
               .paper = "Marczak et al. 2025, No task left behind, arXiv:2502.04959",
               .scope = MC_TENSOR, .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true,
               .scratch_bytes = scratch_bytes,
               .params = MC_PARAMS({"alpha", MC_NUMBER, "factor of the update", .fallback = 1}))
{
    const double alpha = mc_number(layer, "alpha");
    if (!layer->matrix)
        return matrix_mean_rule(layer, alpha, NULL);
    const matrix_size s = matrix_size_of(layer);
    double *scratch = layer->scratch, total;
    double *const sum = matrix_take(&scratch, s.m * s.n);
    double *const polar = matrix_take(&scratch, s.m * s.n);
    matrix_sum_task_vectors(layer, sum);
    bool narrow;
    MC_TRY(mc_polar(matrix_svd_kind(s), s.m, s.n, sum, mc_svd_epsilon(matrix_wide), polar, &narrow,
                    &total, scratch, layer->error));
    const double factor = s.k ? alpha * total / (double)s.k : 0;
    if (narrow)
        matrix_add_narrow_update(layer, factor, (const float *)(const void *)polar);
    else
        matrix_add_update(layer, factor, polar);
    return MC_OK;
}
