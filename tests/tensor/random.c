/*
 * The generator: known answers, the same numbers from any piece, and no pattern that simple
 * statistics see.
 */
#include <mergecraft/method.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 1 << 18 };

static uint32_t numbers[COUNT], others[COUNT];

/* From the authors' reference implementation. */
static void test_known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        mc_random_words words = {0};
        for (size_t w = 0; w < 4; w++)
            for (size_t lane = 0; lane < MC_RANDOM_LANES; lane += 5)
                words.word[w][lane] = known[k].counter[w];
        mc_random_rounds(&words, (uint64_t)known[k].key[1] << 32 | known[k].key[0]);
        for (size_t w = 0; w < 4; w++)
            for (size_t lane = 0; lane < MC_RANDOM_LANES; lane += 5)
                assert_int_equal(words.word[w][lane], known[k].expected[w]);
    }
}

/* What random.h says: element e is word e % 4 of the counter {e / 4, stream}. */
static void test_layout(void **state)
{
    const int64_t first = (INT64_C(5) << 34) + 4;
    uint32_t found[8];
    mc_random_words words = {0};
    (void)state;
    words.word[0][3] = 1;
    words.word[1][3] = 5;
    words.word[2][3] = 9;
    mc_random_rounds(&words, 77);
    mc_random_u32(77, 9, first, 8, found);
    for (size_t w = 0; w < 4; w++)
        assert_int_equal(found[w], words.word[w][3]);
}

enum { GROUP = MC_RANDOM_GROUP, DIGITS = 16 };

/* The 16-bit number of element o of a group, by what random.h says of its digits. */
static uint16_t number_of(uint64_t key, uint32_t stream, uint64_t group, size_t o)
{
    const uint64_t counter = group * 32 + o / 32 % 32;
    unsigned number = 0;
    for (unsigned d = 0; d < DIGITS; d++) {
        mc_random_words words = {0};
        words.word[0][0] = (uint32_t)counter;
        words.word[1][0] = (uint32_t)(counter >> 32);
        words.word[2][0] = stream;
        words.word[3][0] = d + 1;
        mc_random_rounds(&words, key);
        number |= ((uint32_t)words.word[o / 1024][0] >> o % 32 & 1) << d;
    }
    return (uint16_t)number;
}

/* An element is 0 when its number is below the threshold, and 1 when it is just that. */
static void test_thresholds(void **state)
{
    const uint64_t group = (UINT64_C(1) << 33) + 1;
    (void)state;
    for (size_t o = 0; o < GROUP; o += 61) {
        const uint16_t number = number_of(77, 9, group, o);
        const int64_t element = (int64_t)(group * GROUP + o);
        uint16_t found[2];
        mc_random_bernoulli(77, 9, element, 1, number, &found[0]);
        assert_int_equal(found[0], 1);
        if (number == UINT16_MAX)
            continue;
        mc_random_bernoulli(77, 9, element, 1, (uint16_t)(number + 1), &found[1]);
        assert_int_equal(found[1], 0);
    }
}

/* A threshold with few digits draws few bits: it must compare all the same. */
static void test_round_thresholds(void **state)
{
    static const uint16_t thresholds[] = {0, 1, 0x4000, 0x8000, 0xc000, 0xfffe, 0xffff};
    static uint16_t found[GROUP];
    (void)state;
    for (size_t t = 0; t < sizeof thresholds / sizeof *thresholds; t++) {
        mc_random_bernoulli(5, 1, 0, GROUP, thresholds[t], found);
        for (size_t o = 0; o < GROUP; o += 31)
            assert_int_equal(found[o], number_of(5, 1, 0, o) >= thresholds[t]);
    }
}

/* The number of element o of a group, by what random.h says. */
static uint8_t byte_of(uint64_t key, uint32_t stream, uint64_t group, size_t o)
{
    const uint64_t counter = group * 32 + o / 4 % 32;
    mc_random_words words = {0};
    words.word[0][0] = (uint32_t)counter;
    words.word[1][0] = (uint32_t)(counter >> 32);
    words.word[2][0] = stream;
    words.word[3][0] = 17;
    mc_random_rounds(&words, key);
    return (uint8_t)((uint32_t)words.word[o / 128][0] >> 8 * (o % 4));
}

static void test_u8(void **state)
{
    const uint64_t group = (UINT64_C(1) << 34) + 3;
    uint8_t found[MC_RANDOM_BYTES];
    (void)state;
    mc_random_u8(77, 9, (int64_t)(group * MC_RANDOM_BYTES), MC_RANDOM_BYTES, found);
    for (size_t o = 0; o < MC_RANDOM_BYTES; o++)
        assert_int_equal(found[o], byte_of(77, 9, group, o));
}

typedef void drawer(int64_t first, size_t count, void *out);

static void draw_u32(int64_t first, size_t count, void *out)
{
    mc_random_u32(1, 2, first, count, out);
}

