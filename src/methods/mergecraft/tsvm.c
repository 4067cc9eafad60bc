#include "methods/matrix.h"

/*
 * How many singular triplets each model contributes. By default they fill the smaller side
 * together, counted in integers: in floating point, 49 · (1 / 49) is below 1.
 */
static size_t rank_of(const mc_layer *layer, matrix_size s)
{
    const double share = mc_number(layer, "rank");
    return share > 0 ? (size_t)((double)s.k * share) : s.k / layer->model_count;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/*
 * Scratch of two phases, which do not overlap: one model is decomposed at a time, of which `rank`
 * columns, values and rows stay; then all of them are made orthogonal.
 */
static size_t collect_doubles(matrix_size s, size_t rank)
{
    return s.m * s.n + rank * (s.m + s.n) + s.k + mc_svd_work(s.m, s.n, matrix_svd_kind(s));
}

static size_t combine_doubles(matrix_size s, size_t all)
{
    const mc_svd_kind kind = matrix_svd_kind(s);
    const size_t factors = s.m * all + all * s.n;
    if (kind == MC_SVD_EXACT)
        return s.m * s.n + factors +
               most(mc_polar_work(s.m, all, kind), mc_polar_work(all, s.n, kind));
    return s.m * s.n + 2 * all * all +
           most(factors, most(mc_polar_root_work(MC_COLUMNS, s.m, all),
                              mc_polar_root_work(MC_ROWS, all, s.n)));
}

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const matrix_size s = matrix_size_of(layer);
    const size_t rank = rank_of(layer, s), all = rank * layer->model_count;
    const size_t phases = most(collect_doubles(s, rank), combine_doubles(s, all));
    return (all * (s.m + s.n) + all + phases) * sizeof(double);
}

/*
 * The largest singular triplets of every model: u [m, all], s [all], vt [all, n]. Null directions
 * are arbitrary and set to zero. Weights multiply the values and not the task vectors, which would
 * round them: the directions of equal models must stay equal, or the polar factors see differences
 * that are rounding.
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
        matrix_task_vector(delta, layer->models[t], layer->base, layer->count);
        MC_TRY(
            mc_svd(kind, size.m, size.n, rank, delta, one_u, one_s, one_vt, scratch, layer->error));
        const size_t known = weights[t] == 0 ? 0
                                             : mc_svd_rank(one_s, size.k, size.m, size.n,
                                                           mc_svd_epsilon(matrix_wide));
        for (size_t i = 0; i < size.m; i++)
            for (size_t r = 0; r < rank; r++)
                u[i * all + t * rank + r] = r < known ? one_u[i * rank + r] : 0;
        for (size_t r = 0; r < rank; r++) {
            s[t * rank + r] = r < known ? weights[t] * one_s[r] : 0;
            for (size_t j = 0; j < size.n; j++)
                vt[(t * rank + r) * size.n + j] = r < known ? one_vt[r * size.n + j] : 0;
        }
    }
    return MC_OK;
}

/* The singular triplets of all models: u [m, all], s [all], vt [all, n]. */
typedef struct triplets {
    size_t m, n, all;
    double *u, *s, *vt;
} triplets;

static mc_status multiply(const mc_layer *layer, size_t m, size_t n, size_t k, const double *a,
                          const double *b, double *out)
{
    return mc_product(MC_PLAIN, MC_PLAIN, m, n, k, 1, a, b, 0, out, layer->error);
}

/*
 * out = base + alpha · left [m, all] · right [all, n]. The product is in float32 if that is enough;
 * then both factors are overwritten.
 */
static mc_status finish(const mc_layer *layer, const triplets *t, double alpha, double *left,
                        double *right, bool enough, double *update)
{
    if (!enough) {
        MC_TRY(multiply(layer, t->m, t->n, t->all, left, right, update));
        matrix_add_update(layer, alpha, update);
        return MC_OK;
    }
    const float *const a = mc_narrow(left, t->m * t->all);
    const float *const b = mc_narrow(right, t->all * t->n);
    float *const product = (float *)(void *)update;
    MC_TRY(
        mc_product_f32(MC_PLAIN, MC_PLAIN, t->m, t->n, t->all, 1, a, b, 0, product, layer->error));
    matrix_add_narrow_update(layer, alpha, product);
    return MC_OK;
}

static double norm_of(const double *a, size_t count)
{
    double squares = 0;
    for (size_t i = 0; i < count; i++)
        squares += a[i] * a[i];
    return sqrt(squares);
}

