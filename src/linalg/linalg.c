/*
 * LAPACK stores matrices by columns. A row-major matrix is its own transpose by columns, so every
 * call below passes the transposed problem: A = U S Vᵀ becomes Aᵀ = V S Uᵀ, and the arrays that
 * LAPACK fills with V and Uᵀ hold Vᵀ and U when they are read by rows.
 */
#include "linalg/linalg.h"

#include "linalg/lapack.h"
#include "linalg/sizes.h"
#include "linalg/symmetric.h"

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/*
 * Up to this many singular values dgesdd takes less than a tenth of a second, so its accuracy costs
 * nothing.
 */
enum { SMALL = 256 };

mc_status mc_linalg_check(mc_error *error)
{
    const mc_lapack *lapack;
    return mc_lapack_get(&lapack, error);
}

/* LAPACK counts in 32-bit ints. */
static mc_status check_size(size_t m, size_t n, mc_error *error)
{
    if (m <= INT_MAX && n <= INT_MAX && (n == 0 || m <= SIZE_MAX / sizeof(double) / n))
        return MC_OK;
    return mc_fail(error, MC_UNSUPPORTED,
                   "expected a matrix that LAPACK can index, found [%zu, %zu]", m, n);
}

/*
 * 0 · x is 0 for finite x and NaN for all others: sums without branches. Eight of them, since each
 * addition waits for the one before.
 */
static bool all_finite(const double *a, size_t count)
{
    enum { SUMS = 8 };
    double sums[SUMS] = {0}, sum = 0;
    const size_t whole = count / SUMS * SUMS;
    for (size_t i = 0; i < whole; i += SUMS)
        for (size_t l = 0; l < SUMS; l++)
            sums[l] += a[i + l] * 0;
    for (size_t i = whole; i < count; i++)
        sum += a[i] * 0;
    for (size_t l = 0; l < SUMS; l++)
        sum += sums[l];
    return sum == 0;
}

static mc_status fail_infinite(mc_error *error)
{
    return mc_fail(error, MC_FORMAT,
                   "expected finite values for a decomposition, found NaN or infinity");
}

