#include "lora/space.h"

#include "base/memory.h"
#include "linalg/linalg.h"

#include <stdlib.h>
#include <string.h>

void mc_expert_free(mc_expert *expert)
{
    for (size_t i = 0; expert->members && i < expert->count; i++) {
        mc_free(expert->members[i].a);
        mc_free(expert->members[i].b);
    }
    mc_free(expert->members);
    *expert = (mc_expert){0};
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void mc_sort_doubles(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
}

static double *new_array(int64_t rows, int64_t columns)
{
    return mc_alloc((size_t)rows * (size_t)columns * sizeof(double));
}

static int64_t sum_of_ranks(const mc_expert *expert)
{
    int64_t sum = 0;
    for (size_t i = 0; i < expert->count; i++)
        sum += expert->members[i].rank;
    return sum;
}

/* ---- stacking -------------------------------------------------------------------------------- */

/* Columns `at` … of `to` [rows, wide] become scale · from [rows, columns]. */
static void put_columns(double *to, int64_t wide, int64_t at, const double *from, int64_t rows,
                        int64_t columns, double scale)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[i * wide + at + j] = scale * from[i * columns + j];
}

/*
 * Stacks all factors: B side by side, A below each other. If `weighted`, weight and scale go to A;
 * otherwise the scale goes to B and weights are left out.
 */
static mc_status stack(const mc_expert *expert, bool weighted, double **b, double **a,
                       mc_error *error)
{
    const int64_t inner = sum_of_ranks(expert);
    *b = new_array(expert->rows, inner);
    *a = new_array(inner, expert->columns);
    if (!*b || !*a)
        return mc_fail_memory(error);
    int64_t at = 0;
    for (size_t i = 0; i < expert->count; i++) {
        const mc_factors *const f = &expert->members[i];
        const double factor = weighted ? f->weight * f->scale : 1;
        double *const to = *a + at * expert->columns;
        put_columns(*b, inner, at, f->b, expert->rows, f->rank, weighted ? 1 : f->scale);
        for (int64_t k = 0; k < f->rank * expert->columns; k++)
            to[k] = factor * f->a[k];
        at += f->rank;
    }
    return MC_OK;
}

mc_status mc_expert_stack(const mc_expert *expert, mc_truncated *out, mc_error *error)
{
    *out = (mc_truncated){.rank = sum_of_ranks(expert)};
    return stack(expert, true, &out->b, &out->a, error);
}

mc_status mc_expert_product(const mc_expert *expert, const mc_lora_rank *how, mc_truncated *out,
                            mc_error *error)
{
    double *a = NULL, *b = NULL;
    mc_status status = stack(expert, true, &b, &a, error);
    if (status == MC_OK)
        status = mc_truncate_product(expert->rows, expert->columns, sum_of_ranks(expert), b, a, how,
                                     out, error);
    mc_free(a);
    mc_free(b);
    return status;
}

/* ---- bases ----------------------------------------------------------------------------------- */

/* A matrix with orthonormal columns [size, count], or rows [count, size]. */
typedef struct basis {
    double *vectors;
    int64_t size, count;
} basis;

/*
 * Finds the left singular vectors of a [m, n], as columns, or the right ones, as rows: those whose
 * values are above rounding, as the others are arbitrary. Overwrites `a`.
 */
static mc_status find_basis(double *a, int64_t m, int64_t n, bool left, basis *out, mc_error *error)
{
    const int64_t k = m < n ? m : n;
    double *const u = new_array(m, k), *const s = new_array(k, 1), *const vt = new_array(k, n);
    double *const work = mc_alloc(mc_svd_work((size_t)m, (size_t)n, MC_SVD_EXACT) * sizeof *work);
    mc_status status = u && s && vt && work ? mc_svd(MC_SVD_EXACT, (size_t)m, (size_t)n, (size_t)k,
                                                     a, u, s, vt, work, error)
                                            : mc_fail_memory(error);
    if (status == MC_OK) {
        out->count = (int64_t)mc_svd_rank(s, (size_t)k, (size_t)m, (size_t)n, mc_svd_epsilon(1));
        out->size = left ? m : n;
        out->vectors = new_array(out->size, out->count);
        status = out->vectors ? MC_OK : mc_fail_memory(error);
    }
    for (int64_t i = 0; status == MC_OK && left && i < m; i++)
        memcpy(out->vectors + i * out->count, u + i * k, (size_t)out->count * sizeof *u);
    if (status == MC_OK && !left)
        memcpy(out->vectors, vt, (size_t)(out->count * n) * sizeof *vt);
    mc_free(u);
    mc_free(s);
    mc_free(vt);
    mc_free(work);
    return status;
}

/*
 * Fills [B₁R₁ᵀ B₂R₂ᵀ …] with Aᵢᵀ = QᵢRᵢ. All updates side by side have the left singular vectors of
 * this matrix, since the Qᵢ are orthonormal; each part is only as wide as its rank.
 */
