/*
 * Methods and add-ons that decompose matrices, on shapes and task vectors at the edge of what they
 * are defined for: results are finite, of the size of the task vectors, and stable where task
 * vectors have few directions.
 */
#include <mergecraft/merge.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_MODELS = 3, LAYERS = 9 };

/* The last matrix is large enough for the Gram form; [1, n] and vectors have one direction. */
static const struct {
    const char *name;
    int rank;
    int64_t shape[2];
} layers[LAYERS] = {{"block.0.one.weight", 2, {1, 1}},
                    {"block.0.row.weight", 2, {1, 9}},
                    {"block.0.column.weight", 2, {9, 1}},
                    {"block.0.tall.weight", 2, {20, 6}},
                    {"block.0.wide.weight", 2, {7, 30}},
                    {"block.0.square.weight", 2, {16, 16}},
                    {"block.0.bias", 1, {5}},
                    {"embeddings.word_embeddings.weight", 2, {12, 8}},
                    {"block.0.large.weight", 2, {300, 280}}};

/* Of the task vectors. SHARED: rank one with equal rows, as of LoRA with one A for all models. */
typedef enum task_form { FULL, RANK_ONE, SHARED, ZERO, SAME } task_form;

/* Runs under test; `factor`: the largest update, in sizes of all task vectors together. */
typedef struct run {
    const char *method, *then, *param;
    double factor;
} run;

static const run runs[] = {{"tsvm", NULL, NULL, 3},           {"iso_c", NULL, NULL, 3},
                           {"iso_cts", NULL, NULL, 3},        {"cart", NULL, "rank=.5", 3},
                           {"wudi", NULL, "iterations=3", 3}, {"wudi", NULL, "solver=exact", 3},
                           {"knots", NULL, NULL, 3},          {"opcm", NULL, NULL, 3},
                           {"task", "boost", NULL, 30},       {"task", "svc", NULL, 30}};
enum { RUNS = sizeof runs / sizeof *runs };

static float draw(unsigned *state)
{
    *state = *state * 1664525U + 1013904223U;
    return (float)((double)(*state >> 8) / (double)(1 << 23) - 1);
}

static int64_t size_of(int layer)
{
    return layers[layer].shape[0] * (layers[layer].rank == 2 ? layers[layer].shape[1] : 1);
}

/* out = base + .01 · a task vector of that form + noise; NULL: the task vector is all. */
static void fill(float *out, const float *base, int layer, task_form form, unsigned seed,
                 double noise)
{
    const int64_t size = size_of(layer), columns = size / layers[layer].shape[0];
    unsigned state = (form == SAME ? 1 : seed) * 77 + (unsigned)layer, other = 5 + seed;
    float *const right = malloc((size_t)columns * sizeof *right);
    unsigned rows = (unsigned)layer + 1;
    for (int64_t j = 0; j < columns; j++)
        right[j] = draw(form == SHARED ? &rows : &state);
    for (int64_t i = 0; i < size; i += columns) {
        const float left = draw(&state);
        for (int64_t j = 0; j < columns; j++) {
            const bool low = form == RANK_ONE || form == SHARED;
            const float task = form == ZERO ? 0 : low ? left * right[j] : draw(&state);
            const double more = noise > 0 ? noise * (double)draw(&other) : 0;
            out[i + j] = (float)((base ? (double)base[i + j] : 0) + .01 * (double)task + more);
        }
    }
    free(right);
}

typedef struct fixture {
    float *base[LAYERS], *models[MOST_MODELS][LAYERS];
    mc_state_dict *dicts[MOST_MODELS + 1]; /* the base comes last */
    size_t count;
} fixture;

static void add(mc_state_dict *dict, int layer, const float *data)
{
    mc_source *source = NULL;
    assert_int_equal(mc_source_wrap(MC_F32, layers[layer].rank, layers[layer].shape, data, NULL,
                                    NULL, &source, NULL),
                     MC_OK);
    assert_int_equal(mc_state_dict_set(dict, layers[layer].name, source, NULL), MC_OK);
    mc_source_unref(source);
}

static void set_up(fixture *f, size_t count, task_form form, bool based, double noise)
{
    f->count = count;
    for (size_t m = 0; m <= count; m++)
        assert_int_equal(mc_state_dict_new(&f->dicts[m < count ? m : MOST_MODELS], NULL), MC_OK);
    for (int i = 0; i < LAYERS; i++) {
        const size_t bytes = (size_t)size_of(i) * sizeof(float);
        f->base[i] = malloc(bytes);
        fill(f->base[i], NULL, i, based ? FULL : ZERO, 99, 0);
        add(f->dicts[MOST_MODELS], i, f->base[i]);
        for (size_t m = 0; m < count; m++) {
            f->models[m][i] = malloc(bytes);
            fill(f->models[m][i], f->base[i], i, form, (unsigned)m + 1, noise);
            add(f->dicts[m], i, f->models[m][i]);
        }
    }
}

