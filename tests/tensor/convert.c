/*
 * Conversions between dtypes: against checksums of what torch and ml_dtypes give
 * (tests/data/tensor/make_convert.py), against a slow exact reference, and all CPU levels against
 * each other. With the argument "long": every float32.
 */
#include "tensor/convert.h"

#include "base/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FORMATS = 4, BLOCK = 1 << 24, PIECE = 1 << 12 };

static const mc_dtype formats[FORMATS] = {MC_F16, MC_BF16, MC_F8_E4M3, MC_F8_E5M2};

static size_t patterns_of(mc_dtype dtype)
{
    return (size_t)1 << mc_dtype_bits(dtype);
}

/*
 * Element i of an array of unsigned integers of the format's size; every NaN as the same one, if
 * `same_nan`.
 */
static uint32_t bits_at(mc_dtype dtype, const void *values, size_t i, bool same_nan)
{
    static const struct {
        uint32_t limit, nan;
    } of[MC_DTYPE_COUNT] = {[MC_F16] = {0x7c00, 0x7e00},
                            [MC_BF16] = {0x7f80, 0x7fc0},
                            [MC_F8_E4M3] = {0x7e, 0x7f},
                            [MC_F8_E5M2] = {0x7c, 0x7e}};
    const bool is_byte = mc_dtype_bits(dtype) == 8;
    const uint32_t bits = is_byte ? ((const uint8_t *)values)[i] : ((const uint16_t *)values)[i];
    const uint32_t rest = bits & (is_byte ? 0x7f : 0x7fff);
    return same_nan && rest > of[dtype].limit ? of[dtype].nan : bits;
}

static uint64_t weigh(uint64_t bits, uint64_t i)
{
    return (bits + 1) * (2 * i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The checksum that the golden file has on the line that begins with `start`. */
static uint64_t golden(const char *start)
{
    static char text[1 << 17];
    static size_t size;
    if (size == 0) {
        FILE *const file = fopen(MC_TEST_DATA "/tensor/convert.txt", "r");
        assert_non_null(file);
        size = fread(text, 1, sizeof text - 1, file);
        fclose(file);
    }
    const char *const line = strstr(text, start);
    if (!line)
        fail_msg("no line \"%s\" in convert.txt", start);
    return strtoull(line + strlen(start), NULL, 16);
}

static uint32_t consecutive(uint32_t i, uint32_t block)
{
    return i + (block << 24);
}

static uint32_t spread(uint32_t i, uint32_t block)
{
    (void)block;
    return i << 8 | (37 * i & 255);
}

/* The checksum of 2^24 converted float32. */
static uint64_t checksum(mc_dtype dtype, uint32_t (*pattern)(uint32_t, uint32_t), uint32_t block)
{
    uint64_t sum = 0;
    for (uint32_t start = 0; start < BLOCK; start += PIECE) {
        uint32_t bits[PIECE];
        float values[PIECE];
        uint16_t out[PIECE];
        for (uint32_t i = 0; i < PIECE; i++)
            bits[i] = pattern(start + i, block);
        memcpy(values, bits, sizeof values);
        mc_dtype_from_f32(dtype, out, values, PIECE);
        for (uint32_t i = 0; i < PIECE; i++)
            sum += weigh(bits_at(dtype, out, i, true), start + i);
    }
    return sum;
}

/* Runs a check at every level of this machine. */
static void at_each_level(void (*check)(mc_dtype dtype, int block), mc_dtype dtype, int block)
{
    for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level); level++)
        check(dtype, block);
}

static void check_dense(mc_dtype dtype, int block)
{
    char start[64];
    (void)block;
    snprintf(start, sizeof start, "dense %s ", mc_dtype_name(dtype));
    assert_int_equal(checksum(dtype, spread, 0), golden(start));
}

static void check_block(mc_dtype dtype, int block)
{
    char start[64];
    snprintf(start, sizeof start, "block %s %d ", mc_dtype_name(dtype), block);
    assert_int_equal(checksum(dtype, consecutive, (uint32_t)block), golden(start));
}

static void test_narrow_dense(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        at_each_level(check_dense, formats[f], 0);
}

static void test_narrow_all(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        for (int block = 0; block < 256; block++)
            at_each_level(check_block, formats[f], block);
}

/* All bit patterns of a format, in order, as integers of its size. */
static void *all_patterns(mc_dtype dtype)
{
    uint16_t *const patterns = malloc(patterns_of(dtype) * sizeof *patterns);
    for (size_t i = 0; i < patterns_of(dtype); i++) {
        if (mc_dtype_bits(dtype) == 8)
            ((uint8_t *)patterns)[i] = (uint8_t)i;
        else
            patterns[i] = (uint16_t)i;
    }
    return patterns;
}

