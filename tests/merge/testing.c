/* mc_test_layer gives methods what they ask for, and finds what is wrong with them. */
#include "merge/fixtures.h"

enum { ROWS = 90, COLUMNS = 100, COUNT = ROWS * COLUMNS };

static size_t two_rows(const mc_layer *layer)
{
    return 2 * layer->count * sizeof(mc_real);
}

/* Needs scratch memory: the sum of the models, then its half. */
MC_LAYER_MERGE(with_scratch, .help = "the mean", .scratch_bytes = two_rows)
{
    mc_real *const sum = layer->scratch;
    mc_tile_copy(sum, layer->models[0], layer->count);
    for (size_t m = 1; m < layer->model_count; m++)
        mc_tile_add(sum, sum, layer->models[m], layer->count);
    mc_tile_scale(layer->out, sum, 1 / (mc_real)layer->model_count, layer->count);
    return MC_OK;
}

/* Sees whole rows. */
MC_LAYER_MERGE(row_sums, .help = "each row's sum", .scope = MC_ROW)
{
    for (size_t at = 0; at < layer->count; at += COLUMNS) {
        mc_real sum = 0;
        for (size_t i = 0; i < COLUMNS; i++)
            sum += layer->models[0][at + i];
        for (size_t i = 0; i < COLUMNS; i++)
            layer->out[at + i] = sum;
    }
    return MC_OK;
}

MC_LAYER_MERGE(whole, .help = "the last element", .scope = MC_TENSOR)
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = layer->models[0][layer->count - 1];
    return MC_OK;
}

MC_LAYER_MERGE(by_tile, .help = "depends on the tile")
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (mc_real)layer->count;
    return MC_OK;
}

MC_LAYER_MERGE(half, .help = "leaves elements out")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count / 2);
    return MC_OK;
}

MC_LAYER_MERGE(scaled, .help = "the base, moved", .needs_base = true,
               .params = MC_PARAMS({"by", MC_NUMBER, "how far", .fallback = 1}))
{
    const mc_real by = (mc_real)mc_number(layer, "by");
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = layer->base[i] + by;
    return MC_OK;
}

static float a[COUNT], b[COUNT], out[COUNT];
static const float *const models[] = {a, b};
static const int64_t shape[] = {ROWS, COLUMNS};

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        a[i] = (float)(i % 64);
        b[i] = (float)(i % 32);
    }
    return 0;
}

static mc_layer_test of(const mc_method *method)
{
    return (mc_layer_test){
        .method = method, .models = models, .model_count = 2, .rank = 2, .shape = shape};
}

static void test_right(void **state)
{
    (void)state;
    mc_layer_test test = of(&with_scratch);
    assert_done(mc_test_layer(&test, out, &error));
    for (int i = 0; i < COUNT; i++)
        assert_true(out[i] == (a[i] + b[i]) / 2);
    test = of(&row_sums);
    assert_done(mc_test_layer(&test, out, &error));
    float sum = 0;
    for (int i = COUNT - COLUMNS; i < COUNT; i++)
        sum += a[i];
    assert_true(out[COUNT - 1] == sum);
    test = of(&whole);
    assert_done(mc_test_layer(&test, out, &error));
    assert_true(out[0] == a[COUNT - 1]);
    const char *const by[] = {"by=2"};
    test = of(&scaled);
    test.base = b;
    test.params = by;
    test.param_count = 1;
    assert_done(mc_test_layer(&test, out, &error));
    assert_true(out[5] == b[5] + 2);
}

static void test_wrong(void **state)
{
    (void)state;
    mc_layer_test test = of(&by_tile);
    assert_error(MC_MISMATCH, "the same bits in tiles of any size",
                 mc_test_layer(&test, out, &error));
    test = of(&half);
    assert_error(MC_USAGE, "does not write every element", mc_test_layer(&test, out, &error));
    test = of(&scaled);
    assert_error(MC_USAGE, "needs a base", mc_test_layer(&test, out, &error));
    test = of(NULL);
    assert_error(MC_USAGE, "expected a method", mc_test_layer(&test, out, &error));
    const char *const unknown[] = {"size=2"};
    test = of(&with_scratch);
    test.params = unknown;
    test.param_count = 1;
    assert_error(MC_USAGE, "no parameter 'size'", mc_test_layer(&test, out, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
