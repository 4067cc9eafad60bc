/*
 * Randomised block Krylov iteration (Musco and Musco 2015, arXiv:1504.05477). After the first pass
 * its error bound is that of Halko, Martinsson, Tropp 2011 (arXiv:0909.4061). A pass over the
 * panels P of D computes, for l orthonormal directions V[p] that are orthogonal to all before,
 *
 *     Y[p] = D·V[p],   Z[p] = Dᵀ·Y[p],   V[p + 1] = the part of Z[p] orthogonal to V[0 … p],
 *
 * so that a pass costs two products and uses both: the l largest left singular vectors
 * of all Y are U = Y·T, and C = Uᵀ·D = Tᵀ·Zᵀ needs no further pass. U·C is D projected on U, so its
 * squared error is exactly ‖D‖² − ‖C‖². V[0] is random.
 */
#include "lora/truncate.h"

#include "base/memory.h"
#include "linalg/linalg.h"

#include <mergecraft/random.h>

#include <math.h>
#include <string.h>

enum {
    PANEL_VALUES =
        1 << 18,      /* of a panel: 2 MB of doubles, as much as two threads keep in a cache */
    EXACT_SIZE = 256, /* smaller matrices are decomposed exactly, which takes no longer */
    OVERSAMPLING = 10,
    MOST_PASSES = 8,
    FIRST_GUESS = 48, /* rank that is tried first if the energy decides */
};

/* Half a pass has to lower the squared error by more than this share. */
static const double worthwhile = 1e-3;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t mc_panel_rows(int64_t columns)
{
    const int64_t rows = columns > 0 ? PANEL_VALUES / columns : PANEL_VALUES;
    return rows < 16 ? 16 : rows > 1024 ? 1024 : rows;
}

void mc_truncated_free(mc_truncated *truncated)
{
    mc_free(truncated->b);
    mc_free(truncated->a);
    *truncated = (mc_truncated){0};
}

static double *new_array(int64_t rows, int64_t columns)
{
    return mc_alloc((size_t)rows * (size_t)columns * sizeof(double));
}

/* In eight sums, which do not wait for each other. */
static double squares(const double *x, int64_t count)
{
    enum { SUMS = 8 };
    double sums[SUMS] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + SUMS <= count; i += SUMS)
        for (int k = 0; k < SUMS; k++)
            sums[k] += x[i + k] * x[i + k];
    for (; i < count; i++)
        sum += x[i] * x[i];
    for (int k = 0; k < SUMS; k++)
        sum += sums[k];
    return sum;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

/* The largest rank that may be kept. */
static int64_t bound_of(const mc_lora_rank *how, int64_t size)
{
    const int64_t wanted = how->energy > 0 ? how->max_rank : how->rank;
    return wanted > 0 ? least(wanted, size) : size;
}

/* Chooses how many of s[count] are kept, at least one. *reached: they hold the wanted energy. */
static int64_t choose(const mc_lora_rank *how, const double *s, int64_t count, double total,
                      bool *reached)
{
    const int64_t bound = bound_of(how, count);
    double kept = 0;
    int64_t rank = 0;
    *reached = true;
    if (how->energy <= 0)
        return bound;
    while (rank < bound && (rank == 0 || kept < how->energy * total)) {
        kept += s[rank] * s[rank];
        rank++;
    }
    *reached = kept >= how->energy * total;
    return rank;
}

/* B = U·S, A = Vᵀ of the first `rank` singular values; u [rows, k], vt [k, columns]. */
static mc_status keep(int64_t rows, int64_t columns, int64_t k, const double *u, const double *s,
                      const double *vt, mc_truncated *out, mc_error *error)
{
    out->b = new_array(rows, out->rank);
    out->a = new_array(out->rank, columns);
    if (!out->b || !out->a)
        return mc_fail_memory(error);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < out->rank; j++)
            out->b[i * out->rank + j] = u[i * k + j] * s[j];
    memcpy(out->a, vt, (size_t)(out->rank * columns) * sizeof *vt);
    out->kept = 0;
    for (int64_t j = 0; j < out->rank; j++)
        out->kept += s[j] * s[j];
    return MC_OK;
}

/* ---- exactly --------------------------------------------------------------------------------- */

/* Buffers of a decomposition of [m, n]. */
typedef struct svd_buffers {
    double *u, *s, *vt, *work;
} svd_buffers;

