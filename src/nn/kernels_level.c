/* Compiled once per CPU level, with MC_LEVEL its name. */
#include "nn/kernels.h"
#include "nn/vector.h"

#include <math.h>
#include <string.h>

#define PASTE(a_, b_) a_##b_
#define TABLE(level_) PASTE(mc_nn_kernels_, level_)

#define LOAD(address_) (*(const mc_vector *)(const void *)(address_))
#define STORE(address_, value_) (*(mc_vector *)(void *)(address_) = (value_))
#define ZERO ((mc_vector){0})

/* Shuffles of two vectors as one of 32 lanes. */
#if defined(__clang__)
#define SHUFFLE(a_, b_, ...) __builtin_shufflevector(a_, b_, __VA_ARGS__)
#else
#define SHUFFLE(a_, b_, ...) __builtin_shuffle(a_, b_, (mc_vector_bits){__VA_ARGS__})
#endif

/* Comparisons of vectors give all ones or all zeros per lane. */
static inline mc_vector select(mc_vector_bits where, mc_vector a, mc_vector b)
{
    return (mc_vector)((where & (mc_vector_bits)a) | (~where & (mc_vector_bits)b));
}

static inline mc_vector larger(mc_vector a, mc_vector b)
{
    return select((mc_vector_bits)(a > b), a, b);
}

/* Sixteen lanes to one: halves, quarters, … on each other. */
#define FOLD(v_, with_)                                                                            \
    v_ = with_(v_, SHUFFLE(v_, v_, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));         \
    v_ = with_(v_, SHUFFLE(v_, v_, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));               \
    v_ = with_(v_, SHUFFLE(v_, v_, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1));               \
    v_ = with_(v_, SHUFFLE(v_, v_, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0))

#define PLUS(a_, b_) ((a_) + (b_))

static inline float sum(mc_vector v)
{
    FOLD(v, PLUS);
    return v[0];
}

static inline float largest_lane(mc_vector v)
{
    FOLD(v, larger);
    return v[0];
}

/* ---- exp ------------------------------------------------------------------------------------- */

/*
 * e^x for x ≤ 0, to 1 ulp or so: 2^n · e^r with |r| ≤ ln 2 / 2, the polynomial of Cephes' expf.
 * Below −87 it is as good as 0, and is taken for e^−87.
 */