static void check_widen(mc_dtype dtype, int block)
{
    char start[64];
    const size_t count = patterns_of(dtype);
    void *const patterns = all_patterns(dtype);
    float *const values = malloc(count * sizeof *values);
    double *const doubles = malloc(count * sizeof *doubles);
    uint64_t sum = 0;
    (void)block;
    mc_dtype_to_f32(dtype, values, patterns, count);
    mc_dtype_to_f64(dtype, doubles, patterns, count);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        sum += weigh(isnan(values[i]) ? 0x7fc00000 : bits, i);
        const double wide = (double)values[i];
        assert_true(isnan(wide) ? isnan(doubles[i]) : memcmp(&wide, &doubles[i], sizeof wide) == 0);
    }
    snprintf(start, sizeof start, "widen %s ", mc_dtype_name(dtype));
    assert_int_equal(sum, golden(start));
    free(patterns);
    free(values);
    free(doubles);
}

static void test_widen(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        at_each_level(check_widen, formats[f], 0);
}

/* There and back is the same pattern, but that a NaN may become quiet. */
static void test_round_trip(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++) {
        const mc_dtype dtype = formats[f];
        const size_t count = patterns_of(dtype);
        void *const patterns = all_patterns(dtype), *const back = malloc(count * 2);
        float *const values = malloc(count * sizeof *values);
        mc_dtype_to_f32(dtype, values, patterns, count);
        mc_dtype_from_f32(dtype, back, values, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(bits_at(dtype, back, i, true), bits_at(dtype, patterns, i, true));
        free(patterns);
        free(back);
        free(values);
    }
}

/*
 * The magnitudes 0, 1, 2 … of a format as doubles, and what follows the largest as if the exponent
 * went on.
 */
static size_t magnitudes(mc_dtype dtype, double **out)
{
    const size_t half = patterns_of(dtype) / 2;
    void *const patterns = all_patterns(dtype);
    double *const values = malloc(half * sizeof *values);
    mc_dtype_to_f64(dtype, values, patterns, half);
    size_t count = 0;
    while (count < half && isfinite(values[count]))
        count++;
    values[count] = values[count - 1] + (values[count - 1] - values[count - 2]);
    free(patterns);
    *out = values;
    return count;
}

/*
 * The expected pattern of a value between the magnitudes i and i + 1, `side` of their middle: −1,
 * 0, 1.
 */
static uint32_t nearest(size_t i, int side)
{
    return (uint32_t)(side > 0 || (side == 0 && i % 2 == 1) ? i + 1 : i);
}

static void check_value(mc_dtype dtype, double value, uint32_t expected)
{
    uint16_t found = 0;
    mc_dtype_from_f64(dtype, &found, &value, 1);
    if (bits_at(dtype, &found, 0, true) != expected)
        fail_msg("%a as %s: expected %x, found %x", value, mc_dtype_name(dtype), expected, found);
}

/*
 * Middles of neighbours and the doubles beside them: one rounding from float64, not two by way of
 * float32.
 */
static void check_middles(mc_dtype dtype, int block)
{
    double *values = NULL;
    const size_t count = magnitudes(dtype, &values);
    (void)block;
    for (size_t i = 0; i < count; i++) {
        const double middle = (values[i] + values[i + 1]) / 2;
        const uint32_t sign = (uint32_t)(patterns_of(dtype) / 2);
        check_value(dtype, values[i], (uint32_t)i);
        check_value(dtype, middle, nearest(i, 0));
        check_value(dtype, nextafter(middle, 0), nearest(i, -1));
        check_value(dtype, nextafter(middle, (double)INFINITY), nearest(i, 1));
        if (i + 1 < count || dtype != MC_F8_E4M3) /* its NaN is compared without sign */
            check_value(dtype, -nextafter(middle, (double)INFINITY), sign | nearest(i, 1));
    }
    free(values);
}

static void test_double_rounds_once(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        at_each_level(check_middles, formats[f], 0);
}

static void check_special(mc_dtype dtype, int block)
{
    static const uint32_t infinity[MC_DTYPE_COUNT] = {
        [MC_F16] = 0x7c00, [MC_BF16] = 0x7f80, [MC_F8_E4M3] = 0x7f, [MC_F8_E5M2] = 0x7c};
    static const uint32_t nan[MC_DTYPE_COUNT] = {
        [MC_F16] = 0x7e00, [MC_BF16] = 0x7fc0, [MC_F8_E4M3] = 0x7f, [MC_F8_E5M2] = 0x7e};
    const uint32_t sign = (uint32_t)(patterns_of(dtype) / 2);
    (void)block;
    check_value(dtype, 0., 0);
    check_value(dtype, -0., sign);
    check_value(dtype, (double)INFINITY, infinity[dtype]);
    check_value(dtype, 1e300, infinity[dtype]);
    check_value(dtype, 1e-300, 0);
    check_value(dtype, -1e-300, sign);
    check_value(dtype, (double)NAN, nan[dtype]);
}

