/*
 * Every tile operation against what its comment says, element by element: for lengths around a
 * vector and a block, written to another array and to the first input itself. Compiled for float
 * and for double.
 */
#include <mergecraft/method.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST = 1100, MODELS = 4 };

static const size_t lengths[] = {0, 1, 3, 15, 16, 17, 33, 511, 512, 513, 1024, 1061};

static mc_real a[MOST], b[MOST], mask[MOST], models[MODELS][MOST], in[MOST], out[MOST];
static const mc_real *const rows[MODELS] = {models[0], models[1], models[2], models[3]};

/* Multiples of 1/64 up to 4, so that sums are exact, some of them zero, infinite or NaN. */
static mc_real make(uint64_t i)
{
    const uint64_t bits = mc_random_mix(i + 1);
    if (bits % 41 == 0)
        return bits & 64 ? (mc_real)NAN : bits & 128 ? (mc_real)INFINITY : -(mc_real)INFINITY;
    return ((mc_real)(bits >> 32 & 511) - 256) / 64;
}

static void make_inputs(void)
{
    for (size_t i = 0; i < MOST; i++) {
        a[i] = make(i);
        b[i] = i % 7 == 0 ? -a[i] : make(i + MOST);
        mask[i] = i % 3 == 0 ? 0 : make(i + 2 * MOST);
        for (size_t m = 0; m < MODELS; m++)
            models[m][i] = make(i + (m + 3) * MOST);
    }
}

static bool same(mc_real x, mc_real y)
{
    return x == y || (x != x && y != y);
}

/* An operation on a tile, and what element i must be. */
typedef struct operation {
    const char *name;
    void (*run)(mc_real *to, const mc_real *from, size_t count);
    mc_real (*expected)(size_t i);
} operation;

#define OPERATION(name_, call_, ...)                                                               \
    static void run_##name_(mc_real *to, const mc_real *from, size_t count)                        \
    {                                                                                              \
        (void)from;                                                                                \
        call_;                                                                                     \
    }                                                                                              \
    static mc_real expected_##name_(size_t i)                                                      \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }

OPERATION(copy, mc_tile_copy(to, from, count), return a[i])
OPERATION(fill, mc_tile_fill(to, 3, count), return (void)i, (mc_real)3)
OPERATION(add, mc_tile_add(to, from, b, count), return a[i] + b[i])
OPERATION(subtract, mc_tile_subtract(to, from, b, count), return a[i] - b[i])
OPERATION(multiply, mc_tile_multiply(to, from, b, count), return a[i] * b[i])
OPERATION(scale, mc_tile_scale(to, from, 3, count), return 3 * a[i])
OPERATION(divide, mc_tile_divide(to, from, 3, count), return a[i] / 3)
OPERATION(add_scaled, mc_tile_add_scaled(to, from, 3, b, count), return a[i] + 3 * b[i])
OPERATION(blend, mc_tile_blend(to, 3, from, 2, b, count), return 3 * a[i] + 2 * b[i])
OPERATION(absolute, mc_tile_absolute(to, from, count), return a[i] < 0 ? -a[i] : a[i])
OPERATION(sign, mc_tile_sign(to, from, count), return a[i] > 0 ? 1 : a[i] < 0 ? -1 : 0)
OPERATION(keep, mc_tile_keep(to, from, 2, count), return a[i] < 2 && a[i] > -2 ? 0 : a[i])
OPERATION(select, mc_tile_select(to, mask, from, b, count), return mask[i] == 0 ? b[i] : a[i])
OPERATION(clamp, mc_tile_clamp(to, from, -1, 2, count), return a[i] > 2 ? 2 : a[i] < -1 ? -1 : a[i])
OPERATION(minimum, mc_tile_minimum(to, from, b, count),
          return a[i] != a[i]   ? a[i]
                 : b[i] != b[i] ? b[i]
                 : b[i] < a[i]  ? b[i]
                                : a[i])
OPERATION(maximum, mc_tile_maximum(to, from, b, count),
          return a[i] != a[i]   ? a[i]
                 : b[i] != b[i] ? b[i]
                 : b[i] > a[i]  ? b[i]
                                : a[i])
OPERATION(larger_magnitude, mc_tile_larger_magnitude(to, from, b, count),
          const double x = fabs((double)a[i]), y = fabs((double)b[i]);
          return a[i] != a[i]   ? a[i]
                 : b[i] != b[i] ? b[i]
                 : y > x        ? b[i]
                                : a[i])

static mc_real sum_of(size_t i)
{
    return ((models[0][i] + models[1][i]) + models[2][i]) + models[3][i];
}