/* Rejects NaN and infinities: with them LAPACK may never return, or return nonsense. */
static mc_status check_finite(const double *a, size_t count, mc_error *error)
{
    return all_finite(a, count) ? MC_OK : fail_infinite(error);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Cᵀ = op(B)ᵀ op(A)ᵀ by columns, as BLAS takes it. */
typedef struct product_call {
    const char *ta, *tb;
    int m, n, k, lda, ldb;
} product_call;

static mc_status make_call(mc_transpose ta, mc_transpose tb, size_t m, size_t n, size_t k,
                           product_call *out, mc_error *error)
{
    MC_TRY(check_size(m, n, error));
    MC_TRY(check_size(m, k, error));
    MC_TRY(check_size(k, n, error));
    *out = (product_call){.ta = ta == MC_PLAIN ? "N" : "T",
                          .tb = tb == MC_PLAIN ? "N" : "T",
                          .m = (int)m,
                          .n = (int)n,
                          .k = (int)k,
                          .lda = (int)most(1, ta == MC_PLAIN ? k : m),
                          .ldb = (int)most(1, tb == MC_PLAIN ? n : k)};
    return MC_OK;
}

mc_status mc_product(mc_transpose ta, mc_transpose tb, size_t m, size_t n, size_t k, double alpha,
                     const double *a, const double *b, double beta, double *c, mc_error *error)
{
    const mc_lapack *lapack;
    product_call p;
    MC_TRY(mc_lapack_get(&lapack, error));
    MC_TRY(make_call(ta, tb, m, n, k, &p, error));
    if (m > 0 && n > 0)
        lapack->gemm(p.tb, p.ta, &p.n, &p.m, &p.k, &alpha, b, &p.ldb, a, &p.lda, &beta, c, &p.n, 1,
                     1);
    return MC_OK;
}

mc_status mc_product_f32(mc_transpose ta, mc_transpose tb, size_t m, size_t n, size_t k,
                         float alpha, const float *a, const float *b, float beta, float *c,
                         mc_error *error)
{
    const mc_lapack *lapack;
    product_call p;
    MC_TRY(mc_lapack_get(&lapack, error));
    MC_TRY(make_call(ta, tb, m, n, k, &p, error));
    if (m > 0 && n > 0)
        lapack->sgemm(p.tb, p.ta, &p.n, &p.m, &p.k, &alpha, b, &p.ldb, a, &p.lda, &beta, c, &p.n, 1,
                      1);
    return MC_OK;
}

void mc_scale_columns(double *a, const double *s, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            a[i * n + j] *= s[j];
}

float *mc_narrow(double *a, size_t count)
{
    float *const narrow = (float *)(void *)a;
    for (size_t i = 0; i < count; i++) /* floats overwrite doubles that are read already */
        narrow[i] = (float)a[i];
    return narrow;
}

/* Which Gram matrix is the smaller one, and its size. */
static mc_gram_of smaller(size_t m, size_t n)
{
    return m >= n ? MC_COLUMNS : MC_ROWS;
}

static size_t gram_size(mc_gram_of side, size_t m, size_t n)
{
    return side == MC_COLUMNS ? n : m;
}

/*
 * The upper triangle of G = AᵀA [n, n] or AAᵀ [m, m]: what syrk calls the lower one, by columns.
 * NaN and infinities in A show on the diagonal, so A needs no check of its own. Finite values whose
 * squares overflow are rejected, too.
 */
static mc_status gram(const mc_lapack *lapack, mc_gram_of side, size_t m, size_t n, const double *a,
                      double *g, mc_error *error)
{
    const size_t k = gram_size(side, m, n);
    const int size = (int)k, sum = (int)(side == MC_COLUMNS ? m : n), stride = (int)n;
    const double one = 1, zero = 0;
    bool finite = true;
    lapack->syrk("L", side == MC_COLUMNS ? "N" : "T", &size, &sum, &one, a, &stride, &zero, g,
                 &size, 1, 1);
    for (size_t i = 0; i < k; i++) /* no other element is larger */
        finite &= g[i * k + i] <= DBL_MAX;
    return finite ? MC_OK : fail_infinite(error);
}

/* ---- eigenvalues ----------------------------------------------------------------------------- */

/*
 * From the documentation of dsyevd for eigenvectors, with the blocked tridiagonal reduction on top.
 */
static size_t syevd_work(size_t n)
{
    return 1 + (6 + MC_LAPACK_BLOCK) * n + 2 * n * n;
}

size_t mc_eigen_work(size_t n)
{
    return syevd_work(n) + ints(3 + 5 * n);
}

mc_status mc_eigen(size_t n, double *a, double *w, double *work, mc_error *error)
{
    const mc_lapack *lapack;
    MC_TRY(mc_lapack_get(&lapack, error));
    MC_TRY(check_size(n, n, error));
    MC_TRY(check_finite(a, n * n, error));
    if (n == 0)
        return MC_OK;
    if (syevd_work(n) > INT_MAX)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a matrix of at most 32,000 rows to decompose, found %zu", n);
    const int in = (int)n, lwork = (int)syevd_work(n), liwork = 3 + 5 * in;
    int info;
    lapack->syevd("V", "L", &in, a, &in, w, work, &lwork, (int *)(void *)(work + lwork), &liwork,
                  &info, 1, 1);
    return mc_lapack_check(info, "eigenvalue decomposition", error);
}

/* ---- singular values ------------------------------------------------------------------------- */

/*
 * The Gram matrix squares the condition number: float64 weights would lose digits that they have.
 */
mc_svd_kind mc_svd_kind_for(size_t m, size_t n, int wide)
{
    return wide || least(m, n) <= SMALL ? MC_SVD_EXACT : MC_SVD_GRAM;
}

double mc_svd_epsilon(int wide)
{
    return wide ? DBL_EPSILON : (double)FLT_EPSILON;
}

size_t mc_svd_rank(const double *s, size_t count, size_t m, size_t n, double epsilon)
{
    size_t rank = 0;
    while (rank < count && s[rank] > 0 && s[rank] > epsilon * (double)most(m, n) * s[0])
        rank++;
    return rank;
}

/* From the documentation of dgesdd for job "S", with room for blocked loops. */
static size_t gesdd_work(size_t m, size_t n)
{
    const size_t k = least(m, n);
    return 4 * k * k + 7 * k + MC_LAPACK_BLOCK * (m + n);
}

static size_t exact_work(size_t m, size_t n)
{
    return least(m, n) * (m + n) + gesdd_work(m, n) + ints(8 * least(m, n));
}

/* All of the decomposition: u [m, k], s [k], vt [k, n]. */
static mc_status decompose(const mc_lapack *lapack, size_t m, size_t n, double *a, double *u,
                           double *s, double *vt, double *work, mc_error *error)
{
    const size_t k = least(m, n);
    if (gesdd_work(m, n) > INT_MAX)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a matrix that LAPACK can decompose, found [%zu, %zu]", m, n);
    const int im = (int)m, in = (int)n, ik = (int)k, lwork = (int)gesdd_work(m, n);
    int info;
    lapack->gesdd("S", &in, &im, a, &in, s, vt, &in, u, &ik, work, &lwork,
                  (int *)(void *)(work + lwork), &info, 1);
    return mc_lapack_check(info, "singular value decomposition", error);
}

static mc_status svd_exact(const mc_lapack *lapack, size_t m, size_t n, size_t count, double *a,
                           double *u, double *s, double *vt, double *work, mc_error *error)
{
    const size_t k = least(m, n);
    double *const all_u = work, *const all_vt = all_u + m * k;
    MC_TRY(decompose(lapack, m, n, a, all_u, s, all_vt, all_vt + k * n, error));
    for (size_t i = 0; i < m; i++)
        memcpy(u + i * count, all_u + i * k, count * sizeof *u);
    memcpy(vt, all_vt, count * n * sizeof *vt);
    return MC_OK;
}

static size_t gram_work(size_t m, size_t n)
{
    const size_t k = least(m, n);
    return k * k + mc_leading_work(k);
}

size_t mc_svd_work(size_t m, size_t n, mc_svd_kind kind)
{
    return kind == MC_SVD_EXACT ? exact_work(m, n) : gram_work(m, n);
}

/*
 * The eigenvectors of the smaller Gram matrix as rows of `vectors` [count, k]; s [k] becomes the
 * singular values. Vectors of values below the rounding error are arbitrary, and set to zero.
 */
static mc_status gram_vectors(const mc_lapack *lapack, size_t m, size_t n, size_t count,
                              const double *a, double *s, double *vectors, double *work,
                              mc_error *error)
{
    const size_t k = least(m, n);
    double *const g = work;
    MC_TRY(gram(lapack, smaller(m, n), m, n, a, g, error));
    MC_TRY(mc_leading(lapack, k, count, g, s, vectors, g + k * k, error));
    for (size_t i = 0; i < k; i++)
        s[i] = sqrt(s[i]);
    return MC_OK;
}

/* Divides row i of a [rows, columns] by s[i]; rows of zero values are zero already. */
static void divide_rows(double *a, const double *s, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; s[i] > 0 && j < columns; j++)
            a[i * columns + j] /= s[i];
}

