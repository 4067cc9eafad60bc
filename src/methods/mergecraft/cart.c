#include "methods/matrix.h"
#include "methods/weights.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weight_sum("weights", &values[2], error);
}

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_size_of(layer);
    const size_t doubles = layer->model_count + 3 * s.m * s.n + s.k * (s.m + s.n) + s.k +
                           mc_svd_work(s.m, s.n, matrix_svd_kind(s));
    return doubles * sizeof(double);
}

/* `shares`: weights whose mean is 1, one per model, so that equal ones change no bit. */
static void find_mean(const mc_layer *layer, const double *shares, double *mean)
{
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0;
        for (size_t t = 0; t < layer->model_count; t++)
            sum += shares[t] * (double)layer->models[t][i];
        mean[i] = sum / (double)layer->model_count;
    }
}

/*
 * Adds to `total` `share` times the matrix of rank `rank` that is closest to `centred`; overwrites
 * `centred`.
 */
static mc_status add_truncated(const mc_layer *layer, matrix_size s, size_t rank, double share,
                               double *centred, double *total, double *scratch)
{
    double *const u = matrix_take(&scratch, s.m * s.k);
    double *const vt = matrix_take(&scratch, s.k * s.n), *const values = matrix_take(&scratch, s.k);
    MC_TRY(
        mc_svd(matrix_svd_kind(s), s.m, s.n, rank, centred, u, values, vt, scratch, layer->error));
    matrix_scale_rows(vt, values, rank, s.n);
    return mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, rank, share, u, vt, 1, total, layer->error);
}

/*
 * The plain mean: the differences from it add up to zero, so without truncation nothing else is
 * left.
 */
static mc_status plain_mean(const mc_layer *layer)
{
    mean_by_weights(layer->out, layer, mc_numbers(layer, "weights"));
    return MC_OK;
}

MC_LAYER_MERGE(
    cart, .help = "mean of the models plus low-rank parts of their differences from it",
    .paper = "Choi et al. 2024, Revisiting weight averaging for model merging, arXiv:2412.12153",
    .scope = MC_TENSOR, .reproducibility = MC_SAME_ON_MACHINE, .scratch_bytes = scratch_bytes,
    .check = check,
    .params = MC_PARAMS({"rank", MC_NUMBER,
                         "share of the singular directions that is kept, at least one of them",
                         .fallback = .04, .maximum = 1},
                        {"scale", MC_NUMBER, "factor of the low-rank parts", .fallback = 1.6},
                        {"weights", MC_NUMBER,
                         "weight of each model in the mean and of its low-rank part; the weights "
                         "are divided by their mean",
                         .fallback = 1, .per_input = true}))
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
    double *const shares = matrix_take(&scratch, layer->model_count);
    const double *const weights = mc_numbers(layer, "weights");
    const double unit = sum_of_weights(layer, weights) / (double)layer->model_count;
    for (size_t t = 0; t < layer->model_count; t++)
        shares[t] = weights[t] / unit;
    find_mean(layer, shares, mean);
    memset(total, 0, layer->count * sizeof *total);
    for (size_t t = 0; t < layer->model_count; t++) {
        for (size_t i = 0; i < layer->count; i++)
            centred[i] = (double)layer->models[t][i] - mean[i];
        MC_TRY(add_truncated(layer, s, rank, shares[t], centred, total, scratch));
    }
    const double scale = mc_number(layer, "scale");
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (mc_real)(mean[i] + scale * total[i]);
    return MC_OK;
}
