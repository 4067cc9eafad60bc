/*
 * The executor gives the same bits for any number of threads, memory bound and CPU, and the same as
 * reading a lazy tensor directly.
 */
#include "merge/fixtures.h"

#include "base/cpu.h"

enum { MODELS = 3 };

/* ---- methods of every scope ----------------------------------------------------------------- */

static int64_t row_of(const mc_layer *layer)
{
    return layer->rank > 0 ? layer->shape[layer->rank - 1] : 1;
}

/*
 * Every row of the first model minus its own sum in order of the elements: wrong unless rows are
 * whole.
 */
MC_LAYER_MERGE(row_sums, .help = "the first model, each row less its sum", .scope = MC_ROW)
{
    const size_t row = (size_t)row_of(layer);
    for (size_t start = 0; start < layer->count; start += row) {
        float sum = 0;
        for (size_t i = start; i < start + row; i++)
            sum += layer->models[0][i];
        for (size_t i = start; i < start + row; i++)
            layer->out[i] = layer->models[0][i] - sum;
    }
    return MC_OK;
}

MC_LAYER_MERGE(turned, .help = "the last model, backwards", .scope = MC_TENSOR)
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = layer->models[layer->model_count - 1][layer->count - 1 - i];
    return MC_OK;
}

static size_t size_of_float(const mc_layer *layer)
{
    (void)layer;
    return sizeof(float);
}

static mc_status sum_add(const mc_layer *layer, void *partial)
{
    float sum = *(float *)partial;
    for (size_t i = 0; i < layer->count; i++)
        sum += layer->models[0][i] * layer->models[1][i];
    *(float *)partial = sum;
    return MC_OK;
}

static void sum_combine(const mc_layer *layer, void *into, const void *from)
{
    (void)layer;
    *(float *)into += *(const float *)from;
}

/* A second round that only doubles what the first one found. */
static mc_status sum_next(const mc_layer *layer, int round, void *state, const void *total,
                          bool *more)
{
    (void)layer;
    *(float *)state += *(const float *)total;
    *more = round == 0;
    return MC_OK;
}

static const mc_statistics sum_statistics = {.state_size = size_of_float,
                                             .partial_size = size_of_float,
                                             .accumulate = sum_add,
                                             .combine = sum_combine,
                                             .next = sum_next};

static size_t a_tile(const mc_layer *layer)
{
    return layer->count * sizeof(mc_real);
}

/* The sum is in float: another order of adding gives other bits. */
MC_LAYER_MERGE(shifted, .help = "mean shifted by a dot product", .statistics = &sum_statistics,
               .scratch_bytes = a_tile)
{
    const float shift = *(const float *)layer->state;
    mc_real *const mean = layer->scratch;
    mc_tile_mean(mean, layer->models, layer->model_count, layer->count);
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = mean[i] + shift;
    return MC_OK;
}

typedef struct counts {
    uint64_t above, seen;
} counts;

typedef struct threshold {
    double at;
    counts rounds[3];
} threshold;

static size_t size_of_counts(const mc_layer *layer)
{
    (void)layer;
    return sizeof(counts);
}

static size_t size_of_threshold(const mc_layer *layer)
{
    (void)layer;
    return sizeof(threshold);
}

/* Every eighth leaf, then every third, then all. */
static int64_t every(const mc_layer *layer, int round)
{
    (void)layer;
    static const int64_t strides[] = {8, 3, 1};
    return strides[round];
}

static mc_status count_above(const mc_layer *layer, void *partial)
{
    counts *const found = partial;
    const threshold *const state = layer->state;
    for (size_t i = 0; i < layer->count; i++)
        found->above += (double)layer->models[0][i] > state->at;
    found->seen += layer->count;
    return MC_OK;
}

static void add_counts(const mc_layer *layer, void *into, const void *from)
{
    (void)layer;
    ((counts *)into)->above += ((const counts *)from)->above;
    ((counts *)into)->seen += ((const counts *)from)->seen;
}

static mc_status next_threshold(const mc_layer *layer, int round, void *state, const void *total,
                                bool *more)
{
    (void)layer;
    threshold *const found = state;
    found->rounds[round] = *(const counts *)total;
    found->at = (double)found->rounds[round].above / (double)found->rounds[round].seen / 2;
    *more = round < 2;
    return MC_OK;
}

