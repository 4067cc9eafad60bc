/*
 * What the methods that see weights as matrices share: which layers count as matrices, task vectors
 * in double, the rule for all other layers, and scratch as a stack of double arrays.
 *
 * A layer is a matrix if it has rank 2 and is neither an embedding nor an output head
 * (layer->matrix): the papers treat block weights, and the decomposition of a vocabulary would cost
 * more than that of all blocks together.
 */
#ifndef MC_METHODS_MATRIX_H
#define MC_METHODS_MATRIX_H

#include <mergecraft/method.h>

#include "linalg/linalg.h"

static const int matrix_wide = sizeof(mc_real) == sizeof(double);

typedef struct matrix_size {
    size_t m, n, k; /* rows, columns, and the smaller of the two */
} matrix_size;

static inline matrix_size matrix_size_of(const mc_layer *layer)
{
    const size_t m = (size_t)layer->shape[0], n = (size_t)layer->shape[1];
    return (matrix_size){m, n, m < n ? m : n};
}

static inline mc_svd_kind matrix_svd_kind(matrix_size size)
{
    return mc_svd_kind_for(size.m, size.n, matrix_wide);
}

/*
 * As mc_svd_epsilon, for singular vectors of several matrices side by side. Two vectors of one
 * direction differ by more than the machine epsilon: small singular values enlarge their rounding.
 */
static inline double matrix_stack_epsilon(void)
{
    return matrix_wide ? 0x1p-42 : mc_svd_epsilon(false);
}

/* Takes `count` doubles from the front of the scratch that is left. */
static inline double *matrix_take(double **scratch, size_t count)
{
    double *const taken = *scratch;
    *scratch += count;
    return taken;
}

/* to = model − base */
static inline void matrix_task_vector(double *to, const mc_real *model, const mc_real *base,
                                      size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (double)model[i] - (double)base[i];
}

/* sum += weight · (model − base) */
static inline void matrix_add_task_vector(double *sum, const mc_real *model, const mc_real *base,
                                          double weight, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] += weight * ((double)model[i] - (double)base[i]);
}

/* sum = the sum of all task vectors; in pieces that stay in the first cache. One model at least. */
static inline void matrix_sum_task_vectors(const mc_layer *layer, double *sum)
{
    const size_t piece = 2048;
    for (size_t i = 0; i < layer->count; i += piece) {
        const size_t count = layer->count - i < piece ? layer->count - i : piece;
        matrix_task_vector(sum + i, layer->models[0] + i, layer->base + i, count);
        for (size_t t = 1; t < layer->model_count; t++)
            matrix_add_task_vector(sum + i, layer->models[t] + i, layer->base + i, 1, count);
    }
}

/* out = base + alpha · update */
static inline void matrix_add_update(const mc_layer *layer, double alpha, const double *update)
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (mc_real)((double)layer->base[i] + alpha * update[i]);
}

/* The same for an update in float. */
static inline void matrix_add_narrow_update(const mc_layer *layer, double alpha,
                                            const float *update)
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (mc_real)((double)layer->base[i] + alpha * (double)update[i]);
}

/*
 * The rule for layers that are not matrices: out = base + alpha · the mean of the task vectors,
 * each multiplied by its model's weight unless `weights` is NULL.
 */
static inline mc_status matrix_mean_rule(const mc_layer *layer, double alpha, const double *weights)
{
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0;
        for (size_t t = 0; t < layer->model_count; t++)
            sum += (weights ? weights[t] : 1) *
                   ((double)layer->models[t][i] - (double)layer->base[i]);
        layer->out[i] = (mc_real)((double)layer->base[i] +
                                  alpha * (sum / (double)layer->model_count));
    }
    return MC_OK;
}

/*
 * For methods that treat the two sides of a matrix differently: [out, in], whichever way the tensor
 * is stored.
 */
static inline matrix_size matrix_oriented_size(const mc_layer *layer)
{
    const matrix_size s = matrix_size_of(layer);
    return layer->transposed ? (matrix_size){s.n, s.m, s.k} : s;
}

/* Where element (i, j) of the [out, in] matrix lies in the tensor. */
static inline size_t matrix_place(const mc_layer *layer, matrix_size oriented, size_t i, size_t j)
{
    return layer->transposed ? j * oriented.m + i : i * oriented.n + j;
}

/* to [m, n] += weight · (model − base), oriented */
static inline void matrix_add_oriented(const mc_layer *layer, double *to, const mc_real *model,
                                       double weight)
{
    const matrix_size s = matrix_oriented_size(layer);
    for (size_t i = 0; i < s.m; i++)
        for (size_t j = 0; j < s.n; j++) {
            const size_t at = matrix_place(layer, s, i, j);
            to[i * s.n + j] += weight * ((double)model[at] - (double)layer->base[at]);
        }
}

/* to [m, n] = model − base, oriented */
static inline void matrix_oriented_task(const mc_layer *layer, double *to, const mc_real *model)
{
    memset(to, 0, layer->count * sizeof *to);
    matrix_add_oriented(layer, to, model, 1);
}

/* out = base + alpha · update, the update being oriented */
static inline void matrix_add_oriented_update(const mc_layer *layer, double alpha,
                                              const double *update)
{
    const matrix_size s = matrix_oriented_size(layer);
    for (size_t i = 0; i < s.m; i++)
        for (size_t j = 0; j < s.n; j++) {
            const size_t at = matrix_place(layer, s, i, j);
            layer->out[at] = (mc_real)((double)layer->base[at] + alpha * update[i * s.n + j]);
        }
}

/* Scales row i of a [rows, columns] by s[i]. */
static inline void matrix_scale_rows(double *a, const double *s, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            a[i * columns + j] *= s[i];
}

#endif