static void divide_columns(double *a, const double *s, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            a[i * columns + j] = s[j] > 0 ? a[i * columns + j] / s[j] : 0;
}

/* to [n, m] = the transpose of `from` [m, n] */
static void transpose(const double *from, double *to, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            to[j * m + i] = from[i * n + j];
}

/* One side's vectors come from the Gram matrix, the other's from A by one product. */
static mc_status svd_gram(const mc_lapack *lapack, size_t m, size_t n, size_t count,
                          const double *a, double *u, double *s, double *vt, double *work,
                          mc_error *error)
{
    if (m >= n) { /* rows of vt, then U = A V / s */
        MC_TRY(gram_vectors(lapack, m, n, count, a, s, vt, work, error));
        MC_TRY(mc_product(MC_PLAIN, MC_TRANSPOSED, m, count, n, 1, a, vt, 0, u, error));
        divide_columns(u, s, m, count);
        return MC_OK;
    }
    /* The columns of U as rows, then Vᵀ = Uᵀ A / s. */
    MC_TRY(gram_vectors(lapack, m, n, count, a, s, u, work, error));
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, count, n, m, 1, u, a, 0, vt, error));
    divide_rows(vt, s, count, n);
    memcpy(work, u, count * m * sizeof *u);
    transpose(work, u, count, m);
    return MC_OK;
}

