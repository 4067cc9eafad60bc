/*
 * What methods are made of: loops over tiles of mc_real.
 *
 * A tile is a plain array of `count` elements; `models` are model_count tiles of as many. count may
 * be 0; model_count is at least 1. An output may be the very same array as an input but not overlap
 * one in another way. Where `models` are passed over several times, in mc_tile_sum, mc_tile_mean,
 * mc_tile_weighted_mean, mc_tile_smallest, mc_tile_largest and mc_tile_max_magnitude, `out` may be
 * the first model but no other; in mc_tile_median it may be none of them.
 *
 * Numbers: every operation is rounded on its own to mc_real (no fused multiply-add), sums go
 * through the models in order, so the same source gives the same bits on every CPU. Infinities and
 * NaN follow arithmetic unless stated otherwise. Reductions to one double have a fixed order too:
 * see mc_tile_dot.
 *
 * It is all plain C that compilers vectorise; user methods get the same speed from loops of their
 * own.
 */
#ifndef MERGECRAFT_TILE_H
#define MERGECRAFT_TILE_H

#include <mergecraft/method.h>

MC_BEGIN_DECLS

/*
 * Before a loop whose iterations are independent, also where an output is the same array as an
 * input.
 */
#if defined(__clang__)
#define MC_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define MC_INDEPENDENT _Pragma("GCC ivdep")
#else
#define MC_INDEPENDENT
#endif

/*
 * On a pass over one model that is made for each of several: keeps compilers from mixing the loop
 * over models into it, which stops them from vectorising it.
 */
#if defined(__GNUC__)
#define MC_PASS static MC_UNUSED __attribute__((noinline))
#else
#define MC_PASS static
#endif

/*
 * Elements that several passes over models are made in at once: inputs and result of such a block
 * stay in the first cache.
 */
#define MC_TILE_BLOCK ((size_t)512)

/* The length of the block that begins at `start`. */
static inline size_t mc_tile_block(size_t start, size_t count)
{
    return count - start < MC_TILE_BLOCK ? count - start : MC_TILE_BLOCK;
}

/* out = a */
static inline void mc_tile_copy(mc_real *out, const mc_real *a, size_t count)
{
    if (out != a && count > 0)
        memcpy(out, a, count * sizeof *out);
}

/* out = value */
static inline void mc_tile_fill(mc_real *out, mc_real value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = value;
}

/* out = a + b */
static inline void mc_tile_add(mc_real *out, const mc_real *a, const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] + b[i];
}

/* out = a − b: the task vector, when a is fine-tuned from b */
static inline void mc_tile_subtract(mc_real *out, const mc_real *a, const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] - b[i];
}

/* out = a · b */
static inline void mc_tile_multiply(mc_real *out, const mc_real *a, const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] * b[i];
}

/* out = factor · a */
static inline void mc_tile_scale(mc_real *out, const mc_real *a, mc_real factor, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = factor * a[i];
}

/* out = a / divisor */
static inline void mc_tile_divide(mc_real *out, const mc_real *a, mc_real divisor, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] / divisor;
}

/* out = a + factor · b */
static inline void mc_tile_add_scaled(mc_real *out, const mc_real *a, mc_real factor,
                                      const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] + factor * b[i];
}

/* out = a_factor · a + b_factor · b */
static inline void mc_tile_blend(mc_real *out, mc_real a_factor, const mc_real *a, mc_real b_factor,
                                 const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a_factor * a[i] + b_factor * b[i];
}

/* |x|, also of −0; NaN stays NaN. */
static inline mc_real mc_absolute(mc_real x)
{
    return sizeof x == sizeof(float) ? (mc_real)fabsf((float)x) : (mc_real)fabs((double)x);
}

/* −1, 0 or 1; 0 for NaN */
static inline mc_real mc_sign(mc_real x)
{
    return (mc_real)((x > 0) - (x < 0));
}

/* out = |a| */
static inline void mc_tile_absolute(mc_real *out, const mc_real *a, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = mc_absolute(a[i]);
}

/* out = −1, 0 or 1; 0 for NaN */
static inline void mc_tile_sign(mc_real *out, const mc_real *a, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = mc_sign(a[i]);
}

/* out = a where |a| ≥ threshold, else 0; NaN is kept. */
static inline void mc_tile_keep(mc_real *out, const mc_real *a, mc_real threshold, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = mc_absolute(a[i]) < threshold ? 0 : a[i];
}

