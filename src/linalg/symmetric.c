/*
 * A = Q T Qᵀ with T tridiagonal. LAPACK sees columns, so what it calls the lower triangle is the
 * upper one by rows, and its columns of eigenvectors are rows here.
 *
 * At 768 rows, the reduction takes 20 ms. LAPACK takes 25 ms for all eigenvectors of T, and 29 ms
 * to turn them into those of A. Therefore a few vectors are computed one by one: 1 ms for 153
 * (tridiagonal.h). The inverse root of A is Q T^(−½) Qᵀ, without any vectors: 3 ms for the root of
 * T, and 20 ms for both sides together. Where that would not be accurate to rounding, LAPACK
 * computes all vectors: if eigenvalues are equal or zero.
 */
#include "linalg/symmetric.h"

#include "linalg/sizes.h"
#include "linalg/tridiagonal.h"

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* Reflectors that are applied at a time. */
enum { BLOCK = 64 };

/* Copies the upper triangle to the lower one, in squares that fit the first cache. */
static void mirror(double *a, size_t n)
{
    enum { SIDE = 32 };
    for (size_t row = 0; row < n; row += SIDE)
        for (size_t column = row; column < n; column += SIDE)
            for (size_t i = row; i < least(n, row + SIDE); i++)
                for (size_t j = most(i + 1, column); j < least(n, column + SIDE); j++)
                    a[j * n + i] = a[i * n + j];
}

/* T, the reflectors' factors, and the work array of LAPACK's functions. Q itself stays in A. */
typedef struct reduced {
    double *d, *e, *tau, *rest;
} reduced;

/* From the documentation of dstedc for job "I"; that of dsytrd is smaller. */
static size_t stedc_work(size_t n)
{
    return 1 + 4 * n + n * n + MC_LAPACK_BLOCK * n;
}

static size_t turn_work(size_t n)
{
    return 2 * BLOCK * n + 2 * (size_t)BLOCK * BLOCK;
}

static size_t rest_work(size_t n)
{
    return most(stedc_work(n) + ints(3 + 5 * n), turn_work(n));
}

static mc_status reduce(const mc_lapack *lapack, size_t n, double *a, double *work, reduced *out,
                        mc_error *error)
{
    *out = (reduced){.d = work, .e = work + n, .tau = work + 2 * n, .rest = work + 3 * n};
    if (stedc_work(n) > INT_MAX)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a matrix of at most 46,000 rows to decompose, found %zu", n);
    const int in = (int)n, lwork = (int)stedc_work(n);
    int info;
    lapack->sytrd("L", &in, a, &in, out->d, out->e, out->tau, out->rest, &lwork, &info, 1);
    assert(info == 0);
    return MC_OK;
}

/* t->d becomes all eigenvalues, ascending, and row i of z [n, n] the eigenvector of T for d[i]. */
static mc_status find_all(const mc_lapack *lapack, size_t n, const reduced *t, double *z,
                          mc_error *error)
{
    const int in = (int)n, lwork = (int)stedc_work(n), liwork = 3 + 5 * in;
    int info;
    lapack->stedc("I", &in, t->d, t->e, z, &in, t->rest, &lwork, (int *)(void *)(t->rest + lwork),
                  &liwork, &info, 1);
    return mc_lapack_check(info, "eigenvalue decomposition", error);
}

/* ---- reflectors ------------------------------------------------------------------------------ */

/* C = alpha · op(A) · op(B) + beta · C by columns. */
static void multiply(const mc_lapack *lapack, const char *ta, const char *tb, int m, int n, int k,
                     double alpha, const double *a, int lda, const double *b, int ldb, double beta,
                     double *c, int ldc)
{
    lapack->gemm(ta, tb, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc, 1, 1);
}

/* B = T B, or B Tᵀ if `right`, for an upper triangular T; by columns. */
static void multiply_triangle(const mc_lapack *lapack, bool right, int m, int n, const double *t,
                              int ldt, double *b)
{
    const double one = 1;
    lapack->trmm(right ? "R" : "L", "U", right ? "T" : "N", "N", &m, &n, &one, t, &ldt, b, &m, 1, 1,
                 1, 1);
}

/*
 * A block of reflectors, H = I − V T Vᵀ, for the last m rows of n. `product`: work of n · BLOCK
 * doubles, `small`: of BLOCK².
 */
typedef struct reflectors {
    int m, width;
    double *v, *t, *product, *small;
} reflectors;

