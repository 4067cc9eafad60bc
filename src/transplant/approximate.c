#include "transplant/approximate.h"

#include "base/memory.h"
#include "transplant/pursuit.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

/* Elements that are read at a time where all rows of a tensor are. */
enum { BLOCK_ELEMENTS = 1 << 18 };

/* An approximation with copies of its tables, and the rows once they are computed. */
typedef struct lazy_rows {
    mc_approximation a;
    size_t width; /* of the model */
    int32_t *missing, *model_rows, *donor_rows, *pieces;
    size_t *offsets;
    pthread_mutex_t lock; /* protects `rows` until they are computed; later they do not change */
    float *rows;          /* [count, width]; NULL: not computed yet */
} lazy_rows;

static void free_rows(void *cookie)
{
    lazy_rows *const l = cookie;
    pthread_mutex_destroy(&l->lock);
    mc_source_unref(l->a.model);
    mc_source_unref(l->a.donor);
    mc_free(l->missing);
    mc_free(l->model_rows);
    mc_free(l->donor_rows);
    mc_free(l->pieces);
    mc_free(l->offsets);
    mc_free(l->rows);
    mc_free(l);
}

/* ---- reading --------------------------------------------------------------------------------- */

static mc_status read_floats(const mc_source *source, int64_t first, int64_t count, float *out,
                             mc_error *error)
{
    if (mc_source_real(source) == MC_F32)
        return mc_source_read_as(source, first, count, MC_F32, out, error);
    double *const wide = mc_alloc((size_t)count * sizeof *wide);
    mc_status status = wide ? mc_source_read_as(source, first, count, MC_F64, wide, error)
                            : mc_fail_memory(error);
    for (int64_t i = 0; status == MC_OK && i < count; i++)
        out[i] = (float)wide[i];
    mc_free(wide);
    return status;
}

/* Some rows of a matrix as float32, in new memory. */
static mc_status read_rows(const mc_source *source, const int32_t *rows, size_t count, float **out,
                           mc_error *error)
{
    const size_t width = (size_t)source->shape[1];
    float *const values = mc_alloc(count * width * sizeof *values);
    mc_status status = values ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        status = read_floats(source, rows[i] * (int64_t)width, (int64_t)width, values + i * width,
                             error);
    /* Infinities and NaN would spread to every row. */
    for (size_t i = 0; status == MC_OK && i < count * width; i++)
        if (!isfinite(values[i]))
            status = mc_fail(error, MC_FORMAT, "row %d: expected finite values, found %g",
                             rows[i / width], (double)values[i]);
    if (status == MC_OK)
        *out = values;
    else
        mc_free(values);
    return status;
}

/* ---- methods --------------------------------------------------------------------------------- */

static void add_scaled(double *sum, double scale, const float *row, size_t width)
{
    for (size_t i = 0; i < width; i++)
        sum[i] += scale * row[i];
}

static void store(const lazy_rows *l, size_t item, const double *sum, double divisor)
{
    for (size_t i = 0; i < l->width; i++)
        l->rows[item * l->width + i] = (float)(sum[i] / divisor);
}

/* The combinations that were found in the donor, of the model's rows of the same tokens. */
static mc_status combine(const lazy_rows *l, const mc_combinations *found, mc_error *error)
{
    float *points = NULL;
    double *const sum = mc_alloc(l->width * sizeof *sum);
    mc_status status = sum ? read_rows(l->a.model, l->model_rows, l->a.common, &points, error)
                           : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < l->a.count; i++) {
        memset(sum, 0, l->width * sizeof *sum);
        for (size_t s = i * found->terms; s < (i + 1) * found->terms; s++)
            if (found->weights[s] != 0)
                add_scaled(sum, found->weights[s], points + found->points[s] * l->width, l->width);
        store(l, i, sum, 1);
    }
    mc_free(points);
    mc_free(sum);
    return status;
}

static mc_status search(const lazy_rows *l, mc_combinations *found, mc_error *error)
{
    float *points = NULL, *targets = NULL;
    mc_status status = read_rows(l->a.donor, l->donor_rows, l->a.common, &points, error);
    if (status == MC_OK)
        status = read_rows(l->a.donor, l->missing, l->a.count, &targets, error);
    const mc_points all = {points, l->a.common, (size_t)l->a.donor->shape[1]};
    if (status == MC_OK)
        status = (l->a.method == MC_APPROXIMATE_OMP ? mc_pursue : mc_nearest)(
            &all, targets, l->a.count, l->a.threads, found, error);
    mc_free(points);
    mc_free(targets);
    return status;
}

static mc_status fill_combined(const lazy_rows *l, mc_error *error)
{
    const size_t terms = l->a.terms;
    mc_combinations found = {terms, mc_alloc(l->a.count * terms * sizeof *found.points),
                             mc_alloc(l->a.count * terms * sizeof *found.weights)};
    mc_status status = found.points && found.weights ? search(l, &found, error)
                                                     : mc_fail_memory(error);
    if (status == MC_OK)
        status = combine(l, &found, error);
    mc_free(found.points);
    mc_free(found.weights);
    return status;
}