static void draw_u8(int64_t first, size_t count, void *out)
{
    mc_random_u8(1, 2, first, count, out);
}

static void draw_bernoulli(int64_t first, size_t count, void *out)
{
    mc_random_bernoulli(1, 2, first, count, 26214, out);
}

/* Expects the same elements of `size` bytes from pieces of any length, and none behind them. */
static void expect_pieces(drawer *draw, size_t size)
{
    enum { ALL = 9000 };
    static const size_t lengths[] = {1,   2,   3,   5,   31,  32,   33,   127, 128,
                                     129, 255, 256, 513, 999, 4095, 4096, 4097};
    char *const whole = (char *)numbers, *const pieces = (char *)others;
    draw(1000, ALL, whole);
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        memset(pieces, 0, (ALL + 1) * size);
        for (size_t at = 0; at < ALL; at += lengths[l]) {
            const size_t left = ALL - at, length = left < lengths[l] ? left : lengths[l];
            draw(1000 + (int64_t)at, length, pieces + at * size);
        }
        assert_memory_equal(whole, pieces, ALL * size);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(pieces[ALL * size + i], 0);
    }
}

static void test_pieces(void **state)
{
    (void)state;
    expect_pieces(draw_u32, sizeof(uint32_t));
    expect_pieces(draw_u8, sizeof(uint8_t));
    expect_pieces(draw_bernoulli, sizeof(uint16_t));
}

/*
 * Whether a sum of `count` independent terms is within 4 standard deviations of what is expected.
 */
static void assert_near(double sum, double mean, double variance, double count)
{
    assert_true(fabs(sum - mean * count) < 4 * sqrt(variance * count));
}

static double unit(uint32_t number)
{
    return (number + .5) * 0x1p-32;
}

static void test_moments(void **state)
{
    double sum = 0, squares = 0;
    (void)state;
    mc_random_u32(mc_random_key(0, "encoder.layer.0.weight"), 0, 0, COUNT, numbers);
    for (size_t i = 0; i < COUNT; i++) {
        sum += unit(numbers[i]);
        squares += unit(numbers[i]) * unit(numbers[i]);
    }
    assert_near(sum, 1. / 2, 1. / 12, COUNT);
    assert_near(squares, 1. / 3, 4. / 45, COUNT);
}

/* χ² of the 256 values of each byte: mean 255, standard deviation √510. */
static void test_bytes(void **state)
{
    (void)state;
    mc_random_u32(mc_random_key(1, "w"), 3, 0, COUNT, numbers);
    for (int byte = 0; byte < 4; byte++) {
        double seen[256] = {0}, squared = 0;
        for (size_t i = 0; i < COUNT; i++)
            seen[numbers[i] >> 8 * byte & 255]++;
        for (int value = 0; value < 256; value++)
            squared += pow(seen[value] - COUNT / 256., 2) / (COUNT / 256.);
        assert_true(fabs(squared - 255) < 4 * sqrt(510));
    }
}

/* Two sequences are not correlated, and agree in half of their bits. */
static void assert_independent(const uint32_t *a, const uint32_t *b, size_t count)
{
    double products = 0, same_bits = 0;
    for (size_t i = 0; i < count; i++) {
        products += (unit(a[i]) - .5) * (unit(b[i]) - .5);
        same_bits += __builtin_popcount(~(a[i] ^ b[i]));
    }
    assert_near(products, 0, 1. / 144, (double)count);
    assert_near(same_bits, 1. / 2, 1. / 4, 32. * (double)count);
}

static void test_independence(void **state)
{
    const uint64_t key = mc_random_key(7, "a.weight");
    (void)state;
    mc_random_u32(key, 0, 0, COUNT, numbers);
    for (size_t step = 1; step <= 5; step++)
        assert_independent(numbers, numbers + step, COUNT - step);
    assert_independent(numbers, numbers + 768, COUNT - 768);
    mc_random_u32(key, 1, 0, COUNT, others);
    assert_independent(numbers, others, COUNT);
    mc_random_u32(mc_random_key(7, "b.weight"), 0, 0, COUNT, others);
    assert_independent(numbers, others, COUNT);
    mc_random_u32(mc_random_key(8, "a.weight"), 0, 0, COUNT, others);
    assert_independent(numbers, others, COUNT);
    mc_random_u32(key, 0, INT64_C(1) << 34, COUNT, others);
    assert_independent(numbers, others, COUNT);
}

static void test_keys(void **state)
{
    (void)state;
    assert_int_equal(mc_random_key(0, ""), mc_random_mix(mc_random_mix(0x9e3779b97f4a7c15) ^
                                                         UINT64_C(0xcbf29ce484222325)));
    assert_true(mc_random_key(0, "a") != mc_random_key(1, "a"));
    assert_true(mc_random_key(0, "a") != mc_random_key(0, "b"));
    assert_true(mc_random_key(0, "ab") != mc_random_key(0, "ba"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_round_thresholds),
        cmocka_unit_test(test_u8),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_independence),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