static void tear_down(fixture *f)
{
    for (size_t m = 0; m <= f->count; m++)
        mc_state_dict_free(f->dicts[m < f->count ? m : MOST_MODELS]);
    for (int i = 0; i < LAYERS; i++) {
        free(f->base[i]);
        for (size_t m = 0; m < f->count; m++)
            free(f->models[m][i]);
    }
}

static mc_state_dict *merge(const fixture *f, const run *r)
{
    const mc_method *const then = r->then ? mc_method_find(r->then) : NULL;
    const mc_method *const method = mc_method_find(r->method);
    const mc_merge_input input = {.models = (const mc_state_dict *const *)f->dicts,
                                  .model_count = f->count,
                                  .base = method->needs_base || then ? f->dicts[MOST_MODELS] : NULL,
                                  .params = &r->param,
                                  .param_count = r->param != NULL,
                                  .then = &then,
                                  .then_count = then != NULL};
    mc_state_dict *merged = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_model_merge(method, &input, &merged, NULL, &error) != MC_OK)
        fail_msg("%s: %s", r->method, error.text);
    return merged;
}

static float *read_layer(const mc_state_dict *merged, const run *r, int layer)
{
    const mc_source *const source = mc_state_dict_find(merged, layers[layer].name);
    float *const out = malloc((size_t)size_of(layer) * sizeof *out);
    mc_error error = MC_ERROR_NONE;
    assert_non_null(source);
    if (mc_source_read_f32(source, 0, size_of(layer), out, &error) != MC_OK)
        fail_msg("%s, %s: %s", r->method, layers[layer].name, error.text);
    return out;
}

static double distance(const float *a, const float *b, int layer)
{
    double sum = 0;
    for (int64_t i = 0; i < size_of(layer); i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum);
}

/* The sizes of all task vectors of a layer together. */
static double size_of_tasks(const fixture *f, int layer)
{
    double sum = 0;
    for (size_t m = 0; m < f->count; m++)
        sum += distance(f->models[m][layer], f->base[layer], layer);
    return sum;
}

static void check_sizes(size_t count, task_form form)
{
    fixture f;
    set_up(&f, count, form, true, 0);
    for (size_t r = 0; r < RUNS; r++) {
        mc_state_dict *const merged = merge(&f, &runs[r]);
        for (int i = 0; i < LAYERS; i++) {
            float *const out = read_layer(merged, &runs[r], i);
            const double update = distance(out, f.base[i], i), tasks = size_of_tasks(&f, i);
            /* A NaN or an infinity makes the comparison false. */
            if (!(update <= runs[r].factor * tasks + 1e-6))
                fail_msg("%s %s, %s: an update of %g from task vectors of %g", runs[r].method,
                         runs[r].then ? runs[r].then : "", layers[i].name, update, tasks);
            free(out);
        }
        mc_state_dict_free(merged);
    }
    tear_down(&f);
}

static void full_rank(void **state)
{
    (void)state;
    check_sizes(1, FULL);
    check_sizes(3, FULL);
}

static void rank_one(void **state)
{
    (void)state;
    check_sizes(1, RANK_ONE);
    check_sizes(3, RANK_ONE);
    check_sizes(3, SHARED);
}

static void identical(void **state)
{
    (void)state;
    check_sizes(2, SAME);
}

/* Without task vectors the base stays, and no singular value is divided by. */
static void zero(void **state)
{
    (void)state;
    check_sizes(1, ZERO);
    check_sizes(3, ZERO);
}

/* Both results of a run are as close as that, relative to the task vectors. */
static void check_close(const fixture *f, const run *r, const mc_state_dict *first,
                        const mc_state_dict *second, double tolerance)
{
    for (int i = 0; i < LAYERS; i++) {
        float *const a = read_layer(first, r, i), *const b = read_layer(second, r, i);
        if (!(distance(a, b, i) <= tolerance * size_of_tasks(f, i) + 1e-6))
            fail_msg("%s %s, %s: %g apart, task vectors of %g", r->method, r->param ? r->param : "",
                     layers[i].name, distance(a, b, i), size_of_tasks(f, i));
        free(a);
        free(b);
    }
}

/*
 * LoRA-merged models: beside few directions there is only rounding, whose directions must not enter
 * the result. With other noise of that size, results differ by no more than noise. The base is
 * zero, so that task vectors are rounded relative to their own size.
 */
static void check_stability(task_form form)
{
    fixture f, g;
    set_up(&f, 3, form, false, 0);
    set_up(&g, 3, form, false, 1e-9);
    for (size_t r = 0; r < RUNS; r++) {
        mc_state_dict *const first = merge(&f, &runs[r]), *const second = merge(&g, &runs[r]);
        check_close(&f, &runs[r], first, second, 1e-3);
        mc_state_dict_free(first);
        mc_state_dict_free(second);
    }
    tear_down(&f);
    tear_down(&g);
}

static void stable_without_rank(void **state)
{
    (void)state;
    check_stability(RANK_ONE);
    check_stability(SHARED);
}