/* Those from `first` on. They lie below the diagonal of A by columns, and begin with a 1. */
static reflectors gather(const mc_lapack *lapack, size_t n, size_t first, const double *a,
                         const double *tau, double *work)
{
    const size_t m = n - 1 - first, width = least(BLOCK, m);
    const reflectors h = {(int)m,
                          (int)width,
                          work,
                          work + 2 * BLOCK * n,
                          work + BLOCK * n,
                          work + 2 * BLOCK * n + (size_t)BLOCK * BLOCK};
    for (size_t j = 0; j < width; j++) {
        memset(h.v + j * m, 0, j * sizeof *h.v);
        h.v[j * m + j] = 1;
        memcpy(h.v + j * m + j + 1, a + (first + j) * n + first + j + 2, (m - j - 1) * sizeof *h.v);
    }
    lapack->larft("F", "C", &h.m, &h.width, h.v, &h.m, tau + first, h.t, &h.width, 1, 1);
    return h;
}

/* S = H S, for the [m, columns] elements of S beside its last rows and columns. */
static void turn_beside(const mc_lapack *lapack, const reflectors *h, int columns, int n, double *s)
{
    multiply(lapack, "T", "N", h->width, columns, h->m, 1, h->v, h->m, s, n, 0, h->product,
             h->width);
    multiply_triangle(lapack, false, h->width, columns, h->t, h->width, h->product);
    multiply(lapack, "N", "N", h->m, columns, h->width, -1, h->v, h->m, h->product, h->width, 1, s,
             n);
}

/*
 * S = H S Hᵀ, for the last m rows and columns. With Z = S V Tᵀ and X = Z − ½ V T Vᵀ Z that is
 * S − V Xᵀ − X Vᵀ.
 */
static void turn_corner(const mc_lapack *lapack, const reflectors *h, int n, double *s)
{
    const double one = 1, zero = 0, minus = -1;
    lapack->symm("L", "L", &h->m, &h->width, &one, s, &n, h->v, &h->m, &zero, h->product, &h->m, 1,
                 1);
    multiply_triangle(lapack, true, h->m, h->width, h->t, h->width, h->product);
    multiply(lapack, "T", "N", h->width, h->width, h->m, 1, h->v, h->m, h->product, h->m, 0,
             h->small, h->width);
    multiply_triangle(lapack, false, h->width, h->width, h->t, h->width, h->small);
    multiply(lapack, "N", "N", h->m, h->width, h->width, -.5, h->v, h->m, h->small, h->width, 1,
             h->product, h->m);
    lapack->syr2k("L", "N", &h->m, &h->width, &minus, h->v, &h->m, h->product, &h->m, &one, s, &n,
                  1, 1);
}

/* The rows of z [count, n], eigenvectors of T, become those of A: Q Z by columns. */
static void turn(const mc_lapack *lapack, size_t n, size_t count, const double *a, const reduced *t,
                 double *z)
{
    for (size_t end = n - 1; end > 0;) {
        const size_t first = (end - 1) / BLOCK * BLOCK;
        const reflectors h = gather(lapack, n, first, a, t->tau, t->rest);
        turn_beside(lapack, &h, (int)count, (int)n, z + first + 1);
        end = first;
    }
}

/*
 * S becomes Q S Qᵀ; both have only their lower triangle by columns. Doing both sides at once takes
 * half the operations of one side after the other.
 */
static void turn_both(const mc_lapack *lapack, size_t n, const double *a, const double *tau,
                      double *s, double *work)
{
    const size_t count = n - 1; /* of reflectors */
    for (size_t end = count; end > 0;) {
        const size_t first = (end - 1) / BLOCK * BLOCK, row = first + 1;
        const reflectors h = gather(lapack, n, first, a, tau, work);
        turn_beside(lapack, &h, (int)row, (int)n, s + row);
        turn_corner(lapack, &h, (int)n, s + row * n + row);
        end = first;
    }
}

/* ---- leading eigenvectors -------------------------------------------------------------------- */

static void reverse(const double *from, double *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[n - 1 - i];
}

/* How many of w[n], descending, are above rounding; the others become zero. */
static size_t drop_rounding(double *w, size_t n)
{
    const double rounding = DBL_EPSILON * (double)n * w[0];
    size_t known = 0;
    while (known < n && w[known] > 0 && w[known] > rounding)
        known++;
    memset(w + known, 0, (n - known) * sizeof *w);
    return known;
}