mc_status mc_svd(mc_svd_kind kind, size_t m, size_t n, size_t count, double *a, double *u,
                 double *s, double *vt, double *work, mc_error *error)
{
    const mc_lapack *lapack;
    assert(count <= least(m, n));
    MC_TRY(mc_lapack_get(&lapack, error));
    MC_TRY(check_size(m, n, error));
    if (kind == MC_SVD_EXACT)
        MC_TRY(check_finite(a, m * n, error));
    if (m == 0 || n == 0)
        return MC_OK;
    return kind == MC_SVD_EXACT ? svd_exact(lapack, m, n, count, a, u, s, vt, work, error)
                                : svd_gram(lapack, m, n, count, a, u, s, vt, work, error);
}

/* ---- polar factor ---------------------------------------------------------------------------- */

size_t mc_polar_root_work(mc_gram_of side, size_t m, size_t n)
{
    const size_t k = gram_size(side, m, n);
    return k * k + mc_inverse_root_work(k);
}

/* Work of the vectors that are set apart, [k], and of their images in A. */
static size_t apart_work(size_t m, size_t n)
{
    return MC_ROOT_APART * (1 + m + n);
}

size_t mc_polar_work(size_t m, size_t n, mc_svd_kind kind)
{
    const size_t k = least(m, n);
    return kind == MC_SVD_EXACT
               ? exact_work(m, n) + k
               : k * k + apart_work(m, n) + mc_polar_root_work(smaller(m, n), m, n);
}

static double sum_of(const double *s, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += s[i];
    return sum;
}

static mc_status polar_exact(const mc_lapack *lapack, size_t m, size_t n, double *a, double epsilon,
                             double *out, double *sum, double *work, mc_error *error)
{
    const size_t k = least(m, n);
    double *const u = work, *const vt = u + m * k, *const s = vt + k * n;
    MC_TRY(decompose(lapack, m, n, a, u, s, vt, s + k, error));
    const size_t rank = mc_svd_rank(s, k, m, n, epsilon);
    /*
     * Without the directions that are rounding: their vectors are arbitrary and would enter the
     * product with weight one.
     */
    for (size_t j = rank; j < k; j++)
        memset(vt + j * n, 0, n * sizeof *vt);
    *sum = sum_of(s, k);
    return mc_product(MC_PLAIN, MC_PLAIN, m, n, k, 1, u, vt, 0, out, error);
}

/*
 * What is set apart of the polar factor is U Vᵀ. The singular vectors of one side are given; those
 * of the other, images [m, apart] or [apart, n], come from A in double.
 */
static mc_status images_of(size_t m, size_t n, const double *a, const mc_narrow_root *r,
                           double *images, mc_error *error)
{
    const size_t count = r->apart;
    if (m >= n) {
        MC_TRY(
            mc_product(MC_PLAIN, MC_TRANSPOSED, m, count, n, 1, a, r->vectors, 0, images, error));
        mc_scale_columns(images, r->factors, m, count);
        return MC_OK;
    }
    MC_TRY(mc_product(MC_PLAIN, MC_PLAIN, count, n, m, 1, r->vectors, a, 0, images, error));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < n; j++)
            images[i * n + j] *= r->factors[i];
    return MC_OK;
}

