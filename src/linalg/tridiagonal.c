#include "linalg/tridiagonal.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* A bound of the eigenvalues' sizes: the largest sum of a row (Gershgorin). */
static double norm_of(size_t n, const double *d, const double *e)
{
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        const double before = i > 0 ? fabs(e[i - 1]) : 0, after = i + 1 < n ? fabs(e[i]) : 0;
        norm = fmax(norm, before + fabs(d[i]) + after);
    }
    return norm;
}

/*
 * Each step of an elimination waits for a division. Eight shifts side by side hide that, and fill
 * vector registers.
 */
enum { LANES = 8 };

/* ---- eigenvalues ----------------------------------------------------------------------------- */

/* How many eigenvalues are below each bound: as many as T − bound has negative pivots. */
static void count_below(size_t n, const double *d, const double *e, double norm,
                        const double *bounds, size_t *counts)
{
    const double tiny = DBL_EPSILON * DBL_EPSILON * norm;
    double pivot[LANES], below[LANES];
    for (size_t l = 0; l < LANES; l++) {
        pivot[l] = d[0] - bounds[l];
        below[l] = pivot[l] < 0;
    }
    for (size_t i = 1; i < n; i++)
        for (size_t l = 0; l < LANES; l++) {
            const double safe = fabs(pivot[l]) < tiny ? tiny : pivot[l];
            pivot[l] = d[i] - bounds[l] - e[i - 1] * (e[i - 1] / safe);
            below[l] += pivot[l] < 0;
        }
    for (size_t l = 0; l < LANES; l++)
        counts[l] = (size_t)below[l];
}

static size_t one_count_below(size_t n, const double *d, const double *e, double norm, double bound)
{
    double bounds[LANES] = {0};
    size_t counts[LANES];
    bounds[0] = bound;
    count_below(n, d, e, norm, bounds, counts);
    return counts[0];
}

/* Eigenvalue `index` in ascending order, to rounding. Each step cuts an interval into nine. */
static double eigenvalue(size_t n, const double *d, const double *e, double norm, size_t index)
{
    double from = -norm, to = norm; /* at most `index` are below `from`, more are below `to` */
    while (to - from > DBL_EPSILON * norm) {
        const double step = (to - from) / (LANES + 1);
        double bounds[LANES];
        size_t counts[LANES], l = 0;
        for (size_t i = 0; i < LANES; i++)
            bounds[i] = from + step * (double)(i + 1);
        count_below(n, d, e, norm, bounds, counts);
        while (l < LANES && counts[l] <= index)
            from = bounds[l++];
        to = l < LANES ? bounds[l] : to;
    }
    return from + (to - from) / 2;
}

/* Eigenvalues `first` … in ascending order, to rounding: LANES of them at a time, by bisection. */
static void consecutive(size_t n, const double *d, const double *e, double norm, size_t first,
                        size_t count, double *w)
{
    for (size_t i = 0; i < count; i += LANES) {
        double from[LANES], to[LANES], middle[LANES];
        size_t counts[LANES];
        for (size_t l = 0; l < LANES; l++) {
            from[l] = -norm;
            to[l] = norm;
        }
        for (double width = norm; width > DBL_EPSILON / 2 * norm; width /= 2) {
            for (size_t l = 0; l < LANES; l++)
                middle[l] = from[l] + (to[l] - from[l]) / 2;
            count_below(n, d, e, norm, middle, counts);
            for (size_t l = 0; l < LANES; l++) {
                const bool above = counts[l] <= first + i + l;
                from[l] = above ? middle[l] : from[l];
                to[l] = above ? to[l] : middle[l];
            }
        }
        for (size_t l = 0; l < LANES && i + l < count; l++)
            w[i + l] = from[l] + (to[l] - from[l]) / 2;
    }
}

/* ---- eigenvectors ---------------------------------------------------------------------------- */

/* Row i of an array [n, LANES] belongs to row i of T. */

/*
 * T − λ = P L U with partial pivoting. Row i of U is 1 / reciprocal, next, second; L has factor,
 * and `swapped` is 1 where rows i and i + 1 were exchanged.
 */
typedef struct elimination {
    double (*reciprocal)[LANES], (*next)[LANES], (*second)[LANES], (*factor)[LANES],
        (*swapped)[LANES], (*x)[LANES];
} elimination;

size_t mc_tridiagonal_vectors_work(size_t n)
{
    return 6 * n * LANES;
}

static elimination place(double *work, size_t n)
{
    double(*const rows)[LANES] = (double(*)[LANES])(void *)work;
    return (elimination){rows, rows + n, rows + 2 * n, rows + 3 * n, rows + 4 * n, rows + 5 * n};
}