static const mc_statistics count_statistics = {.state_size = size_of_threshold,
                                               .partial_size = size_of_counts,
                                               .order_free = true,
                                               .stride = every,
                                               .accumulate = count_above,
                                               .combine = add_counts,
                                               .next = next_threshold};

MC_LAYER_MERGE(cut, .help = "the first model above a threshold, else the number of elements seen",
               .statistics = &count_statistics)
{
    const threshold *const state = layer->state;
    const float seen = (float)(state->rounds[0].seen + 2 * state->rounds[1].seen +
                               4 * state->rounds[2].seen);
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (double)layer->models[0][i] > state->at ? layer->models[0][i] : seen;
    return MC_OK;
}

/* ---- inputs --------------------------------------------------------------------------------- */

typedef struct inputs {
    mc_state_dict *models[MODELS], *base;
} inputs;

static mc_state_dict *make_model(uint64_t seed)
{
    mc_state_dict *const dict = dict_new();
    /* The widths differ from model to model for one of them. */
    const mc_dtype mixed[] = {MC_F16, MC_BF16, MC_F32, MC_F16};
    dict_add(dict, "scalar", MC_F32, 0, NULL, seed);
    dict_add(dict, "empty", MC_F16, SHAPE(0), seed + 10);
    dict_add(dict, "no_rows", MC_F32, SHAPE(0, 7), seed + 10);
    dict_add(dict, "one", MC_BF16, SHAPE(1), seed + 20);
    dict_add(dict, "leaf_less_one", MC_F32, SHAPE(4095), seed + 30);
    dict_add(dict, "leaf", MC_F16, SHAPE(4096), seed + 40);
    dict_add(dict, "leaf_and_one", MC_BF16, SHAPE(4097), seed + 50);
    dict_add(dict, "many_f32", MC_F32, SHAPE(3 * 32768 + 17), seed + 60);
    dict_add(dict, "many_f16", MC_F16, SHAPE(3 * 32768 + 17), seed + 70);
    dict_add(dict, "many_f64", MC_F64, SHAPE(32768 + 4099), seed + 80);
    dict_add(dict, "many_mixed", mixed[seed % 4], SHAPE(67, 769), seed + 90);
    dict_add(dict, "rows", MC_BF16, SHAPE(131, 257), seed + 100);
    dict_add(dict, "wide_rows", MC_F32, SHAPE(3, 20011), seed + 110);
    dict_add(dict, "conv", MC_F32, SHAPE(13, 5, 3, 7), seed + 120);
    return dict;
}

static int make_inputs(void **state)
{
    inputs *const made = calloc(1, sizeof *made);
    for (uint64_t i = 0; i < MODELS; i++)
        made->models[i] = make_model(i);
    made->base = make_model(3);
    *state = made;
    return 0;
}

static int free_inputs(void **state)
{
    inputs *const made = *state;
    for (size_t i = 0; i < MODELS; i++)
        mc_state_dict_free(made->models[i]);
    mc_state_dict_free(made->base);
    free(made);
    return 0;
}

/* What has no default, and what makes methods drop elements. */
static size_t settings_of(const mc_method *method, const char *settings[4])
{
    static const struct {
        const char *name, *setting;
    } values[] = {
        {"weight", "weight=0.4"},      {"weights", "weights=0.4"},         {"t", "t=0.3"},
        {"density", "density=0.6"},    {"select_topk", "select_topk=0.3"}, {"rescale", "rescale=1"},
        {"iterations", "iterations=3"}}; /* hundreds of steps that are all alike */
    size_t count = 0;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (const mc_param *param = method->params; param && param->name; param++)
            if (strcmp(param->name, values[i].name) == 0 && count < 4)
                settings[count++] = values[i].setting;
    return count;
}

static mc_state_dict *merge(const mc_method *method, const inputs *in)
{
    mc_state_dict *lazy = NULL;
    const char *settings[4];
    const mc_merge_input input = {
        .params = settings,
        .param_count = settings_of(method, settings),
        .models = (const mc_state_dict *const *)in->models,
        .model_count = method->max_models && method->max_models < MODELS ? method->max_models
                                                                         : MODELS,
        .base = method->needs_base ? in->base : NULL,
        .seed = 7,
    };
    assert_done(mc_model_merge(method, &input, &lazy, NULL, &error));
    return lazy;
}