/* out = a where mask ≠ 0 (also where it is NaN), else b */
static inline void mc_tile_select(mc_real *out, const mc_real *mask, const mc_real *a,
                                  const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = mask[i] != 0 ? a[i] : b[i];
}

/* out = a, but at least low and at most high; NaN stays NaN. */
static inline void mc_tile_clamp(mc_real *out, const mc_real *a, mc_real low, mc_real high,
                                 size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] < low ? low : a[i] > high ? high : a[i];
}

/* out = models[0] + models[1] + … */
static inline void mc_tile_sum(mc_real *out, const mc_real *const *models, size_t model_count,
                               size_t count)
{
    for (size_t start = 0; start < count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        mc_tile_copy(out + start, models[0] + start, length);
        for (size_t m = 1; m < model_count; m++)
            mc_tile_add(out + start, out + start, models[m] + start, length);
    }
}

/* out = (models[0] + models[1] + …) / model_count */
static inline void mc_tile_mean(mc_real *out, const mc_real *const *models, size_t model_count,
                                size_t count)
{
    for (size_t start = 0; start < count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        mc_tile_copy(out + start, models[0] + start, length);
        for (size_t m = 1; m < model_count; m++)
            mc_tile_add(out + start, out + start, models[m] + start, length);
        mc_tile_divide(out + start, out + start, (mc_real)model_count, length);
    }
}

/*
 * out = (w0 · models[0] + w1 · models[1] + …) / (w0 + w1 + …). Weights are rounded to mc_real,
 * their sum is made in double. A weight of 0 does not hide an infinity or NaN of its model.
 */
static inline void mc_tile_weighted_mean(mc_real *out, const mc_real *const *models,
                                         const double *weights, size_t model_count, size_t count)
{
    double total = 0;
    for (size_t m = 0; m < model_count; m++)
        total += weights[m];
    for (size_t start = 0; start < count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        mc_tile_scale(out + start, models[0] + start, (mc_real)weights[0], length);
        for (size_t m = 1; m < model_count; m++)
            mc_tile_add_scaled(out + start, out + start, (mc_real)weights[m], models[m] + start,
                               length);
        mc_tile_divide(out + start, out + start, (mc_real)total, length);
    }
}

/* out = the smaller of a and b; NaN if one of them is. */
static inline void mc_tile_minimum(mc_real *out, const mc_real *a, const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] < b[i] || a[i] != a[i] ? a[i] : b[i];
}

/* out = the larger of a and b; NaN if one of them is. */
static inline void mc_tile_maximum(mc_real *out, const mc_real *a, const mc_real *b, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = a[i] > b[i] || a[i] != a[i] ? a[i] : b[i];
}

/* out = the smallest of the models; NaN if one is. */
static inline void mc_tile_smallest(mc_real *out, const mc_real *const *models, size_t model_count,
                                    size_t count)
{
    for (size_t start = 0; start < count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        mc_tile_copy(out + start, models[0] + start, length);
        for (size_t m = 1; m < model_count; m++)
            mc_tile_minimum(out + start, out + start, models[m] + start, length);
    }
}

/* out = the largest of the models; NaN if one is. */
static inline void mc_tile_largest(mc_real *out, const mc_real *const *models, size_t model_count,
                                   size_t count)
{
    for (size_t start = 0; start < count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        mc_tile_copy(out + start, models[0] + start, length);
        for (size_t m = 1; m < model_count; m++)
            mc_tile_maximum(out + start, out + start, models[m] + start, length);
    }
}

/* out = a where |a| ≥ |b|, else b; NaN if one of them is. */
static inline void mc_tile_larger_magnitude(mc_real *out, const mc_real *a, const mc_real *b,
                                            size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        out[i] = mc_absolute(b[i]) <= mc_absolute(a[i]) || a[i] != a[i] ? a[i] : b[i];
}

/* out = the value of largest magnitude, of the first model that has it; NaN if one model is. */
static inline void mc_tile_max_magnitude(mc_real *out, const mc_real *const *models,
                                         size_t model_count, size_t count)
{
    for (size_t start = 0; start < count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        mc_tile_copy(out + start, models[0] + start, length);
        for (size_t m = 1; m < model_count; m++)
            mc_tile_larger_magnitude(out + start, out + start, models[m] + start, length);
    }
}

/*
 * Reductions: element i is added to lane i % MC_TILE_LANES, in double, and the lanes are added as a
 * balanced tree (lane l and lane l + 8, then l + 4, l + 2, l + 1). The order is fixed, and wide
 * enough for any vector unit. A result over more than a leaf depends on how the layer is cut:
 * accumulate leaf by leaf (see mc_statistics).
 */