static void eliminate(size_t n, const double *d, const double *e, const double *w, double norm,
                      const elimination *u)
{
    const double tiny = DBL_EPSILON * norm;
    double diagonal[LANES], beside[LANES];
    for (size_t l = 0; l < LANES; l++) {
        diagonal[l] = d[0] - w[l];
        beside[l] = n > 1 ? e[0] : 0;
    }
    for (size_t i = 0; i < n; i++) {
        const double below = i + 1 < n ? e[i] : 0, after = i + 2 < n ? e[i + 1] : 0;
        for (size_t l = 0; l < LANES; l++) {
            const double under = i + 1 < n ? d[i + 1] - w[l] : 0;
            const int swap = fabs(below) > fabs(diagonal[l]);
            const double pivot = swap ? below : diagonal[l], other = swap ? diagonal[l] : below;
            const double reciprocal = 1 / (fabs(pivot) < tiny ? tiny : pivot);
            const double factor = other * reciprocal, next = swap ? under : beside[l];
            u->reciprocal[i][l] = reciprocal;
            u->next[i][l] = next;
            u->second[i][l] = swap ? after : 0;
            u->factor[i][l] = factor;
            u->swapped[i][l] = swap;
            diagonal[l] = (swap ? beside[l] : under) - factor * next;
            beside[l] = swap ? -factor * after : after;
        }
    }
}

/* x becomes a multiple of (T − λ)⁻¹ x, of norm one. */
static void solve(size_t n, const elimination *u)
{
    double squares[LANES] = {0}, scale[LANES];
    for (size_t i = 0; i + 1 < n; i++)
        for (size_t l = 0; l < LANES; l++) {
            const int swap = u->swapped[i][l] > 0;
            const double a = u->x[i][l], b = u->x[i + 1][l], upper = swap ? b : a;
            u->x[i][l] = upper;
            u->x[i + 1][l] = (swap ? a : b) - u->factor[i][l] * upper;
        }
    double after[LANES] = {0}, second[LANES] = {0};
    for (size_t i = n; i-- > 0;)
        for (size_t l = 0; l < LANES; l++) {
            const double x = (u->x[i][l] - u->next[i][l] * after[l] - u->second[i][l] * second[l]) *
                             u->reciprocal[i][l];
            u->x[i][l] = x;
            squares[l] += x * x;
            second[l] = after[l];
            after[l] = x;
        }
    for (size_t l = 0; l < LANES; l++)
        scale[l] = 1 / sqrt(squares[l]);
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++)
            u->x[i][l] *= scale[l];
}

/* Another start for each lane: vectors of equal eigenvalues then differ. Uniform in −½ … ½. */
static void start(size_t n, size_t first, double (*x)[LANES])
{
    uint64_t state = 0x9e3779b97f4a7c15u * (first + 1);
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            x[i][l] = (double)(state >> 11) * 0x1p-53 - .5;
        }
}

/* The largest element of T x − λ x. NaN, which an overflow leaves, becomes infinite. */
static double residual(size_t n, const double *d, const double *e, double w, const double *x)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double before = i > 0 ? e[i - 1] * x[i - 1] : 0;
        const double after = i + 1 < n ? e[i] * x[i + 1] : 0;
        const double size = fabs(before + (d[i] - w) * x[i] + after);
        worst = size <= worst ? worst : size == size ? size : (double)INFINITY;
    }
    return worst;
}

bool mc_tridiagonal_vectors(size_t n, const double *d, const double *e, size_t count,
                            const double *w, double *z, double *work)
{
    const elimination u = place(work, n);
    const double norm = norm_of(n, d, e), limit = 64 * DBL_EPSILON * norm;
    for (size_t first = 0; first < count; first += LANES) {
        const size_t used = count - first < LANES ? count - first : LANES;
        double values[LANES];
        for (size_t l = 0; l < LANES; l++)
            values[l] = w[first + (l < used ? l : used - 1)];
        eliminate(n, d, e, values, norm, &u);
        start(n, first, u.x);
        /* One step is nearly always enough: it gains fifteen digits. The second is for safety. */
        solve(n, &u);
        solve(n, &u);
        for (size_t l = 0; l < used; l++) {
            double *const row = z + (first + l) * n;
            for (size_t i = 0; i < n; i++)
                row[i] = u.x[i][l];
            if (!(residual(n, d, e, values[l], row) <= limit))
                return false;
        }
    }
    return true;
}

/* ---- inverse root ---------------------------------------------------------------------------- */