/* Makes the first model another copy of the base. */
static void clear_first(fixture *f)
{
    for (int i = 0; i < LAYERS; i++) {
        memcpy(f->models[0][i], f->base[i], (size_t)size_of(i) * sizeof(float));
        add(f->dicts[0], i, f->models[0][i]);
    }
}

/*
 * Knots divides by the models that contribute to an element. A model without a task vector is not
 * one of them, although the decomposition of a tall layer leaves rounding in its place.
 */
static void model_equal_to_base(void **state)
{
    (void)state;
    static const run few[] = {{"knots", NULL, "topk=100", 0}, {"knots", NULL, "mode=linear", 0}};
    for (size_t r = 0; r < sizeof few / sizeof *few; r++) {
        fixture f;
        set_up(&f, 3, FULL, true, 0);
        clear_first(&f);
        mc_state_dict *const three = merge(&f, &few[r]), *const first = f.dicts[0];
        f.dicts[0] = f.dicts[2];
        f.count = 2;
        mc_state_dict *const two = merge(&f, &few[r]);
        f.dicts[0] = first;
        f.count = 3;
        check_close(&f, &few[r], three, two, 1e-4);
        mc_state_dict_free(two);
        mc_state_dict_free(three);
        tear_down(&f);
    }
}

/* The merge of random matrices [rows, columns] of that type; the base is zero. */
static void merge_random(mc_dtype dtype, int64_t rows, int64_t columns, const run *r, float *out)
{
    const int64_t shape[] = {rows, columns}, count = rows * columns;
    const char *const name = "block.0.weight";
    fixture f = {.count = MOST_MODELS};
    double *wide[MOST_MODELS + 1];
    float *narrow[MOST_MODELS + 1];
    unsigned state = 3;
    mc_error error = MC_ERROR_NONE;
    for (size_t m = 0; m <= MOST_MODELS; m++) {
        mc_source *source = NULL;
        wide[m] = malloc((size_t)count * sizeof *wide[m]);
        narrow[m] = malloc((size_t)count * sizeof *narrow[m]);
        for (int64_t i = 0; i < count; i++)
            wide[m][i] = (double)(narrow[m][i] = m < MOST_MODELS ? draw(&state) : 0);
        assert_int_equal(mc_source_wrap(dtype, 2, shape,
                                        dtype == MC_F64 ? (void *)wide[m] : (void *)narrow[m], NULL,
                                        NULL, &source, &error),
                         MC_OK);
        assert_int_equal(mc_state_dict_new(&f.dicts[m], &error), MC_OK);
        assert_int_equal(mc_state_dict_set(f.dicts[m], name, source, &error), MC_OK);
        mc_source_unref(source);
    }
    mc_state_dict *const merged = merge(&f, r);
    assert_int_equal(mc_source_read_f32(mc_state_dict_find(merged, name), 0, count, out, &error),
                     MC_OK);
    mc_state_dict_free(merged);
    for (size_t m = 0; m <= MOST_MODELS; m++) {
        mc_state_dict_free(f.dicts[m]);
        free(wide[m]);
        free(narrow[m]);
    }
}

/*
 * Of float32 weights, large matrices are decomposed by eigenvalues and partly multiplied in
 * float32; of float64, all by LAPACK's singular value decomposition. Long matrices are well
 * conditioned, square ones are not. torch.linalg.svd in float32 has errors of 2e-6 and 3e-6.
 */
static void as_in_float64(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{280, 280}, {300, 290}, {620, 270}, {270, 620}};
    static const run few[] = {{"tsvm", NULL, NULL, 0},
                              {"iso_c", NULL, NULL, 0},
                              {"iso_cts", NULL, NULL, 0},
                              {"cart", NULL, NULL, 0}};
    for (size_t i = 0; i < 16; i++) {
        const int64_t *const shape = shapes[i / 4];
        const size_t count = (size_t)(shape[0] * shape[1]);
        float *const found = malloc(count * sizeof *found), *const right = malloc(count *
                                                                                  sizeof *right);
        double error = 0, size = 0;
        merge_random(MC_F32, shape[0], shape[1], &few[i % 4], found);
        merge_random(MC_F64, shape[0], shape[1], &few[i % 4], right);
        for (size_t k = 0; k < count; k++) {
            error += ((double)found[k] - (double)right[k]) * ((double)found[k] - (double)right[k]);
            size += (double)right[k] * (double)right[k];
        }
        if (!(sqrt(error) <= 2e-6 * sqrt(size)))
            fail_msg("%s of [%d, %d]: %g of the size", few[i % 4].method, (int)shape[0],
                     (int)shape[1], sqrt(error / size));
        free(found);
        free(right);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_rank),           cmocka_unit_test(rank_one),
        cmocka_unit_test(identical),           cmocka_unit_test(zero),
        cmocka_unit_test(stable_without_rank), cmocka_unit_test(model_equal_to_base),
        cmocka_unit_test(as_in_float64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
