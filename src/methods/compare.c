/* Statistics of `mergecraft compare`; merges nothing. Not in the list of methods. */
#include "methods/compare.h"

#include <mergecraft/method.h>

/*
 * Sums go through blocks of BLOCK elements in LANES lanes of mc_real: a lane adds 16 numbers, so
 * that its rounding stays below 16 · 2^-24 < 1e-6 of the sum of magnitudes. Lanes of blocks are
 * added in double. The order is fixed: the same bits at every CPU level. The lanes are two of the
 * widest vectors, which hides half of the latency of an addition. A block of all models stays in
 * the L1 cache.
 */
enum { LANES = 2 * MC_TILE_LANES, BLOCK = 16 * LANES };

/* The bits of a real. */
#ifdef MC_REAL_IS_DOUBLE
typedef uint64_t __attribute__((may_alias)) real_bits;
typedef int64_t signed_bits;
#else
typedef uint32_t __attribute__((may_alias)) real_bits;
typedef int32_t signed_bits;
#endif
#define MAGNITUDE ((real_bits)-1 >> 1)
#define SIGN (~MAGNITUDE)

/* What a thread needs for a block. Products of models k ≤ m are in the order of pair_at. */
typedef struct scratch {
    double *magnitudes, *products; /* [models, LANES], [pairs, LANES] */
    mc_real *vectors;              /* task vectors, [models, BLOCK] */
    real_bits *high, *low;         /* [BLOCK] */
} scratch;

static size_t sums_size(const mc_layer *layer)
{
    return compare_size(layer->model_count) * sizeof(double);
}

static size_t pair_at(size_t k, size_t m)
{
    return m * (m + 1) / 2 + k;
}

static size_t lanes_bytes(size_t models)
{
    return (models + pair_at(0, models)) * LANES * sizeof(double);
}

static size_t scratch_bytes(const mc_layer *layer)
{
    const size_t models = layer->model_count;
    return lanes_bytes(models) + (models + 2) * BLOCK * sizeof(mc_real);
}

static scratch scratch_of(const mc_layer *layer)
{
    const size_t models = layer->model_count;
    scratch s = {.magnitudes = layer->scratch};
    s.products = s.magnitudes + models * LANES;
    s.vectors = (mc_real *)((char *)layer->scratch + lanes_bytes(models));
    s.high = (real_bits *)(s.vectors + models * BLOCK);
    s.low = s.high + BLOCK;
    return s;
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* Adds `term_`, an expression of the index i, of a block to lanes, in lanes of `type_` first. */
#define ADD(type_, lanes_, length_, term_)                                                         \
    do {                                                                                           \
        type_ part_[LANES] = {0};                                                                  \
        size_t at_ = 0;                                                                            \
        for (; at_ + LANES <= (length_); at_ += LANES)                                             \
            for (size_t l_ = 0; l_ < LANES; l_++) {                                                \
                const size_t i = at_ + l_;                                                         \
                part_[l_] += (term_);                                                              \
            }                                                                                      \
        for (size_t l_ = 0; at_ + l_ < (length_); l_++) {                                          \
            const size_t i = at_ + l_;                                                             \
            part_[l_] += (term_);                                                                  \
        }                                                                                          \
        for (size_t l_ = 0; l_ < LANES; l_++)                                                      \
            (lanes_)[l_] += (double)part_[l_];                                                     \
    } while (0)

/* Adds a · b. */
MC_PASS void add_products(double *lanes, const mc_real *a, const mc_real *b, size_t length)
{
    ADD(mc_real, lanes, length, a[i] * b[i]);
}

MC_PASS void add_exact_products(double *lanes, const mc_real *a, const mc_real *b, size_t length)
{
    ADD(double, lanes, length, (double)a[i] * (double)b[i]);
}

/* Adds |a|. */
MC_PASS void add_magnitudes(double *lanes, const mc_real *a, size_t length)
{
    ADD(mc_real, lanes, length, mc_absolute(a[i]));
}

MC_PASS void add_exact_magnitudes(double *lanes, const mc_real *a, size_t length)
{
    ADD(double, lanes, length, (double)mc_absolute(a[i]));
}

/* The sum of the lanes, which are used up. */
static double lanes_total(double *lanes)
{
    for (size_t l = 0; l < MC_TILE_LANES; l++)
        lanes[l] += lanes[l + MC_TILE_LANES];
    return mc_tile_lanes_total(lanes);
}

/*
 * Whether squares of numbers up to `largest` neither overflow float32 nor lose more to underflow
 * than to rounding: what is lost is below 2^-149 each, and largest² is at least 2^-80.
 */
static bool is_ordinary(double largest)
{
    return largest == 0 || (largest >= 0x1p-40 && largest <= 0x1p40);
}

/* Σ base²; in double if float32 may have lost or exceeded something. */
static double squares_of_base(const mc_real *base, size_t count)
{
    double lanes[LANES] = {0};
    for (size_t start = 0; start < count; start += BLOCK)
        add_products(lanes, base + start, base + start,
                     count - start < BLOCK ? count - start : BLOCK);
    const double sum = lanes_total(lanes);
    return sum >= 0x1p-80 && sum <= 0x1p80 ? sum : mc_tile_squares(base, count);
}

/* ---- task vectors ---------------------------------------------------------------------------- */

/*
 * out = model − base; *most: the bits of the largest magnitude; returns how many are not 0.
 * Magnitudes are compared as integers, in whose order NaN is above infinity: compilers vectorise
 * that maximum, but not one of floats that keeps NaN.
 */
MC_PASS real_bits subtract(mc_real *out, const mc_real *model, const mc_real *base, size_t length,
                           real_bits *most)
{
    real_bits largest = 0, changed = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < length; i++) {
        const mc_real difference = model[i] - base[i];
        real_bits magnitude;
        memcpy(&magnitude, &difference, sizeof magnitude);
        magnitude &= MAGNITUDE;
        out[i] = difference;
        largest = magnitude > largest ? magnitude : largest;
        changed += magnitude != 0;
    }
    *most = largest;
    return changed;
}

