#include "methods/matrix.h"

enum { ADAM, EXACT };

/*
 * The gradient of the loss Σ ‖(M − Δ_t) Δ_tᵀ‖² / ‖Δ_t‖² in one of two ways, whichever has the
 * smaller matrices. By columns: 2 (M Q − R) with Q = Σ Δ_tᵀΔ_t / ‖Δ_t‖² [n, n] and
 * R = Σ Δ_t Δ_tᵀΔ_t / ‖Δ_t‖²: a step costs one product, however many models there are. By rows,
 * where n is large: from every model's (M − Δ_t) Δ_tᵀ [m, m].
 */
static bool is_by_rows(const mc_layer *layer, matrix_size s)
{
    return mc_number(layer, "solver") == ADAM && s.n > s.m * layer->model_count;
}

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_oriented_size(layer);
    const size_t square = is_by_rows(layer, s) ? s.m * s.m : s.n * s.n;
    const bool exact = mc_number(layer, "solver") == EXACT;
    return (5 * s.m * s.n + 2 * square + (exact ? mc_semidefinite_work(s.m, s.n) : 0)) *
           sizeof(double);
}

static double square_of(const double *a, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * a[i];
    return sum;
}

/* ‖Δ_t‖², with Δ_t in `delta`. */
static mc_status find_square(const mc_layer *layer, size_t t, double *delta, double *square)
{
    matrix_oriented_task(layer, delta, layer->models[t]);
    *square = square_of(delta, layer->count);
    if (isfinite(*square))
        return MC_OK;
    return mc_fail(layer->error, MC_FORMAT,
                   "expected finite values to solve for, found NaN or infinity");
}

/* sum = Σ Δ_t, and Q and R unless they are NULL. A model equal to the base adds nothing. */
static mc_status collect(const mc_layer *layer, matrix_size s, double *q, double *r, double *sum,
                         double *delta, double *gram)
{
    double square;
    if (q)
        memset(q, 0, s.n * s.n * sizeof *q);
    memset(r, 0, layer->count * sizeof *r);
    memset(sum, 0, layer->count * sizeof *sum);
    for (size_t t = 0; t < layer->model_count; t++) {
        MC_TRY(find_square(layer, t, delta, &square));
        for (size_t i = 0; i < layer->count; i++)
            sum[i] += delta[i];
        if (square == 0 || !q)
            continue;
        MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, s.n, s.n, s.m, 1 / square, delta, delta, 0, gram,
                          layer->error));
        for (size_t i = 0; i < s.n * s.n; i++)
            q[i] += gram[i];
        MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, s.n, 1, delta, gram, 1, r, layer->error));
    }
    return MC_OK;
}

/* gradient = 2 (x Q − R) */
static mc_status gradient_by_columns(const mc_layer *layer, matrix_size s, const double *q,
                                     const double *r, const double *x, double *gradient)
{
    for (size_t i = 0; i < layer->count; i++)
        gradient[i] = -2 * r[i];
    return mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, s.n, 2, x, q, 1, gradient, layer->error);
}

/* gradient = 2 Σ (x − Δ_t) Δ_tᵀ Δ_t / ‖Δ_t‖² */
static mc_status gradient_by_rows(const mc_layer *layer, matrix_size s, const double *x,
                                  double *gradient, double *delta, double *product)
{
    double square;
    memset(gradient, 0, layer->count * sizeof *gradient);
    for (size_t t = 0; t < layer->model_count; t++) {
        MC_TRY(find_square(layer, t, delta, &square));
        if (square == 0)
            continue;
        MC_TRY(mc_product(MC_PLAIN, MC_TRANSPOSED, s.m, s.m, s.n, 1, delta, delta, 0, product,
                          layer->error));
        MC_TRY(mc_product(MC_PLAIN, MC_TRANSPOSED, s.m, s.m, s.n, 1, x, delta, -1, product,
                          layer->error));
        MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, s.m, s.n, s.m, 2 / square, product, delta, 1,
                          gradient, layer->error));
    }
    return MC_OK;
}