/* The last product at twice the speed. `a` becomes float32 in place. */
static mc_status polar_product_f32(size_t m, size_t n, double *a, const float *root,
                                   const mc_narrow_root *r, double *images, double *out,
                                   mc_error *error)
{
    const size_t k = least(m, n), count = r->apart;
    const bool columns = m >= n;
    float *const product = (float *)(void *)out;
    MC_TRY(images_of(m, n, a, r, images, error));
    const float *const narrow = mc_narrow(a, m * n), *const v = mc_narrow(r->vectors, count * k);
    const float *const u = mc_narrow(images, count * (columns ? m : n));
    MC_TRY(columns
               ? mc_product_f32(MC_PLAIN, MC_PLAIN, m, n, k, 1, narrow, root, 0, product, error)
               : mc_product_f32(MC_PLAIN, MC_PLAIN, m, n, k, 1, root, narrow, 0, product, error));
    if (count > 0)
        MC_TRY(columns ? mc_product_f32(MC_PLAIN, MC_PLAIN, m, n, count, 1, u, v, 1, product, error)
                       : mc_product_f32(MC_TRANSPOSED, MC_PLAIN, m, n, count, 1, v, u, 1, product,
                                        error));
    return MC_OK;
}

/* The smallest share of the largest eigenvalue of a Gram matrix that counts, as mc_svd_rank. */
static double lowest_share(size_t m, size_t n, size_t k, double epsilon)
{
    const double lowest = epsilon * (double)most(m, n);
    return fmax(lowest * lowest, DBL_EPSILON * (double)k);
}

/* The norm of A, from the diagonal of its Gram matrix [k, k]. */
static double norm_of_gram(const double *g, size_t k)
{
    double squares = 0;
    for (size_t i = 0; i < k; i++)
        squares += g[i * k + i];
    return sqrt(squares);
}

static mc_status polar_gram(const mc_lapack *lapack, size_t m, size_t n, double *a, double epsilon,
                            double *out, bool *narrow, double *sum, double *work, mc_error *error)
{
    const size_t k = least(m, n);
    double *const root = work, *const g = root + k * k, *const images = g + k * k;
    mc_narrow_root r = {.vectors = images + MC_ROOT_APART * most(m, n)};
    r.factors = r.vectors + MC_ROOT_APART * k;
    MC_TRY(gram(lapack, smaller(m, n), m, n, a, g, error));
    const double limit = epsilon < (double)FLT_EPSILON
                             ? 0
                             : MC_NEAR_ORTHONORMAL * (double)k / norm_of_gram(g, k);
    MC_TRY(mc_inverse_root_f32(lapack, k, lowest_share(m, n, k, epsilon), limit, g, root, sum, &r,
                               r.factors + MC_ROOT_APART, error));
    *narrow = r.narrow;
    if (r.narrow)
        return polar_product_f32(m, n, a, (const float *)(const void *)root, &r, images, out,
                                 error);
    return m >= n ? mc_product(MC_PLAIN, MC_PLAIN, m, n, k, 1, a, root, 0, out, error)
                  : mc_product(MC_PLAIN, MC_PLAIN, m, n, k, 1, root, a, 0, out, error);
}

mc_status mc_polar_root(mc_gram_of side, size_t m, size_t n, const double *a, double epsilon,
                        double *root, double *sum, double *work, mc_error *error)
{
    const mc_lapack *lapack;
    const size_t k = gram_size(side, m, n);
    double ignored;
    MC_TRY(mc_lapack_get(&lapack, error));
    MC_TRY(check_size(m, n, error));
    double *const total = sum ? sum : &ignored;
    *total = 0;
    if (m == 0 || n == 0) {
        memset(root, 0, k * k * sizeof *root);
        return MC_OK;
    }
    MC_TRY(gram(lapack, side, m, n, a, work, error));
    return mc_inverse_root(lapack, k, lowest_share(m, n, k, epsilon), work, root, total,
                           work + k * k, error);
}

static void widen(double *a, size_t count)
{
    const float *const narrow = (const float *)(const void *)a;
    for (size_t i = count; i-- > 0;) /* from the end: doubles overwrite later floats only */
        a[i] = (double)narrow[i];
}