/* Whether the rows of z [count, n], of norm one, are orthogonal. `g`: [count, count]. */
static bool are_orthogonal(const mc_lapack *lapack, size_t n, size_t count, const double *z,
                           double *g)
{
    const int in = (int)n, some = (int)count;
    const double one = 1, zero = 0, limit = 1e-10;
    double worst = 0;
    if (count == 0)
        return true;
    lapack->syrk("L", "T", &some, &in, &one, z, &in, &zero, g, &some, 1, 1);
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            worst = fmax(worst, fabs(g[i * count + j]));
    return worst <= limit;
}

/*
 * Few vectors, one by one: w [n], and the vectors that are known. *found: whether they are
 * orthogonal. T is kept.
 */
static mc_status find_few(const mc_lapack *lapack, size_t n, size_t count, const reduced *t,
                          double *w, double *vectors, size_t *known, bool *found, mc_error *error)
{
    const int in = (int)n;
    double *const values = t->rest, *const beside = values + n;
    int info;
    memcpy(values, t->d, n * sizeof *values);
    memcpy(beside, t->e, (n - 1) * sizeof *beside);
    lapack->sterf(&in, values, beside, &info);
    MC_TRY(mc_lapack_check(info, "eigenvalue decomposition", error));
    reverse(values, w, n);
    *known = least(count, drop_rounding(w, n));
    *found = mc_tridiagonal_vectors(n, t->d, t->e, *known, w, vectors, t->rest) &&
             are_orthogonal(lapack, n, *known, vectors, t->rest);
    return MC_OK;
}

size_t mc_leading_work(size_t n)
{
    return 3 * n + n * n + most(rest_work(n), mc_tridiagonal_vectors_work(n));
}

mc_status mc_leading(const mc_lapack *lapack, size_t n, size_t count, double *a, double *w,
                     double *vectors, double *work, mc_error *error)
{
    double *const z = work;
    size_t known = 0;
    bool found = false;
    reduced t;
    MC_TRY(reduce(lapack, n, a, work + n * n, &t, error));
    if (count <= n / 2)
        MC_TRY(find_few(lapack, n, count, &t, w, vectors, &known, &found, error));
    if (found)
        turn(lapack, n, known, a, &t, vectors);
    else {
        MC_TRY(find_all(lapack, n, &t, z, error));
        reverse(t.d, w, n);
        known = least(count, drop_rounding(w, n));
        turn(lapack, n, known, a, &t, z + (n - known) * n);
        for (size_t i = 0; i < known; i++)
            memcpy(vectors + i * n, z + (n - 1 - i) * n, n * sizeof *z);
    }
    memset(vectors + known * n, 0, (count - known) * n * sizeof *vectors);
    return MC_OK;
}

/* ---- inverse root ---------------------------------------------------------------------------- */

/* WᵀW of the rows wᵢ = vᵢ / λᵢ^¼, over the eigenvalues that count: half of a product. */
static mc_status root_of_vectors(const mc_lapack *lapack, size_t n, double share, double *a,
                                 const reduced *t, double *root, double *trace, mc_error *error)
{
    const int in = (int)n;
    const double one = 1, zero = 0;
    double *const z = root, *const w = t->d;
    MC_TRY(find_all(lapack, n, t, z, error));
    turn(lapack, n, n, a, t, z);
    const double largest = w[n - 1];
    size_t first = n;
    *trace = 0;
    for (size_t i = n; i-- > 0 && w[i] > 0 && w[i] > DBL_EPSILON * (double)n * largest;) {
        *trace += sqrt(w[i]);
        first = w[i] > share * largest ? i : first;
    }
    for (size_t i = first; i < n; i++)
        for (size_t j = 0; j < n; j++)
            a[i * n + j] = z[i * n + j] / sqrt(sqrt(w[i]));
    const int rank = (int)(n - first);
    lapack->syrk("L", "N", &in, &rank, &one, a + first * n, &in, &zero, root, &in, 1, 1);
    return MC_OK;
}

size_t mc_inverse_root_work(size_t n)
{
    return 3 * n + most(rest_work(n), mc_tridiagonal_root_work(n));
}

mc_status mc_inverse_root(const mc_lapack *lapack, size_t n, double share, double *a, double *root,
                          double *trace, double *work, mc_error *error)
{
    reduced t;
    MC_TRY(reduce(lapack, n, a, work, &t, error));
    if (mc_tridiagonal_root(n, t.d, t.e, share, root, trace, t.rest))
        turn_both(lapack, n, a, t.tau, root, t.rest);
    else
        MC_TRY(root_of_vectors(lapack, n, share, a, &t, root, trace, error));
    mirror(root, n);
    return MC_OK;
}