static inline mc_vector exp_of(mc_vector x)
{
    const float shift = 12582912; /* 1.5 · 2^23: adding it leaves the integer in the low bits */
    const mc_vector_bits below = (mc_vector_bits)(x < -87);
    x = select(below, ZERO - 87, x);
    const mc_vector shifted = x * 1.44269504F + shift;
    const mc_vector n = shifted - shift;
    /* ln 2 in two parts: the first has so few bits that its product with n is exact. */
    const mc_vector r = x - n * .693359375F + n * 2.12194440e-4F;
    mc_vector p = r * 1.9875691500e-4F + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1;
    /* The shift drops all of `shifted` but n, which lands in the exponent. */
    const mc_vector_bits exponent = (mc_vector_bits)shifted << 23;
    return (mc_vector)((mc_vector_bits)p + exponent);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Copies of one head: keys transposed, everything padded with zeros to whole vectors. */
typedef struct head {
    size_t keys, size;          /* padded */
    float *transposed, *values; /* [size][keys], [keys][size] */
    float *queries, *scores,
        *mixed; /* [MC_QUERIES][size], [MC_QUERIES][keys], [MC_QUERIES][size] */
} head;

static head lay_out(const mc_attention *a, float *scratch)
{
    head h = {.keys = mc_vector_ceil(a->key_count), .size = mc_vector_ceil(a->size)};
    h.transposed = scratch;
    h.values = h.transposed + h.keys * h.size;
    h.scores = h.values + h.keys * h.size;
    h.queries = h.scores + MC_QUERIES * h.keys;
    h.mixed = h.queries + MC_QUERIES * h.size;
    return h;
}

/* Swaps blocks of `step` lanes across the diagonal, in each pair of rows that are `step` apart. */
#define SWAP(rows_, step_, low_, high_)                                                            \
    for (int i = 0; i < MC_LANES; i++)                                                             \
        if (!(i & (step_))) {                                                                      \
            const mc_vector a = (rows_)[i], b = (rows_)[i + (step_)];                              \
            (rows_)[i] = SHUFFLE(a, b, UNPACK low_);                                               \
            (rows_)[i + (step_)] = SHUFFLE(a, b, UNPACK high_);                                    \
        }
#define UNPACK(...) __VA_ARGS__

/* Sixteen rows of sixteen numbers, in place. */
static inline void transpose(mc_vector *rows)
{
    SWAP(rows, 8, (0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
         (8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
    SWAP(rows, 4, (0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
         (4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31));
    SWAP(rows, 2, (0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
         (2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
    SWAP(rows, 1, (0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
         (1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31));
}

/* The lanes behind the last number are zeros: no read behind the end of an array. */
static inline mc_vector load_some(const void *from, size_t count)
{
    mc_vector result = ZERO;
    memcpy(&result, from, count * sizeof(float));
    return result;
}

/* Transposes sixteen keys, or those that are left, from number `column` of each on. */
static void copy_keys(const mc_attention *a, const head *h, size_t first, size_t column)
{
    const size_t keys = a->key_count - first, numbers = a->size - column;
    mc_vector rows[MC_LANES];
    for (size_t j = 0; j < MC_LANES; j++) {
        const float *const from = a->keys + (first + j) * a->stride + column;
        rows[j] = j >= keys ? ZERO : numbers >= MC_LANES ? LOAD(from) : load_some(from, numbers);
    }
    transpose(rows);
    for (size_t i = 0; i < MC_LANES; i++)
        STORE(h->transposed + (column + i) * h->keys + first, rows[i]);
}

static void copy_keys_and_values(const mc_attention *a, const head *h)
{
    const size_t stride = a->stride, n = a->size;
    for (size_t first = 0; first < a->key_count; first += MC_LANES)
        for (size_t column = 0; column < n; column += MC_LANES)
            copy_keys(a, h, first, column);
    for (size_t j = 0; j < a->key_count; j++) {
        memset(h->values + j * h->size + n, 0, (h->size - n) * sizeof(float));
        memcpy(h->values + j * h->size, a->values + j * stride, n * sizeof(float));
    }
}

/*
 * out[MC_QUERIES][columns] = left[MC_QUERIES][inner] · right[inner][columns]; columns are whole
 * vectors.
 */
static void multiply(float *out, const float *left, size_t inner, size_t stride, const float *right,
                     size_t columns)
{
    size_t j = 0;
    for (; j + 2 * MC_LANES <= columns; j += 2 * MC_LANES) {
        mc_vector a[MC_QUERIES][2] = {0};
        for (size_t i = 0; i < inner; i++) {
            const mc_vector r0 = LOAD(right + i * columns + j);
            const mc_vector r1 = LOAD(right + i * columns + j + MC_LANES);
            for (int q = 0; q < MC_QUERIES; q++) {
                a[q][0] += left[(size_t)q * stride + i] * r0;
                a[q][1] += left[(size_t)q * stride + i] * r1;
            }
        }
        for (int q = 0; q < MC_QUERIES; q++) {
            STORE(out + (size_t)q * columns + j, a[q][0]);
            STORE(out + (size_t)q * columns + j + MC_LANES, a[q][1]);
        }
    }
    if (j < columns) {
        mc_vector a[MC_QUERIES] = {0};
        for (size_t i = 0; i < inner; i++)
            for (int q = 0; q < MC_QUERIES; q++)
                a[q] += left[(size_t)q * stride + i] * LOAD(right + i * columns + j);
        for (int q = 0; q < MC_QUERIES; q++)
            STORE(out + (size_t)q * columns + j, a[q]);
    }
}

static float largest_of_vectors(const float *x, size_t count)
{
    mc_vector most = LOAD(x);
    for (size_t i = MC_LANES; i < count; i += MC_LANES)
        most = larger(LOAD(x + i), most);
    return largest_lane(most);
}

/* Softmax of `count` scores; the padding behind them becomes 0. */
static void softmax(float *scores, size_t count)
{
    const size_t padded = mc_vector_ceil(count);
    /* Padding must not raise the maximum, and exp_of takes no number above 0. */
    for (size_t j = count; j < padded; j++)
        scores[j] = scores[0];
    const float largest = largest_of_vectors(scores, padded);
    for (size_t j = 0; j < padded; j += MC_LANES)
        STORE(scores + j, exp_of(LOAD(scores + j) - largest));
    for (size_t j = count; j < padded; j++)
        scores[j] = 0;
    mc_vector total = ZERO;
    for (size_t j = 0; j < padded; j += MC_LANES)
        total += LOAD(scores + j);
    const float scale = 1 / sum(total);
    for (size_t j = 0; j < padded; j += MC_LANES)
        STORE(scores + j, LOAD(scores + j) * scale);
}

static inline void scale_row(float *restrict out, const float *restrict in, size_t count,
                             float scale)
{
    for (size_t i = 0; i < count; i++)
        out[i] = in[i] * scale;
}

/* Queries first … first + MC_QUERIES − 1; missing ones are zeros. */
static void attend(const mc_attention *a, size_t first, const head *h, float *out)
{
    const size_t n = a->size;
    const size_t left = a->query_count - first;
    const size_t count = left < MC_QUERIES ? left : MC_QUERIES;
    /* Queries are scaled, not scores: there are fewer of them. */
    const float scale = 1 / sqrtf((float)n);
    /* The rows of missing queries are multiplied too, and must hold numbers. */
    memset(h->queries, 0, MC_QUERIES * h->size * sizeof(float));
    for (size_t q = 0; q < count; q++)
        scale_row(h->queries + q * h->size, a->queries + (first + q) * a->stride, n, scale);
    multiply(h->scores, h->queries, n, h->size, h->transposed, h->keys);
    for (size_t q = 0; q < count; q++)
        softmax(h->scores + q * h->keys, a->key_count);
    multiply(h->mixed, h->scores, a->key_count, h->keys, h->values, h->size);
    for (size_t q = 0; q < count; q++)
        memcpy(out + (first + q) * a->stride, h->mixed + q * h->size, n * sizeof(float));
}

/* The next head's numbers are in the same rows, too far apart for the CPU's own prefetcher. */
static void prefetch_rows(const float *rows, size_t count, const mc_attention *a)
{
    for (size_t row = 0; row < count; row++)
        for (size_t i = 0; i < a->size; i += 64 / sizeof(float))
            __builtin_prefetch(rows + row * a->stride + a->size + i, 0, 2);
}

static void attention(const mc_attention *a, float *out, float *scratch)
{
    const head h = lay_out(a, scratch);
    prefetch_rows(a->queries, a->query_count, a);
    prefetch_rows(a->keys, a->key_count, a);
    prefetch_rows(a->values, a->key_count, a);
    copy_keys_and_values(a, &h);
    for (size_t first = 0; first < a->query_count; first += MC_QUERIES)
        attend(a, first, &h, out);
}

/* ---- normalisation --------------------------------------------------------------------------- */

static float sum_of(const float *x, size_t width)
{
    mc_vector total = ZERO;
    size_t i = 0;
    for (; i + MC_LANES <= width; i += MC_LANES)
        total += LOAD(x + i);
    float rest = sum(total);
    for (; i < width; i++)
        rest += x[i];
    return rest;
}

/* The mean is subtracted first: the difference of two large sums would lose digits. */
static float squares_of(const float *x, float mean, size_t width)
{
    mc_vector total = ZERO;
    size_t i = 0;
    for (; i + MC_LANES <= width; i += MC_LANES) {
        const mc_vector d = LOAD(x + i) - mean;
        total += d * d;
    }
    float rest = sum(total);
    for (; i < width; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    return rest;
}

static void add(float *out, const float *in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] += in[i];
}

/* Everything reads `out` once it holds the sum, so out may be one of the inputs. */
static void normalize(float *out, const float *in, const float *added, size_t rows, size_t width,
                      const float *gain, const float *shift, float epsilon)
{
    for (size_t row = 0; row < rows; row++, in += width, out += width) {
        for (size_t i = 0; i < width; i++)
            out[i] = added ? in[i] + added[row * width + i] : in[i];
        const float mean = sum_of(out, width) / (float)width;
        const float variance = squares_of(out, mean, width) / (float)width;
        const float scale = 1 / sqrtf(variance + epsilon);
        for (size_t i = 0; i < width; i++)
            out[i] = (out[i] - mean) * scale * gain[i] + shift[i];
    }
}

/* ---- activations ----------------------------------------------------------------------------- */

static inline mc_vector minus_abs(mc_vector x)
{
    return (mc_vector)((mc_vector_bits)x | INT32_MIN);
}

static inline mc_vector linear(mc_vector x)
{
    return x;
}

static inline mc_vector relu(mc_vector x)
{
    return select((mc_vector_bits)(x < 0), ZERO, x);
}

/* 1 / (1 + e^−x) for x ≥ 0, e^x / (1 + e^x) below: exp_of takes no number above 0. */
static inline mc_vector sigmoid(mc_vector x)
{
    const mc_vector e = exp_of(minus_abs(x));
    return select((mc_vector_bits)(x < 0), e, ZERO + 1) / (1 + e);
}

static inline mc_vector tanh_of(mc_vector x)
{
    return 2 * sigmoid(2 * x) - 1;
}

static inline mc_vector silu(mc_vector x)
{
    return x * sigmoid(x);
}

static inline mc_vector quick_gelu(mc_vector x)
{
    return x * sigmoid(1.702F * x);
}

/* x / 2 · (1 + tanh y) = x · sigmoid 2 y */
static inline mc_vector gelu_tanh(mc_vector x)
{
    return x * sigmoid(1.5957691216F * x * (1 + .044715F * x * x));
}

/* 1 − erf |z| by Abramowitz and Stegun's 7.1.26, to 1.5e-7: GELU's difference from 0 or x. */
static inline mc_vector gelu(mc_vector x)
{
    const mc_vector z = minus_abs(x) * .70710678119F;
    const mc_vector t = 1 / (1 - .3275911F * z);
    mc_vector p = t * 1.061405429F - 1.453152027F;
    p = p * t + 1.421413741F;
    p = p * t - .284496736F;
    p = (p * t + .254829592F) * t;
    const mc_vector part = .5F * x * p * exp_of(-z * z);
    return select((mc_vector_bits)(x < 0), part, x - part);
}

/* ---- int8 ------------------------------------------------------------------------------------ */

/* The largest |x|. As integers their bits are in order, with infinity and NaN above all. */
static float largest_of(const float *x, size_t width)
{
    int32_t most = 0;
    for (size_t i = 0; i < width; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= INT32_MAX;
        most = bits > most ? bits : most;
    }
    float result;
    memcpy(&result, &most, sizeof result);
    return result;
}

/*
 * A number plus 1.5 · 2^23 has its nearest integer in the low bits. No `restrict`: `out` may start
 * where `in` does.
 */
static void quantize_row(uint8_t *out, const float *in, float factor, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        const float shifted = in[i] * factor + (12582912 + 128);
        int32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        out[i] = (uint8_t)bits;
    }
}

static void quantize(uint8_t *out, float *scales, const float *in, size_t rows, size_t width)
{
    for (size_t row = 0; row < rows; row++, in += width, out += width) {
        const float largest = largest_of(in, width);
        /*
         * The factor of 0 is infinite, and that of numbers below about 4e-37 too large: the row
         * counts as zeros.
         */
        const float factor = 127 / largest;
        scales[row] = largest / 127;
        quantize_row(out, in, factor < 3e38F ? factor : 0, width);
    }
}

/* Sixteen columns, or the rest. */
typedef struct columns {
    mc_vector_bits zeros;
    mc_vector scales, bias;
} columns;

static inline mc_vector value_of(mc_vector_bits sums, const columns *c, float scale)
{
    return __builtin_convertvector(sums - c->zeros, mc_vector) * (scale * c->scales) + c->bias;
}

static inline __attribute__((always_inline)) void
finish_row(float *out, const int32_t *sums, float scale, const mc_int8_columns *all, size_t width,
           mc_vector (*activation)(mc_vector))
{
    const int32_t *const zeros = all->zeros;
    const float *const scales = all->scales, *const bias = all->bias;
    size_t i = 0;
    for (; i + MC_LANES <= width; i += MC_LANES) {
        const columns c = {(mc_vector_bits)LOAD(zeros + i), LOAD(scales + i), LOAD(bias + i)};
        STORE(out + i, activation(value_of((mc_vector_bits)LOAD(sums + i), &c, scale)));
    }
    const size_t left = width - i;
    if (left > 0) {
        const columns c = {(mc_vector_bits)load_some(zeros + i, left), load_some(scales + i, left),
                           load_some(bias + i, left)};
        const mc_vector_bits rest = (mc_vector_bits)load_some(sums + i, left);
        const mc_vector values = activation(value_of(rest, &c, scale));
        memcpy(out + i, &values, left * sizeof *out);
    }
}

/*
 * always_inline and a constant function: the activation is compiled into each loop. A call per
 * vector would keep its numbers in memory.
 */
static void dequantize(float *out, const int32_t *sums, const float *row_scales, size_t rows,
                       const mc_int8_columns *all, size_t width, mc_activation activation)
{
    for (size_t row = 0; row < rows; row++, sums += width, out += width)
        switch (activation) {
#define X(id_, kernel_, algorithm_, alpha_)                                                        \
    case MC_ACTIVATION_##id_:                                                                      \
        finish_row(out, sums, row_scales[row], all, width, kernel_);                               \
        break;
            MC_ACTIVATION_MAP(X)
#undef X
        case MC_ACTIVATION_COUNT:
            break;
        }
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool all_finite(const float *values, size_t count)
{
    int32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        /* An exponent of all ones is infinity or NaN. */
        bad |= (bits & 0x7F800000) == 0x7F800000;
    }
    return !bad;
}

/* ---- derivatives ----------------------------------------------------------------------------- */

/*
 * f′(x) of each activation f. With s = sigmoid: s′ = s (1 − s), and of x · s(a x): s + a x s (1 −
 * s).
 */
#define SLOPE(name_) static inline mc_vector name_##_slope(mc_vector x)

SLOPE(linear)
{
    (void)x;
    return ZERO + 1;
}

SLOPE(relu)
{
    return select((mc_vector_bits)(x > 0), ZERO + 1, ZERO);
}

SLOPE(sigmoid)
{
    const mc_vector s = sigmoid(x);
    return s * (1 - s);
}

SLOPE(tanh_of)
{
    const mc_vector t = tanh_of(x);
    return 1 - t * t;
}

SLOPE(silu)
{
    const mc_vector s = sigmoid(x);
    return s + x * s * (1 - s);
}

SLOPE(quick_gelu)
{
    const mc_vector s = sigmoid(1.702F * x);
    return s + 1.702F * x * s * (1 - s);
}

/* x · s(y) with y = 2 √(2/π) · x · (1 + 0.044715 x²), so s + x · s · (1 − s) · y′. */
SLOPE(gelu_tanh)
{
    const mc_vector s = sigmoid(1.5957691216F * x * (1 + .044715F * x * x));
    return s + x * s * (1 - s) * 1.5957691216F * (1 + .134145F * x * x);
}

/* Φ(x) + x φ(x); Φ as in gelu. */
SLOPE(gelu)
{
    const mc_vector z = minus_abs(x) * .70710678119F;
    const mc_vector t = 1 / (1 - .3275911F * z);
    mc_vector p = t * 1.061405429F - 1.453152027F;
    p = p * t + 1.421413741F;
    p = p * t - .284496736F;
    p = (p * t + .254829592F) * t;
    const mc_vector e = exp_of(-z * z), tail = .5F * p * e;
    return select((mc_vector_bits)(x < 0), tail, 1 - tail) + x * .39894228040F * e;
}

static inline __attribute__((always_inline)) void
map(float *out, const float *in, size_t count, bool multiplies, mc_vector (*function)(mc_vector))
{
    size_t i = 0;
    for (; i + MC_LANES <= count; i += MC_LANES) {
        mc_vector y = function(LOAD(in + i));
        if (multiplies)
            y *= LOAD(out + i);
        STORE(out + i, y);
    }
    if (i < count) {
        mc_vector y = function(load_some(in + i, count - i));
        if (multiplies)
            y *= load_some(out + i, count - i);
        memcpy(out + i, &y, (count - i) * sizeof *out);
    }
}

static void activate(float *out, const float *in, size_t count, mc_activation activation)
{
    switch (activation) {
#define X(id_, kernel_, algorithm_, alpha_)                                                        \
    case MC_ACTIVATION_##id_:                                                                      \
        map(out, in, count, false, kernel_);                                                       \
        break;
        MC_ACTIVATION_MAP(X)
#undef X
    case MC_ACTIVATION_COUNT:
        break;
    }
}

static void activate_back(float *gradient, const float *in, size_t count, mc_activation activation)
{
    switch (activation) {
#define X(id_, kernel_, algorithm_, alpha_)                                                        \
    case MC_ACTIVATION_##id_:                                                                      \
        map(gradient, in, count, true, kernel_##_slope);                                           \
        break;
        MC_ACTIVATION_MAP(X)
#undef X
    case MC_ACTIVATION_COUNT:
        break;
    }
}

/* `scores` that end anywhere: the last vector is read and written in part. */
static void softmax_row(float *x, size_t count)
{
    float largest = x[0], rest = 0;
    for (size_t i = 1; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
    mc_vector total = ZERO;
    const size_t whole = count / MC_LANES * MC_LANES;
    for (size_t i = 0; i < whole; i += MC_LANES) {
        const mc_vector e = exp_of(LOAD(x + i) - largest);
        total += e;
        STORE(x + i, e);
    }
    if (whole < count) {
        const mc_vector e = exp_of(load_some(x + whole, count - whole) - largest);
        memcpy(x + whole, &e, (count - whole) * sizeof *x);
    }
    for (size_t i = whole; i < count; i++)
        rest += x[i];
    const float scale = 1 / (sum(total) + rest);
    for (size_t i = 0; i < count; i++)
        x[i] *= scale;
}

static void softmax_rows(float *x, size_t rows, size_t count, size_t stride)
{
    for (size_t row = 0; row < rows; row++)
        softmax_row(x + row * stride, count);
}

static void add_squares(float *restrict out, const float *restrict in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] += in[i] * in[i];
}

/* ---- derivatives ----------------------------------------------------------------------------- */

static float dot(const float *x, const float *y, size_t count)
{
    mc_vector total = ZERO;
    size_t i = 0;
    for (; i + MC_LANES <= count; i += MC_LANES)
        total += LOAD(x + i) * LOAD(y + i);
    float rest = sum(total);
    for (; i < count; i++)
        rest += x[i] * y[i];
    return rest;
}

static void normalize_back(float *restrict dx, float *restrict x, float *restrict gains,
                           float *restrict shifts, const float *in, const float *added,
                           const float *dy, const float *gain, size_t width, float epsilon)
{
    for (size_t i = 0; i < width; i++)
        x[i] = added ? in[i] + added[i] : in[i];
    const float mean = sum_of(x, width) / (float)width;
    const float scale = 1 / sqrtf(squares_of(x, mean, width) / (float)width + epsilon);
    for (size_t i = 0; i < width; i++) {
        x[i] = (x[i] - mean) * scale;
        gains[i] += dy[i] * x[i];
        shifts[i] += dy[i];
        dx[i] = dy[i] * gain[i];
    }
    const float middle = sum_of(dx, width) / (float)width, slope = dot(dx, x, width) / (float)width;
    for (size_t i = 0; i < width; i++)
        dx[i] = scale * (dx[i] - middle - x[i] * slope);
}

static void softmax_back(float *restrict dp, const float *restrict p, size_t rows, size_t count,
                         float scale)
{
    for (; rows > 0; rows--, p += count, dp += count) {
        const float mean = dot(p, dp, count);
        for (size_t i = 0; i < count; i++)
            dp[i] = p[i] * (dp[i] - mean) * scale;
    }
}

const mc_nn_kernels TABLE(MC_LEVEL) = {
    attention, normalize,     add,          quantize,    dequantize,     all_finite,
    activate,  activate_back, softmax_rows, add_squares, normalize_back, softmax_back};