/* One step of Adam (Kingma & Ba 2014) with its usual constants; `gradient` is that of the loss. */
static void adam_step(double *x, double *mean, double *square, const double *gradient, size_t count,
                      double lr, double decay1, double decay2)
{
    for (size_t i = 0; i < count; i++) {
        const double g = gradient[i];
        mean[i] = .9 * mean[i] + .1 * g;
        square[i] = .999 * square[i] + .001 * g * g;
        x[i] -= lr / (1 - decay1) * mean[i] / (sqrt(square[i]) / sqrt(1 - decay2) + 1e-8);
    }
}

/*
 * Descends from the sum of the task vectors. `r` holds R; by rows it serves as room for a task
 * vector.
 */
static mc_status descend(const mc_layer *layer, matrix_size s, const double *q, double *r,
                         double *x, double *gradient, double *mean, double *square, double *product)
{
    const double lr = mc_number(layer, "lr"), iterations = mc_number(layer, "iterations");
    double decay1 = 1, decay2 = 1;
    memset(mean, 0, layer->count * sizeof *mean);
    memset(square, 0, layer->count * sizeof *square);
    for (double step = 0; step < iterations; step++) {
        decay1 *= .9;
        decay2 *= .999;
        MC_TRY(q ? gradient_by_columns(layer, s, q, r, x, gradient)
                 : gradient_by_rows(layer, s, x, gradient, r, product));
        adam_step(x, mean, square, gradient, layer->count, lr, decay1, decay2);
    }
    return MC_OK;
}

/*
 * The optimum R Q⁺. Directions in which the task vectors have only rounding get nothing, as R / Q
 * would enlarge it. Eigenvalues of Q are squares of singular values, and so is their limit.
 */
static mc_status solve(const mc_layer *layer, matrix_size s, double *q, double *r, double *work)
{
    const double side = (double)(s.m > s.n ? s.m : s.n);
    const double limit = mc_svd_epsilon(matrix_wide) * side;
    const double own = mc_svd_epsilon(true) * side;
    double lowest;
    return mc_solve_semidefinite(s.m, s.n, q, r, fmax(limit * limit, own), &lowest, work,
                                 layer->error);
}

MC_LAYER_MERGE(
    wudi, .help = "base plus the update that interferes least with the task vectors' subspaces",
    .paper = "Cheng et al. 2025, Whoever started the interference should end it, arXiv:2503.08099",
    .scope = MC_TENSOR, .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true,
    .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS(
        {"iterations", MC_INTEGER, "steps of Adam", .fallback = 300, .maximum = 1000000},
        {"lr", MC_NUMBER, "length of a step", .fallback = 1e-5, .maximum = 1},
        {"solver", MC_CHOICE, "Adam from the sum of the task vectors, or the optimum itself",
         .choices = MC_NAMES("adam", "exact")}))
{
    if (!layer->matrix)
        return matrix_mean_rule(layer, 1, NULL);
    const matrix_size s = matrix_oriented_size(layer);
    const bool rows = is_by_rows(layer, s);
    const size_t side = rows ? s.m : s.n;
    double *scratch = layer->scratch;
    double *const q = matrix_take(&scratch, side * side);
    double *const gram = matrix_take(&scratch, side * side);
    double *const r = matrix_take(&scratch, s.m * s.n), *const x = matrix_take(&scratch, s.m * s.n);
    double *const a = matrix_take(&scratch, s.m * s.n), *const b = matrix_take(&scratch, s.m * s.n);
    double *const c = matrix_take(&scratch, s.m * s.n);
    MC_TRY(collect(layer, s, rows ? NULL : q, r, x, a, gram));
    const bool exact = mc_number(layer, "solver") == EXACT && square_of(x, layer->count) > 0;
    MC_TRY(exact ? solve(layer, s, q, r, scratch)
                 : descend(layer, s, rows ? NULL : q, r, x, a, b, c, gram));
    matrix_add_oriented_update(layer, 1, exact ? r : x);
    return MC_OK;
}
