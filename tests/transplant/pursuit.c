/* Approximations by few points: what must come out, found without the code under test. */
#include "transplant/pursuit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* FEW targets are not worth the products of all pairs of points, but TARGETS are. */
enum { POINTS = 1500, WIDTH = 40, TARGETS = 600, FEW = 150, TERMS = 6 };

static float points[POINTS * WIDTH], targets[TARGETS * WIDTH];
static uint32_t found[TARGETS * TERMS], again[TARGETS * TERMS];
static double weights[TARGETS * TERMS], weights_again[TARGETS * TERMS];

static float uniform(void)
{
    static uint64_t state = 1;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)(state >> 40) / (float)(1 << 23) - 1;
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        points[i] = uniform();
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        targets[i] = uniform();
    return 0;
}

static double product(const double *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < WIDTH; i++)
        sum += a[i] * b[i];
    return sum;
}

/* What is left of a target when the first `terms` points are taken away with least squares. */
static void residual(const float *target, const uint32_t *chosen, size_t terms, double *left)
{
    double basis[TERMS][WIDTH];
    for (size_t i = 0; i < WIDTH; i++)
        left[i] = target[i];
    for (size_t s = 0; s < terms; s++) {
        double norm = 0;
        for (size_t i = 0; i < WIDTH; i++)
            basis[s][i] = points[chosen[s] * WIDTH + i];
        for (int pass = 0; pass < 3; pass++)
            for (size_t k = 0; k < s; k++) {
                double share = 0;
                for (size_t i = 0; i < WIDTH; i++)
                    share += basis[s][i] * basis[k][i];
                for (size_t i = 0; i < WIDTH; i++)
                    basis[s][i] -= share * basis[k][i];
            }
        for (size_t i = 0; i < WIDTH; i++)
            norm += basis[s][i] * basis[s][i];
        for (size_t i = 0; i < WIDTH; i++)
            basis[s][i] /= sqrt(norm);
        double share = 0;
        for (size_t i = 0; i < WIDTH; i++)
            share += left[i] * basis[s][i];
        for (size_t i = 0; i < WIDTH; i++)
            left[i] -= share * basis[s][i];
    }
}

/* In every round the point that is largest; the weights leave what least squares leaves. */
static void check_pursuit(size_t target)
{
    const float *const wanted = &targets[target * WIDTH];
    const uint32_t *const chosen = &found[target * TERMS];
    double left[WIDTH], rest;
    for (size_t s = 0; s < TERMS; s++) {
        residual(wanted, chosen, s, left);
        const double largest = fabs(product(left, &points[chosen[s] * WIDTH]));
        for (size_t p = 0; p < POINTS; p++)
            assert_true(fabs(product(left, &points[p * WIDTH])) <= largest * (1 + 1e-5));
    }
    residual(wanted, chosen, TERMS, left);
    for (size_t i = 0; i < WIDTH; i++) {
        rest = wanted[i];
        for (size_t s = 0; s < TERMS; s++)
            rest -= weights[target * TERMS + s] * points[chosen[s] * WIDTH + i];
        assert_true(fabs(rest - left[i]) < 1e-6);
    }
}

static void test_pursuit(void **state)
{
    (void)state;
    const mc_points all = {points, POINTS, WIDTH};
    mc_combinations out = {TERMS, found, weights}, other = {TERMS, again, weights_again};
    for (int round = 0; round < 2; round++) {
        assert_int_equal(mc_pursue(&all, targets, TARGETS, 3, &out, NULL), MC_OK);
        for (size_t t = 0; t < TARGETS; t++)
            check_pursuit(t);
        assert_int_equal(mc_pursue(&all, targets, TARGETS, 1, &other, NULL), MC_OK);
        assert_memory_equal(found, again, sizeof found);
        assert_memory_equal(weights, weights_again, sizeof weights);
        /* Without the products of pairs, the result must be the same. */
        assert_int_equal(mc_pursue(&all, targets, FEW, 2, &other, NULL), MC_OK);
        for (size_t i = 0; i < FEW * TERMS; i++)
            assert_true(found[i] == again[i] && weights[i] == weights_again[i]);
        /* Points that are near copies, which products in one byte cannot tell from each other. */
        for (size_t i = POINTS / 3 * WIDTH; i < POINTS * WIDTH; i++)
            points[i] = points[i % (POINTS / 3 * WIDTH)] + 1e-4F * uniform();
    }
}