static mc_status narrow_updates(const mc_expert *expert, double *out, int64_t inner,
                                mc_error *error)
{
    int64_t at = 0;
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < expert->count; i++) {
        const mc_factors *const f = &expert->members[i];
        const size_t n = (size_t)expert->columns, r = (size_t)f->rank;
        double *const q = new_array(expert->columns, f->rank);
        double *const triangle = new_array(f->rank, f->rank);
        double *const product = new_array(expert->rows, f->rank);
        double *const work = mc_alloc(mc_qr_work(n, r) * sizeof *work);
        status = q && triangle && product && work ? MC_OK : mc_fail_memory(error);
        for (int64_t k = 0; status == MC_OK && k < f->rank; k++)
            for (int64_t j = 0; j < expert->columns; j++)
                q[j * f->rank + k] = f->a[k * expert->columns + j];
        if (status == MC_OK)
            status = mc_qr(n, r, q, triangle, work, error);
        if (status == MC_OK)
            status = mc_product(MC_PLAIN, MC_TRANSPOSED, (size_t)expert->rows, r, r, 1, f->b,
                                triangle, 0, product, error);
        if (status == MC_OK)
            put_columns(out, inner, at, product, expert->rows, f->rank, f->scale);
        at += f->rank;
        mc_free(q);
        mc_free(triangle);
        mc_free(product);
        mc_free(work);
    }
    return status;
}

/* ---- combining coordinates ------------------------------------------------------------------- */

/* left [k, rows] · update · right [columns, l]; without `right`, left · update [k, columns]. */
static mc_status coordinates(const mc_expert *expert, const mc_factors *f, const basis *left,
                             const basis *right, double *out, mc_error *error)
{
    const size_t k = (size_t)left->count, r = (size_t)f->rank, n = (size_t)expert->columns;
    double *const b = new_array(left->count, f->rank);
    double *const a = right ? new_array(f->rank, right->count) : NULL;
    mc_status status = b && (a || !right) ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_product(MC_TRANSPOSED, MC_PLAIN, k, r, (size_t)expert->rows, f->scale,
                            left->vectors, f->b, 0, b, error);
    if (status == MC_OK && right)
        status = mc_product(MC_PLAIN, MC_TRANSPOSED, r, (size_t)right->count, n, 1, f->a,
                            right->vectors, 0, a, error);
    if (status == MC_OK)
        status = mc_product(MC_PLAIN, MC_PLAIN, k, right ? (size_t)right->count : n, r, 1, b,
                            right ? a : f->a, 0, out, error);
    mc_free(a);
    mc_free(b);
    return status;
}

/* The combination of all coordinates, [left, right] or [left, columns], in new memory. */
static mc_status combine(const mc_expert *expert, const mc_combining *combining, const basis *left,
                         const basis *right, double **out, mc_error *error)
{
    const size_t n = expert->count;
    const int64_t width = right ? right->count : expert->columns, size = left->count * width;
    double *const all = mc_alloc(n * (size_t)size * sizeof *all);
    double **const arrays = mc_alloc(n * sizeof *arrays);
    double *const weights = mc_alloc(n * sizeof *weights);
    *out = new_array(left->count, width);
    mc_status status = all && arrays && weights && *out ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < n; i++) {
        arrays[i] = all + i * (size_t)size;
        weights[i] = expert->members[i].weight;
        status = coordinates(expert, &expert->members[i], left, right, arrays[i], error);
    }
    if (status == MC_OK)
        status = mc_combine_whole(combining, arrays, weights, n, size, *out, error);
    mc_free(all);
    mc_free(arrays);
    mc_free(weights);
    return status;
}

mc_status mc_expert_knots(const mc_expert *expert, const mc_combining *combining,
                          const mc_lora_rank *how, mc_truncated *out, mc_error *error)
{
    const int64_t inner = sum_of_ranks(expert);
    double *const narrow = new_array(expert->rows, inner), *merged = NULL;
    basis left = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; i < expert->count && status == MC_OK; i++)
        /* The QR decomposition needs no more columns than rows. */
        if (expert->members[i].rank > expert->columns)
            status = mc_fail(error, MC_UNSUPPORTED, "expected a rank of at most %lld, found %lld",
                             (long long)expert->columns, (long long)expert->members[i].rank);
    if (status == MC_OK)
        status = narrow ? narrow_updates(expert, narrow, inner, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = find_basis(narrow, expert->rows, inner, true, &left, error);
    if (status == MC_OK)
        status = combine(expert, combining, &left, NULL, &merged, error);
    if (status == MC_OK)
        status = mc_truncate_product(expert->rows, expert->columns, left.count, left.vectors,
                                     merged, how, out, error);
    mc_free(narrow);
    mc_free(merged);
    mc_free(left.vectors);
    return status;
}

mc_status mc_expert_core(const mc_expert *expert, const mc_combining *combining,
                         const mc_lora_rank *how, mc_truncated *out, mc_error *error)
{
    const int64_t inner = sum_of_ranks(expert);
    double *a = NULL, *b = NULL, *merged = NULL, *wide = NULL;
    basis left = {0}, right = {0};
    mc_status status = stack(expert, false, &b, &a, error);
    if (status == MC_OK)
        status = find_basis(b, expert->rows, inner, true, &left, error);
    if (status == MC_OK)
        status = find_basis(a, inner, expert->columns, false, &right, error);
    if (status == MC_OK)
        status = combine(expert, combining, &left, &right, &merged, error);
    if (status == MC_OK) {
        wide = new_array(left.count, expert->columns);
        status = wide ? mc_product(MC_PLAIN, MC_PLAIN, (size_t)left.count, (size_t)expert->columns,
                                   (size_t)right.count, 1, merged, right.vectors, 0, wide, error)
                      : mc_fail_memory(error);
    }
    if (status == MC_OK)
        status = mc_truncate_product(expert->rows, expert->columns, left.count, left.vectors, wide,
                                     how, out, error);
    mc_free(a);
    mc_free(b);
    mc_free(merged);
    mc_free(wide);
    mc_free(left.vectors);
    mc_free(right.vectors);
    return status;
}
