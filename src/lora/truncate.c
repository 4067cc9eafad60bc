/*
 * Randomised subspace iteration on the right singular space (Halko, Martinsson, Tropp 2011,
 * arXiv:0909.4061). One pass over the panels P of D computes, for an orthonormal Q [columns, l],
 *
 *     Y = D·Q,   Z = Dᵀ·Y,   the next Q from the QR decomposition of Z,
 *
 * so that a pass costs two products. The singular values of Y show what Q keeps. For q passes the
 * expected error is that of the method's power scheme with 2q − 1 products; the squared error of
 * the result is known exactly, ‖D‖² − Σ sᵢ², since Q is orthonormal.
 */
#include "lora/truncate.h"

#include "base/memory.h"
#include "linalg/linalg.h"

#include <mergecraft/random.h>

#include <math.h>
#include <string.h>

enum {
    /* Values of a panel: 8 MB of doubles. */
    PANEL_VALUES = 1 << 20,
    EXACT_SIZE = 256, /* smaller matrices are decomposed exactly, which takes no longer */
    OVERSAMPLING = 10,
    MOST_PASSES = 8,
    FIRST_GUESS = 48, /* rank that is tried first if the energy decides */
};

/* A further pass has to lower the squared error by more than this share. */
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

static double squares(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i] * x[i];
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
    double *panel;  /* [mc_panel_rows, n] */
    double *q;      /* [n, l], orthonormal columns */
    double *y;      /* [m, l] = D·Q */
    double *z;      /* [n, l] = Dᵀ·Y */
    double *r;      /* [l, l] */
    double *w;      /* [l, l]: eigenvectors of YᵀY by rows, ascending */
    double *values; /* [l] its eigenvalues, ascending */
    double *work;
    double total;
} iteration;

static void free_iteration(iteration *it)
{
    double *const arrays[] = {it->panel, it->q, it->y, it->z, it->r, it->w, it->values, it->work};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mc_free(arrays[i]);
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

static mc_status start(iteration *it, uint64_t key, mc_error *error)
{
    const size_t l = (size_t)it->l;
    it->panel = new_array(least(mc_panel_rows(it->n), it->m), it->n);
    it->q = new_array(it->n, it->l);
    it->y = new_array(it->m, it->l);
    it->z = new_array(it->n, it->l);
    it->r = new_array(it->l, it->l);
    it->w = new_array(it->l, it->l);
    it->values = new_array(it->l, 1);
    it->work = mc_alloc(most(mc_qr_work((size_t)it->n, l), mc_eigen_work(l)) * sizeof(double));
    if (!it->panel || !it->q || !it->y || !it->z || !it->r || !it->w || !it->values || !it->work)
        return mc_fail_memory(error);
    for (int64_t i = 0; i < it->n * it->l; i++)
        it->q[i] = normal(key, (uint64_t)i);
    return mc_qr((size_t)it->n, l, it->q, it->r, it->work, error);
}

/*
 * One pass over the matrix: Y, Z and the eigenvalues of YᵀY, which are the squared singular values
 * that Q keeps.
 */
static mc_status pass(iteration *it, mc_error *error)
{
    const int64_t step = mc_panel_rows(it->n);
    const size_t n = (size_t)it->n, l = (size_t)it->l;
    it->total = 0;
    memset(it->z, 0, n * l * sizeof *it->z);
    for (int64_t row = 0; row < it->m; row += step) {
        const int64_t rows = least(step, it->m - row);
        double *const y = it->y + row * it->l;
        MC_TRY(it->matrix->read(it->matrix, row, rows, it->panel, error));
        it->total += squares(it->panel, rows * it->n);
        MC_TRY(
            mc_product(MC_PLAIN, MC_PLAIN, (size_t)rows, l, n, 1, it->panel, it->q, 0, y, error));
        MC_TRY(mc_product(MC_TRANSPOSED, MC_PLAIN, n, l, (size_t)rows, 1, it->panel, y, 1, it->z,
                          error));
    }
    MC_TRY(
        mc_product(MC_TRANSPOSED, MC_PLAIN, l, l, (size_t)it->m, 1, it->y, it->y, 0, it->w, error));
    return mc_eigen(l, it->w, it->values, it->work, error);
}

/* The squared singular values that a rank would keep. */
static double kept_of(const iteration *it, int64_t rank)
{
    double kept = 0;
    for (int64_t i = 0; i < rank; i++)
        kept += it->values[it->l - 1 - i] > 0 ? it->values[it->l - 1 - i] : 0;
    return kept;
}

/*
 * Repeats passes while one still lowers the error noticeably. Q stays the one that Y belongs to:
 * `finish` needs both.
 */
static mc_status iterate(iteration *it, int64_t rank, mc_error *error)
{
    double before = 0;
    for (int i = 0; i < MOST_PASSES; i++) {
        MC_TRY(pass(it, error));
        const double kept = kept_of(it, rank), lost = fmax(it->total - kept, 0);
        /* 1e-13: what is left are rounding errors of the sums. */
        if (it->total == 0 || lost <= 1e-13 * it->total ||
            (i > 0 && kept - before <= worthwhile * lost) || i + 1 == MOST_PASSES)
            break;
        before = kept;
        memcpy(it->q, it->z, (size_t)(it->n * it->l) * sizeof *it->q);
        MC_TRY(mc_qr((size_t)it->n, (size_t)it->l, it->q, it->r, it->work, error));
    }
    return MC_OK;
}

/* YᵀY = W Λ Wᵀ: Y·W has orthogonal columns of the lengths s. B = Y·W, A = (Q·W)ᵀ. */
static mc_status finish(iteration *it, mc_truncated *out, mc_error *error)
{
    const int64_t l = it->l, rank = out->rank;
    double *const w = it->r; /* the chosen columns [l, rank], largest first */
    out->b = new_array(it->m, rank);
    out->a = new_array(rank, it->n);
    if (!out->b || !out->a)
        return mc_fail_memory(error);
    for (int64_t i = 0; i < l; i++)
        for (int64_t j = 0; j < rank; j++)
            w[i * rank + j] = it->w[(l - 1 - j) * l + i];
    out->total = it->total;
    out->kept = kept_of(it, rank);
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, (size_t)it->m, (size_t)rank, (size_t)l, 1, it->y, w, 0,
                      out->b, error));
    return mc_product(MC_TRANSPOSED, MC_TRANSPOSED, (size_t)rank, (size_t)it->n, (size_t)l, 1, w,
                      it->q, 0, out->a, error);
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
    mc_status status = start(&it, key, error);
    if (status == MC_OK)
        status = iterate(&it, guess, error);
    if (status == MC_OK) {
        for (int64_t i = 0; i < guess; i++) /* Z is not needed any more */
            it.z[i] = sqrt(fmax(it.values[it.l - 1 - i], 0));
        out->rank = choose(how, it.z, guess, it.total, reached);
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
