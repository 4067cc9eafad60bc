/*
 * The rank searches of mergekit's methods (ranks.h) on tensors that are sampled first, once or
 * twice, against ranks by their definition: an element has rank r if r elements are below it. The
 * lower place counts as the larger of equal magnitudes. Results must equal those of the elements
 * that a method is to keep, bit by bit.
 */
#include "methods/run.h"

#include "methods/elementary.h"
#include "methods/variant.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MODELS = 2, ROW = 1000 };

/* Sizes, with the number of samples, and every how many leaves the first sample looks at one. */
typedef struct tensor_size {
    size_t rows;
    int samples;
    size_t stride;
} tensor_size;

static const tensor_size sampled_once = {600, 1, 3}, sampled_twice = {9000, 2, 35};

/* Arrays are of float, or of double, since both types of the methods are tested. */
typedef struct tensor {
    tensor_size size;
    bool is_double;
    size_t count;
    void *models[MODELS], *base, *out;
    uint64_t *keys;
    unsigned char *kept[MODELS];
} tensor;

/* ---- inputs ---------------------------------------------------------------------------------- */
static double number_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

/* A bijection of 24 bits without a pattern that leaves could be in step with. */
static uint32_t scramble(uint32_t x)
{
    for (int round = 0; round < 2; round++) {
        x ^= x >> 11;
        x = x * 0x9e3779b1 & 0xffffff;
    }
    return x ^ x >> 13;
}

/* Models have one sign in each element, so that an election hides nothing of what is kept. */
static double with_sign(size_t element, uint32_t bits)
{
    return number_of_bits(bits | (scramble((uint32_t)element) & 1) << 31);
}

static uint32_t scrambled(size_t model, size_t element)
{
    return scramble((uint32_t)element ^ (uint32_t)model * 0x5a5a5a);
}

static bool is_sampled(const tensor *t, size_t element)
{
    return element / MC_LEAF % t->size.stride == 0;
}

enum { BASE = MODELS, LOWEST = 0x3c000000, CROWD = LOWEST + 0xcccccc };

/* No two magnitudes of a model are equal. */
static double distinct(const tensor *t, size_t model, size_t element)
{
    (void)t;
    return model == BASE ? 0 : with_sign(element, LOWEST + scrambled(model, element));
}

static double bfloat16(double x)
{
    const float narrow = (float)x;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    return number_of_bits(bits & 0xffff0000);
}

/* Few magnitudes, zeros among them; models differ in sign. */
static double coarse(const tensor *t, size_t model, size_t element)
{
    (void)t;
    const double base = bfloat16((double)scrambled(BASE, element) * 0x1p-23 - 1);
    const double step = (double)(scrambled(model, element) >> 16) * 0x1p-12 - 0x1p-5;
    return model == BASE ? base : bfloat16(base + step);
}

static double constant(const tensor *t, size_t model, size_t element)
{
    static const double values[] = {.75, 1, [BASE] = .25};
    (void)t, (void)element;
    return values[model];
}

/* What the first sample sees is larger than the rest: its bracket misses. */
static double misleading(const tensor *t, size_t model, size_t element)
{
    return distinct(t, model, element) * (is_sampled(t, element) ? 1 : 0x1p-4);
}

/* What it does not see lies where the threshold is: the list has too little room. */
static double crowded(const tensor *t, size_t model, size_t element)
{
    if (model == BASE || is_sampled(t, element))
        return distinct(t, model, element);
    return with_sign(element, CROWD + (scrambled(model, element) & 0xfff));
}

typedef double (*maker)(const tensor *t, size_t model, size_t element);

static const struct {
    const char *name;
    maker make;
} inputs[] = {
    {"distinct", distinct},     {"coarse", coarse},   {"constant", constant},
    {"misleading", misleading}, {"crowded", crowded},
};