static mc_status fill_pieces(const lazy_rows *l, mc_error *error)
{
    double *const sum = mc_alloc(l->width * sizeof *sum);
    float *const row = mc_alloc(l->width * sizeof *row);
    mc_status status = sum && row ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < l->a.count; i++) {
        const size_t first = l->offsets[i], end = l->offsets[i + 1];
        memset(sum, 0, l->width * sizeof *sum);
        for (size_t k = first; status == MC_OK && k < end; k++) {
            status = read_floats(l->a.model, l->pieces[k] * (int64_t)l->width, (int64_t)l->width,
                                 row, error);
            if (status == MC_OK)
                add_scaled(sum, 1, row, l->width);
        }
        store(l, i, sum, end > first ? (double)(end - first) : 1);
    }
    mc_free(sum);
    mc_free(row);
    return status;
}

static mc_status fill_mean(const lazy_rows *l, mc_error *error)
{
    const int64_t rows = l->a.model->shape[0], width = (int64_t)l->width;
    const int64_t step = BLOCK_ELEMENTS / (width > 0 ? width : 1) + 1;
    double *const sum = mc_alloc_zero(l->width, sizeof *sum);
    float *const block = mc_alloc((size_t)(step * width) * sizeof *block);
    mc_status status = sum && block ? MC_OK : mc_fail_memory(error);
    for (int64_t at = 0; status == MC_OK && at < rows; at += step) {
        const int64_t some = rows - at < step ? rows - at : step;
        status = read_floats(l->a.model, at * width, some * width, block, error);
        for (int64_t i = 0; status == MC_OK && i < some; i++)
            add_scaled(sum, 1, block + i * width, l->width);
    }
    for (size_t i = 0; status == MC_OK && i < l->a.count; i++)
        store(l, i, sum, (double)rows);
    mc_free(sum);
    mc_free(block);
    return status;
}

static mc_status fill(lazy_rows *l, mc_error *error)
{
    l->rows = mc_alloc_zero(l->a.count * l->width, sizeof *l->rows);
    if (!l->rows)
        return mc_fail_memory(error);
    mc_status status = MC_OK;
    switch (l->a.method) {
    case MC_APPROXIMATE_OMP:
    case MC_APPROXIMATE_COMMON:
        status = fill_combined(l, error);
        break;
    case MC_APPROXIMATE_SUBWORD:
        status = fill_pieces(l, error);
        break;
    case MC_APPROXIMATE_MEAN:
        status = fill_mean(l, error);
        break;
    case MC_APPROXIMATE_ZERO:
        break;
    }
    if (status != MC_OK) {
        mc_free(l->rows);
        l->rows = NULL;
    }
    return status;
}

/* ---- the source ------------------------------------------------------------------------------ */

static mc_status compute(void *cookie, int64_t first, int64_t count, void *out, mc_error *error)
{
    lazy_rows *const l = cookie;
    /* The first thread that reads computes all rows, on threads of its own; others wait for it. */
    pthread_mutex_lock(&l->lock);
    const mc_status status = l->rows ? MC_OK : fill(l, error);
    pthread_mutex_unlock(&l->lock);
    MC_TRY(status);
    if (l->a.model->dtype != MC_F64) {
        memcpy(out, l->rows + first, (size_t)count * sizeof *l->rows);
        return MC_OK;
    }
    for (int64_t i = 0; i < count; i++)
        ((double *)out)[i] = l->rows[first + i];
    return MC_OK;
}

static void *copy_of(const void *bytes, size_t size)
{
    void *const copy = mc_alloc(size);
    return copy && size > 0 && bytes ? memcpy(copy, bytes, size) : copy;
}

static bool copy_tables(lazy_rows *l, const mc_approximation *a)
{
    const size_t pieces = a->offsets ? a->offsets[a->count] : 0;
    const size_t offsets = a->offsets ? a->count + 1 : 0, missing = a->missing ? a->count : 0;
    l->missing = copy_of(a->missing, missing * sizeof *l->missing);
    l->model_rows = copy_of(a->model_rows, a->common * sizeof *l->model_rows);
    l->donor_rows = copy_of(a->donor_rows, a->common * sizeof *l->donor_rows);
    l->offsets = copy_of(a->offsets, offsets * sizeof *l->offsets);
    l->pieces = copy_of(a->pieces, pieces * sizeof *l->pieces);
    return l->missing && l->model_rows && l->donor_rows && l->offsets && l->pieces;
}

mc_status mc_approximate(const mc_approximation *a, mc_source **out, mc_error *error)
{
    lazy_rows *const l = mc_alloc_zero(1, sizeof *l);
    const int64_t shape[] = {(int64_t)a->count, a->model->shape[1]};
    if (!l)
        return mc_fail_memory(error);
    l->a = *a;
    l->width = (size_t)a->model->shape[1];
    pthread_mutex_init(&l->lock, NULL);
    mc_source_ref(a->model);
    if (a->donor)
        mc_source_ref(a->donor);
    mc_status status = copy_tables(l, a) ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_source_compute(a->model->dtype, 2, shape, compute, free_rows, l, out, error);
    if (status != MC_OK)
        free_rows(l);
    return status;
}
