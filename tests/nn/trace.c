/*
 * Derivatives and statistics of encoders: against finite differences in double, against torch
 * (tests/data/nn/make_statistics.py), and the same bits for any number of threads.
 */
#include "merge/fixtures.h"

#include "base/json.h"
#include "base/memory.h"
#include "nn/encoder.h"
#include "nn/observe.h"

#include <math.h>

static const char *const models[] = {
    "bert",       "bert_odd",        "bert_gelu_new", "bert_sigmoid", "bert_quick_gelu",
    "bert_silu",  "bert_tanh",       "bert_linear",   "roberta",      "roberta_padding",
    "distilbert", "distilbert_relu", "bert_wide",
};
enum { MODELS = sizeof models / sizeof *models, SEQUENCES = 10, LABELS = 3, TOKENS = 400 };

typedef struct fixture {
    json_t *config;
    mc_state_dict *weights;
    int32_t ids[TOKENS];
    uint8_t types[TOKENS];
    size_t starts[SEQUENCES + 1], labels;
    double logits[SEQUENCES * LABELS];
    mc_batch batch;
} fixture;

static json_t *read_json(const char *model, const char *file)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/nn/%s/%s", MC_TEST_DATA, model, file);
    json_t *value = NULL;
    assert_done(mc_json_load(path, 1 << 20, &value, &error));
    return value;
}

static void read_case(fixture *f, size_t index, const json_t *from)
{
    const json_t *const ids = json_object_get(from, "ids");
    const json_t *const types = json_object_get(from, "types");
    const json_t *const logits = json_object_get(from, "logits");
    const size_t start = f->starts[index], count = json_array_size(ids);
    assert_true(start + count <= TOKENS);
    for (size_t i = 0; i < count; i++) {
        f->ids[start + i] = (int32_t)json_integer_value(json_array_get(ids, i));
        f->types[start + i] = (uint8_t)json_integer_value(json_array_get(types, i));
    }
    f->starts[index + 1] = start + count;
    f->labels = json_array_size(logits);
    for (size_t i = 0; i < f->labels; i++)
        f->logits[index * f->labels + i] = json_number_value(json_array_get(logits, i));
}

static void open_dict(const char *model, const char *file, mc_state_dict **out)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/nn/%s/%s", MC_TEST_DATA, model, file);
    assert_done(mc_state_dict_open(path, out, &error));
}

static void set_up(fixture *f, const char *model)
{
    *f = (fixture){.config = read_json(model, "config.json")};
    open_dict(model, "model.safetensors", &f->weights);
    json_t *const all = read_json(model, "cases.json");
    for (size_t i = 0; i < SEQUENCES; i++)
        read_case(f, i, json_array_get(all, i));
    json_decref(all);
    f->batch = (mc_batch){f->ids, f->types, f->starts, SEQUENCES};
}

static void tear_down(fixture *f)
{
    json_decref(f->config);
    mc_state_dict_free(f->weights);
}

static mc_trace_f32 *open_f32(const fixture *f, bool whole, int threads)
{
    mc_trace_f32 *trace = NULL;
    assert_done(mc_trace_new_f32(f->config, "config.json", whole, threads, &trace, &error));
    assert_done(mc_trace_load_f32(trace, f->weights, NULL, &error));
    return trace;
}

static mc_trace_f64 *open_f64(const fixture *f)
{
    mc_trace_f64 *trace = NULL;
    assert_done(mc_trace_new_f64(f->config, "config.json", false, 1, &trace, &error));
    assert_done(mc_trace_load_f64(trace, f->weights, NULL, &error));
    return trace;
}

static size_t size_of(const mc_network *n, size_t weight)
{
    const mc_weight *const w = &n->weights[weight];
    return (size_t)w->shape[0] * (size_t)(w->rank == 2 ? w->shape[1] : 1);
}

/* An array of zeros per weight. */
static void **new_arrays(const mc_network *n, size_t bytes)
{
    void **const arrays = calloc(n->weight_count, sizeof *arrays);
    for (size_t i = 0; i < n->weight_count; i++)
        arrays[i] = calloc(size_of(n, i), bytes);
    return arrays;
}

static void free_arrays(const mc_network *n, void **arrays)
{
    for (size_t i = 0; i < n->weight_count; i++)
        free(arrays[i]);
    free(arrays);
}

/* ---- logits and derivatives ------------------------------------------------------------------ */

