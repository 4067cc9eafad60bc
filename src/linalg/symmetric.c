/*
 * A = Q T Qᵀ with T tridiagonal. LAPACK sees columns, so what it calls the lower triangle is the
 * upper one by rows, and its columns of eigenvectors are rows here.
 *
 * At 768 rows, the reduction takes 20 ms. LAPACK takes 25 ms for all eigenvectors of T, and 29 ms
 * to turn them into those of A. Therefore a few vectors are computed one by one: 1 ms for 153
 * (tridiagonal.h). The inverse root of A is Q T^(−½) Qᵀ, without any vectors: 3 ms for the root of
 * T, and for both sides together 20 ms in double, or 10 ms in float. Where that would not be
 * accurate to rounding, LAPACK computes all vectors: if many eigenvalues are zero, for example.
 */
#include "linalg/symmetric.h"

#include "linalg/linalg.h"
#include "linalg/sizes.h"
#include "linalg/tridiagonal.h"

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* Reflectors that are applied at a time. */
enum { BLOCK = 64 };

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

#define REAL double
#define NAME(name_) name_
#define BLAS(name_) name_
#define PART (INT_MAX / 2)
#include "linalg/reflectors.h"
#undef REAL
#undef NAME
#undef BLAS
#undef PART

#define REAL float
#define NAME(name_) name_##_f32
#define BLAS(name_) s##name_
#define PART 96
#include "linalg/reflectors.h"
#undef REAL
#undef NAME
#undef BLAS
#undef PART

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
    mc_narrow_root ignored = {0};
    return mc_inverse_root_f32(lapack, n, share, 0, a, root, trace, &ignored, work, error);
}

/* Of a symmetric matrix by its upper triangle. */
static double norm_of(size_t n, const double *s)
{
    double squares = 0, diagonal = 0;
    for (size_t i = 0; i < n; i++) {
        double sums[4] = {0};
        size_t j = i + 1;
        for (; j + 4 <= n; j += 4)
            for (size_t l = 0; l < 4; l++)
                sums[l] += s[i * n + j + l] * s[i * n + j + l];
        for (; j < n; j++)
            sums[0] += s[i * n + j] * s[i * n + j];
        squares += sums[0] + sums[1] + sums[2] + sums[3];
        diagonal += s[i * n + i] * s[i * n + i];
    }
    return sqrt(2 * squares + diagonal);
}

/* Whether a norm is at most the limit, and its square and inverse far from the ends of float. */
static bool is_narrow(double norm, double limit)
{
    return norm <= limit && norm > 1e-15 && norm < 1e15;
}

/*
 * Subtracts the largest vectors of T^(−½), those of the lowest eigenvalues of T, if what is left
 * is small enough then. False, and nothing changed, if not.
 */
static bool set_apart(const mc_lapack *lapack, size_t n, double share, double limit,
                      const reduced *t, double norm, double *root, mc_narrow_root *out)
{
    enum { COUNT = MC_ROOT_APART };
    double w[COUNT], *const scaled = t->rest, left = norm * norm;
    if (n < 4 * COUNT ||
        !mc_tridiagonal_lowest(n, t->d, t->e, share, COUNT, w, out->vectors, t->rest) ||
        !are_orthogonal(lapack, n, COUNT, out->vectors, t->rest))
        return false;
    for (size_t i = 0; i < COUNT; i++) {
        left -= 1 / w[i];
        out->factors[i] = 1 / sqrt(w[i]);
    }
    if (!(left > 0) || !is_narrow(sqrt(left), limit))
        return false;
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < n; j++)
            scaled[i * n + j] = out->vectors[i * n + j] * sqrt(out->factors[i]);
    const int in = (int)n, count = COUNT;
    const double one = 1, minus = -1;
    lapack->syrk("L", "N", &in, &count, &minus, scaled, &in, &one, root, &in, 1, 1);
    out->apart = COUNT;
    return true;
}

/* S becomes Q S Qᵀ in float; A, which holds Q, too. */
static void turn_narrow(const mc_lapack *lapack, size_t n, double *a, const reduced *t,
                        double *root, const mc_narrow_root *out)
{
    if (out->apart > 0)
        turn(lapack, n, out->apart, a, t, out->vectors);
    const float *const q = mc_narrow(a, n * n), *const tau = mc_narrow(t->tau, n);
    float *const s = mc_narrow(root, n * n);
    turn_both_f32(lapack, n, q, tau, s, (float *)(void *)t->rest);
    mirror_f32(s, n);
}

mc_status mc_inverse_root_f32(const mc_lapack *lapack, size_t n, double share, double limit,
                              double *a, double *root, double *trace, mc_narrow_root *out,
                              double *work, mc_error *error)
{
    reduced t;
    out->apart = 0;
    MC_TRY(reduce(lapack, n, a, work, &t, error));
    const bool found = mc_tridiagonal_root(n, t.d, t.e, share, root, trace, t.rest);
    if (!found)
        MC_TRY(root_of_vectors(lapack, n, share, a, &t, root, trace, error));
    const double norm = limit > 0 ? norm_of(n, root) : (double)INFINITY;
    out->narrow = is_narrow(norm, limit) ||
                  (found && limit > 0 && set_apart(lapack, n, share, limit, &t, norm, root, out));
    if (found && out->narrow) {
        turn_narrow(lapack, n, a, &t, root, out);
        return MC_OK;
    }
    if (found)
        turn_both(lapack, n, a, t.tau, root, t.rest);
    mirror(root, n);
    if (out->narrow)
        mc_narrow(root, n * n);
    return MC_OK;
}