#define MC_TILE_LANES 16

/* The sum of the lanes, which are used up. */
static inline double mc_tile_lanes_total(double lanes[MC_TILE_LANES])
{
    for (size_t half = MC_TILE_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

/* Σ a · b */
static inline double mc_tile_dot(const mc_real *a, const mc_real *b, size_t count)
{
    double lanes[MC_TILE_LANES] = {0};
    size_t i = 0;
    for (; i + MC_TILE_LANES <= count; i += MC_TILE_LANES)
        for (size_t l = 0; l < MC_TILE_LANES; l++)
            lanes[l] += (double)a[i + l] * (double)b[i + l];
    for (size_t l = 0; i + l < count; l++)
        lanes[l] += (double)a[i + l] * (double)b[i + l];
    return mc_tile_lanes_total(lanes);
}

/* Σ a² */
static inline double mc_tile_squares(const mc_real *a, size_t count)
{
    return mc_tile_dot(a, a, count);
}

/* Σ a */
static inline double mc_tile_total(const mc_real *a, size_t count)
{
    double lanes[MC_TILE_LANES] = {0};
    size_t i = 0;
    for (; i + MC_TILE_LANES <= count; i += MC_TILE_LANES)
        for (size_t l = 0; l < MC_TILE_LANES; l++)
            lanes[l] += (double)a[i + l];
    for (size_t l = 0; i + l < count; l++)
        lanes[l] += (double)a[i + l];
    return mc_tile_lanes_total(lanes);
}

/*
 * The median. Up to MC_MEDIAN_SMALL models by selection networks in registers; up to
 * MC_MEDIAN_NETWORK by Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2,
 * algorithm M) over blocks on the stack; more by bisection on the values' bits, which needs no
 * memory. Networks of `a < b ? …` lose NaN and do not tell −0 from +0: blocks where either can
 * matter are finished by mc_median_finish.
 */
#define MC_MEDIAN_SMALL ((size_t)8)
#define MC_MEDIAN_NETWORK ((size_t)128)
#define MC_MEDIAN_BLOCK ((size_t)64)

/* Puts the smaller first. */
#define MC_MEDIAN_ORDER(a_, b_)                                                                    \
    do {                                                                                           \
        const mc_real low_ = (b_) < (a_) ? (b_) : (a_);                                            \
        (b_) = (a_) < (b_) ? (b_) : (a_);                                                          \
        (a_) = low_;                                                                               \
    } while (0)

/* Defines mc_median_of_N: the medians of N tiles; not 0 if one must be looked at again. */
#define MC_MEDIAN_OF(count_, ...)                                                                  \
    static inline int mc_median_of_##count_(mc_real *out, const mc_real *const *models,            \
                                            size_t count)                                          \
    {                                                                                              \
        int special = 0;                                                                           \
        MC_INDEPENDENT                                                                             \
        for (size_t i = 0; i < count; i++) {                                                       \
            mc_real v[(count_) + 1];                                                               \
            for (size_t m = 0; m < (count_); m++)                                                  \
                v[m] = models[m][i];                                                               \
            v[count_] = 0;                                                                         \
            int unordered = 0;                                                                     \
            for (size_t m = 0; m < (count_); m += 2)                                               \
                unordered |= isunordered(v[m], v[m + 1]);                                          \
            __VA_ARGS__                                                                            \
            out[i] = v[((count_)-1) / 2];                                                          \
            special |= unordered | (v[((count_)-1) / 2] == 0);                                     \
        }                                                                                          \
        return special;                                                                            \
    }

#define MC_O(a_, b_) MC_MEDIAN_ORDER(v[a_], v[b_]);
MC_MEDIAN_OF(1, )
MC_MEDIAN_OF(2, MC_O(0, 1))
MC_MEDIAN_OF(3, MC_O(0, 1) MC_O(1, 2) MC_O(0, 1))
MC_MEDIAN_OF(4, MC_O(0, 1) MC_O(2, 3) MC_O(0, 2) MC_O(1, 3) MC_O(1, 2))
MC_MEDIAN_OF(5, MC_O(0, 1) MC_O(3, 4) MC_O(0, 3) MC_O(1, 4) MC_O(1, 2) MC_O(2, 3) MC_O(1, 2))
MC_MEDIAN_OF(6, MC_O(0, 5) MC_O(1, 3) MC_O(2, 4) MC_O(1, 2) MC_O(3, 4) MC_O(0, 3) MC_O(2, 5)
                    MC_O(0, 1) MC_O(2, 3) MC_O(4, 5) MC_O(1, 2) MC_O(3, 4))
MC_MEDIAN_OF(7, MC_O(0, 5) MC_O(0, 3) MC_O(1, 6) MC_O(2, 4) MC_O(0, 1) MC_O(3, 5) MC_O(2, 6)
                    MC_O(2, 3) MC_O(3, 6) MC_O(4, 5) MC_O(1, 4) MC_O(1, 3) MC_O(3, 4))
MC_MEDIAN_OF(8, MC_O(0, 2) MC_O(1, 3) MC_O(4, 6) MC_O(5, 7) MC_O(0, 4) MC_O(1, 5) MC_O(2, 6)
                    MC_O(3, 7) MC_O(0, 1) MC_O(2, 3) MC_O(4, 5) MC_O(6, 7) MC_O(2, 4) MC_O(3, 5)
                        MC_O(1, 4) MC_O(3, 6) MC_O(1, 2) MC_O(3, 4) MC_O(5, 6))
#undef MC_O
#undef MC_MEDIAN_OF

static inline int mc_median_small(mc_real *out, const mc_real *const *models, size_t model_count,
                                  size_t count)
{
    switch (model_count) {
    case 1:
        return mc_median_of_1(out, models, count);
    case 2:
        return mc_median_of_2(out, models, count);
    case 3:
        return mc_median_of_3(out, models, count);
    case 4:
        return mc_median_of_4(out, models, count);
    case 5:
        return mc_median_of_5(out, models, count);
    case 6:
        return mc_median_of_6(out, models, count);
    case 7:
        return mc_median_of_7(out, models, count);
    default:
        return mc_median_of_8(out, models, count);
    }
}

/* Puts the smaller of two rows' values into the first row. */
static inline void mc_median_order_rows(mc_real *a, mc_real *b)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < MC_MEDIAN_BLOCK; i++)
        MC_MEDIAN_ORDER(a[i], b[i]);
}

