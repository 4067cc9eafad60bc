#include "transplant/pursuit.h"

#include "base/memory.h"
#include "base/team.h"
#include "linalg/lapack.h"
#include "transplant/gram.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/*
 * Targets are computed in batches: a product of a batch and a block of points reads the points once
 * for all targets of the batch. Both sizes depend on the problem only, so that results do not
 * depend on threads. A block of products, 128 · 1,024 floats, stays in the cache of a core.
 *
 * With many targets, the products of all pairs of points come first (gram.h). Then a round reads a
 * byte per point and chosen point, where it took `width` operations per point before. GRAM_BATCH
 * targets begin together.
 *
 * Neither products are exact, but their errors are bounded: every point that may be the best is
 * compared by its product in double. So the choice depends neither on which products were used,
 * which the memory of the machine decides, nor on the BLAS library.
 */
enum { MOST_BATCH = 128, POINT_BLOCK = MC_GRAM_BLOCK, GRAM_BATCH = 32 };

/* Memory for the orthogonal directions of a batch. */
static const size_t batch_bytes = (size_t)128 << 20;

/* A residual that is smaller than this share of its vector is rounding. */
static const double nothing = 1e-6;

typedef struct task {
    const mc_lapack *lapack;
    const mc_points *points;
    const mc_norms *norms; /* mc_pursue */
    const double *squares; /* mc_nearest: the lengths of points, squared */
    const float *targets;
    size_t count, batch;
    const mc_gram *gram; /* NULL: not used */
    mc_combinations *out;
} task;

/* ---- vectors --------------------------------------------------------------------------------- */