static void test_special(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        at_each_level(check_special, formats[f], 0);
}

/*
 * All lengths up to a few vectors, at odd addresses, leave what lies around alone; all levels give
 * the same, NaN included.
 */
static void test_lengths(void **state)
{
    enum { MOST = 70, GUARD = 8 };
    float in[MOST];
    unsigned char first[2 * MOST + 2 * GUARD], out[2 * MOST + 2 * GUARD];
    (void)state;
    for (uint32_t i = 0; i < MOST; i++) {
        const uint32_t bits = i * UINT32_C(0x9e3779b9) | (i % 5 == 0 ? 0x7f800000 : 0);
        memcpy(&in[i], &bits, sizeof bits);
    }
    for (int f = 0; f < FORMATS; f++) {
        const size_t width = (size_t)mc_dtype_bytes(formats[f], 1);
        for (size_t count = 0; count <= MOST; count++) {
            for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level);
                 level++) {
                memset(out, 0xa5, sizeof out);
                mc_dtype_from_f32(formats[f], out + GUARD + 1, in, count);
                if (level == 0)
                    memcpy(first, out, sizeof out);
                assert_memory_equal(out, first, sizeof out);
                assert_int_equal(out[GUARD], 0xa5);
                assert_int_equal(out[GUARD + 1 + width * count], 0xa5);
                float back[MOST + 1] = {[MOST] = 7};
                mc_dtype_to_f32(formats[f], back, out + GUARD + 1, count);
                assert_true(count == MOST || back[count] == 0);
            }
        }
    }
}

static void check_in_place(mc_dtype from, mc_dtype to, size_t count)
{
    const size_t width = (size_t)mc_dtype_bytes(from, 1), wide = (size_t)mc_dtype_bytes(to, 1);
    unsigned char *const narrow = malloc(count * width + 1), *const expected = malloc(count * wide +
                                                                                      1);
    unsigned char *const buffer = malloc(count * wide + 1);
    for (size_t i = 0; i < count * width; i++)
        narrow[i] = (unsigned char)(i * 37 % 61); /* small exponents: no NaN */
    if (to == MC_F64)
        mc_dtype_to_f64(from, (double *)(void *)expected, narrow, count);
    else
        mc_dtype_to_f32(from, (float *)(void *)expected, narrow, count);
    memset(buffer, 0x33, count * wide);
    memcpy(buffer + count * (wide - width), narrow, count * width);
    mc_widen_in_place(from, to, buffer, count);
    assert_memory_equal(buffer, expected, count * wide);
    free(narrow);
    free(expected);
    free(buffer);
}

static void test_widen_in_place(void **state)
{
    static const size_t counts[] = {0, 1, 7, 511, 512, 513, 1025, 5000};
    (void)state;
    for (mc_dtype from = MC_F64; from <= MC_F8_E5M2; from++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            check_in_place(from, MC_F64, counts[c]);
            if (from != MC_F64)
                check_in_place(from, MC_F32, counts[c]);
        }
}

static void test_floats(void **state)
{
    const double in[] = {1 + 0x1p-24, 1 + 0x1p-24 + 0x1p-50, 1e300, -0., 0x1p-150};
    const float expected[] = {1, 1 + 0x1p-23f, INFINITY, -0.f, 0};
    float out[5];
    double back[5];
    (void)state;
    mc_dtype_from_f64(MC_F32, out, in, 5);
    assert_memory_equal(out, expected, sizeof out);
    mc_dtype_to_f32(MC_F64, out, in, 5);
    assert_memory_equal(out, expected, sizeof out);
    mc_dtype_from_f32(MC_F64, back, out, 5);
    assert_true(back[1] == 1 + 0x1p-23);
    mc_dtype_to_f64(MC_F64, back, in, 5);
    assert_memory_equal(back, in, sizeof back);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_narrow_dense),   cmocka_unit_test(test_widen),
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_double_rounds_once),
        cmocka_unit_test(test_special),        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_widen_in_place), cmocka_unit_test(test_floats),
    };
    const struct CMUnitTest long_tests[] = {cmocka_unit_test(test_narrow_all)};
    if (argc > 1 && strcmp(argv[1], "long") == 0)
        return cmocka_run_group_tests_name("convert, all float32", long_tests, NULL, NULL);
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