static mc_state_dict *compute(const mc_state_dict *lazy, int threads, int64_t memory)
{
    mc_state_dict *made = NULL;
    const mc_run_options options = {.threads = threads, .memory = memory};
    assert_done(mc_state_dict_materialize(lazy, &options, &made, NULL, &error));
    return made;
}

/* ---- checks --------------------------------------------------------------------------------- */

#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

static void check_threads(const mc_method *method, const mc_state_dict *lazy,
                          const mc_state_dict *expected)
{
    static const int threads[] = {3, 1, 2, 7, 8};
    /*
     * Each method gets some of the combinations, so that all methods together get all of them. A
     * decomposition takes a hundred times as long as other methods, and so does the thread
     * sanitizer.
     */
    const bool slow = SANITIZED || method->reproducibility == MC_SAME_ON_MACHINE;
    const size_t other = 1 + strlen(method->name) % 4;
    for (size_t i = 0; i <= other; i += other + slow) {
        /* One leaf a tile, a few, as many as there can be. */
        const int64_t memory[] = {1, (int64_t)threads[i] * (256 << 10), INT64_C(64) << 20};
        for (size_t j = i % 2; j < sizeof memory / sizeof *memory; j += slow ? 3 : 2) {
            char what[128];
            snprintf(what, sizeof what, "%s, %d threads, %lld bytes", method->name, threads[i],
                     (long long)memory[j]);
            mc_state_dict *const made = compute(lazy, threads[i], memory[j]);
            assert_same_dicts(expected, made, what);
            mc_state_dict_free(made);
        }
    }
}

/*
 * Pieces of odd lengths, read as floats, are what the computed tensor holds; a lazy tensor of low
 * precision is not rounded yet.
 */
static void check_pieces(const mc_source *lazy, const mc_source *made)
{
    if (mc_source_dtype(lazy) != MC_F32 && mc_source_dtype(lazy) != MC_F64)
        return;
    const int64_t count = mc_source_count(lazy);
    const size_t width = mc_source_dtype(lazy) == MC_F64 ? sizeof(double) : sizeof(float);
    char *const all = bytes_of_source(made);
    for (int64_t first = 0, step = 1; first < count; first += step, step = step * 5 + 2) {
        const int64_t n = count - first < step ? count - first : step;
        char *const piece = malloc((size_t)n * sizeof(double));
        if (width == sizeof(double))
            assert_done(mc_source_read_f64(lazy, first, n, (double *)(void *)piece, &error));
        else
            assert_done(mc_source_read_f32(lazy, first, n, (float *)(void *)piece, &error));
        assert_memory_equal(piece, all + (size_t)first * width, (size_t)n * width);
        free(piece);
    }
    free(all);
}

static void check_method(const mc_method *method, const inputs *in)
{
    mc_state_dict *const lazy = merge(method, in);
    mc_state_dict *const expected = compute(lazy, 1, 0);
    check_threads(method, lazy, expected);
    assert_same_dicts(expected, lazy, method->name);
    for (size_t i = 0; i < mc_state_dict_count(lazy); i++)
        check_pieces(mc_state_dict_source(lazy, i), mc_state_dict_source(expected, i));
    mc_state_dict_free(expected);
    mc_state_dict_free(lazy);
}

static void test_builtin_methods(void **state)
{
    assert_true(mc_method_count() > 0);
    /* What the sanitizer looks for is in the executor; every few methods are enough for it. */
    for (size_t i = 0; i < mc_method_count(); i += SANITIZED ? 12 : 1)
        if (!mc_method_at(i)->sides) /* the others: tests/methods/sides.c */
            check_method(mc_method_at(i), *state);
}

static void test_scopes(void **state)
{
    check_method(&row_sums, *state);
    check_method(&turned, *state);
}

static void test_statistics(void **state)
{
    check_method(&shifted, *state);
    check_method(&cut, *state);
}

