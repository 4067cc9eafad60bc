/*
 * How fast methods, conversions and random numbers are on tiles that lie in the second cache, at
 * each CPU level: nanoseconds an element, of a model where there are several. The best of many
 * runs.
 *
 *     bench_methods [f64]        methods with float64 tiles
 *     bench_methods ties N       rounds and nanoseconds of a whole ties layer of N elements
 */
#include "base/cpu.h"
#include "merge/params.h"
#include "methods/variant.h"

#include <mergecraft/dtype.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNT = 32768, MODELS = 5, RUNS = 100, LEAVES = COUNT / MC_LEAF };

static double models_[MODELS][COUNT], base_[COUNT], out_[COUNT];

/* Of this thread alone, so that other work on the machine matters less. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* The seconds of the fastest of many calls. */
static double fastest(void (*run)(const void *), const void *argument)
{
    double best = 1e9;
    for (int i = 0; i < RUNS; i++) {
        const double start = now();
        run(argument);
        const double seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    return best;
}

/*
 * ---- methods ------------------------------------------------------------------------------------
 */

typedef struct run {
    const mc_method *method;
    mc_layer layer;
    void *partial;
} run;

static double random_number(uint64_t i)
{
    return (double)(int64_t)mc_random_mix(i + 1) * 0x1p-64;
}

static void set(void *values, bool is_double, size_t i, double x)
{
    if (is_double)
        ((double *)values)[i] = x;
    else
        ((float *)values)[i] = (float)x;
}

static void make_inputs(bool is_double)
{
    for (size_t i = 0; i < COUNT; i++) {
        const double x = random_number(i);
        set(base_, is_double, i, x);
        for (size_t m = 0; m < MODELS; m++)
            set(models_[m], is_double, i, x + random_number(i + (m + 1) * COUNT) / 64);
    }
}

static run make_run(const mc_method *method, size_t model_count)
{
    static const void *rows[MODELS];
    for (size_t m = 0; m < MODELS; m++)
        rows[m] = models_[m];
    mc_error error = MC_ERROR_NONE;
    mc_params *params = NULL; /* never freed: the run needs it to the end */
    if (mc_params_parse(method, NULL, 0, model_count, &params, &error) != MC_OK)
        abort();
    return (run){.method = method,
                 .layer = {.size = COUNT,
                           .count = COUNT,
                           .out = (void *)out_,
                           .models = (const mc_real *const *)rows,
                           .model_count = model_count,
                           .base = (const void *)base_,
                           .params = method->params,
                           .values = params->values}};
}

static void apply(const void *argument)
{
    const run *const r = argument;
    r->method->apply(&r->layer);
}

/* Accumulates the tile, leaf by leaf where the statistics want it so. */
static void accumulate(const void *argument)
{
    const run *const r = argument;
    const mc_statistics *const statistics = r->method->statistics;
    if (statistics->order_free) {
        statistics->accumulate(&r->layer, r->partial);
        return;
    }
    for (size_t leaf = 0; leaf < LEAVES; leaf++) {
        const size_t skip = leaf * MC_LEAF * r->method->real_size;
        const void *rows[MODELS];
        mc_layer cut = r->layer;
        for (size_t m = 0; m < cut.model_count; m++)
            rows[m] = (const char *)r->layer.models[m] + skip;
        cut.models = (const mc_real *const *)rows;
        cut.base = (const void *)((const char *)r->layer.base + skip);
        cut.count = MC_LEAF;
        statistics->accumulate(&cut, r->partial);
    }
}

/* A fresh partial result for the round that the state has come to. */
static void new_partial(run *r)
{
    free(r->partial);
    r->partial = calloc(1, r->method->statistics->partial_size(&r->layer) + 1);
}

/* Runs rounds until the last; returns how many, and their seconds. */
static int run_rounds(run *r, void *state, double *seconds)
{
    const mc_statistics *const statistics = r->method->statistics;
    int rounds = 0;
    bool more;
    r->layer.state = state;
    const double start = now();
    do {
        new_partial(r);
        accumulate(r);
        more = false;
        statistics->next(&r->layer, rounds++, state, r->partial, &more);
    } while (more);
    *seconds = now() - start;
    return rounds;
}

static void bench_method(const mc_method *method)
{
    const size_t models = method->max_models ? method->max_models : MODELS;
    const double elements = (double)COUNT * (double)models;
    run r = make_run(method, models);
    const mc_statistics *const statistics = method->statistics;
    void *const state = calloc(1, statistics ? statistics->state_size(&r.layer) : 1);
    r.layer.state = state;
    double seconds = 0;
    if (statistics)
        run_rounds(&r, state, &seconds);
    printf("%-16s apply %7.3f", method->name, fastest(apply, &r) / elements * 1e9);
    if (statistics)
        printf("   last round of statistics %7.3f", fastest(accumulate, &r) / elements * 1e9);
    printf("\n");
    free(state);
    free(r.partial);
}

/*
 * ---- the rest
 * ------------------------------------------------------------------------------------
 */

typedef struct conversion {
    mc_dtype dtype;
    bool narrow, from_double;
} conversion;

static void convert(const void *argument)
{
    const conversion *const c = argument;
    if (c->narrow && c->from_double)
        mc_dtype_from_f64(c->dtype, out_, base_, COUNT);
    else if (c->narrow)
        mc_dtype_from_f32(c->dtype, out_, (const float *)(const void *)base_, COUNT);
    else if (c->from_double)
        mc_dtype_to_f64(c->dtype, out_, models_[0], COUNT);
    else
        mc_dtype_to_f32(c->dtype, (float *)(void *)out_, models_[0], COUNT);
}

static void bench_conversions(void)
{
    for (mc_dtype dtype = MC_F64; dtype <= MC_F8_E5M2; dtype++) {
        printf("%-16s", mc_dtype_name(dtype));
        for (int kind = 0; kind < 4; kind++) {
            static const char *const names[] = {"to f32", "from f32", "to f64", "from f64"};
            const conversion c = {dtype, kind % 2 == 1, kind >= 2};
            printf("   %s %7.3f", names[kind], fastest(convert, &c) / COUNT * 1e9);
        }
        printf("\n");
    }
}

/*
 * ---- a whole layer of ties
 * ------------------------------------------------------------------------
 */

enum { LAYER_MODELS = 3 };

static double bell(uint64_t i)
{
    double sum = 0;
    for (uint64_t k = 0; k < 8; k++)
        sum += random_number(8 * i + k);
    return sum;
}

/*
 * Task vectors: alike everywhere; of another size in each row of 768; rounded to the last bits of
 * larger weights.
 */
static double task_value(int kind, uint64_t model, uint64_t i)
{
    const double x = bell(i * LAYER_MODELS + model) * 1e-3;
    return kind == 1 ? x * exp(3 * random_number(i / 768 + 77)) : x;
}

/* The seconds that one leaf takes when it lies in the cache. */
static double time_leaf(const run *r, float *const *rows, const float *base, size_t first)
{
    static float copies[LAYER_MODELS + 1][MC_LEAF];
    const float *cut[LAYER_MODELS];
    mc_layer leaf = r->layer;
    leaf.count = (size_t)leaf.size - first < MC_LEAF ? (size_t)leaf.size - first : MC_LEAF;
    for (size_t m = 0; m < LAYER_MODELS; m++) {
        memcpy(copies[m], rows[m] + first, leaf.count * sizeof(float));
        cut[m] = copies[m];
    }
    memcpy(copies[LAYER_MODELS], base + first, leaf.count * sizeof(float));
    leaf.models = cut;
    leaf.base = copies[LAYER_MODELS];
    const double start = now();
    r->method->statistics->accumulate(&leaf, r->partial);
    return now() - start;
}

static void bench_ties_layer(int kind, size_t count)
{
    static const char *const kinds[] = {"bell", "rows differ", "fine-tuned"};
    float *rows[LAYER_MODELS], *const base = malloc(count * sizeof *base);
    for (size_t i = 0; i < count; i++)
        base[i] = kind == 2 ? (float)(bell(i + 1) * .05) : 0;
    for (size_t m = 0; m < LAYER_MODELS; m++) {
        rows[m] = malloc(count * sizeof *base);
        for (size_t i = 0; i < count; i++)
            rows[m][i] = (float)((double)base[i] + task_value(kind, m, i));
    }
    run r = make_run(mc_method_variant(mc_method_find("ties"), false), LAYER_MODELS);
    const mc_statistics *const statistics = r.method->statistics;
    r.layer.size = (int64_t)count;
    r.layer.out = calloc(count, sizeof *base);
    void *const state = calloc(1, statistics->state_size(&r.layer));
    r.layer.state = state;
    printf("%-16s", kinds[kind]);
    bool more = true;
    for (int round = 0; more; round++) {
        const int64_t stride = statistics->stride(&r.layer, round);
        double seconds = 0;
        new_partial(&r);
        for (size_t first = 0; first < count; first += (size_t)stride * MC_LEAF)
            seconds += time_leaf(&r, rows, base, first);
        more = false;
        statistics->next(&r.layer, round, state, r.partial, &more);
        printf("   round %d (1/%d) %7.3f", round, (int)stride,
               seconds / (double)count / LAYER_MODELS * 1e9);
    }
    printf("\n");
    for (size_t m = 0; m < LAYER_MODELS; m++)
        free(rows[m]);
    free(base);
    free(r.layer.out);
    free(state);
    free(r.partial);
}

int main(int argc, char **argv)
{
    const bool is_double = argc > 1 && strcmp(argv[1], "f64") == 0;
    if (argc > 2 && strcmp(argv[1], "ties") == 0) {
        for (int kind = 0; kind < 3; kind++)
            bench_ties_layer(kind, strtoul(argv[2], NULL, 10));
        return 0;
    }
    make_inputs(is_double);
    for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level); level++) {
        printf("---- %s\n", mc_cpu_name((mc_cpu_level)level));
        for (size_t i = 0; i < mc_method_count(); i++)
            bench_method(mc_method_variant(mc_method_at(i), is_double));
        bench_conversions();
    }
    return 0;
}