/* In eight sums, in a fixed order, so that the compiler can use vectors. */
static double dot(const double *a, const double *b, size_t count)
{
    double sums[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += a[i + k] * b[i + k];
    for (size_t k = 0; k < 8; k++)
        sum += sums[k];
    for (; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static void subtract(double *a, double scale, const double *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        a[i] -= scale * b[i];
}

/*
 * products [rows, block] = rows of `left` · points[first … first + block − 1]; the rows of products
 * are `stride` elements apart.
 */
static void multiply(const task *t, const float *left, size_t rows, size_t first, size_t block,
                     float *products, size_t stride)
{
    const int m = (int)block, n = (int)rows, k = (int)t->points->width, ldc = (int)stride;
    const float one = 1, zero = 0;
    t->lapack->sgemm("T", "N", &m, &n, &k, &one, t->points->rows + first * t->points->width, &k,
                     left, &k, &zero, products, &ldc, 1, 1);
}

/* ---- orthogonal matching pursuit ------------------------------------------------------------- */

/* One target while its points are found. */
typedef struct pursuit {
    double *residual;   /* [width] */
    double *directions; /* [terms, width]: orthonormal, of the same span as the points */
    double *triangle;   /* [terms, terms]: column s has point s in terms of the directions */
    double *products;   /* [terms]: of the target and the directions */
    double norm;        /* of the target */
    size_t found;
    bool done;
    double best; /* of this round */
    size_t best_point;
} pursuit;

/* A worker's memory. */
typedef struct bench {
    pursuit *pursuits; /* [batch] */
    double *doubles;   /* behind their pointers */
    double *point;     /* [width] */
    float *residuals;  /* [rows, width]: divided by their lengths */
    float *products;   /* [rows, POINT_BLOCK] */
} bench;

static void free_bench(bench *b)
{
    mc_free(b->pursuits);
    mc_free(b->doubles);
    mc_free(b->residuals);
    mc_free(b->products);
}

/* `batch`: pursuits at a time; `rows`: products at a time. */
static mc_status new_bench(const task *t, size_t batch, size_t rows, bench *b, mc_error *error)
{
    const size_t width = t->points->width, terms = t->out->terms;
    const size_t each = width + terms * width + terms * terms + terms;
    b->pursuits = mc_alloc_zero(batch, sizeof *b->pursuits);
    b->doubles = mc_alloc((batch * each + width) * sizeof *b->doubles);
    b->residuals = mc_alloc(rows * width * sizeof *b->residuals);
    b->products = mc_alloc(rows * POINT_BLOCK * sizeof *b->products);
    if (!b->pursuits || !b->doubles || !b->residuals || !b->products) {
        free_bench(b);
        return mc_fail_memory(error);
    }
    double *at = b->doubles;
    for (size_t i = 0; i < batch; i++, at += each)
        b->pursuits[i] = (pursuit){.residual = at,
                                   .directions = at + width,
                                   .triangle = at + width + terms * width,
                                   .products = at + width + terms * width + terms * terms};
    b->point = at;
    return MC_OK;
}

static void begin(const task *t, pursuit *p, const float *target)
{
    for (size_t i = 0; i < t->points->width; i++)
        p->residual[i] = target[i];
    p->norm = sqrt(dot(p->residual, p->residual, t->points->width));
    p->found = 0;
    p->done = p->norm == 0;
}

static bool is_chosen(const pursuit *p, const uint32_t *points, size_t point)
{
    size_t s = 0;
    while (s < p->found && points[s] != point)
        s++;
    return s < p->found;
}

static const double *load_point(const task *t, size_t index, double *point)
{
    const float *const row = t->points->rows + index * t->points->width;
    for (size_t i = 0; i < t->points->width; i++)
        point[i] = row[i];
    return point;
}

/* Of two points with the same product the first counts. */
static void consider(const task *t, pursuit *p, const uint32_t *points, size_t index,
                     double *buffer)
{
    if (is_chosen(p, points, index))
        return;
    const double size = fabs(dot(p->residual, load_point(t, index, buffer), t->points->width));
    if (size > p->best || (size == p->best && size > 0 && p->best_point > index)) {
        p->best = size;
        p->best_point = index;
    }
}

static float largest_of(const float *products, size_t count)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++) {
        const float size = fabsf(products[i]);
        largest = size > largest ? size : largest;
    }
    return largest;
}

/*
 * Compares the points of a block that may be better than the best so far. `scale`: the product of
 * the residual divided by that of which `products` are, which are wrong by `bound` at most.
 */
static void scan(const task *t, pursuit *p, const uint32_t *points, const float *products,
                 size_t first, size_t count, double bound, double scale, double *buffer)
{
    /* Two loops: a search of the largest alone is vectorised, and most blocks end with it. */
    const float largest = largest_of(products, count);
    if ((largest + bound) * scale < p->best)
        return;
    size_t i = 0;
    while (i + 1 < count && fabsf(products[i]) != largest)
        i++;
    /* First, so that few others need to be compared. */
    consider(t, p, points, first + i, buffer);
    /* Written so that NaN, after an overflow, is compared. */
    for (i = 0; i < count; i++)
        if (!((fabsf(products[i]) + bound) * scale < p->best))
            consider(t, p, points, first + i, buffer);
}

/* Takes the directions' shares from a vector, and adds them to a column of the triangle. */
static void project(const pursuit *p, size_t width, double *point, double *column)
{
    for (size_t k = 0; k < p->found; k++) {
        const double *const direction = p->directions + k * width;
        const double share = dot(point, direction, width);
        column[k] += share;
        subtract(point, share, direction, width);
    }
}

/*
 * Adds the best point: its part that is orthogonal to the directions becomes one. What is left
 * has rounding errors of the size of what was taken; if that was most of it, once more is needed,
 * and enough (Daniel, Gragg, Kaufman, Stewart 1976). Nothing is left to find if all products are 0.
 */
static void add_best(const task *t, pursuit *p, uint32_t *points, double *point)
{
    const size_t width = t->points->width, terms = t->out->terms, s = p->found;
    double *const column = p->triangle + s * terms;
    p->done |= p->best == 0;
    if (p->done)
        return;
    load_point(t, p->best_point, point);
    const double whole = sqrt(dot(point, point, width));
    memset(column, 0, terms * sizeof *column);
    project(p, width, point, column);
    double norm = sqrt(dot(point, point, width));
    if (norm < .7 * whole) {
        project(p, width, point, column);
        norm = sqrt(dot(point, point, width));
    }
    if (!(norm > nothing * whole)) {
        p->done = true;
        return;
    }
    double *const direction = p->directions + s * width;
    for (size_t i = 0; i < width; i++)
        direction[i] = point[i] / norm;
    column[s] = norm;
    p->products[s] = dot(p->residual, direction, width);
    subtract(p->residual, p->products[s], direction, width);
    points[s] = (uint32_t)p->best_point;
    p->found++;
    p->done = sqrt(dot(p->residual, p->residual, width)) <= nothing * p->norm;
}

/* The weights of least squares: triangle · weights = products. */
static void solve(const pursuit *p, size_t terms, double *weights)
{
    for (size_t s = p->found; s-- > 0;) {
        double sum = p->products[s];
        for (size_t k = s + 1; k < p->found; k++)
            sum -= p->triangle[k * terms + s] * weights[k];
        weights[s] = sum / p->triangle[s * terms + s];
    }
}

/* Divides a vector by its length, so that its products neither vanish nor overflow. */
static void shorten(const double *vector, double norm, size_t width, float *out)
{
    for (size_t i = 0; i < width; i++)
        out[i] = norm > 0 ? (float)(vector[i] / norm) : 0;
}

/* One round: the best point of every target that is not done. */
static void search(const task *t, bench *b, size_t first, size_t rows)
{
    const size_t width = t->points->width, terms = t->out->terms;
    double norms[MOST_BATCH];
    for (size_t i = 0; i < rows; i++) {
        pursuit *const p = &b->pursuits[i];
        p->best = 0;
        norms[i] = sqrt(dot(p->residual, p->residual, width));
        shorten(p->residual, norms[i], width, b->residuals + i * width);
    }
    for (size_t at = 0; at < t->points->count; at += POINT_BLOCK) {
        const size_t left = t->points->count - at, block = left < POINT_BLOCK ? left : POINT_BLOCK;
        const double bound = mc_product_error(t->points, t->norms, at / POINT_BLOCK, 0);
        multiply(t, b->residuals, rows, at, block, b->products, block);
        for (size_t i = 0; i < rows; i++)
            if (!b->pursuits[i].done)
                scan(t, &b->pursuits[i], t->out->points + (first + i) * terms,
                     b->products + i * block, at, block, bound, norms[i], b->point);
    }
}

static void pursue_batch(const task *t, bench *b, size_t first, size_t rows)
{
    const size_t width = t->points->width, terms = t->out->terms;
    for (size_t i = 0; i < rows; i++)
        begin(t, &b->pursuits[i], t->targets + (first + i) * width);
    for (size_t round = 0; round < terms; round++) {
        search(t, b, first, rows);
        for (size_t i = 0; i < rows; i++) {
            pursuit *const p = &b->pursuits[i];
            add_best(t, p, t->out->points + (first + i) * terms, b->point);
        }
    }
    for (size_t i = 0; i < rows; i++)
        solve(&b->pursuits[i], terms, t->out->weights + (first + i) * terms);
}

static mc_status pursue_item(void *arg, int worker, size_t item, mc_error *error)
{
    const task *const t = arg;
    const size_t first = item * t->batch, left = t->count - first;
    bench b = {0};
    (void)worker;
    MC_TRY(new_bench(t, t->batch, t->batch, &b, error));
    pursue_batch(t, &b, first, left < t->batch ? left : t->batch);
    free_bench(&b);
    return MC_OK;
}

/* ---- the same by the products of pairs ------------------------------------------------------- */

/* The best point. The block whose products are largest for certain comes first. */
static void find_best(const task *t, pursuit *p, const uint32_t *points, float *products,
                      const double *bounds, double *buffer)
{
    const size_t all = t->points->count;
    double most = -(double)INFINITY;
    size_t likely = 0;
    p->best = 0;
    for (size_t s = 0; s < p->found; s++)
        products[points[s]] = 0;
    for (size_t b = 0; b < t->gram->blocks; b++) {
        const size_t at = b * POINT_BLOCK, left = all - at;
        const double least = largest_of(products + at, left < POINT_BLOCK ? left : POINT_BLOCK) -
                             bounds[b];
        if (least > most) {
            most = least;
            likely = b;
        }
    }
    for (size_t k = 0; k <= t->gram->blocks; k++) {
        const size_t b = k == 0 ? likely : k - 1, at = b * POINT_BLOCK, left = all - at;
        if (k == 0 || b != likely)
            scan(t, p, points, products + at, at, left < POINT_BLOCK ? left : POINT_BLOCK,
                 bounds[b], p->norm, buffer);
    }
}

static void pursue_one(const task *t, bench *b, size_t target, const float *initial,
                       float *products, double *bounds)
{
    pursuit *const p = b->pursuits;
    const size_t terms = t->out->terms;
    uint32_t *const points = t->out->points + target * terms;
    double *const weights = t->out->weights + target * terms;
    begin(t, p, t->targets + target * t->points->width);
    for (size_t round = 0; round < terms && !p->done; round++) {
        solve(p, terms, weights);
        for (size_t k = 0; k < p->found; k++)
            weights[k] /= p->norm;
        mc_gram_update(t->gram, &(mc_gram_terms){points, weights, p->found}, initial, products,
                       bounds);
        find_best(t, p, points, products, bounds, b->point);
        add_best(t, p, points, b->point);
    }
    solve(p, terms, weights);
}

/* Divides targets by their lengths, as `search` does with residuals. */
static void shorten_targets(const task *t, bench *b, size_t first, size_t rows)
{
    const size_t width = t->points->width;
    for (size_t i = 0; i < rows; i++) {
        pursuit *const p = b->pursuits;
        begin(t, p, t->targets + (first + i) * width);
        shorten(p->residual, p->norm, width, b->residuals + i * width);
    }
}

static mc_status pursue_by_pairs(void *arg, int worker, size_t item, mc_error *error)
{
    const task *const t = arg;
    const size_t first = item * GRAM_BATCH, left = t->count - first, stride = t->gram->stride;
    const size_t rows = left < GRAM_BATCH ? left : GRAM_BATCH;
    bench b = {0};
    (void)worker;
    MC_TRY(new_bench(t, 1, GRAM_BATCH, &b, error));
    float *const initial = mc_alloc_zero((GRAM_BATCH + 1) * stride, sizeof *initial);
    double *const bounds = mc_alloc(t->gram->blocks * sizeof *bounds);
    const bool ready = initial && bounds;
    shorten_targets(t, &b, first, rows);
    for (size_t at = 0; ready && at < t->points->count; at += POINT_BLOCK) {
        const size_t rest = t->points->count - at, block = rest < POINT_BLOCK ? rest : POINT_BLOCK;
        multiply(t, b.residuals, rows, at, block, initial + at, stride);
    }
    for (size_t i = 0; ready && i < rows; i++)
        pursue_one(t, &b, first + i, initial + i * stride, initial + GRAM_BATCH * stride, bounds);
    mc_free(bounds);
    mc_free(initial);
    free_bench(&b);
    return ready ? MC_OK : mc_fail_memory(error);
}

static mc_status pursue_all_by_pairs(task *t, int threads, mc_error *error)
{
    mc_gram gram;
    mc_status status = mc_gram_fill(t->points, t->norms, t->lapack, threads, &gram, error);
    t->gram = &gram;
    if (status == MC_OK)
        status = mc_parallel((t->count + GRAM_BATCH - 1) / GRAM_BATCH, threads, pursue_by_pairs, t,
                             error);
    mc_gram_free(&gram);
    return status;
}

static void clear(mc_combinations *out, size_t count)
{
    memset(out->points, 0, count * out->terms * sizeof *out->points);
    memset(out->weights, 0, count * out->terms * sizeof *out->weights);
}

static double squared_norm(const mc_points *points, size_t index)
{
    const float *const row = points->rows + index * points->width;
    double sum = 0;
    for (size_t k = 0; k < points->width; k++)
        sum += (double)row[k] * row[k];
    return sum;
}

static void measure(const mc_points *points, mc_norms *norms)
{
    for (size_t i = 0; i < points->count; i++) {
        double *const largest = &norms->largest[i / POINT_BLOCK];
        norms->points[i] = sqrt(squared_norm(points, i));
        *largest = fmax(*largest, norms->points[i]);
    }
}

static mc_status pursue(task *t, int threads, mc_error *error)
{
    clear(t->out, t->count);
    if (mc_gram_pays(t->points, t->norms, t->count, t->out->terms))
        return pursue_all_by_pairs(t, threads, error);
    return mc_parallel((t->count + t->batch - 1) / t->batch, threads, pursue_item, t, error);
}

mc_status mc_pursue(const mc_points *points, const float *targets, size_t count, int threads,
                    mc_combinations *out, mc_error *error)
{
    const size_t each = out->terms * points->width * sizeof(double) + 1;
    const size_t fit = batch_bytes / each, blocks = (points->count + POINT_BLOCK - 1) / POINT_BLOCK;
    mc_norms norms = {mc_alloc(points->count * sizeof *norms.points),
                      mc_alloc_zero(blocks, sizeof *norms.largest)};
    task t = {.points = points,
              .norms = &norms,
              .targets = targets,
              .count = count,
              .batch = fit < 8            ? 8
                       : fit > MOST_BATCH ? MOST_BATCH
                                          : fit,
              .out = out};
    mc_status status = norms.points && norms.largest ? mc_lapack_get(&t.lapack, error)
                                                     : mc_fail_memory(error);
    if (status == MC_OK) {
        measure(points, &norms);
        status = pursue(&t, threads, error);
    }
    mc_free(norms.points);
    mc_free(norms.largest);
    return status;
}

/* ---- nearest points -------------------------------------------------------------------------- */

/* The nearest points so far: a heap with the farthest of them in front. */
typedef struct nearest {
    double distance;
    uint32_t point;
} nearest;

static bool is_farther(const nearest *a, const nearest *b)
{
    return a->distance > b->distance || (a->distance == b->distance && a->point > b->point);
}

static void sift(nearest *heap, size_t count, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && is_farther(&heap[child + 1], &heap[child]);
        if (!is_farther(&heap[child], &heap[at]))
            return;
        const nearest swapped = heap[at];
        heap[at] = heap[child];
        heap[child] = swapped;
    }
}