/* The polar factors P of both sides, and P_u S P_v: for small matrices and for float64. */
static mc_status combine_exactly(const mc_layer *layer, const triplets *t, double alpha,
                                 double *scratch)
{
    const double epsilon = matrix_stack_epsilon();
    double *const update = matrix_take(&scratch, t->m * t->n);
    double *const left = matrix_take(&scratch, t->m * t->all);
    double *const right = matrix_take(&scratch, t->all * t->n);
    MC_TRY(mc_polar(MC_SVD_EXACT, t->m, t->all, t->u, epsilon, left, NULL, NULL, scratch,
                    layer->error));
    MC_TRY(mc_polar(MC_SVD_EXACT, t->all, t->n, t->vt, epsilon, right, NULL, NULL, scratch,
                    layer->error));
    matrix_scale_rows(right, t->s, t->all, t->n);
    return finish(layer, t, alpha, left, right, false, update);
}

/*
 * With P_u = U R_u and P_v = R_v V, that is U (R_u S R_v) V. Where one side of the matrix is at
 * least twice as long as the other, its factor is multiplied only once, in the end. Float32 is
 * enough for that unless R makes the other factor much larger than S, and always enough for the
 * product of two polar factors.
 */
static mc_status combine(const mc_layer *layer, const triplets *t, double alpha, double *scratch)
{
    const double epsilon = matrix_stack_epsilon();
    const size_t m = t->m, n = t->n, all = t->all;
    double *const update = matrix_take(&scratch, m * n);
    double *const root_u = matrix_take(&scratch, all * all);
    double *const root_v = matrix_take(&scratch, all * all);
    MC_TRY(mc_polar_root(MC_COLUMNS, m, all, t->u, epsilon, root_u, NULL, scratch, layer->error));
    MC_TRY(mc_polar_root(MC_ROWS, all, n, t->vt, epsilon, root_v, NULL, scratch, layer->error));
    double *const left = matrix_take(&scratch, m * all);
    double *const right = matrix_take(&scratch, all * n);
    const double largest = MC_NEAR_ORTHONORMAL * norm_of(t->s, all);
    if (n >= 2 * m) {
        MC_TRY(multiply(layer, m, all, all, t->u, root_u, left));
        mc_scale_columns(left, t->s, m, all);
        MC_TRY(multiply(layer, m, all, all, left, root_v, right));
        return finish(layer, t, alpha, right, t->vt, norm_of(right, m * all) <= largest, update);
    }
    MC_TRY(multiply(layer, all, n, all, root_v, t->vt, right));
    matrix_scale_rows(right, t->s, all, n);
    if (m >= 2 * n) {
        MC_TRY(multiply(layer, all, n, all, root_u, right, left));
        return finish(layer, t, alpha, t->u, left, norm_of(left, all * n) <= largest, update);
    }
    MC_TRY(multiply(layer, m, all, all, t->u, root_u, left));
    return finish(layer, t, alpha, left, right, true, update);
}

MC_LAYER_MERGE(
    tsvm, .help = "base plus the largest singular directions of every task vector, made orthogonal",
    .paper = "Gargiulo et al. 2024, Task singular vectors, arXiv:2412.00081", .scope = MC_TENSOR,
    .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true, .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS({"alpha", MC_NUMBER, "factor of the update", .fallback = 1},
                        {"weights", MC_NUMBER, "factor of each model's task vector", .fallback = 1,
                         .per_input = true},
                        {"rank", MC_NUMBER,
                         "share of a model's singular directions that is kept; 0: 1 / models",
                         .maximum = 1}))
{
    const double alpha = mc_number(layer, "alpha");
    const matrix_size size = layer->matrix ? matrix_size_of(layer) : (matrix_size){0};
    const size_t rank = rank_of(layer, size), all = rank * layer->model_count;
    if (layer->matrix && rank == 0)
        mc_layer_averaged(layer, mc_number(layer, "rank") > 0
                                     ? "rank keeps none of its singular directions"
                                     : "fewer singular directions than models");
    if (rank == 0)
        return matrix_mean_rule(layer, alpha, mc_numbers(layer, "weights"));
    double *scratch = layer->scratch;
    const triplets t = {size.m,
                        size.n,
                        all,
                        matrix_take(&scratch, size.m * all),
                        matrix_take(&scratch, all),
                        matrix_take(&scratch, all * size.n)};
    MC_TRY(collect(layer, size, rank, t.u, t.s, t.vt, scratch));
    return (matrix_svd_kind(size) == MC_SVD_EXACT ? combine_exactly : combine)(layer, &t, alpha,
                                                                               scratch);
}
