/*
 * Methods that work on whole tensors, that fail, that take side inputs of another shape, and that
 * do not keep to what they declare.
 */
#include "merge/fixtures.h"

#include "tensor/cast.h"

#include <math.h>
#include <stdatomic.h>
#include <time.h>

enum { MODELS = 2 };

/* ---- a rank-k approximation, by one-sided Jacobi rotations ---------------------------------- */

static atomic_int active, most_active; /* calls of a method at a time */

static void enter(void)
{
    const int now = atomic_fetch_add(&active, 1) + 1;
    int most = atomic_load(&most_active);
    while (now > most && !atomic_compare_exchange_weak(&most_active, &most, now))
        continue;
}

/* Columns of w = a · v, made orthogonal: their lengths are the singular values. */
typedef struct svd {
    size_t rows, columns;
    double *w;      /* [columns][rows] */
    double *v;      /* [columns][columns], each a column of v */
    double squares; /* of all elements */
} svd;

static double dot(const double *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static void rotate(double *a, double *b, double c, double s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double x = a[i], y = b[i];
        a[i] = c * x - s * y;
        b[i] = s * x + c * y;
    }
}

/* Makes columns i and j orthogonal; false if they are, compared with the whole matrix. */
static bool rotate_pair(const svd *m, size_t i, size_t j)
{
    double *const a = m->w + i * m->rows, *const b = m->w + j * m->rows;
    const double aa = dot(a, a, m->rows), bb = dot(b, b, m->rows), ab = dot(a, b, m->rows);
    if (fabs(ab) <= 1e-15 * m->squares)
        return false;
    const double zeta = (bb - aa) / (2 * ab);
    const double t = (zeta < 0 ? -1 : 1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    const double c = 1 / sqrt(1 + t * t);
    rotate(a, b, c, c * t, m->rows);
    rotate(m->v + i * m->columns, m->v + j * m->columns, c, c * t, m->columns);
    return true;
}

static bool decompose(const svd *m)
{
    for (int sweep = 0; sweep < 60; sweep++) {
        bool rotated = false;
        for (size_t i = 0; i + 1 < m->columns; i++)
            for (size_t j = i + 1; j < m->columns; j++)
                rotated = rotate_pair(m, i, j) || rotated;
        if (!rotated)
            return true;
    }
    return false;
}

/* The longest column that is left, which is then set to zero; its index. */
static size_t take_longest(const svd *m, double *column)
{
    size_t longest = 0;
    double most = -1;
    for (size_t i = 0; i < m->columns; i++) {
        const double *const w = m->w + i * m->rows;
        const double length = dot(w, w, m->rows);
        longest = length > most ? i : longest;
        most = length > most ? length : most;
    }
    memcpy(column, m->w + longest * m->rows, m->rows * sizeof *column);
    memset(m->w + longest * m->rows, 0, m->rows * sizeof *column);
    return longest;
}

static size_t svd_bytes(const mc_layer *layer)
{
    if (layer->rank != 2)
        return 0;
    const size_t rows = (size_t)layer->shape[0], columns = (size_t)layer->shape[1];
    return (rows * columns + columns * columns + rows) * sizeof(double);
}

MC_LAYER_MERGE(low_rank, .help = "the mean of the models, of rank k", .scope = MC_TENSOR,
               .scratch_bytes = svd_bytes,
               .params = MC_PARAMS({"k", MC_INTEGER, "rank", .required = true, .minimum = 1,
                                    .maximum = 1e6}))
{
    if (layer->rank != 2)
        return mc_fail(layer->error, MC_USAGE, "expected a matrix, found %d dimensions",
                       layer->rank);
    enter();
    svd m = {.rows = (size_t)layer->shape[0],
             .columns = (size_t)layer->shape[1],
             .w = layer->scratch,
             .v = (double *)layer->scratch + layer->count};
    double *const column = m.v + m.columns * m.columns;
    mc_tile_mean(layer->out, layer->models, layer->model_count, layer->count);
    for (size_t i = 0; i < layer->count; i++)
        m.w[i % m.columns * m.rows + i / m.columns] = layer->out[i];
    for (size_t i = 0; i < m.columns * m.columns; i++)
        m.v[i] = i % (m.columns + 1) == 0;
    m.squares = dot(m.w, m.w, layer->count);
    const bool done = decompose(&m);
    mc_tile_fill(layer->out, 0, layer->count);
    for (int k = 0; k < (int)mc_number(layer, "k"); k++) {
        const double *const v = m.v + take_longest(&m, column) * m.columns;
        for (size_t i = 0; i < layer->count; i++)
            layer->out[i] += (float)(column[i / m.columns] * v[i % m.columns]);
    }
    atomic_fetch_sub(&active, 1);
    return done ? MC_OK : mc_fail(layer->error, MC_UNSUPPORTED, "the rotations do not converge");
}

enum { ROWS = 512, COLUMNS = 16, MATRICES = 6 };

/* Signs of a Hadamard matrix: different `k` are orthogonal. */
static double sign_of(size_t k, size_t i)
{
    return __builtin_parityll(k & i) ? -1 : 1;
}

/* Σ over the first `terms` of (8 − 3k) · u_k · v_kᵀ, with orthonormal u and v: its SVD is known. */
static double matrix_at(size_t terms, size_t row, size_t column)
{
    double sum = 0;
    for (size_t k = 0; k < terms; k++)
        sum += (8 - 3 * (double)k) * sign_of(k + 1, row) * sign_of(k + 2, column) /
               sqrt((double)ROWS * COLUMNS);
    return sum;
}

/* `scale` times the matrix of rank 3. */
static mc_state_dict *matrices(double scale)
{
    mc_state_dict *const dict = dict_new();
    static float values[ROWS * COLUMNS];
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        values[i] = (float)(scale * matrix_at(3, i / COLUMNS, i % COLUMNS));
    for (int t = 0; t < MATRICES; t++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", t);
        dict_add_bytes(dict, name, MC_F32, SHAPE(ROWS, COLUMNS), values, sizeof values);
    }
    return dict;
}

/* Merges two dicts lazily. */
static mc_state_dict *merged(const mc_method *method, mc_state_dict *const dicts[MODELS],
                             const char *param)
{
    mc_state_dict *out = NULL;
    const mc_merge_input input = {.models = (const mc_state_dict *const *)dicts,
                                  .model_count = MODELS,
                                  .params = &param,
                                  .param_count = param != NULL};
    assert_done(mc_dict_map(method, &input, &out, NULL, &error));
    return out;
}

static mc_state_dict *computed(const mc_state_dict *lazy, int threads, int64_t memory)
{
    const mc_run_options options = {.threads = threads, .memory = memory};
    mc_state_dict *out = NULL;
    assert_done(mc_state_dict_materialize(lazy, &options, &out, NULL, &error));
    return out;
}

static void free_pair(mc_state_dict *const dicts[MODELS])
{
    for (size_t i = 0; i < MODELS; i++)
        mc_state_dict_free(dicts[i]);
}

static void check_rank(const mc_state_dict *made, size_t terms)
{
    float *const found = floats_of(made, "w3");
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        if (fabs(found[i] - matrix_at(terms, i / COLUMNS, i % COLUMNS)) > 1e-6)
            fail_msg("rank %zu, element %zu: expected %g, found %g", terms, i,
                     matrix_at(terms, i / COLUMNS, i % COLUMNS), (double)found[i]);
    free(found);
}

/* The models are .5 and 1.5 times the matrix. The largest terms are what an SVD keeps. */
static void test_low_rank(void **state)
{
    static const char *const settings[] = {"k=1", "k=2", "k=3", "k=4"};
    mc_state_dict *const dicts[MODELS] = {matrices(.5), matrices(1.5)};
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        mc_state_dict *const lazy = merged(&low_rank, dicts, settings[k]);
        mc_state_dict *const one = computed(lazy, 1, 0);
        check_rank(one, k < 3 ? k + 1 : 3);
        for (int threads = 2; threads <= 4; threads++) {
            atomic_store(&most_active, 0);
            mc_state_dict *const several = computed(lazy, threads, 1);
            assert_same_dicts(one, several, "threads");
            assert_int_equal(most_active, 1); /* no two fit into a byte: one at a time */
            mc_state_dict_free(several);
        }
        assert_same_dicts(one, lazy, "read as a source");
        mc_state_dict_free(one);
        mc_state_dict_free(lazy);
    }
    free_pair(dicts);
}

