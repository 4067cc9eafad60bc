/*
 * Testing a layer method: mc_test_layer applies it to arrays as a merge would.
 *
 *     #include <mergecraft/mergecraft.h>
 *     #include "midpoint.c"                  // the method, without -DMC_PLUGIN
 *
 *     const float a[] = {1, 2}, b[] = {3, 6}, base[] = {0, 0};
 *     const float *const models[] = {a, b};
 *     const int64_t shape[] = {2};
 *     const mc_layer_test test = {.method = &midpoint, .models = models, .model_count = 2,
 *                                 .base = base, .rank = 1, .shape = shape};
 *     float out[2];
 *     mc_status status = mc_test_layer(&test, out, &error);   // out: 1, 2
 *
 * Thread-safety: the function may be called by several threads at once.
 */
#ifndef MERGECRAFT_TESTING_H
#define MERGECRAFT_TESTING_H

#include <mergecraft/method.h>

MC_BEGIN_DECLS

/* Everything is borrowed. Arrays are row-major, of as many floats as the shape has elements. */
typedef struct mc_layer_test {
    const mc_method *method;
    const char *name; /* of the layer; NULL: "layer.weight" */
    const float *const *models;
    size_t model_count;
    const float *base; /* NULL: none */
    int rank;
    const int64_t *shape;
    const char *const *params; /* "NAME=VALUE" each */
    size_t param_count;
    uint64_t seed;
    void *reserved[4]; /* must be zero */
} mc_layer_test;

/*
 * Applies the method and writes the result to out[count of elements]. The method gets what it asks
 * for: tiles of its scope, scratch memory, statistics in rounds. It is applied in several tile
 * sizes and on one and on three threads; small tiles have 4,096 elements, so test a layer that is
 * larger than that, too. Methods with side inputs cannot be tested in this way.
 *
 * Errors: MC_USAGE     the method does not fit: parameters, base, number of models; or it reads
 *                      memory that it did not write, or leaves elements of the result unwritten
 *         MC_MISMATCH  results differ between tile sizes: error->offset is the element
 *         and what the method itself returns
 */
MC_API mc_status mc_test_layer(const mc_layer_test *test, float *out, mc_error *error);

MC_END_DECLS

#endif