static double value_at(const tensor *t, const void *values, size_t i)
{
    return t->is_double ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

static double rounded(const tensor *t, double x)
{
    return t->is_double ? x : (double)(float)x;
}

static void *make_values(const tensor *t, maker make, size_t model)
{
    void *const values = calloc(t->count, t->is_double ? sizeof(double) : sizeof(float));
    for (size_t i = 0; i < t->count; i++)
        if (t->is_double)
            ((double *)values)[i] = make(t, model, i);
        else
            ((float *)values)[i] = (float)make(t, model, i);
    return values;
}

static void set_up(tensor *t, tensor_size size, bool is_double, maker make)
{
    *t = (tensor){.size = size, .is_double = is_double, .count = size.rows * ROW};
    t->base = make_values(t, make, BASE);
    t->out = calloc(t->count, sizeof(double));
    t->keys = calloc(t->count, sizeof *t->keys);
    for (size_t m = 0; m < MODELS; m++) {
        t->models[m] = make_values(t, make, m);
        t->kept[m] = calloc(t->count, 1);
    }
}

static void tear_down(tensor *t)
{
    for (size_t m = 0; m < MODELS; m++)
        free(t->models[m]), free(t->kept[m]);
    free(t->base), free(t->out), free(t->keys);
}

static double task_at(const tensor *t, size_t model, size_t i)
{
    return rounded(t, value_at(t, t->models[model], i) - value_at(t, t->base, i));
}

/* ---- ranks ----------------------------------------------------------------------------------- */
typedef struct entry {
    uint64_t key; /* the bits of a magnitude, as a double */
    size_t place;
} entry;

static bool is_below(uint64_t key, size_t place, entry other)
{
    return key < other.key || (key == other.key && place > other.place);
}

static void set_key(const tensor *t, size_t i, double x)
{
    t->keys[i] = elementary_bits(fabs(x));
}

/* Found by counting, four hexadecimal digits at a time; checked by what a rank is. */
static entry entry_of_rank(const tensor *t, size_t rank)
{
    static size_t counts[1 << 16];
    entry found = {.place = t->count};
    size_t left = rank, below = 0;
    int shift = 48;
    for (uint64_t open = UINT64_MAX; open > 0; open >>= 16, shift -= 16) {
        uint64_t digit = 0;
        memset(counts, 0, sizeof counts);
        for (size_t i = 0; i < t->count; i++)
            counts[t->keys[i] >> shift & 0xffff] += (t->keys[i] ^ found.key) <= open;
        for (; left >= counts[digit]; digit++)
            left -= counts[digit];
        found.key |= digit << shift;
    }
    for (left++; left > 0;)
        left -= t->keys[--found.place] == found.key;
    for (size_t i = 0; i < t->count; i++)
        below += is_below(t->keys[i], i, found);
    assert_int_equal(below, rank);
    return found;
}

/* Keeps what has a rank from `first` on and below `end`. */
static void keep_ranks(const tensor *t, size_t first, size_t end, unsigned char *kept)
{
    const entry low = entry_of_rank(t, first);
    const entry high = end < t->count ? entry_of_rank(t, end) : (entry){.key = UINT64_MAX};
    for (size_t i = 0; i < t->count; i++)
        kept[i] = !is_below(t->keys[i], i, low) && is_below(t->keys[i], i, high);
}

/* ---- methods --------------------------------------------------------------------------------- */
static void run(const tensor *t, const char *name, const char *settings, size_t model_count)
{
    const int64_t shape[] = {(int64_t)t->size.rows, ROW};
    const mc_method *const method = mc_method_variant(mc_method_find(name), t->is_double);
    mc_params *const params = run_params(method, model_count, settings);
    const mc_layer layer = {.name = "layer",
                            .rank = 2,
                            .shape = shape,
                            .size = (int64_t)t->count,
                            .count = t->count,
                            .out = t->out,
                            .models = (const mc_real *const *)t->models,
                            .model_count = model_count,
                            .base = t->base,
                            .params = method->params,
                            .values = params->values};
    const int rounds = run_method(method, &layer, t->size.samples * 32 * MC_LEAF);
    mc_params_unref(params);
    assert_in_range(rounds, t->size.samples + 1, 8);
}

static void check(const tensor *t, const char *input, const char *method, size_t i, double expected)
{
    const double found = value_at(t, t->out, i);
    if (found != expected)
        fail_msg("%s, %s, %zu elements, element %zu: expected %a, found %a", method, input,
                 t->count, i, expected, found);
}

/* Sets what both models keep: a share of `density`, below a share of `gamma` of the largest. */
static void keep_shares(const tensor *t, const double *density, const double *gamma)
{
    for (size_t m = 0; m < MODELS; m++) {
        const size_t kept = (size_t)(density[m] * (double)t->count);
        const size_t end = t->count - (size_t)(gamma[m] * (double)t->count);
        for (size_t i = 0; i < t->count; i++)
            set_key(t, i, task_at(t, m, i));
        keep_ranks(t, end - kept, end, t->kept[m]);
    }
}

static double kept_task(const tensor *t, size_t model, size_t i)
{
    return t->kept[model][i] ? task_at(t, model, i) : 0;
}

static void check_ties(const tensor *t, const char *input)
{
    keep_shares(t, (const double[]){.2, .7}, (const double[]){0, 0});
    run(t, "mergekit:ties", "weight=1,1 density=0.2,0.7", MODELS);
    for (size_t i = 0; i < t->count; i++) {
        const double tasks[] = {kept_task(t, 0, i), kept_task(t, 1, i)};
        const double sign = tasks[0] + tasks[1] >= 0 ? 1 : -1;
        double sum = 0, votes = 0;
        for (size_t m = 0; m < MODELS; m++) {
            sum = rounded(t, sum + (tasks[m] * sign > 0 ? tasks[m] : 0));
            votes += tasks[m] * sign > 0;
        }
        const double mean = rounded(t, sum / (votes > 0 ? votes : 1));
        check(t, input, "ties", i, rounded(t, value_at(t, t->base, i) + mean));
    }
}

static void check_breadcrumbs(const tensor *t, const char *input)
{
    keep_shares(t, (const double[]){.6, .3}, (const double[]){.01, .15});
    run(t, "mergekit:breadcrumbs", "weight=1,1 density=0.6,0.3 gamma=0.01,0.15", MODELS);
    for (size_t i = 0; i < t->count; i++) {
        const double sum = rounded(t, kept_task(t, 0, i) + kept_task(t, 1, i));
        check(t, input, "breadcrumbs", i, rounded(t, value_at(t, t->base, i) + sum));
    }
}

/* Selected is what differs from the base: neither model's task vector is zero there. */
static void check_sce(const tensor *t, const char *input)
{
    size_t zeros = 0;
    for (size_t i = 0; i < t->count; i++) {
        const double a = task_at(t, 0, i), b = task_at(t, 1, i), mean = (a + b) / 2;
        const double squares = (a - mean) * (a - mean) + (b - mean) * (b - mean);
        set_key(t, i, rounded(t, squares / 2));
        zeros += t->keys[i] == 0;
    }
    const size_t selected = (size_t)((float)(t->count - zeros) * .3F);
    if (selected > 0)
        keep_ranks(t, t->count - selected, t->count, t->kept[0]);
    run(t, "mergekit:sce", "select_topk=0.3", MODELS);
    for (size_t i = 0; i < t->count; i++) {
        const bool differs = value_at(t, t->out, i) != value_at(t, t->base, i);
        if (differs != (selected > 0 && t->kept[0][i]))
            fail_msg("sce, %s, %zu elements, element %zu: expected it %s, found otherwise", input,
                     t->count, i, differs ? "not selected" : "selected");
    }
}

/* ---- arcee_fusion ---------------------------------------------------------------------------- */
static double total_of(const double *values)
{
    double lanes[MC_TILE_LANES] = {0};
    for (size_t i = 0; i < ROW; i++)
        lanes[i % MC_TILE_LANES] += values[i];
    return mc_tile_lanes_total(lanes);
}

static void softmax(const tensor *t, const void *values, size_t row, double *out)
{
    double largest = value_at(t, values, row * ROW);
    for (size_t i = 0; i < ROW; i++)
        if (value_at(t, values, row * ROW + i) > largest)
            largest = value_at(t, values, row * ROW + i);
    for (size_t i = 0; i < ROW; i++)
        out[i] = elementary_exp(value_at(t, values, row * ROW + i) - largest);
    const double total = total_of(out);
    for (size_t i = 0; i < ROW; i++)
        out[i] = out[i] / total + 1e-8;
}

static double divergence(const tensor *t, size_t row)
{
    double p[ROW], q[ROW];
    softmax(t, t->models[0], row, p);
    softmax(t, t->base, row, q);
    for (size_t i = 0; i < ROW; i++)
        p[i] *= elementary_log(p[i] / q[i]);
    return rounded(t, fmax(total_of(p), 0));
}

static double magnitude_of_rank(const tensor *t, double share)
{
    return elementary_double(entry_of_rank(t, (size_t)(share * (double)(t->count - 1))).key);
}

static void check_arcee_fusion(const tensor *t, const char *input)
{
    for (size_t row = 0; row < t->size.rows; row++) {
        const double factor = divergence(t, row);
        for (size_t i = row * ROW; i < (row + 1) * ROW; i++)
            set_key(t, i, rounded(t, fabs(task_at(t, 0, i)) * factor));
    }
    const double spread = rounded(t, magnitude_of_rank(t, .75) - magnitude_of_rank(t, .25));
    const double threshold = rounded(t, magnitude_of_rank(t, .5) + rounded(t, 1.5 * spread));
    run(t, "mergekit:arcee_fusion", "", 1);
    for (size_t i = 0; i < t->count; i++) {
        const bool kept = elementary_double(t->keys[i]) >= threshold;
        const double task = kept ? task_at(t, 0, i) : 0;
        check(t, input, "arcee_fusion", i, rounded(t, value_at(t, t->base, i) + task));
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */
static void check_all(const tensor *t, const char *input)
{
    check_ties(t, input);
    check_breadcrumbs(t, input);
    check_sce(t, input);
    check_arcee_fusion(t, input);
}

static void test_sampled_once(void **state)
{
    const bool is_double = *(const bool *)*state;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        tensor t;
        set_up(&t, sampled_once, is_double, inputs[i].make);
        check_all(&t, inputs[i].name);
        tear_down(&t);
    }
}

static void test_sampled_twice(void **state)
{
    (void)state;
    tensor t;
    set_up(&t, sampled_twice, false, coarse);
    check_all(&t, "coarse");
    tear_down(&t);
}

/* The first of two brackets misses. */
static void test_misled_first(void **state)
{
    (void)state;
    tensor t;
    set_up(&t, sampled_twice, false, misleading);
    check_ties(&t, "misleading");
    tear_down(&t);
}

int main(void)
{
    static bool is_float = false, is_double = true;
    const struct CMUnitTest tests[] = {
        {.name = "once, float", .test_func = test_sampled_once, .initial_state = &is_float},
        {.name = "once, double", .test_func = test_sampled_once, .initial_state = &is_double},
        cmocka_unit_test(test_sampled_twice),
        cmocka_unit_test(test_misled_first),
    };
    return cmocka_run_group_tests_name("ranks", tests, NULL, NULL);
}