/* A reader learns that a short read would compute the whole tensor, also through a cast. */
static void test_grain(void **state)
{
    mc_state_dict *const dicts[MODELS] = {matrices(.5), matrices(1.5)};
    mc_state_dict *const whole = merged(&low_rank, dicts, "k=1");
    mc_state_dict *const plain = merged(mc_method_find("soup"), dicts, NULL);
    mc_source *cast = NULL;
    (void)state;
    assert_done(mc_source_cast(mc_state_dict_find(whole, "w0"), MC_BF16, &cast, &error));
    assert_int_equal(mc_source_grain(cast), ROWS * COLUMNS);
    assert_int_equal(mc_source_grain(mc_state_dict_find(plain, "w0")), 1);
    assert_int_equal(mc_source_grain(mc_state_dict_find(dicts[0], "w0")), 1);
    mc_source_unref(cast);
    mc_state_dict_free(plain);
    mc_state_dict_free(whole);
    free_pair(dicts);
}

/* With room for all, tensors are computed side by side; the bound is what keeps them apart. */
static void test_memory_estimate(void **state)
{
    mc_state_dict *const dicts[MODELS] = {matrices(.5), matrices(1.5)};
    mc_state_dict *const lazy = merged(&low_rank, dicts, "k=1");
    mc_state_dict *const wide = computed(lazy, 4, INT64_C(1) << 30);
    mc_state_dict *const narrow = computed(lazy, 4, 1 << 20);
    (void)state;
    assert_same_dicts(wide, narrow, "memory");
    mc_state_dict_free(wide);
    mc_state_dict_free(narrow);
    mc_state_dict_free(lazy);
    free_pair(dicts);
}