/* With values that are not finite: equal infinities or two NaN differ by 0, not by NaN. */
static real_bits subtract_special(mc_real *out, const mc_real *model, const mc_real *base,
                                  size_t length, real_bits *most)
{
    static const mc_real zeros[BLOCK];
    for (size_t i = 0; i < length; i++) {
        const int nan = (model[i] != model[i]) & (base[i] != base[i]);
        out[i] = (model[i] == base[i]) | nan ? 0 : model[i] - base[i];
    }
    return subtract(out, out, zeros, length, most);
}

/*
 * The task vector of a block, and the number of elements that differ. *largest: the largest
 * magnitude, or NaN.
 */
static double task_vector(mc_real *out, const mc_real *model, const mc_real *base, size_t length,
                          double *largest)
{
    real_bits most, changed = subtract(out, model, base, length, &most);
    mc_real value;
    memcpy(&value, &most, sizeof value);
    if (value != value) {
        changed = subtract_special(out, model, base, length, &most);
        memcpy(&value, &most, sizeof value);
    }
    *largest = (double)value;
    return (double)changed;
}

/* ---- signs ----------------------------------------------------------------------------------- */

/*
 * Signs of several numbers by two maxima of their bits, as signed and as unsigned integers: one is
 * positive if the first is above 0, and one is negative if the second is above the bits of −0.
 */
static real_bits higher(real_bits a, real_bits b)
{
    return (signed_bits)a > (signed_bits)b ? a : b;
}

static real_bits lower(real_bits a, real_bits b)
{
    return a > b ? a : b;
}

MC_PASS void gather_signs(real_bits *high, real_bits *low, const real_bits *vector, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        high[i] = higher(high[i], vector[i]);
        low[i] = lower(low[i], vector[i]);
    }
}

/* Of the numbers so far and a last one; none is NaN. */
MC_PASS void count_signs(double *sums, const real_bits *high, const real_bits *low,
                         const real_bits *last, size_t length)
{
    real_bits agree = 0, conflict = 0;
    for (size_t i = 0; i < length; i++) {
        const int positive = (signed_bits)higher(high[i], last[i]) > 0;
        const int negative = lower(low[i], last[i]) > SIGN;
        agree += (real_bits)(positive ^ negative);
        conflict += (real_bits)(positive & negative);
    }
    sums[COMPARE_AGREE] += (double)agree;
    sums[COMPARE_CONFLICT] += (double)conflict;
}