mc_status mc_polar(mc_svd_kind kind, size_t m, size_t n, double *a, double epsilon, double *out,
                   bool *narrow, double *sum, double *work, mc_error *error)
{
    const mc_lapack *lapack;
    bool is_narrow = false;
    double ignored;
    MC_TRY(mc_lapack_get(&lapack, error));
    MC_TRY(check_size(m, n, error));
    if (kind == MC_SVD_EXACT)
        MC_TRY(check_finite(a, m * n, error));
    double *const total = sum ? sum : &ignored;
    *total = 0;
    if (m > 0 && n > 0)
        MC_TRY(kind == MC_SVD_EXACT
                   ? polar_exact(lapack, m, n, a, epsilon, out, total, work, error)
                   : polar_gram(lapack, m, n, a, epsilon, out, &is_narrow, total, work, error));
    if (is_narrow && !narrow)
        widen(out, m * n);
    if (narrow)
        *narrow = is_narrow;
    return MC_OK;
}

/* ---- QR and systems -------------------------------------------------------------------------- */

size_t mc_qr_work(size_t m, size_t n)
{
    (void)m;
    return n + MC_LAPACK_BLOCK * n;
}

/*
 * By the LQ decomposition of the transpose: Aᵀ = L Q. L by columns is R by rows, and Q by columns
 * is Q by rows.
 */
mc_status mc_qr(size_t m, size_t n, double *a, double *r, double *work, mc_error *error)
{
    const mc_lapack *lapack;
    assert(m >= n);
    MC_TRY(mc_lapack_get(&lapack, error));
    MC_TRY(check_size(m, n, error));
    MC_TRY(check_finite(a, m * n, error));
    if (n == 0)
        return MC_OK;
    const int im = (int)m, in = (int)n, lwork = (int)(MC_LAPACK_BLOCK * n);
    double *const tau = work, *const rest = work + n;
    int info;
    lapack->gelqf(&in, &im, a, &in, tau, rest, &lwork, &info);
    assert(info == 0);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            r[i * n + j] = i <= j ? a[i * n + j] : 0;
    lapack->orglq(&in, &im, &in, a, &in, tau, rest, &lwork, &info);
    assert(info == 0);
    return MC_OK;
}

/* What a system needs before it is solved: LAPACK, sizes that it takes, and finite elements. */
static mc_status check_system(size_t m, size_t n, const double *a, const double *b,
                              const mc_lapack **lapack, mc_error *error)
{
    MC_TRY(mc_lapack_get(lapack, error));
    MC_TRY(check_size(m, n, error));
    MC_TRY(check_finite(a, n * n, error));
    return check_finite(b, m * n, error);
}

/* The lowest eigenvalue of a matrix with ones on its diagonal that float is accurate enough for. */
static const float FLOAT_IS_ENOUGH = .01F;

/* The D of S = D A D with ones on its diagonal; false unless the diagonal of A is positive. */
static bool find_scales(size_t n, const double *a, double *scales)
{
    for (size_t i = 0; i < n; i++) {
        if (!(a[i * n + i] > 0))
            return false;
        scales[i] = 1 / sqrt(a[i * n + i]);
    }
    return true;
}

/*
 * Whether Cholesky is enough: 1 / ‖S⁻¹‖₁, which LAPACK estimates, is at most the lowest eigenvalue
 * of S. Inputs of very different sizes do not make it small.
 */
static bool is_regular(const mc_lapack *lapack, size_t n, const double *a, double rounding,
                       const double *scales, double *factor, double *work)
{
    const int in = (int)n;
    double norm = 0, reciprocal = 0;
    int info;
    for (size_t i = 0; i < n; i++) {
        double column = 0;
        for (size_t j = 0; j < n; j++) {
            factor[i * n + j] = scales[i] * a[i * n + j] * scales[j];
            column += fabs(factor[i * n + j]);
        }
        norm = column > norm ? column : norm;
    }
    lapack->potrf("U", &in, factor, &in, &info, 1);
    if (info != 0)
        return false;
    lapack->pocon("U", &in, factor, &in, &norm, &reciprocal, work, (int *)(void *)(work + 3 * n),
                  &info, 1);
    /* Of a norm that overflowed, LAPACK makes 0, NaN or an error. */
    return info == 0 && reciprocal * norm > rounding * sqrt((double)n);
}

/* B becomes B D S⁻¹ D. */
static void solve_scaled(const mc_lapack *lapack, size_t m, size_t n, const double *scales,
                         const double *factor, double *b)
{
    const int im = (int)m, in = (int)n;
    int info;
    mc_scale_columns(b, scales, m, n);
    lapack->potrs("U", &in, &im, factor, &in, b, &in, &info, 1);
    assert(info == 0);
    mc_scale_columns(b, scales, m, n);
}