static mc_status read_one(const mc_state_dict *dict, const char *name, mc_error *error)
{
    float value;
    return mc_source_read_f32(mc_state_dict_find(dict, name), 0, 1, &value, error);
}

static mc_status compute(const mc_state_dict *lazy, int threads, mc_error *error)
{
    const mc_run_options options = {.threads = threads};
    mc_state_dict *out = NULL;
    return mc_state_dict_materialize(lazy, &options, &out, NULL, error);
}

/* ---- failures ------------------------------------------------------------------------------- */

static void assert_fails(const mc_method *method, mc_state_dict *const dicts[MODELS],
                         const char *param, mc_status expected, const char *text)
{
    mc_state_dict *const lazy = merged(method, dicts, param);
    for (int threads = 1; threads <= 4; threads++)
        assert_error(expected, text, compute(lazy, threads, &error));
    assert_error(expected, text, read_one(lazy, mc_state_dict_name(lazy, 0), &error));
    mc_state_dict_free(lazy);
}

static mc_state_dict *vectors(void)
{
    mc_state_dict *const dict = dict_new();
    dict_add(dict, "bias", MC_F32, SHAPE(50000), 1);
    return dict;
}

static size_t a_double(const mc_layer *layer)
{
    (void)layer;
    return sizeof(double);
}

static mc_status fail_late(const mc_layer *layer, void *partial)
{
    *(double *)partial += 1;
    return layer->first < 40000 ? MC_OK
                                : mc_fail(layer->error, MC_UNSUPPORTED, "element 40000 is odd");
}

static mc_status count_leaf(const mc_layer *layer, void *partial)
{
    (void)layer;
    *(double *)partial += 1;
    return MC_OK;
}

static void add_double(const mc_layer *layer, void *into, const void *from)
{
    (void)layer;
    *(double *)into += *(const double *)from;
}

static mc_status take_all(const mc_layer *layer, int round, void *state, const void *total,
                          bool *more)
{
    (void)layer, (void)round, (void)more;
    *(double *)state = *(const double *)total;
    return MC_OK;
}

static mc_status fail_next(const mc_layer *layer, int round, void *state, const void *total,
                           bool *more)
{
    (void)state, (void)more;
    return *(const double *)total < 10
               ? MC_OK
               : mc_fail(layer->error, MC_UNSUPPORTED, "%g leaves in round %d",
                         *(const double *)total, round);
}

static const mc_statistics failing_leaf = {.state_size = a_double,
                                           .partial_size = a_double,
                                           .accumulate = fail_late,
                                           .combine = add_double,
                                           .next = take_all};
static const mc_statistics failing_round = {.state_size = a_double,
                                            .partial_size = a_double,
                                            .accumulate = count_leaf,
                                            .combine = add_double,
                                            .next = fail_next};

