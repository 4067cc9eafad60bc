/*
 * Every method against the values that tests/data/methods/make_methods.py computed, at every CPU
 * level, for several tile sizes: the same bits whatever the level and tile, and those of the
 * reference within the tolerance.
 */
#include "methods/inputs.h"
#include "methods/run.h"

#include "base/cpu.h"
#include "methods/variant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Smooth results: of the largest input. */
static const double tolerance_f32 = 2e-6, tolerance_f64 = 1e-14;
/* Results of decompositions: errors of singular vectors grow with the inverse of their gaps. */
static const double decomposed_f64 = 1e-11;

typedef struct golden_case {
    unsigned seed;
    mc_dtype dtype;
    size_t model_count;
    char shape[32];
    inputs_kind kind;
    bool exact, decomposed;
    bool with_base; /* of a method that may do without one */
    size_t offset;
    char settings[512];
} golden_case;

typedef struct golden_layer {
    mc_layer layer;
    int64_t shape[4];
    void *models[RUN_MODELS];
    void *base, *out;
    mc_params *params;
} golden_layer;

static bool parse_case(const char *line, golden_case *c)
{
    char dtype[16], kind[16];
    int exact = 0, length = 0;
    if (sscanf(line, "%u %15s %zu %31s %15s %d %zu%n", &c->seed, dtype, &c->model_count, c->shape,
               kind, &exact, &c->offset, &length) != 7)
        return false;
    assert_true(mc_dtype_parse(dtype, &c->dtype));
    c->kind = kind[0] == 'p' ? PLAIN : kind[0] == 'z' ? ZEROS : SPECIAL;
    c->with_base = strchr(kind, '+') != NULL;
    c->exact = exact == 1;
    c->decomposed = exact == 2;
    snprintf(c->settings, sizeof c->settings, "%s", line + length);
    return true;
}

/* "33x5" into dimensions; "scalar" has none. */
static void set_shape(golden_layer *golden, const char *text)
{
    golden->layer.size = 1;
    golden->layer.shape = golden->shape;
    for (const char *at = text; strcmp(text, "scalar") != 0 && *at;) {
        char *end = NULL;
        const int64_t length = strtoll(at, &end, 10);
        golden->shape[golden->layer.rank++] = length;
        golden->layer.size *= length;
        at = *end ? end + 1 : end;
    }
}

static void set_up(golden_layer *golden, const mc_method *method, const golden_case *c)
{
    *golden = (golden_layer){.layer = {.name = "layer", .model_count = c->model_count}};
    set_shape(golden, c->shape);
    golden->layer.matrix = golden->layer.rank == 2;
    golden->params = run_params(method, c->model_count, c->settings);
    golden->layer.params = method->params;
    golden->layer.values = golden->params->values;
    const size_t count = (size_t)golden->layer.size;
    for (size_t m = 0; m < c->model_count; m++)
        golden->models[m] = inputs_make(c->seed, m, c->kind, c->dtype, count);
    golden->base = inputs_make(c->seed, BASE, c->kind, c->dtype, count);
    golden->out = calloc(count + 1, sizeof(double));
    golden->layer.count = count;
    golden->layer.models = (const mc_real *const *)golden->models;
    golden->layer.base = method->needs_base || c->with_base ? golden->base : NULL;
    golden->layer.merged = method->add_on ? golden->models[c->model_count - 1] : NULL;
    golden->layer.block = -1;
    golden->layer.out = golden->out;
    golden->layer.random_key = mc_random_key(c->seed, "layer");
}

static void tear_down(golden_layer *golden)
{
    for (size_t m = 0; m < golden->layer.model_count; m++)
        free(golden->models[m]);
    mc_params_unref(golden->params);
    free(golden->base);
    free(golden->out);
}

/* Expected values lie at any address. */
static double value_at(const void *values, bool is_double, size_t i)
{
    double wide = 0;
    float narrow = 0;
    if (is_double)
        memcpy(&wide, (const char *)values + i * sizeof wide, sizeof wide);
    else
        memcpy(&narrow, (const char *)values + i * sizeof narrow, sizeof narrow);
    return is_double ? wide : (double)narrow;
}