OPERATION(sum, mc_tile_sum(to, rows, MODELS, count), return sum_of(i))
OPERATION(mean, mc_tile_mean(to, rows, MODELS, count), return sum_of(i) / 4)

static const double weights[MODELS] = {1, -2, 4, .5};

OPERATION(weighted_mean, mc_tile_weighted_mean(to, rows, weights, MODELS, count),
          mc_real x = models[0][i];
          x += -2 * models[1][i]; x += 4 * models[2][i]; x += models[3][i] / 2;
          return x / (mc_real)3.5)

/* The model's value that is better than all others by `is_better`; NaN if one is. */
static mc_real best_of(size_t i, bool (*is_better)(mc_real, mc_real))
{
    mc_real best = models[0][i];
    for (size_t m = 1; m < MODELS; m++)
        if (best == best && (models[m][i] != models[m][i] || is_better(models[m][i], best)))
            best = models[m][i];
    return best;
}

static bool is_less(mc_real x, mc_real y)
{
    return x < y;
}

static bool is_more(mc_real x, mc_real y)
{
    return x > y;
}

static bool is_farther(mc_real x, mc_real y)
{
    return fabs((double)x) > fabs((double)y);
}

OPERATION(smallest, mc_tile_smallest(to, rows, MODELS, count), return best_of(i, is_less))
OPERATION(largest, mc_tile_largest(to, rows, MODELS, count), return best_of(i, is_more))
OPERATION(max_magnitude, mc_tile_max_magnitude(to, rows, MODELS, count),
          return best_of(i, is_farther))

#define ENTRY(name_)                                                                               \
    {                                                                                              \
#name_, run_##name_, expected_##name_                                                      \
    }
static const operation operations[] = {
    ENTRY(copy),
    ENTRY(fill),
    ENTRY(add),
    ENTRY(subtract),
    ENTRY(multiply),
    ENTRY(scale),
    ENTRY(divide),
    ENTRY(add_scaled),
    ENTRY(blend),
    ENTRY(absolute),
    ENTRY(sign),
    ENTRY(keep),
    ENTRY(select),
    ENTRY(clamp),
    ENTRY(minimum),
    ENTRY(maximum),
    ENTRY(larger_magnitude),
    ENTRY(sum),
    ENTRY(mean),
    ENTRY(weighted_mean),
    ENTRY(smallest),
    ENTRY(largest),
    ENTRY(max_magnitude),
};

static void check(const operation *op, mc_real *to, const mc_real *from, size_t count)
{
    to[count] = 77;
    op->run(to, from, count);
    for (size_t i = 0; i < count; i++)
        if (!same(to[i], op->expected(i)))
            fail_msg("%s of %zu, element %zu: expected %g, found %g", op->name, count, i,
                     (double)op->expected(i), (double)to[i]);
    assert_true(to[count] == 77);
}

static void test_operations(void **state)
{
    (void)state;
    make_inputs();
    for (size_t o = 0; o < sizeof operations / sizeof *operations; o++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            check(&operations[o], out, a, lengths[l]);
            memcpy(in, a, sizeof in);
            check(&operations[o], in, in, lengths[l]);
        }
    }
}

/* The order of mc_tile_dot, written down again: lanes, then a tree. */
static double dot_in_order(const mc_real *x, const mc_real *y, size_t count)
{
    double lanes[16] = {0};
    for (size_t i = 0; i < count; i++)
        lanes[i % 16] += (double)x[i] * (double)y[i];
    for (size_t l = 0; l < 8; l++)
        lanes[l] += lanes[l + 8];
    for (size_t l = 0; l < 4; l++)
        lanes[l] += lanes[l + 4];
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

static void test_reductions(void **state)
{
    mc_real x[MOST], y[MOST], ones[MOST];
    (void)state;
    for (size_t i = 0; i < MOST; i++) {
        x[i] = (mc_real)((double)mc_random_mix(i) * 0x1p-64 - .4);
        y[i] = (mc_real)((double)mc_random_mix(i + MOST) * 0x1p-64 - .6);
        ones[i] = 1;
    }
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        assert_true(mc_tile_dot(x, y, lengths[l]) == dot_in_order(x, y, lengths[l]));
        assert_true(mc_tile_squares(x, lengths[l]) == dot_in_order(x, x, lengths[l]));
        assert_true(mc_tile_total(x, lengths[l]) == dot_in_order(x, ones, lengths[l]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_reductions),
    };
    return cmocka_run_group_tests_name("tile", tests, NULL, NULL);
}