static void free_svd(svd_buffers *buffers)
{
    mc_free(buffers->u);
    mc_free(buffers->s);
    mc_free(buffers->vt);
    mc_free(buffers->work);
}

static mc_status decompose(mc_svd_kind kind, int64_t m, int64_t n, double *a, svd_buffers *out,
                           mc_error *error)
{
    const int64_t k = least(m, n);
    out->u = new_array(m, k);
    out->s = new_array(k, 1);
    out->vt = new_array(k, n);
    out->work = mc_alloc(mc_svd_work((size_t)m, (size_t)n, kind) * sizeof *out->work);
    if (!out->u || !out->s || !out->vt || !out->work)
        return mc_fail_memory(error);
    return mc_svd(kind, (size_t)m, (size_t)n, (size_t)k, a, out->u, out->s, out->vt, out->work,
                  error);
}

static mc_status read_all(const mc_matrix *matrix, double *out, mc_error *error)
{
    const int64_t step = mc_panel_rows(matrix->columns);
    for (int64_t row = 0; row < matrix->rows; row += step)
        MC_TRY(matrix->read(matrix, row, least(step, matrix->rows - row),
                            out + row * matrix->columns, error));
    return MC_OK;
}

static mc_status truncate_exact(const mc_matrix *matrix, const mc_lora_rank *how, mc_truncated *out,
                                mc_error *error)
{
    const int64_t m = matrix->rows, n = matrix->columns, k = least(m, n);
    const mc_svd_kind kind = mc_svd_kind_for((size_t)m, (size_t)n, 0);
    svd_buffers svd = {0};
    bool reached;
    double *const a = new_array(m, n);
    mc_status status = a ? read_all(matrix, a, error) : mc_fail_memory(error);
    if (status == MC_OK) {
        out->total = squares(a, m * n);
        status = decompose(kind, m, n, a, &svd, error);
    }
    mc_free(a);
    if (status == MC_OK) {
        out->rank = choose(how, svd.s, k, out->total, &reached);
        status = keep(m, n, k, svd.u, svd.s, svd.vt, out, error);
    }
    free_svd(&svd);
    return status;
}

/* ---- randomised ------------------------------------------------------------------------------ */

typedef struct iteration {
    const mc_matrix *matrix;
    int64_t m, n, l;
    int64_t passes;         /* so far */
    double *panel;          /* [mc_panel_rows, n] */
    double *v[MOST_PASSES]; /* of each pass: [n, l] */
    double *y[MOST_PASSES]; /* [m, l] */
    double *z[MOST_PASSES]; /* [n, l] */
    double *t;              /* [passes · l, l] */
    double *c;              /* [l, n] */
    double *x;              /* [l, l]: eigenvectors of C·Cᵀ by rows, ascending */
    double *values;         /* [l]: its eigenvalues, the squared singular values of U·C */
    double *halfway;        /* [l]: those of YᵀY, the squared singular values of D·V·Vᵀ */
    double *small;          /* [l, l] scratch */
    double *work;
    double total;
} iteration;

static void free_iteration(iteration *it)
{
    double *const arrays[] = {it->panel,  it->t,       it->c,     it->x,
                              it->values, it->halfway, it->small, it->work};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mc_free(arrays[i]);
    for (int p = 0; p < MOST_PASSES; p++) {
        mc_free(it->v[p]);
        mc_free(it->y[p]);
        mc_free(it->z[p]);
    }
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* A uniform number in (0, 1]. */
static double uniform(uint64_t key, uint64_t index)
{
    const uint64_t bits = mc_random_mix(key + index * UINT64_C(0x9e3779b97f4a7c15));
    return (double)((bits >> 11) + 1) * 0x1p-53;
}

/*
 * A normal number by Box and Muller (1958): the bound on the expected error holds for normal
 * directions. The key makes it the same on every run.
 */
static double normal(uint64_t key, uint64_t index)
{
    const double pi = 3.14159265358979323846;
    return sqrt(-2 * log(uniform(key, 2 * index))) * cos(2 * pi * uniform(key, 2 * index + 1));
}

static mc_status start(iteration *it, mc_error *error)
{
    const size_t l = (size_t)it->l;
    it->panel = new_array(least(mc_panel_rows(it->n), it->m), it->n);
    it->c = new_array(it->l, it->n);
    it->x = new_array(it->l, it->l);
    it->values = new_array(it->l, 1);
    it->halfway = new_array(it->l, 1);
    it->small = new_array(it->l, it->l);
    it->work = mc_alloc(most(mc_qr_work((size_t)it->n, l), mc_eigen_work(l)) * sizeof(double));
    return it->panel && it->c && it->x && it->values && it->halfway && it->small && it->work
               ? MC_OK
               : mc_fail_memory(error);
}

/* The directions of the next pass. */
static mc_status add_directions(iteration *it, uint64_t key, mc_error *error)
{
    const int64_t p = it->passes;
    const size_t n = (size_t)it->n, l = (size_t)it->l;
    double *const v = it->v[p] = new_array(it->n, it->l);
    if (!v)
        return mc_fail_memory(error);
    for (int64_t i = 0; p == 0 && i < it->n * it->l; i++)
        v[i] = normal(key, (uint64_t)i);
    if (p > 0)
        memcpy(v, it->z[p - 1], n * l * sizeof *v);
    for (int64_t i = 0; i < p; i++) {
        MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, l, l, n, 1, it->v[i], v, 0, it->small, error));
        MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, n, l, l, -1, it->v[i], it->small, 1, v, error));
    }
    return mc_qr(n, l, v, it->small, it->work, error);
}