/* What the methods of this file make of the largest tensor, computed without the library. */
static void test_values(void **state)
{
    const inputs *const in = *state;
    mc_state_dict *const rows = merge(&row_sums, in), *const counted = merge(&cut, in);
    float *const first = floats_of(in->models[0], "wide_rows");
    float *const summed = floats_of(rows, "wide_rows");
    for (size_t r = 0; r < 3; r++) {
        float sum = 0;
        for (size_t i = 0; i < 20011; i++)
            sum += first[r * 20011 + i];
        for (size_t i = 0; i < 20011; i++)
            assert_true(summed[r * 20011 + i] == first[r * 20011 + i] - sum);
    }
    /*
     * 3 · 32768 + 17 elements are 24 leaves and 17 elements: leaves 0, 8, 16, 24; 0, 3 … 24; all.
     */
    const float seen = (3 * 4096 + 17) + 2 * (8 * 4096 + 17) + 4 * (24 * 4096 + 17);
    float *const cut_values = floats_of(counted, "many_f32");
    float *const plain = floats_of(in->models[0], "many_f32");
    for (size_t i = 0; i < 3 * 32768 + 17; i++)
        assert_true(cut_values[i] == seen || cut_values[i] == plain[i]);
    free(first), free(summed), free(cut_values), free(plain);
    mc_state_dict_free(rows);
    mc_state_dict_free(counted);
}

static void test_cpus(void **state)
{
    const mc_cpu_level best = mc_cpu();
    for (size_t i = 0; i < mc_method_count(); i += SANITIZED ? 24 : 1) {
        if (mc_method_at(i)->sides)
            continue;
        mc_state_dict *expected = NULL;
        for (int level = MC_CPU_SCALAR; level < MC_CPU_LEVELS; level++) {
            if (!mc_cpu_force((mc_cpu_level)level))
                continue;
            mc_state_dict *const lazy = merge(mc_method_at(i), *state);
            mc_state_dict *const made = compute(lazy, 2, 0);
            if (expected)
                assert_same_dicts(expected, made, mc_cpu_name((mc_cpu_level)level));
            else
                expected = mc_state_dict_find(made, "one") ? compute(made, 1, 0) : NULL;
            assert_non_null(expected);
            mc_state_dict_free(made);
            mc_state_dict_free(lazy);
        }
        mc_state_dict_free(expected);
    }
    assert_true(mc_cpu_force(best));
}

/*
 * One rounding from what is computed to what is kept, also when a float64 base makes the arithmetic
 * wide.
 */
static void test_wide_base(void **state)
{
    (void)state;
    mc_state_dict *const model = dict_new(), *const base = dict_new();
    mc_state_dict *lazy = NULL;
    dict_add(model, "x", MC_F16, SHAPE(9001), 1);
    dict_add(base, "x", MC_F64, SHAPE(9001), 2);
    const mc_state_dict *const models[] = {model, model, model};
    const mc_merge_input input = {.models = models,
                                  .model_count = 3,
                                  .base = base,
                                  .params = (const char *const[]){"scale=0.123456789"},
                                  .param_count = 1};
    assert_done(mc_model_merge(mc_method_find("task"), &input, &lazy, NULL, &error));
    mc_state_dict *const made = compute(lazy, 2, 0);
    assert_same_dicts(made, lazy, "float16 with a float64 base");
    mc_state_dict_free(made);
    mc_state_dict_free(lazy);
    mc_state_dict_free(model);
    mc_state_dict_free(base);
}

/* Float64 arithmetic is done in float64, also when the result is asked for as float32. */
static void test_wide_arithmetic(void **state)
{
    (void)state;
    const double x[] = {1 + 0x1p-40, 0x1p60 + 0x1p20}, y[] = {1, 0x1p60};
    mc_state_dict *const a = dict_new(), *const b = dict_new();
    mc_state_dict *difference = NULL;
    dict_add_bytes(a, "x", MC_F64, SHAPE(2), x, sizeof x);
    dict_add_bytes(b, "x", MC_F64, SHAPE(2), y, sizeof y);
    assert_done(mc_state_dict_combine(MC_SUBTRACT, a, b, NULL, &difference, &error));
    assert_floats(difference, "x", 0x1p-40f, 0x1p20f);
    mc_state_dict_free(difference);
    mc_state_dict_free(a);
    mc_state_dict_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin_methods),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_wide_base),
        cmocka_unit_test(test_wide_arithmetic),
    };
    return cmocka_run_group_tests(tests, make_inputs, free_inputs);
}