static void test_logits(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        fixture f;
        set_up(&f, models[m]);
        for (int whole = 0; whole < 2; whole++) {
            mc_trace_f32 *const trace = open_f32(&f, whole, 2);
            assert_done(mc_trace_begin_f32(trace, &f.batch, 0, SEQUENCES, false, &error));
            assert_done(mc_trace_forward_f32(trace, NULL, &error));
            const float *const logits = mc_trace_value_f32(trace,
                                                           mc_trace_network_f32(trace)->result);
            for (size_t i = 0; i < SEQUENCES * f.labels; i++)
                if (!(fabs((double)logits[i] - f.logits[i]) < 2e-5))
                    fail_msg("%s, logit %zu: expected %g, found %g", models[m], i, f.logits[i],
                             (double)logits[i]);
            mc_trace_free_f32(trace);
        }
        tear_down(&f);
    }
}

static double seed_of(size_t i)
{
    return sin((double)i * 1.7 + .3);
}

/* Σ seeds · logits of the first three sequences. */
static double loss(mc_trace_f64 *trace, const fixture *f)
{
    assert_done(mc_trace_begin_f64(trace, &f->batch, 0, 3, false, &error));
    assert_done(mc_trace_forward_f64(trace, NULL, &error));
    const double *const logits = mc_trace_value_f64(trace, mc_trace_network_f64(trace)->result);
    double sum = 0;
    for (size_t i = 0; i < 3 * f->labels; i++)
        sum += seed_of(i) * logits[i];
    return sum;
}

/* A few elements of every weight; those of relu's corners may be off by the step. */
static void check_weight(mc_trace_f64 *trace, const fixture *f, const char *model, size_t index,
                         const double *gradient)
{
    const mc_network *const n = mc_trace_network_f64(trace);
    const size_t count = size_of(n, index);
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(gradient[i]));
    for (size_t k = 0; k < 6; k++) {
        const size_t at = (k * 7919 + index * 31) % count;
        double *const w = &mc_trace_weight_f64(trace, index)[at];
        const double kept = *w, step = 1e-5;
        *w = kept + step;
        const double above = loss(trace, f);
        *w = kept - step;
        const double below = loss(trace, f);
        *w = kept;
        const double expected = (above - below) / (2 * step);
        if (!(fabs(expected - gradient[at]) <= 1e-7 * fmax(largest, 1e-2)))
            fail_msg("%s: %s[%zu]: expected %.12g, found %.12g", model, n->weights[index].name, at,
                     expected, gradient[at]);
    }
}

static void test_finite_differences(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        fixture f;
        set_up(&f, models[m]);
        mc_trace_f64 *const trace = open_f64(&f);
        const mc_network *const n = mc_trace_network_f64(trace);
        void **const gradients = new_arrays(n, sizeof(double));
        double seeds[3 * LABELS];
        for (size_t i = 0; i < 3 * f.labels; i++)
            seeds[i] = seed_of(i);
        assert_done(mc_trace_begin_f64(trace, &f.batch, 0, 3, true, &error));
        assert_done(mc_trace_forward_f64(trace, NULL, &error));
        assert_done(mc_trace_backward_f64(trace, seeds, MC_GRADIENT_SUM, (double *const *)gradients,
                                          &error));
        for (size_t i = 0; i < n->weight_count; i++)
            check_weight(trace, &f, models[m], i, gradients[i]);
        free_arrays(n, gradients);
        mc_trace_free_f64(trace);
        tear_down(&f);
    }
}