static bool all_finite_f32(const float *a, size_t count)
{
    float sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * 0;
    return sum == 0;
}

/*
 * The same in float, at twice the speed and half the memory; false, and B as it was, if S is not
 * regular enough, or X beyond float's range. An error of S in float moves X by up to √n · 6e-8 /
 * lowest eigenvalue.
 */
static bool solve_in_float(const mc_lapack *lapack, size_t m, size_t n, const double *a, double *b,
                           const double *scales, float *work)
{
    const int im = (int)m, in = (int)n;
    float *const factor = work, *const x = factor + n * n, *const rest = x + m * n;
    float norm = 0, reciprocal = 0;
    int info;
    for (size_t i = 0; i < n; i++) {
        float column = 0;
        for (size_t j = 0; j < n; j++) {
            factor[i * n + j] = (float)(scales[i] * a[i * n + j] * scales[j]);
            column += fabsf(factor[i * n + j]);
        }
        norm = column > norm ? column : norm;
    }
    lapack->spotrf("U", &in, factor, &in, &info, 1);
    if (info != 0)
        return false;
    lapack->spocon("U", &in, factor, &in, &norm, &reciprocal, rest, (int *)(void *)(rest + 3 * n),
                   &info, 1);
    if (info != 0 || !(reciprocal * norm > FLOAT_IS_ENOUGH))
        return false;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            x[i * n + j] = (float)(b[i * n + j] * scales[j]);
    lapack->spotrs("U", &in, &im, factor, &in, x, &in, &info, 1);
    assert(info == 0);
    if (!all_finite_f32(x, m * n))
        return false;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            b[i * n + j] = (double)x[i * n + j] * scales[j];
    return true;
}

/* X = B Vᵀ Λ⁻¹ V, where the rows of V are the eigenvectors of A. */
static mc_status solve_by_eigen(size_t m, size_t n, double *a, double *b, double cutoff,
                                double *lowest, double *work, mc_error *error)
{
    double *const w = work, *const parts = w + n, *const rest = parts + m * n;
    MC_TRY(mc_eigen(n, a, w, rest, error));
    MC_TRY(mc_product(MC_PLAIN, MC_TRANSPOSED, m, n, n, 1, b, a, 0, parts, error));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            parts[i * n + j] = w[j] > cutoff ? parts[i * n + j] / w[j] : 0;
    *lowest = w[0];
    return mc_product(MC_PLAIN, MC_PLAIN, m, n, n, 1, parts, a, 0, b, error);
}

size_t mc_semidefinite_work(size_t m, size_t n)
{
    const size_t cholesky = n * n + 4 * n + ints(n), eigen = n + m * n + mc_eigen_work(n);
    const size_t in_float = n + (n * n + m * n + 3 * n + 1) / 2 + ints(n);
    return most(most(cholesky, in_float), eigen);
}

mc_status mc_solve_semidefinite(size_t m, size_t n, double *a, double *b, double rounding,
                                double *lowest, double *work, mc_error *error)
{
    const mc_lapack *lapack;
    MC_TRY(check_system(m, n, a, b, &lapack, error));
    *lowest = 0;
    if (m == 0 || n == 0)
        return MC_OK;
    double *const scales = work, *const factor = scales + n;
    double largest = 0;
    const bool scaled = find_scales(n, a, scales);
    if (scaled && rounding >= (double)FLT_EPSILON &&
        solve_in_float(lapack, m, n, a, b, scales, (float *)(void *)factor))
        return MC_OK;
    if (scaled && is_regular(lapack, n, a, rounding, scales, factor, factor + n * n)) {
        solve_scaled(lapack, m, n, scales, factor, b);
        return MC_OK;
    }
    for (size_t i = 0; i < n; i++)
        largest = a[i * n + i] > largest ? a[i * n + i] : largest;
    const double cutoff = rounding * sqrt((double)n) * largest;
    return solve_by_eigen(m, n, a, b, cutoff, lowest, work, error);
}