/* One pass over the matrix. */
static mc_status multiply(iteration *it, mc_error *error)
{
    const int64_t p = it->passes, step = mc_panel_rows(it->n);
    const size_t n = (size_t)it->n, l = (size_t)it->l;
    it->y[p] = new_array(it->m, it->l);
    it->z[p] = mc_alloc_zero(n * l, sizeof(double));
    if (!it->y[p] || !it->z[p])
        return mc_fail_memory(error);
    it->total = 0;
    for (int64_t row = 0; row < it->m; row += step) {
        const int64_t rows = least(step, it->m - row);
        double *const y = it->y[p] + row * it->l;
        MC_TRY(it->matrix->read(it->matrix, row, rows, it->panel, error));
        it->total += squares(it->panel, rows * it->n);
        MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, (size_t)rows, l, n, 1, it->panel, it->v[p], 0, y,
                          error));
        MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, n, l, (size_t)rows, 1, it->panel, y, 1, it->z[p],
                          error));
    }
    it->passes++;
    return MC_OK;
}

/* YᵀY [passes · l, passes · l] of all passes. */
static mc_status gram(const iteration *it, double *g, mc_error *error)
{
    const int64_t l = it->l, all = it->passes * l;
    for (int64_t p = 0; p < it->passes; p++)
        for (int64_t q = 0; q <= p; q++) {
            MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, (size_t)l, (size_t)l, (size_t)it->m, 1,
                              it->y[p], it->y[q], 0, it->small, error));
            for (int64_t i = 0; i < l; i++)
                for (int64_t j = 0; j < l; j++)
                    g[(p * l + i) * all + q * l + j] = g[(q * l + j) * all + p * l + i] =
                        it->small[i * l + j];
        }
    return MC_OK;
}

/*
 * YᵀY = W Λ Wᵀ: T = W Λ^−½ of the l largest. Directions that hold less than 1e-12 of the largest
 * are rounding errors, and left out.
 */
static void choose_left(iteration *it, const double *w, const double *values)
{
    const int64_t all = it->passes * it->l;
    for (int64_t j = 0; j < it->l; j++) {
        const double value = values[all - 1 - j];
        const double scale = value > 1e-12 * values[all - 1] ? 1 / sqrt(value) : 0;
        for (int64_t i = 0; i < all; i++)
            it->t[i * it->l + j] = scale * w[(all - 1 - j) * all + i];
    }
}