/* Sorts every column of the rows. */
static inline void mc_median_sort_rows(mc_real rows[][MC_MEDIAN_BLOCK], size_t row_count)
{
    size_t top = 1;
    while (top * 2 < row_count)
        top *= 2;
    for (size_t p = top; p > 0; p /= 2) {
        size_t distance = p, parity = 0;
        for (size_t q = top; q >= p; q /= 2) {
            for (size_t r = 0; r + distance < row_count; r++)
                if ((r & p) == parity)
                    mc_median_order_rows(rows[r], rows[r + distance]);
            distance = q - p;
            parity = p;
        }
    }
}

/* Copies a row of `count` elements; what is missing becomes 0. */
static inline void mc_median_load_row(mc_real row[MC_MEDIAN_BLOCK], const mc_real *model,
                                      size_t count)
{
    if (count < MC_MEDIAN_BLOCK)
        mc_tile_fill(row, 0, MC_MEDIAN_BLOCK);
    if (count < MC_MEDIAN_BLOCK)
        mc_tile_copy(row, model, count);
    else
        mc_tile_copy(row, model, MC_MEDIAN_BLOCK); /* of constant length: no call */
}

static inline void mc_median_network(mc_real *out, const mc_real *const *models, size_t model_count,
                                     size_t count)
{
    mc_real rows[MC_MEDIAN_NETWORK][MC_MEDIAN_BLOCK];
    for (size_t start = 0; start < count; start += MC_MEDIAN_BLOCK) {
        const size_t left = count - start;
        const size_t length = left < MC_MEDIAN_BLOCK ? left : MC_MEDIAN_BLOCK;
        for (size_t m = 0; m < model_count; m++)
            mc_median_load_row(rows[m], models[m] + start, length);
        mc_median_sort_rows(rows, model_count);
        mc_tile_copy(out + start, rows[(model_count - 1) / 2], length);
    }
}

/* The bits of a real as an integer. */
#ifdef MC_REAL_IS_DOUBLE
typedef uint64_t mc_bits;
#else
typedef uint32_t mc_bits;
#endif
#define MC_TOP_BIT ((mc_bits)1 << (8 * sizeof(mc_bits) - 1))