/*
 * Both ways choose the same points, whatever the sizes of values: many targets by the products of
 * pairs, and a part of them without. More than 128 terms; points that appear twice, and rows so
 * large or small that products in float32 overflow or vanish.
 */
static void test_both_ways(void **state)
{
    enum { MANY = 17, PART = 2, LONG = 140, WIDE = 150, SOME = 1100 };
    static float rows[SOME * WIDE], wanted[MANY * WIDE];
    static uint32_t one[MANY * LONG], other[MANY * LONG];
    static double one_weights[MANY * LONG], other_weights[MANY * LONG];
    static const float scales[] = {1, 1e18F, 1e-36F};
    (void)state;
    for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            rows[i] = scales[k] * uniform();
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            wanted[i] = scales[(k + i / WIDE) % 3] * uniform();
        memcpy(rows + 700 * WIDE, rows, 300 * WIDE * sizeof *rows);
        const mc_points all = {rows, SOME, WIDE};
        mc_combinations out = {LONG, one, one_weights}, part = {LONG, other, other_weights};
        assert_int_equal(mc_pursue(&all, wanted, MANY, 2, &out, NULL), MC_OK);
        assert_int_equal(mc_pursue(&all, wanted, PART, 1, &part, NULL), MC_OK);
        assert_memory_equal(one, other, PART * LONG * sizeof *one);
        assert_memory_equal(one_weights, other_weights, PART * LONG * sizeof *one_weights);
        /* Of equal points the first. */
        for (size_t i = 0; i < MANY * LONG; i++)
            assert_true(one[i] < 700 || one[i] >= 1000);
        assert_true(one_weights[LONG - 1] != 0);
    }
}

/* A target that is a point, one that is nothing, and fewer independent points than terms. */
static void test_early_end(void **state)
{
    (void)state;
    const float few[] = {1, 0, 0, 2, 0, 0, 0, 3, 0}, wanted[] = {0, -6, 0, 0, 0, 0, 1, 1, 1};
    const mc_points all = {few, 3, 3};
    mc_combinations out = {3, found, weights};
    assert_int_equal(mc_pursue(&all, wanted, 3, 1, &out, NULL), MC_OK);
    assert_int_equal(found[0], 2);
    assert_true(fabs(weights[0] + 2) < 1e-12 && weights[1] == 0 && weights[2] == 0);
    for (size_t s = 3; s < 6; s++)
        assert_true(weights[s] == 0);
    /* The second point depends on the first: one of them and the third are enough. */
    double sum[3] = {0};
    for (size_t s = 6; s < 9; s++)
        for (size_t i = 0; i < 3; i++)
            sum[i] += weights[s] * few[found[s] * 3 + i];
    assert_true(fabs(sum[0] - 1) < 1e-12 && fabs(sum[1] - 1) < 1e-12 && sum[2] == 0);
}

static void test_nearest(void **state)
{
    (void)state;
    const mc_points all = {points, POINTS, WIDTH};
    mc_combinations out = {TERMS, found, weights};
    /* A target that is a point has that row, but for a share of 1e-6. */
    memcpy(targets, &points[77 * WIDTH], WIDTH * sizeof *targets);
    assert_int_equal(mc_nearest(&all, targets, TARGETS, 2, &out, NULL), MC_OK);
    for (size_t t = 0; t < TARGETS; t++) {
        double farthest = 0, inverse[TERMS], sum = 0;
        bool chosen[POINTS] = {false};
        for (size_t s = 0; s < TERMS; s++) {
            const uint32_t p = found[t * TERMS + s];
            double distance = 0;
            assert_false(chosen[p]);
            chosen[p] = true;
            for (size_t i = 0; i < WIDTH; i++)
                distance += pow((double)targets[t * WIDTH + i] - points[p * WIDTH + i], 2);
            farthest = fmax(farthest, distance);
            inverse[s] = 1 / fmax(sqrt(distance), 1e-6);
            sum += inverse[s];
        }
        for (size_t s = 0; s < TERMS; s++)
            assert_true(fabs(weights[t * TERMS + s] - inverse[s] / sum) < 1e-9);
        for (size_t p = 0; p < POINTS; p++) {
            double distance = 0;
            for (size_t i = 0; i < WIDTH; i++)
                distance += pow((double)targets[t * WIDTH + i] - points[p * WIDTH + i], 2);
            assert_true(chosen[p] || distance >= farthest * (1 - 1e-5));
        }
    }
    assert_true(weights[0] + weights[1] + weights[2] + weights[3] + weights[4] + weights[5] > .999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pursuit), cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_early_end), cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