/* T of the passes so far. */
static mc_status find_left(iteration *it, mc_error *error)
{
    const int64_t all = it->passes * it->l;
    double *const w = new_array(all, all), *const values = new_array(all, 1);
    double *const work = mc_alloc(mc_eigen_work((size_t)all) * sizeof *work);
    mc_free(it->t);
    it->t = new_array(all, it->l);
    mc_status status = w && values && work && it->t ? gram(it, w, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_eigen((size_t)all, w, values, work, error);
    if (status == MC_OK) {
        memcpy(it->halfway, values + all - it->l, (size_t)it->l * sizeof *values);
        choose_left(it, w, values);
    }
    mc_free(w);
    mc_free(values);
    mc_free(work);
    return status;
}

/* C, and the squared singular values of U·C. */
static mc_status project(iteration *it, mc_error *error)
{
    const size_t n = (size_t)it->n, l = (size_t)it->l;
    for (int64_t p = 0; p < it->passes; p++)
        MC_TRY(mc_product(MC_TRANSPOSED, MC_TRANSPOSED, l, n, l, 1, it->t + p * it->l * it->l,
                          it->z[p], p > 0, it->c, error));
    MC_TRY(mc_product(MC_PLAIN, MC_TRANSPOSED, l, l, n, 1, it->c, it->c, 0, it->x, error));
    return mc_eigen(l, it->x, it->values, it->work, error);
}

/* The sum of the `rank` largest of l squared singular values, ascending. */
static double kept_of(const iteration *it, const double *values, int64_t rank)
{
    double kept = 0;
    for (int64_t i = 0; i < rank; i++)
        kept += fmax(values[it->l - 1 - i], 0);
    return kept;
}

/* Whether another pass fits: its directions are orthogonal to all before. */
static bool has_room(const iteration *it)
{
    return it->passes < MOST_PASSES && (it->passes + 1) * it->l <= least(it->m, it->n);
}

/*
 * Repeats passes until the second product of one, which makes C out of Y, does not lower the error
 * noticeably: the first product of another pass would lower it by less.
 */
static mc_status iterate(iteration *it, int64_t rank, uint64_t key, mc_error *error)
{
    do {
        MC_TRY(add_directions(it, key, error));
        MC_TRY(multiply(it, error));
        MC_TRY(find_left(it, error));
        MC_TRY(project(it, error));
        const double kept = kept_of(it, it->values, rank), lost = fmax(it->total - kept, 0);
        /* 1e-13: what is left are rounding errors of the sums. */
        if (lost <= 1e-13 * it->total || kept - kept_of(it, it->halfway, rank) <= worthwhile * lost)
            return MC_OK;
    } while (has_room(it));
    return MC_OK;
}

/* C·Cᵀ = X M Xᵀ: the singular values of U·C are √M, its vectors U·X and the rows of XᵀC / √M. */
static mc_status finish(iteration *it, mc_truncated *out, mc_error *error)
{
    const int64_t l = it->l, rank = out->rank;
    const size_t size = (size_t)l, r = (size_t)rank;
    double *const x = it->small; /* the chosen columns [l, rank], largest first */
    double *const tx = new_array(l, rank);
    out->b = new_array(it->m, rank);
    out->a = new_array(rank, it->n);
    out->total = it->total;
    out->kept = kept_of(it, it->values, rank);
    for (int64_t i = 0; i < l; i++)
        for (int64_t j = 0; j < rank; j++)
            x[i * rank + j] = it->x[(l - 1 - j) * l + i];
    mc_status status = tx && out->b && out->a
                           ? mc_product(MC_TRANSPOSED, MC_PLAIN, r, (size_t)it->n, size, 1, x,
                                        it->c, 0, out->a, error)
                           : mc_fail_memory(error);
    for (int64_t p = 0; status == MC_OK && p < it->passes; p++) {
        status = mc_product(MC_PLAIN, MC_PLAIN, size, r, size, 1, it->t + p * l * l, x, 0, tx,
                            error);
        if (status == MC_OK)
            status = mc_product(MC_PLAIN, MC_PLAIN, (size_t)it->m, r, size, 1, it->y[p], tx, p > 0,
                                out->b, error);
    }
    mc_free(tx);
    MC_TRY(status);
    for (int64_t j = 0; j < rank; j++) {
        const double s = sqrt(fmax(it->values[l - 1 - j], 0)), inverse = s > 0 ? 1 / s : 0;
        for (int64_t i = 0; i < it->m; i++)
            out->b[i * rank + j] *= s;
        for (int64_t i = 0; i < it->n; i++)
            out->a[j * it->n + i] *= inverse;
    }
    return MC_OK;
}

/*
 * Keeps at most `guess` values, with OVERSAMPLING more directions than that, which the error bound
 * asks for. *reached: they hold the wanted energy; if not, *out is empty and the caller tries more.
 */
static mc_status truncate_randomly(const mc_matrix *matrix, const mc_lora_rank *how, int64_t guess,
                                   uint64_t key, mc_truncated *out, bool *reached, mc_error *error)
{
    const bool last = guess == bound_of(how, least(matrix->rows, matrix->columns));
    iteration it = {.matrix = matrix,
                    .m = matrix->rows,
                    .n = matrix->columns,
                    .l = least(guess + OVERSAMPLING, least(matrix->rows, matrix->columns))};
    mc_status status = start(&it, error);
    if (status == MC_OK)
        status = iterate(&it, guess, key, error);
    if (status == MC_OK) {
        double *const s = it.small;
        for (int64_t i = 0; i < guess; i++)
            s[i] = sqrt(fmax(it.values[it.l - 1 - i], 0));
        out->rank = choose(how, s, guess, it.total, reached);
        *reached = *reached || last;
        status = *reached ? finish(&it, out, error) : MC_OK;
    }
    free_iteration(&it);
    return status;
}

mc_status mc_truncate(const mc_matrix *matrix, const mc_lora_rank *how, const char *name,
                      mc_truncated *out, mc_error *error)
{
    const int64_t size = least(matrix->rows, matrix->columns), bound = bound_of(how, size);
    *out = (mc_truncated){0};
    int64_t guess = how->energy > 0 ? least(FIRST_GUESS, bound) : bound;
    mc_status status = MC_OK;
    bool reached = false;
    /*
     * Doubles the guess until the energy is reached. Beyond a third of all directions the exact
     * decomposition is faster.
     */
    while (status == MC_OK && !reached && !how->exact && size > EXACT_SIZE && 3 * guess < size) {
        status = truncate_randomly(matrix, how, guess, mc_random_key(how->seed, name), out,
                                   &reached, error);
        guess = least(2 * guess, bound);
    }
    if (status == MC_OK && !reached)
        status = truncate_exact(matrix, how, out, error);
    if (status != MC_OK)
        mc_truncated_free(out);
    return status;
}

/* ---- products -------------------------------------------------------------------------------- */

typedef struct product {
    mc_matrix matrix;
    const double *a, *b;
    int64_t inner;
} product;

static mc_status read_product(const mc_matrix *self, int64_t first, int64_t count, double *out,
                              mc_error *error)
{
    const product *const p = (const product *)self;
    return mc_product(MC_PLAIN, MC_PLAIN, (size_t)count, (size_t)self->columns, (size_t)p->inner, 1,
                      p->b + first * p->inner, p->a, 0, out, error);
}

static void transpose(const double *from, int64_t rows, int64_t columns, double *to)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[j * rows + i] = from[i * columns + j];
}