static void offer(nearest *heap, size_t *count, size_t terms, nearest one)
{
    if (*count < terms) {
        heap[(*count)++] = one;
        for (size_t i = *count == terms ? terms / 2 + 1 : 0; i-- > 0;)
            sift(heap, terms, i);
    } else if (is_farther(&heap[0], &one)) {
        heap[0] = one;
        sift(heap, terms, 0);
    }
}

/* Weights by the distances themselves: products in float32 lose those of near points. */
static void weigh(const task *t, const float *target, const nearest *heap, uint32_t *points,
                  double *weights)
{
    const size_t width = t->points->width, terms = t->out->terms;
    double sum = 0;
    for (size_t s = 0; s < terms; s++) {
        const float *const row = t->points->rows + heap[s].point * width;
        double square = 0;
        for (size_t i = 0; i < width; i++) {
            const double difference = (double)target[i] - row[i];
            square += difference * difference;
        }
        points[s] = heap[s].point;
        weights[s] = 1 / fmax(sqrt(square), 1e-6);
        sum += weights[s];
    }
    for (size_t s = 0; s < terms; s++)
        weights[s] /= sum;
}

static void nearest_batch(const task *t, nearest *heaps, size_t *counts, float *products,
                          size_t first, size_t rows)
{
    const size_t width = t->points->width, terms = t->out->terms;
    const float *const targets = t->targets + first * width;
    memset(counts, 0, rows * sizeof *counts);
    for (size_t at = 0; at < t->points->count; at += POINT_BLOCK) {
        const size_t left = t->points->count - at, block = left < POINT_BLOCK ? left : POINT_BLOCK;
        multiply(t, targets, rows, at, block, products, block);
        for (size_t i = 0; i < rows; i++)
            for (size_t k = 0; k < block; k++)
                /* The target's own norm is the same for all points. */
                offer(heaps + i * terms, &counts[i], terms,
                      (nearest){t->squares[at + k] - 2. * products[i * block + k],
                                (uint32_t)(at + k)});
    }
    for (size_t i = 0; i < rows; i++)
        weigh(t, targets + i * width, heaps + i * terms, t->out->points + (first + i) * terms,
              t->out->weights + (first + i) * terms);
}