/*
 * x^(−½) = 2/π ∫ dt / (x + t²). With t = √low · sc(u), an elliptic function, the integrand is
 * periodic in u, and the midpoint rule is the best rational approximation there is, that of
 * Zolotarev (Hale, Higham and Trefethen 2008, Computing A^α, log(A), and related matrix functions
 * by contour integrals, section 4). Its error is exp(−2π² poles / (log(high / low) + 2.77)). With
 * an exponent of −31, the relative error is at most 2e-13 for ratios up to 1e16, which take 63
 * poles.
 */
enum { MOST_POLES = 64, AGM_STEPS = 12 };

typedef struct poles {
    size_t count;
    double shift[MOST_POLES], weight[MOST_POLES]; /* x^(−½) ≈ Σ weight / (x + shift) */
} poles;

/* The arithmetic-geometric mean of 1 and k, with the steps that give amplitudes from it. */
typedef struct agm {
    size_t steps;
    double a[AGM_STEPS + 1], b[AGM_STEPS + 1], c[AGM_STEPS + 1]; /* a² = b² + c² */
} agm;

static agm agm_of(double k)
{
    agm m = {.a = {1}};
    double b = k;
    while (m.steps < AGM_STEPS && m.a[m.steps] - b > DBL_EPSILON * b) {
        const double a = m.a[m.steps++];
        m.a[m.steps] = (a + b) / 2;
        m.c[m.steps] = (a - b) / 2;
        b = sqrt(a * b);
        m.b[m.steps] = b;
    }
    return m;
}

/*
 * sc(u): the tangent of the amplitude, by descending Landen transformations. Where c / a is nearly
 * 1, asin(c / a · sin) loses half of the digits; the sides of its triangle do not.
 */
static double tangent(const agm *m, double u)
{
    double phase = ldexp(m->a[m->steps] * u, (int)m->steps);
    for (size_t i = m->steps; i > 0; i--) {
        const double across = m->c[i] * sin(phase), along = m->c[i] * cos(phase);
        phase = (phase + atan2(across, hypot(m->b[i], along))) / 2;
    }
    return tan(phase);
}

static poles find_poles(double low, double high)
{
    static const double pi = 3.14159265358979323846, digits = 31; /* e^−31 = 3e-14 */
    const double k = sqrt(low / high);
    const agm m = agm_of(k);
    const double period = pi / 2 / m.a[m.steps];
    poles p = {.count = (size_t)ceil(digits * (log(high / low) + 2.77) / (2 * pi * pi))};
    for (size_t j = 0; j < p.count; j++) {
        const size_t mirrored = p.count - 1 - j, near = j < mirrored ? j : mirrored;
        const double t = tangent(&m, ((double)near + .5) * period / (double)p.count);
        const double sc = j > near ? 1 / (k * t) : t; /* exact where the tangent is steep */
        p.shift[j] = low * sc * sc;
        p.weight[j] = 2 * sqrt(low) * period / (pi * (double)p.count) *
                      sqrt((1 + k * k * sc * sc) * (1 + sc * sc));
    }
    return p;
}

/*
 * The inverse of a tridiagonal matrix is made of products. With the pivots p of T + shift from the
 * first row on and l_i = −e_i / p_i, its rows from the last one on are
 *
 *     X_ij = l_i X_(i+1)j for j > i,   X_ii = 1 / p_i + l_i X_i(i+1).
 */
typedef struct inverse {
    double *ratio, *own, *row; /* l_i, weight / p_i, and the elements of row i from i to end − 1 */
    size_t end;
} inverse;

static inverse invert(size_t n, const double *d, const double *e, double shift, double weight,
                      double *work)
{
    const inverse x = {work, work + n, work + 2 * n, n};
    double pivot = d[0] + shift;
    for (size_t i = 0; i < n; i++) {
        x.own[i] = weight / pivot;
        x.ratio[i] = i + 1 < n ? -e[i] / pivot : 0;
        if (i + 1 < n)
            pivot = d[i + 1] + shift + e[i] * x.ratio[i];
    }
    return x;
}

/*
 * From row i + 1 to row i, which is added to `out`. Elements decay away from the diagonal; those
 * below `negligible` are dropped before they become slow denormal numbers.
 */
static void next_row(inverse *x, size_t i, double negligible, double *restrict out)
{
    double *restrict const row = x->row;
    const double ratio = x->ratio[i];
    while (x->end > i + 1 && fabs(row[x->end - 1]) < negligible)
        x->end--;
    for (size_t j = i + 1; j < x->end; j++) {
        row[j] *= ratio;
        out[j] += row[j];
    }
    row[i] = x->own[i] + (i + 1 < x->end ? ratio * row[i + 1] : 0);
    out[i] += row[i];
}

