#include "methods/matrix.h"

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_oriented_size(layer);
    const size_t doubles = s.m * s.n + s.k * (s.m + s.n) + s.k * s.n + 2 * s.k +
                           mc_svd_work(s.m, s.n, matrix_svd_kind(s));
    return doubles * sizeof(double);
}

/*
 * How much of the merge's row the task's own row explains: ⟨merged, task⟩ / ‖task‖². Above 1 the
 * merge overshoots the task in this direction.
 */
static double share_of(const double *merged, const double *task, size_t count)
{
    double inner = 0, square = 0;
    for (size_t j = 0; j < count; j++) {
        inner += merged[j] * task[j];
        square += task[j] * task[j];
    }
    return inner / (square > 1e-12 ? square : 1e-12);
}

/* gammas[r] = models / Σ max(share, alpha) */
static mc_status find_gammas(const mc_layer *layer, matrix_size s, const double *u,
                             const double *rows, double *task, double *projected, double *gammas)
{
    const double alpha = mc_number(layer, "alpha");
    memset(gammas, 0, s.k * sizeof *gammas);
    for (size_t t = 0; t < layer->model_count; t++) {
        matrix_oriented_task(layer, task, layer->models[t]);
        MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, s.k, s.n, s.m, 1, u, task, 0, projected,
                          layer->error));
        for (size_t r = 0; r < s.k; r++) {
            const double share = share_of(rows + r * s.n, projected + r * s.n, s.n);
            gammas[r] += share > alpha ? share : alpha;
        }
    }
    for (size_t r = 0; r < s.k; r++)
        gammas[r] = gammas[r] > 0 ? (double)layer->model_count / gammas[r] : 1;
    return MC_OK;
}

MC_LAYER_MERGE(
    svc, .help = "add-on: shrinks the singular directions in which the merge overshoots the tasks",
    .paper = "2026, Singular value calibration, arXiv:2602.05536", .scope = MC_TENSOR,
    .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true, .add_on = true,
    .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS({"alpha", MC_NUMBER,
                         "smallest share of a direction that counts for a task; 1 after tsvm or "
                         "wudi, 0.1 after others",
                         .fallback = .1, .maximum = 1e6}))
{
    if (!layer->matrix) {
        mc_tile_copy(layer->out, layer->merged, layer->count);
        return MC_OK;
    }
    const matrix_size s = matrix_oriented_size(layer);
    double *scratch = layer->scratch;
    double *const task = matrix_take(&scratch, s.m * s.n);
    double *const u = matrix_take(&scratch, s.m * s.k);
    double *const rows = matrix_take(&scratch, s.k * s.n);
    double *const projected = matrix_take(&scratch, s.k * s.n);
    double *const values = matrix_take(&scratch, s.k), *const gammas = matrix_take(&scratch, s.k);
    matrix_oriented_task(layer, task, layer->merged);
    MC_TRY(mc_svd(matrix_svd_kind(s), s.m, s.n, s.k, task, u, values, rows, scratch, layer->error));
    matrix_scale_rows(rows, values, s.k, s.n);
    MC_TRY(find_gammas(layer, s, u, rows, task, projected, gammas));
    matrix_scale_rows(rows, gammas, s.k, s.n);
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, s.k, 1, u, rows, 0, task, layer->error));
    matrix_add_oriented_update(layer, 1, task);
    return MC_OK;
}