/* ‖a − b‖ / ‖b‖ */
static double distance(const float *a, const double *b, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

/* Squares of a group: the sum of the squares of the gradients of its sequences, each alone. */
static void test_squares(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        fixture f;
        set_up(&f, models[m]);
        mc_trace_f32 *const trace = open_f32(&f, false, 2);
        mc_trace_f64 *const exact = open_f64(&f);
        const mc_network *const n = mc_trace_network_f64(exact);
        void **const squares = new_arrays(n, sizeof(float));
        void **const sums = new_arrays(n, sizeof(double));
        double seeds[SEQUENCES * LABELS];
        for (size_t i = 0; i < SEQUENCES * f.labels; i++)
            seeds[i] = seed_of(i);
        assert_done(mc_trace_begin_f32(trace, &f.batch, 0, SEQUENCES, true, &error));
        assert_done(mc_trace_forward_f32(trace, NULL, &error));
        assert_done(mc_trace_backward_f32(trace, seeds, MC_GRADIENT_SQUARES,
                                          (float *const *)squares, &error));
        for (size_t s = 0; s < SEQUENCES; s++) {
            void **const one = new_arrays(n, sizeof(double));
            assert_done(mc_trace_begin_f64(exact, &f.batch, s, 1, true, &error));
            assert_done(mc_trace_forward_f64(exact, NULL, &error));
            assert_done(mc_trace_backward_f64(exact, seeds + s * f.labels, MC_GRADIENT_SUM,
                                              (double *const *)one, &error));
            for (size_t i = 0; i < n->weight_count; i++)
                for (size_t j = 0; j < size_of(n, i); j++)
                    ((double *)sums[i])[j] += ((double *)one[i])[j] * ((double *)one[i])[j];
            free_arrays(n, one);
        }
        for (size_t i = 0; i < n->weight_count; i++)
            if (strstr(n->weights[i].name, "k_lin.bias") || strstr(n->weights[i].name, "key.bias"))
                continue; /* zero: softmax does not see what is added to all scores of a row */
            else if (!(distance(squares[i], sums[i], size_of(n, i)) < 1e-4))
                fail_msg("%s: %s: off by %g", models[m], n->weights[i].name,
                         distance(squares[i], sums[i], size_of(n, i)));
        free_arrays(n, squares);
        free_arrays(n, sums);
        mc_trace_free_f32(trace);
        mc_trace_free_f64(exact);
        tear_down(&f);
    }
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void compare(const mc_state_dict *expected, const char *kind, const char *model,
                    const mc_network *n, const mc_observed *found, double tolerance)
{
    size_t compared = 0;
    for (size_t i = 0; i < n->weight_count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", kind, n->weights[i].name);
        const mc_source *const source = mc_state_dict_find(expected, name);
        if (!source || strstr(name, "k_lin.bias") || strstr(name, "key.bias"))
            continue;
        const size_t count = (size_t)mc_source_count(source);
        double *const values = calloc(count, sizeof *values);
        assert_done(mc_source_read_f64(source, 0, (int64_t)count, values, &error));
        const double off = distance(found->arrays[found->owner[i]], values, count);
        if (!(off <= tolerance))
            fail_msg("%s: %s: off by %g", model, name, off);
        free(values);
        compared++;
    }
    assert_true(compared >= 8);
}

static void test_torch(void **state)
{
    (void)state;
    static const char *const names[] = {"bert", "bert_odd", "bert_silu", "roberta", "distilbert"};
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        fixture f;
        mc_state_dict *expected = NULL;
        mc_observed grams = {0}, fishers = {0};
        set_up(&f, names[m]);
        open_dict(names[m], "statistics.safetensors", &expected);
        mc_trace_f32 *const whole = open_f32(&f, true, 2), *const trace = open_f32(&f, false, 2);
        const mc_likelihood likelihood = f.labels > 1 ? MC_LIKELIHOOD_SOFTMAX
                                                      : MC_LIKELIHOOD_NORMAL;
        assert_done(mc_observe_grams(whole, &f.batch, NULL, &grams, &error));
        assert_done(mc_observe_fisher(trace, &f.batch, MC_OF_LABELS, likelihood, NULL, NULL,
                                      &fishers, &error));
        compare(expected, "grams", names[m], mc_trace_network_f32(whole), &grams, 1e-5);
        compare(expected, "fishers", names[m], mc_trace_network_f32(trace), &fishers, 1e-4);
        mc_observed_free(&grams);
        mc_observed_free(&fishers);
        mc_trace_free_f32(whole);
        mc_trace_free_f32(trace);
        mc_state_dict_free(expected);
        tear_down(&f);
    }
}

static void test_threads(void **state)
{
    (void)state;
    fixture f;
    set_up(&f, "bert_wide");
    mc_observed first[2], other[2];
    for (int run = 0; run < 3; run++) {
        mc_observed *const to = run == 0 ? first : other;
        mc_trace_f32 *const whole = open_f32(&f, true, 1 + 2 * run);
        mc_trace_f32 *const trace = open_f32(&f, false, 1 + 2 * run);
        const mc_network *const n = mc_trace_network_f32(trace);
        assert_done(mc_observe_grams(whole, &f.batch, NULL, &to[0], &error));
        assert_done(mc_observe_fisher(trace, &f.batch, MC_OF_LABELS, MC_LIKELIHOOD_SOFTMAX, NULL,
                                      NULL, &to[1], &error));
        for (size_t i = 0; run > 0 && i < n->weight_count; i++) {
            const size_t width = (size_t)n->weights[i].shape[1];
            assert_memory_equal(other[1].arrays[i], first[1].arrays[i],
                                size_of(n, i) * sizeof(float));
            if (first[0].arrays[i])
                assert_memory_equal(other[0].arrays[i], first[0].arrays[i],
                                    width * width * sizeof(float));
        }
        if (run > 0) {
            mc_observed_free(&other[0]);
            mc_observed_free(&other[1]);
        }
        mc_trace_free_f32(whole);
        mc_trace_free_f32(trace);
    }
    mc_observed_free(&first[0]);
    mc_observed_free(&first[1]);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),  cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_squares), cmocka_unit_test(test_torch),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