static mc_status nearest_item(void *arg, int worker, size_t item, mc_error *error)
{
    const task *const t = arg;
    const size_t first = item * t->batch, left = t->count - first;
    nearest *const heaps = mc_alloc(t->batch * t->out->terms * sizeof *heaps);
    size_t *const counts = mc_alloc(t->batch * sizeof *counts);
    float *const products = mc_alloc(t->batch * POINT_BLOCK * sizeof *products);
    (void)worker;
    const bool ready = heaps && counts && products;
    if (ready)
        nearest_batch(t, heaps, counts, products, first, left < t->batch ? left : t->batch);
    mc_free(heaps);
    mc_free(counts);
    mc_free(products);
    return ready ? MC_OK : mc_fail_memory(error);
}

mc_status mc_nearest(const mc_points *points, const float *targets, size_t count, int threads,
                     mc_combinations *out, mc_error *error)
{
    double *const squares = mc_alloc(points->count * sizeof *squares);
    task t = {.points = points,
              .squares = squares,
              .targets = targets,
              .count = count,
              .batch = MOST_BATCH,
              .out = out};
    mc_status status = squares ? mc_lapack_get(&t.lapack, error) : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < points->count; i++)
        squares[i] = squared_norm(points, i);
    if (status == MC_OK) {
        clear(out, count);
        status = mc_parallel((count + t.batch - 1) / t.batch, threads, nearest_item, &t, error);
    }
    mc_free(squares);
    return status;
}
