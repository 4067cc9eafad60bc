/* Applying a layer method to arrays, for its author's tests. */
#include "base/error.h"
#include "base/memory.h"

#include <mergecraft/merge.h>
#include <mergecraft/testing.h>

#include <string.h>

static const char *name_of(const mc_layer_test *test)
{
    return test->name ? test->name : "layer.weight";
}

/* A state dict of one tensor over the array. */
static mc_status wrap(const mc_layer_test *test, const float *values, mc_state_dict **out,
                      mc_error *error)
{
    mc_source *source = NULL;
    MC_TRY(mc_source_wrap(MC_F32, test->rank, test->shape, values, NULL, NULL, &source, error));
    mc_status status = mc_state_dict_new(out, error);
    if (status == MC_OK)
        status = mc_state_dict_set(*out, name_of(test), source, error);
    mc_source_unref(source);
    return status;
}

/* The lazy result; `dicts`: room for the models' and the base's. */
static mc_status apply(const mc_layer_test *test, mc_state_dict **dicts, mc_state_dict **out,
                       mc_error *error)
{
    const size_t count = test->model_count;
    for (size_t i = 0; i < count; i++)
        MC_TRY(wrap(test, test->models[i], &dicts[i], error));
    if (test->base)
        MC_TRY(wrap(test, test->base, &dicts[count], error));
    const mc_merge_input input = {.models = (const mc_state_dict *const *)dicts,
                                  .model_count = count,
                                  .base = test->base ? dicts[count] : NULL,
                                  .params = test->params,
                                  .param_count = test->param_count,
                                  .seed = test->seed};
    return mc_dict_map(test->method, &input, out, NULL, error);
}

/* The first element in which two arrays differ; −1 if they are equal. */
static int64_t difference(const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            return (int64_t)i;
    return -1;
}

/* Computes the result with `options`, and compares it with `out` unless it is the first. */
static mc_status compute(const mc_layer_test *test, const mc_state_dict *lazy, bool first,
                         const mc_run_options *options, float *out, mc_error *error)
{
    mc_state_dict *done = NULL;
    MC_TRY(mc_state_dict_materialize(lazy, options, &done, NULL, error));
    const mc_source *const source = mc_state_dict_source(done, 0);
    const size_t count = (size_t)mc_source_count(source);
    const float *const values = mc_source_data(source);
    const int64_t at = first ? -1 : difference(values, out, count);
    mc_status status = MC_OK;
    if (first)
        memcpy(out, values, count * sizeof *out);
    else if (at >= 0)
        status = mc_fail_at(error, MC_MISMATCH, NULL, name_of(test), at,
                            "method '%s': expected the same bits in tiles of any size, found %.9g "
                            "and %.9g in element %lld",
                            test->method->name, (double)out[at], (double)values[at], (long long)at);
    mc_state_dict_free(done);
    return status;
}

mc_status mc_test_layer(const mc_layer_test *test, float *out, mc_error *error)
{
    /*
     * The smallest tiles, the usual ones, and three threads that share small ones: results must not
     * depend on either. A memory bound of one byte gives tiles of one leaf.
     */
    static const mc_run_options runs[] = {
        {.threads = 1, .memory = 1}, {.threads = 1}, {.threads = 3, .memory = 1}};
    if (!test->method || test->model_count == 0)
        return mc_fail(error, MC_USAGE, "expected a method and models, found none");
    mc_state_dict **const dicts = mc_alloc_zero(test->model_count + 1, sizeof *dicts);
    mc_state_dict *lazy = NULL;
    mc_status status = dicts ? apply(test, dicts, &lazy, error) : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < sizeof runs / sizeof *runs; i++)
        status = compute(test, lazy, i == 0, &runs[i], out, error);
    mc_state_dict_free(lazy);
    for (size_t i = 0; dicts && i <= test->model_count; i++)
        mc_state_dict_free(dicts[i]);
    mc_free(dicts);
    return status;
}