/* b = Qb·Rb, aᵀ = Qa·Ra; b·a = Qb (Rb·Raᵀ) Qaᵀ, of which only the middle is decomposed. */
static mc_status by_factors(int64_t rows, int64_t columns, int64_t k, double *b, double *a,
                            double *scratch, const mc_lora_rank *how, mc_truncated *out,
                            mc_error *error)
{
    const size_t m = (size_t)rows, n = (size_t)columns, l = (size_t)k;
    double *const qa = scratch, *const rb = qa + columns * k, *const ra = rb + k * k,
                  *const core = ra + k * k, *const work = core + k * k;
    svd_buffers svd = {0};
    bool reached;
    transpose(a, k, columns, qa);
    MC_TRY(mc_qr(m, l, b, rb, work, error));
    MC_TRY(mc_qr(n, l, qa, ra, work, error));
    MC_TRY(mc_product(MC_PLAIN, MC_TRANSPOSED, l, l, l, 1, rb, ra, 0, core, error));
    out->total = squares(core, k * k);
    mc_status status = decompose(MC_SVD_EXACT, k, k, core, &svd, error);
    if (status == MC_OK) {
        out->rank = choose(how, svd.s, k, out->total, &reached);
        status = keep(k, k, k, svd.u, svd.s, svd.vt, out, error);
    }
    free_svd(&svd);
    MC_TRY(status);
    double *const small_b = out->b, *const small_a = out->a; /* in the bases Qb and Qa */
    out->b = new_array(rows, out->rank);
    out->a = new_array(out->rank, columns);
    status = out->a && out->b ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_product(MC_PLAIN, MC_PLAIN, m, (size_t)out->rank, l, 1, b, small_b, 0, out->b,
                            error);
    if (status == MC_OK)
        status = mc_product(MC_PLAIN, MC_TRANSPOSED, (size_t)out->rank, n, l, 1, small_a, qa, 0,
                            out->a, error);
    mc_free(small_a);
    mc_free(small_b);
    return status;
}