static double largest_input(const golden_layer *golden, bool is_double)
{
    double largest = 0;
    for (size_t m = 0; m <= golden->layer.model_count; m++) {
        const void *const values = m < golden->layer.model_count ? golden->models[m] : golden->base;
        for (size_t i = 0; i < golden->layer.count; i++) {
            const double size = fabs(value_at(values, is_double, i));
            largest = size > largest && isfinite(size) ? size : largest;
        }
    }
    return largest;
}

static bool agrees(double found, double expected, bool exact, double allowed)
{
    if (isnan(expected) || isnan(found))
        return isnan(expected) && isnan(found);
    if (exact)
        return found == expected && !signbit(found) == !signbit(expected);
    return found == expected || fabs(found - expected) <= allowed;
}

static void check_values(const golden_layer *golden, const golden_case *c, const char *expected)
{
    const bool is_double = c->dtype == MC_F64;
    const double wide = c->decomposed ? decomposed_f64 : tolerance_f64;
    const double allowed = largest_input(golden, is_double) * (is_double ? wide : tolerance_f32);
    for (size_t i = 0; i < golden->layer.count; i++) {
        const double found = value_at(golden->out, is_double, i);
        const double wanted = value_at(expected, is_double, i);
        if (!agrees(found, wanted, c->exact, allowed))
            fail_msg("seed %u, %zu models %s%s, element %zu: expected %.9g, found %.9g", c->seed,
                     c->model_count, mc_dtype_name(c->dtype), c->settings, i, wanted, found);
    }
}

/*
 * Which NaN comes out of an operation on two is the compiler's choice: sign and payload are not
 * compared.
 */
static void make_nan_equal(void *values, bool is_double, size_t count)
{
    double *const wide = values;
    float *const narrow = values;
    for (size_t i = 0; i < count; i++) {
        if (is_double && isnan(wide[i]))
            wide[i] = (double)NAN;
        if (!is_double && isnan(narrow[i]))
            narrow[i] = NAN;
    }
}

/* Runs one case at all levels and with several tiles: always the same bits. */
static void check_case(const mc_method *method, const golden_case *c, const char *expected)
{
    static const int64_t tiles[] = {MC_LEAF, 2 * MC_LEAF, 8 * MC_LEAF};
    const bool is_double = c->dtype == MC_F64;
    golden_layer golden;
    set_up(&golden, method, c);
    const size_t size = golden.layer.count * (is_double ? sizeof(double) : sizeof(float));
    char *const first = calloc(1, size + 1);
    for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level); level++) {
        const mc_method *const variant = mc_method_variant(method, is_double);
        assert_int_equal(variant->real_size, is_double ? sizeof(double) : sizeof(float));
        for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++) {
            memset(golden.out, 0x55, size);
            run_method(variant, &golden.layer, tiles[t]);
            make_nan_equal(golden.out, is_double, golden.layer.count);
            if (level == 0 && t == 0) {
                check_values(&golden, c, expected + c->offset);
                memcpy(first, golden.out, size);
            }
            assert_memory_equal(golden.out, first, size);
        }
    }
    free(first);
    tear_down(&golden);
}

static char *load(const mc_method *method, const char *ending)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/methods/%s/%s%s", MC_TEST_DATA, method->family, method->name,
             ending);
    FILE *const file = fopen(path, "rb");
    if (!file)
        fail_msg("%s: cannot be opened", path);
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    char *const bytes = calloc(1, (size_t)size + 1);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
    fclose(file);
    return bytes;
}

static void test_method(void **state)
{
    const mc_method *const method = *state;
    char *const text = load(method, ".txt"), *const expected = load(method, ".bin");
    size_t cases = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        golden_case c;
        assert_true(parse_case(line, &c));
        check_case(method, &c, expected);
        cases++;
    }
    assert_true(cases >= 64);
    free(text);
    free(expected);
}

int main(void)
{
    struct CMUnitTest tests[64];
    size_t count = 0;
    assert(mc_method_count() <= sizeof tests / sizeof *tests);
    for (size_t i = 0; i < mc_method_count(); i++)
        if (!mc_method_at(i)->sides) /* the others: sides.c */
            tests[count++] = (struct CMUnitTest){
                .name = mc_method_at(i)->name,
                .test_func = test_method,
                .initial_state = (void *)(uintptr_t)mc_method_at(i)};
    return _cmocka_run_group_tests("golden", tests, count, NULL, NULL);
}