/* Where one is NaN, signs neither agree nor conflict: sets the task vectors to 0 there. */
static void clear_nan(mc_real *vectors, size_t models, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bool nan = false;
        for (size_t m = 0; m < models; m++)
            nan = nan || vectors[m * BLOCK + i] != vectors[m * BLOCK + i];
        for (size_t m = 0; nan && m < models; m++)
            vectors[m * BLOCK + i] = 0;
    }
}

static void add_signs(double *sums, const scratch *s, size_t models, size_t length)
{
    const real_bits *const first = (const real_bits *)s->vectors;
    const real_bits *const last = first + (models - 1) * BLOCK;
    if (models <= 2) {
        count_signs(sums, first, first, last, length);
        return;
    }
    memcpy(s->high, first, length * sizeof *first);
    memcpy(s->low, first, length * sizeof *first);
    for (size_t m = 1; m + 1 < models; m++)
        gather_signs(s->high, s->low, first + m * BLOCK, length);
    count_signs(sums, s->high, s->low, last, length);
}

/* ---- a leaf ---------------------------------------------------------------------------------- */

static void add_block(const mc_layer *layer, const scratch *s, size_t start, size_t length,
                      double *sums)
{
    const size_t models = layer->model_count;
    double changed = 0;
    bool ordinary = true;
    for (size_t m = 0; m < models; m++) {
        double *const own = sums + COMPARE_MODELS + COMPARE_PER_MODEL * m, largest;
        const double different = task_vector(s->vectors + m * BLOCK, layer->models[m] + start,
                                             layer->base + start, length, &largest);
        own[COMPARE_DIFFERENT] += different;
        own[COMPARE_LARGEST] = compare_larger(own[COMPARE_LARGEST], largest);
        changed += different;
        ordinary = ordinary && is_ordinary(largest);
    }
    if (changed == 0)
        return;
    for (size_t m = 0; m < models; m++) {
        const mc_real *const vector = s->vectors + m * BLOCK;
        (ordinary ? add_magnitudes : add_exact_magnitudes)(s->magnitudes + m * LANES, vector,
                                                           length);
        for (size_t k = 0; k <= m; k++)
            (ordinary ? add_products : add_exact_products)(s->products + pair_at(k, m) * LANES,
                                                           s->vectors + k * BLOCK, vector, length);
    }
    if (!ordinary)
        clear_nan(s->vectors, models, length);
    add_signs(sums, s, models, length);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    const size_t n = layer->model_count, count = layer->count;
    double *const sums = partial, *const products = sums + compare_products(n);
    const scratch s = scratch_of(layer);
    memset(layer->scratch, 0, lanes_bytes(n));
    sums[COMPARE_ELEMENTS] += (double)count;
    sums[COMPARE_BASE_SQUARES] += squares_of_base(layer->base, count);
    for (size_t start = 0; start < count; start += BLOCK)
        add_block(layer, &s, start, count - start < BLOCK ? count - start : BLOCK, sums);
    for (size_t m = 0; m < n; m++) {
        sums[COMPARE_MODELS + COMPARE_PER_MODEL * m + COMPARE_ABSOLUTE] += lanes_total(
            s.magnitudes + m * LANES);
        for (size_t k = 0; k <= m; k++)
            products[k * n + m] += lanes_total(s.products + pair_at(k, m) * LANES);
    }
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    compare_add(into, from, layer->model_count);
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    memcpy(state, total, sums_size(layer));
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = sums_size,
                                         .partial_size = sums_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

MC_LAYER_MERGE(compare, .help = "sums over task vectors, for comparisons", .needs_base = true,
               .scratch_bytes = scratch_bytes, .statistics = &statistics)
{
    return mc_fail(layer->error, MC_UNSUPPORTED, "a comparison has no result");
}