mc_status mc_truncate_product(int64_t rows, int64_t columns, int64_t inner, double *b, double *a,
                              const mc_lora_rank *how, mc_truncated *out, mc_error *error)
{
    *out = (mc_truncated){0};
    mc_status status;
    if (inner > rows || inner > columns) { /* the product is the smaller one */
        const product whole = {{rows, columns, read_product}, a, b, inner};
        status = truncate_exact(&whole.matrix, how, out, error);
    } else {
        const size_t k = (size_t)inner;
        double *const scratch = mc_alloc(
            ((size_t)columns * k + 3 * k * k +
             most(mc_qr_work((size_t)rows, k), mc_qr_work((size_t)columns, k))) *
            sizeof *scratch);
        status = scratch ? by_factors(rows, columns, inner, b, a, scratch, how, out, error)
                         : mc_fail_memory(error);
        mc_free(scratch);
    }
    if (status != MC_OK)
        mc_truncated_free(out);
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/*
 * Shapes come from files, so that products of them may exceed int64_t. As doubles they do not, and
 * are exact up to 2^53. Where the work arrays' size_t wraps, the matrices alone exceed INT64_MAX.
 */
int64_t mc_bytes_of_doubles(double count)
{
    const double bytes = count * sizeof(double);
    return bytes < 0x1p63 ? (int64_t)bytes : INT64_MAX;
}

static double svd_doubles(double m, double n, mc_svd_kind kind)
{
    const double k = m < n ? m : n;
    return m * k + k + k * n + (double)mc_svd_work((size_t)m, (size_t)n, kind);
}

static double exact_doubles(double m, double n, double rank)
{
    const mc_svd_kind kind = mc_svd_kind_for((size_t)m, (size_t)n, 0);
    return m * n + svd_doubles(m, n, kind) + (m + n) * rank;
}

static double iteration_doubles(int64_t rows, int64_t columns, int64_t rank)
{
    const int64_t size = least(rows, columns), width = least(rank + OVERSAMPLING, size);
    const int64_t fit = least(MOST_PASSES, size / width > 0 ? size / width : 1);
    const double m = (double)rows, n = (double)columns, l = (double)width, r = (double)rank;
    const double passes = (double)fit, all = passes * l;
    const size_t work = most(mc_qr_work((size_t)columns, (size_t)width),
                             mc_eigen_work((size_t)width));
    return (double)mc_panel_rows(columns) * n + passes * (2 * n + m) * l + l * n + 3 * l * l +
           2 * l + (double)work + 2 * all * l + all * all + all +
           (double)mc_eigen_work((size_t)all) + (m + n) * r + l * r;
}

int64_t mc_truncate_memory(int64_t rows, int64_t columns, const mc_lora_rank *how)
{
    const int64_t size = least(rows, columns), bound = bound_of(how, size);
    const bool exact = how->exact || size <= EXACT_SIZE || 3 * (double)bound >= (double)size;
    double doubles = exact ? exact_doubles((double)rows, (double)columns, (double)bound) : 0;
    /* An energy is tried with up to a third of all directions before the exact decomposition. */
    if (!how->exact && size > EXACT_SIZE && (!exact || how->energy > 0)) {
        const double random = iteration_doubles(rows, columns, least(bound, size / 3));
        doubles = random > doubles ? random : doubles;
    }
    return mc_bytes_of_doubles(doubles);
}

int64_t mc_truncate_product_memory(int64_t rows, int64_t columns, int64_t inner,
                                   const mc_lora_rank *how)
{
    const double m = (double)rows, n = (double)columns, i = (double)inner;
    const double bound = (double)bound_of(how, least(inner, least(rows, columns)));
    double doubles = exact_doubles(m, n, bound);
    if (inner <= rows && inner <= columns) {
        const size_t k = (size_t)inner;
        const size_t work = most(mc_qr_work((size_t)rows, k), mc_qr_work((size_t)columns, k));
        doubles = n * i + 3 * i * i + (double)work + svd_doubles(i, i, MC_SVD_EXACT) +
                  (m + n + 2 * i) * bound;
    }
    return mc_bytes_of_doubles(doubles);
}