static inline mc_bits mc_bits_of(mc_real x)
{
    mc_bits bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline mc_real mc_real_of(mc_bits bits)
{
    mc_real x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Integers that are ordered as the reals are (−0 before +0), and back. */
static inline mc_bits mc_ordered_of(mc_real x)
{
    const mc_bits bits = mc_bits_of(x);
    return bits & MC_TOP_BIT ? ~bits : bits | MC_TOP_BIT;
}

static inline mc_real mc_real_of_ordered(mc_bits ordered)
{
    return mc_real_of(ordered & MC_TOP_BIT ? ordered & ~MC_TOP_BIT : ~ordered);
}

/* Counts the values below those that the bisection found so far, with the next bit set. */
MC_PASS void mc_median_count_below(mc_bits *below, const mc_real *model, const mc_bits *found,
                                   mc_bits bit, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        below[i] += mc_ordered_of(model[i]) < (found[i] | bit);
}

/* One step of the bisection: sets `bit` where at most `rank` models are below the value with it. */
static inline void mc_median_bisect(mc_bits *found, mc_bits bit, size_t rank,
                                    const mc_real *const *models, size_t model_count, size_t start,
                                    size_t count)
{
    mc_bits below[MC_MEDIAN_BLOCK] = {0};
    for (size_t m = 0; m < model_count; m++)
        mc_median_count_below(below, models[m] + start, found, bit, count);
    for (size_t i = 0; i < count; i++)
        found[i] |= below[i] <= rank ? bit : 0;
}

static inline void mc_median_by_bits(mc_real *out, const mc_real *const *models, size_t model_count,
                                     size_t count)
{
    for (size_t start = 0; start < count; start += MC_MEDIAN_BLOCK) {
        const size_t left = count - start;
        const size_t length = left < MC_MEDIAN_BLOCK ? left : MC_MEDIAN_BLOCK;
        mc_bits found[MC_MEDIAN_BLOCK] = {0};
        for (mc_bits bit = MC_TOP_BIT; bit > 0; bit >>= 1)
            mc_median_bisect(found, bit, (model_count - 1) / 2, models, model_count, start, length);
        for (size_t i = 0; i < length; i++)
            out[start + i] = mc_real_of_ordered(found[i]);
    }
}

/* Counts signs and notes NaN. */
MC_PASS void mc_median_count_signs(mc_bits *negative, mc_bits *unordered, const mc_real *model,
                                   size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        negative[i] += mc_bits_of(model[i]) >> (8 * sizeof(mc_bits) - 1);
        unordered[i] |= model[i] != model[i];
    }
}

/*
 * Gives medians of a block (at most MC_TILE_BLOCK elements) that are zero their sign, and makes NaN
 * what has a NaN.
 */
static inline void mc_median_finish(mc_real *out, const mc_real *const *models, size_t model_count,
                                    size_t start, size_t count)
{
    mc_bits negative[MC_TILE_BLOCK] = {0}, unordered[MC_TILE_BLOCK] = {0};
    for (size_t m = 0; m < model_count; m++)
        mc_median_count_signs(negative, unordered, models[m] + start, count);
    const mc_bits rank = (mc_bits)(model_count - 1) / 2;
    for (size_t i = 0; i < count; i++) {
        const mc_real zero = negative[i] > rank ? -(mc_real)0 : (mc_real)0;
        const mc_real x = out[start + i] == 0 ? zero : out[start + i];
        out[start + i] = unordered[i] ? (mc_real)NAN : x;
    }
}

/*
 * out = the median of the models; of an even number the lower of the two middle values, as
 * torch.median has it. NaN if one model is. −0 counts as smaller than +0, so the order of the
 * models never matters. (torch.median takes the two for equal, and which comes out depends on their
 * order.)
 */
static inline void mc_tile_median(mc_real *out, const mc_real *const *models, size_t model_count,
                                  size_t count)
{
    const mc_real *block[MC_MEDIAN_SMALL] = {0}; /* unused entries: GCC 14 warns */
    const bool small = model_count <= MC_MEDIAN_SMALL;
    if (!small && model_count <= MC_MEDIAN_NETWORK)
        mc_median_network(out, models, model_count, count);
    else if (!small)
        mc_median_by_bits(out, models, model_count, count);
    for (size_t start = 0; start < count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        for (size_t m = 0; small && m < model_count; m++)
            block[m] = models[m] + start;
        if (!small || mc_median_small(out + start, block, model_count, length))
            mc_median_finish(out, models, model_count, start, length);
    }
}

MC_END_DECLS

#endif