MC_LAYER_MERGE(fails_in_leaf, .help = "x", .statistics = &failing_leaf)
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}

MC_LAYER_MERGE(fails_in_round, .help = "x", .statistics = &failing_round)
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}

/* A method fails where it likes; the error names the tensor. */
static void test_failures(void **state)
{
    mc_state_dict *const dicts[MODELS] = {vectors(), vectors()};
    (void)state;
    assert_fails(&low_rank, dicts, "k=1", MC_USAGE,
                 "tensor 'bias': expected a matrix, found 1 dimensions");
    assert_fails(&fails_in_leaf, dicts, NULL, MC_UNSUPPORTED,
                 "tensor 'bias': element 40000 is odd");
    assert_fails(&fails_in_round, dicts, NULL, MC_UNSUPPORTED,
                 "tensor 'bias': 13 leaves in round 0");
    free_pair(dicts);
}

/* ---- several tensors at a time --------------------------------------------------------------- */

/* Waits for another call, at most a minute. */
MC_LAYER_MERGE(meets, .help = "the first model, once two tensors are computed", .scope = MC_TENSOR)
{
    enter();
    for (int i = 0; atomic_load(&most_active) < 2 && i < 60000; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    atomic_fetch_sub(&active, 1);
    return MC_OK;
}

/* Two models, the result, and the slot of one tensor take as much as tiles may that stream. */
static void test_large_tensors_side_by_side(void **state)
{
    mc_state_dict *const dicts[MODELS] = {dict_new(), dict_new()};
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        dict_add(dicts[m], "a", MC_F32, SHAPE(2048, 2048), m);
        dict_add(dicts[m], "b", MC_F32, SHAPE(2048, 2048), m + MODELS);
    }
    mc_state_dict *const lazy = merged(&meets, dicts, NULL);
    atomic_store(&most_active, 0);
    mc_state_dict *const two = computed(lazy, 2, 0);
    assert_int_equal(most_active, 2);
    assert_same_dicts(two, dicts[0], "side by side");
    mc_state_dict_free(two);
    mc_state_dict_free(lazy);
    free_pair(dicts);
}

/* ---- side inputs of another shape ----------------------------------------------------------- */

/* Σ over the models of W · G: [out, in] · [in, in] */
MC_LAYER_MERGE(by_gram, .help = "models times their Gram matrices", .scope = MC_TENSOR,
               .sides = MC_SIDES({"grams", .whole = true}))
{
    const mc_side *const grams = &layer->sides[0];
    const size_t in = (size_t)layer->shape[1];
    if (grams->rank != 2 || grams->shape[0] != layer->shape[1] || grams->count != in * in)
        return mc_fail(layer->error, MC_MISMATCH, "grams: expected %zu columns", in);
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0;
        for (size_t m = 0; m < layer->model_count; m++)
            for (size_t k = 0; k < in; k++)
                sum += (double)layer->models[m][i / in * in + k] *
                       (double)grams->tiles[m][k * in + i % in];
        layer->out[i] = (mc_real)sum;
    }
    return MC_OK;
}

MC_LAYER_MERGE(streams_gram, .help = "wrong", .scope = MC_ELEMENTWISE,
               .sides = MC_SIDES({"grams", .whole = true}))
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
}

static mc_status with_grams(const mc_method *method, mc_state_dict *const models[MODELS],
                            mc_state_dict *const grams[MODELS], mc_state_dict **out,
                            mc_error *error)
{
    const mc_side_dicts side = {
        .name = "grams", .items = (const mc_state_dict *const *)grams, .count = MODELS};
    const mc_merge_input input = {.models = (const mc_state_dict *const *)models,
                                  .model_count = MODELS,
                                  .sides = &side,
                                  .side_count = 1};
    return mc_dict_map(method, &input, out, NULL, error);
}

