#include "methods/matrix.h"

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_size_of(layer);
    const size_t doubles = 3 * s.m * s.n + s.k * (s.m + s.n) + s.k +
                           mc_svd_work(s.m, s.n, matrix_svd_kind(s));
    return doubles * sizeof(double);
}

static void find_mean(const mc_layer *layer, double *mean)
{
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0;
        for (size_t t = 0; t < layer->model_count; t++)
            sum += (double)layer->models[t][i];
        mean[i] = sum / (double)layer->model_count;
    }
}

/* Adds to `total` the matrix of rank `rank` that is closest to `centred`; overwrites `centred`. */
static mc_status add_truncated(const mc_layer *layer, matrix_size s, size_t rank, double *centred,
                               double *total, double *scratch)
{
    double *const u = matrix_take(&scratch, s.m * s.k);
    double *const vt = matrix_take(&scratch, s.k * s.n), *const values = matrix_take(&scratch, s.k);
    MC_TRY(mc_svd(matrix_svd_kind(s), s.m, s.n, centred, u, values, vt, scratch, layer->error));
    memset(values + rank, 0, (s.k - rank) * sizeof *values);
    matrix_scale_rows(vt, values, s.k, s.n);
    return mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, s.k, 1, u, vt, 1, total, layer->error);
}

/*
 * The plain mean: the differences from it add up to zero, so without truncation nothing else is
 * left.
 */
static mc_status plain_mean(const mc_layer *layer)
{
    mc_tile_mean(layer->out, layer->models, layer->model_count, layer->count);
    return MC_OK;
}

MC_LAYER_MERGE(
    cart, .help = "mean of the models plus low-rank parts of their differences from it",
    .paper = "Choi et al. 2024, Revisiting weight averaging for model merging, arXiv:2412.12153",
    .scope = MC_TENSOR, .reproducibility = MC_SAME_ON_MACHINE, .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS({"rank", MC_NUMBER,
                         "share of the singular directions that is kept, at least one of them",
                         .fallback = .04, .maximum = 1},
                        {"scale", MC_NUMBER, "factor of the low-rank parts", .fallback = 1.6}))
{
    const double share = mc_number(layer, "rank");
    if (!layer->matrix || share == 0)
        return plain_mean(layer);
    const matrix_size s = matrix_size_of(layer);
    const size_t wanted = (size_t)(share * (double)s.k), rank = wanted > 0 || s.k == 0 ? wanted : 1;
    double *scratch = layer->scratch;
    double *const mean = matrix_take(&scratch, s.m * s.n);
    double *const centred = matrix_take(&scratch, s.m * s.n);
    double *const total = matrix_take(&scratch, s.m * s.n);
    find_mean(layer, mean);
    memset(total, 0, layer->count * sizeof *total);
    for (size_t t = 0; t < layer->model_count; t++) {
        for (size_t i = 0; i < layer->count; i++)
            centred[i] = (double)layer->models[t][i] - mean[i];
        MC_TRY(add_truncated(layer, s, rank, centred, total, scratch));
    }
    const double scale = mc_number(layer, "scale");
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (mc_real)(mean[i] + scale * total[i]);
    return MC_OK;
}