/* The sum of the inverses for all poles, and the trace of T times that. */
static double sum_inverses(size_t n, const double *d, const double *e, const poles *p, double high,
                           double *root, double *work)
{
    inverse parts[MOST_POLES];
    for (size_t k = 0; k < p->count; k++)
        parts[k] = invert(n, d, e, p->shift[k], p->weight[k], work + 3 * k * n);
    /* An element grows by at most the root of high / low in the rows above. */
    const double negligible = 1e-40 / sqrt(high);
    double trace = 0;
    for (size_t i = n; i-- > 0;) {
        double *const out = root + i * n;
        memset(out + i, 0, (n - i) * sizeof *out);
        for (size_t k = 0; k < p->count; k++)
            next_row(&parts[k], i, negligible, out);
        trace += d[i] * out[i] + (i + 1 < n ? 2 * e[i] * out[i + 1] : 0);
    }
    return trace;
}

/*
 * Projects S [n, n], of which only the upper triangle is stored, onto what is orthogonal to v, of
 * norm one. With y = S v that is S − v zᵀ − z vᵀ, z = y − ½ (vᵀ y) v. Returns vᵀ y.
 */
static double project(size_t n, const double *v, double *s, double *z)
{
    double along = 0;
    memset(z, 0, n * sizeof *z);
    for (size_t i = 0; i < n; i++) {
        const double *const row = s + i * n;
        double sum = row[i] * v[i];
        for (size_t j = i + 1; j < n; j++) {
            sum += row[j] * v[j];
            z[j] += row[j] * v[i];
        }
        z[i] += sum;
    }
    for (size_t i = 0; i < n; i++)
        along += v[i] * z[i];
    for (size_t i = 0; i < n; i++)
        z[i] -= along / 2 * v[i];
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++)
            s[i * n + j] -= v[i] * z[j] + z[i] * v[j];
    return along;
}

/* The `count` lowest eigenvalues, and in the rows of v [count, n] their vectors if it is true. */
static bool find_lowest(size_t n, const double *d, const double *e, double norm, size_t count,
                        double *w, double *v, double *work)
{
    for (size_t i = 0; i < count; i++)
        w[i] = eigenvalue(n, d, e, norm, i);
    if (!mc_tridiagonal_vectors(n, d, e, count, w, v, work))
        return false;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++) {
            double product = 0;
            for (size_t j = 0; j < n; j++)
                product += v[i * n + j] * v[k * n + j];
            if (!(fabs(product) <= 1e-10))
                return false;
        }
    return true;
}

/* Eigenvectors that are dropped one by one. More of them are left to LAPACK. */
enum { MOST_DROPPED = LANES };

size_t mc_tridiagonal_root_work(size_t n)
{
    const size_t inverses = 3 * n * MOST_POLES, vectors = mc_tridiagonal_vectors_work(n);
    return MOST_DROPPED * n + (inverses > vectors ? inverses : vectors);
}

bool mc_tridiagonal_root(size_t n, const double *d, const double *e, double share, double *root,
                         double *trace, double *work)
{
    const double norm = norm_of(n, d, e);
    double *const vectors = work, *const rest = work + MOST_DROPPED * n;
    double w[MOST_DROPPED] = {0};
    if (!(share * norm > DBL_MIN) || !(norm < DBL_MAX))
        return false;
    const double high = eigenvalue(n, d, e, norm, n - 1), low = share * high;
    const size_t dropped = one_count_below(n, d, e, norm, low);
    if (dropped > MOST_DROPPED || dropped == n ||
        !find_lowest(n, d, e, norm, dropped, w, vectors, rest))
        return false;
    const double lowest = eigenvalue(n, d, e, norm, dropped);
    const poles p = find_poles(fmax(low, lowest * .99), high * 1.01);
    *trace = sum_inverses(n, d, e, &p, high, root, rest);
    for (size_t i = 0; i < dropped; i++) {
        *trace -= w[i] * project(n, vectors + i * n, root, rest);
        *trace += w[i] > DBL_EPSILON * (double)n * high ? sqrt(w[i]) : 0;
    }
    return true;
}

bool mc_tridiagonal_lowest(size_t n, const double *d, const double *e, double share, size_t count,
                           double *w, double *z, double *work)
{
    const double norm = norm_of(n, d, e), high = eigenvalue(n, d, e, norm, n - 1);
    const size_t dropped = one_count_below(n, d, e, norm, share * high);
    if (dropped + count > n)
        return false;
    consecutive(n, d, e, norm, dropped, count, w);
    return mc_tridiagonal_vectors(n, d, e, count, w, z, work);
}