static void test_whole_sides(void **state)
{
    enum { OUT = 2, IN = 3 };
    static const float weights[MODELS][OUT * IN] = {{1, 2, 3, 4, 5, 6}, {1, 0, -1, 2, 0, 1}};
    static const float gram[MODELS][IN * IN] = {{1, 0, 0, 0, 2, 0, 0, 0, 3},
                                                {0, 1, 0, 1, 0, 0, 0, 0, 1}};
    mc_state_dict *const models[MODELS] = {dict_new(), dict_new()};
    mc_state_dict *const grams[MODELS] = {dict_new(), dict_new()};
    mc_state_dict *const others[MODELS] = {dict_new(), dict_new()};
    mc_state_dict *out = NULL;
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        dict_add_bytes(models[m], "w", MC_F32, SHAPE(OUT, IN), weights[m], sizeof weights[m]);
        dict_add_bytes(grams[m], "w", MC_F32, SHAPE(IN, IN), gram[m], sizeof gram[m]);
        dict_add(others[m], "w", MC_F32, SHAPE(IN, IN + (int64_t)m), 1);
    }
    assert_done(with_grams(&by_gram, models, grams, &out, &error));
    mc_state_dict *const made = computed(out, 2, 0);
    assert_floats(made, "w", 1, 5, 8, 4, 12, 19);
    assert_same_dicts(made, out, "read as a source");
    mc_state_dict_free(made);
    mc_state_dict_free(out);
    assert_error(MC_MISMATCH,
                 "side input 'grams': expected one shape for all models, [3, 3], found",
                 with_grams(&by_gram, models, others, &out, &error));
    assert_error(MC_USAGE, "expected the scope MC_TENSOR",
                 with_grams(&streams_gram, models, grams, &out, &error));
    free_pair(models);
    free_pair(grams);
    free_pair(others);
}

/* ---- methods that do not keep to their declaration ------------------------------------------ */

MC_LAYER_MERGE(forgets_last, .help = "x")
{
    mc_tile_copy(layer->out, layer->models[0], layer->count - 1);
    return MC_OK;
}

MC_LAYER_MERGE(adds_up, .help = "x")
{
    for (size_t m = 0; m < layer->model_count; m++)
        mc_tile_add(layer->out, layer->out, layer->models[m], layer->count);
    return MC_OK;
}

MC_LAYER_MERGE(reads_base, .help = "x")
{
    mc_tile_add(layer->out, layer->models[0], layer->base, layer->count);
    return MC_OK;
}

static size_t one_tile(const mc_layer *layer)
{
    return layer->count * sizeof(mc_real);
}

MC_LAYER_MERGE(reads_scratch, .help = "x", .scratch_bytes = one_tile)
{
    const mc_real *const scratch = layer->scratch;
    mc_tile_add(layer->out, layer->models[0], scratch, layer->count);
    return MC_OK;
}

static mc_status sum_base(const mc_layer *layer, void *partial)
{
    *(double *)partial += mc_tile_total(layer->base, layer->count);
    return MC_OK;
}

static const mc_statistics base_sum = {.state_size = a_double,
                                       .partial_size = a_double,
                                       .accumulate = sum_base,
                                       .combine = add_double,
                                       .next = take_all};

MC_LAYER_MERGE(counts_base, .help = "x", .statistics = &base_sum)
{
    mc_tile_fill(layer->out, (mc_real) * (const double *)layer->state, layer->count);
    return MC_OK;
}

static void test_declarations(void **state)
{
    mc_state_dict *const dicts[MODELS] = {vectors(), vectors()};
    (void)state;
    assert_fails(&forgets_last, dicts, NULL, MC_USAGE,
                 "tensor 'bias': method 'forgets_last' does not write every element of layer->out");
    assert_fails(&adds_up, dicts, NULL, MC_USAGE,
                 "method 'adds_up' reads layer->out or layer->scratch before it writes to it");
    assert_fails(&reads_scratch, dicts, NULL, MC_USAGE,
                 "method 'reads_scratch' reads layer->out or layer->scratch before");
    assert_fails(&reads_base, dicts, NULL, MC_USAGE,
                 "method 'reads_base' reads layer->base: its declaration needs .needs_base = true");
    assert_fails(&counts_base, dicts, NULL, MC_USAGE,
                 "method 'counts_base' reads layer->base: its declaration needs");
    free_pair(dicts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low_rank),
        cmocka_unit_test(test_grain),
        cmocka_unit_test(test_memory_estimate),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_large_tensors_side_by_side),
        cmocka_unit_test(test_whole_sides),
        cmocka_unit_test(test_declarations),
    };
    return cmocka_run_group_tests_name("whole", tests, NULL, NULL);
}
