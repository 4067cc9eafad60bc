#include "transplant/gram.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/team.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = MC_GRAM_BLOCK };

/* No more memory than this, and no more than a quarter of the machine's. */
static const size_t most_bytes = (size_t)8 << 30;

/* The relative error of one operation in float32. */
static const double rounding = 1.0 / (1 << 24);

static const mc_gram_table *table(void)
{
#if MC_SIMD
    static const mc_gram_table *const tables[MC_CPU_LEVELS] = {&mc_gram_scalar, &mc_gram_avx2,
                                                               &mc_gram_avx512};
    return tables[mc_cpu()];
#else
    return &mc_gram_scalar;
#endif
}

/* The longest point whose products with others are finite in float32, with a wide margin. */
static const double longest = 1e15;

bool mc_gram_pays(const mc_points *points, const mc_norms *norms, size_t count, size_t terms)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    const size_t quarter = pages > 0 && page > 0 ? (size_t)pages / 4 * (size_t)page : 0;
    const size_t limit = quarter < most_bytes ? quarter : most_bytes;
    bool moderate = true;
    for (size_t i = 0; i < points->count; i += BLOCK)
        moderate &= norms->largest[i / BLOCK] < longest;
    /* Without the table, each target takes `terms` products with all points; twice, as a margin. */
    return points->count < count * terms / 2 && points->count <= limit / (points->count + 1) &&
           moderate;
}

/* ---- making ---------------------------------------------------------------------------------- */

static size_t block_points(const mc_gram *g, size_t block)
{
    const size_t left = g->points->count - block * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

/* A row's products with the points of a block, every `step`-th value of `products`. */
static void store(mc_gram *g, size_t point, size_t block, const float *products, size_t step)
{
    const size_t count = block_points(g, block);
    int8_t *const bytes = g->bytes + point * g->stride + block * BLOCK;
    float values[BLOCK], largest = 0;
    for (size_t i = 0; i < count; i++)
        values[i] = products[i * step];
    /* That with itself is never needed, and would be far larger than the others. */
    if (point / BLOCK == block)
        values[point % BLOCK] = 0;
    for (size_t i = 0; i < count; i++)
        largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    /*
     * 127 / largest would overflow: bytes of 0, and a scale that covers what they leave out, and
     * what was too small for float32.
     */
    const bool tiny = largest < 1e-30f;
    g->scales[point * g->blocks + block] = tiny
                                               ? 2 * largest + 2 * (float)g->points->width * FLT_MIN
                                               : largest / 127;
    for (size_t i = 0; !tiny && i < count; i++)
        bytes[i] = (int8_t)rintf(values[i] * (127 / largest));
}

typedef struct filling {
    mc_gram *gram;
    const mc_lapack *lapack;
} filling;

/* Products of block `a` with blocks a, a + 1, …: each tile is stored twice, as it is symmetric. */
static mc_status fill_item(void *arg, int worker, size_t a, mc_error *error)
{
    const filling *const f = arg;
    mc_gram *const g = f->gram;
    const int width = (int)g->points->width, n = (int)block_points(g, a);
    const float *const rows = g->points->rows, one = 1, zero = 0;
    float *const tile = mc_alloc((size_t)BLOCK * BLOCK * sizeof *tile);
    (void)worker;
    if (!tile)
        return mc_fail_memory(error);
    for (size_t b = a; b < g->blocks; b++) {
        const int m = (int)block_points(g, b);
        f->lapack->sgemm("T", "N", &m, &n, &width, &one, rows + b * BLOCK * g->points->width,
                         &width, rows + a * BLOCK * g->points->width, &width, &zero, tile, &m, 1,
                         1);
        for (size_t i = 0; i < (size_t)n; i++)
            store(g, a * BLOCK + i, b, tile + i * (size_t)m, 1);
        for (size_t i = 0; a != b && i < (size_t)m; i++)
            store(g, b * BLOCK + i, a, tile + i, (size_t)m);
    }
    mc_free(tile);
    return MC_OK;
}

mc_status mc_gram_fill(const mc_points *points, const mc_norms *norms, const mc_lapack *lapack,
                       int threads, mc_gram *out, mc_error *error)
{
    const size_t blocks = (points->count + BLOCK - 1) / BLOCK;
    *out = (mc_gram){.points = points, .norms = norms, .blocks = blocks, .stride = blocks * BLOCK};
    out->bytes = mc_alloc_zero(points->count, out->stride);
    out->scales = mc_alloc(points->count * blocks * sizeof *out->scales);
    if (!out->bytes || !out->scales)
        return mc_fail_memory(error);
    filling f = {out, lapack};
    return mc_parallel(blocks, threads, fill_item, &f, error);
}

void mc_gram_free(mc_gram *gram)
{
    mc_free(gram->bytes);
    mc_free(gram->scales);
    *gram = (mc_gram){0};
}

/* ---- using ----------------------------------------------------------------------------------- */

/*
 * In float32, a sum of n products is wrong by n · rounding · (the norms) at most (Higham 2002,
 * §3.1), and each product that is too small for it by FLT_MIN. Eight more operations are those
 * that round the operands and add up four products.
 */
double mc_product_error(const mc_points *points, const mc_norms *norms, size_t block, size_t more)
{
    const double operations = (double)(points->width + more + 8);
    return norms->largest[block] < longest
               ? operations * (rounding * norms->largest[block] + (double)FLT_MIN)
               : (double)INFINITY;
}

/* The error bound of a block's products: half a step of each byte, and float32 rounding. */
static double bound_of(const mc_gram *g, const mc_gram_terms *terms, size_t block)
{
    const double each = mc_product_error(g->points, g->norms, block, terms->count);
    double sum = each;
    for (size_t k = 0; k < terms->count; k++) {
        const size_t point = terms->points[k];
        sum += fabs(terms->weights[k]) *
               (0.505 * g->scales[point * g->blocks + block] + each * g->norms->points[point]);
    }
    return sum;
}

void mc_gram_update(const mc_gram *g, const mc_gram_terms *terms, const float *initial,
                    float *products, double *bounds)
{
    const mc_gram_table *const kernels = table();
    memcpy(products, initial, g->stride * sizeof *products);
    for (size_t b = 0; b < g->blocks; b++) {
        bounds[b] = bound_of(g, terms, b);
        for (size_t k = 0; k < terms->count; k += 4) {
            const int8_t *rows[4];
            float weights[4];
            for (size_t i = 0; i < 4; i++) {
                /* After the last one, the same again with weight 0. */
                const size_t at = k + i < terms->count ? k + i : k, point = terms->points[at];
                rows[i] = g->bytes + point * g->stride + b * BLOCK;
                weights[i] = k + i < terms->count
                                 ? (float)(terms->weights[at] * g->scales[point * g->blocks + b])
                                 : 0;
            }
            kernels->subtract(rows, weights, products + b * BLOCK);
        }
    }
}
