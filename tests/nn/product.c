/*
 * Products in blocks: the bits of a row depend on that row alone, whatever block computes it, where
 * it stands, and what is in the rows beside it.
 */
#include "nn/onednn.h"
#include "tensor/convert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 230 }; /* two large blocks, a small one, and a part of one */

typedef struct matrix {
    size_t columns, pitch;
    mc_dtype dtype;
    char *bytes;
} matrix;

static size_t row_size(const matrix *m)
{
    return m->pitch * (size_t)mc_dtype_bytes(m->dtype, 1);
}

/* Room for whole blocks. */
static matrix matrix_new(size_t columns, mc_dtype dtype)
{
    matrix m = {columns, (size_t)mc_product_pitch(dtype, (int64_t)columns), dtype, NULL};
    m.bytes = calloc(ROWS + MC_PRODUCT_ROWS_MOST, row_size(&m));
    assert_non_null(m.bytes);
    return m;
}

static float *some_numbers(size_t count)
{
    float *const numbers = malloc(count * sizeof *numbers);
    assert_non_null(numbers);
    for (size_t i = 0; i < count; i++)
        numbers[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
    return numbers;
}

static void fill(void *to, mc_dtype dtype, size_t count)
{
    if (dtype == MC_I8) {
        for (size_t i = 0; i < count; i++)
            ((char *)to)[i] = (char)rand();
        return;
    }
    float *const numbers = some_numbers(count);
    mc_dtype_from_f32(dtype, to, numbers, count);
    free(numbers);
}

typedef struct tried {
    mc_product *product;
    mc_packed *packed;
    matrix x, whole; /* whole: the product of all rows at once */
    void *scratch;
} tried;

static tried tried_new(const mc_product_shape *shape)
{
    tried t = {.x = matrix_new((size_t)shape->in, shape->inputs),
               .whole = matrix_new((size_t)shape->out, shape->result)};
    assert_int_equal(mc_product_new(shape, &t.product, NULL), MC_OK);
    assert_int_equal(mc_packed_new(t.product, &t.packed, NULL), MC_OK);
    const size_t weights = (size_t)(shape->in * shape->out);
    void *const w = malloc(weights * sizeof(float));
    assert_non_null(w);
    fill(w, shape->inputs == MC_I8 ? MC_I8 : MC_F32, weights);
    assert_int_equal(mc_packed_set(t.packed, w, NULL), MC_OK);
    free(w);
    for (size_t row = 0; row < ROWS; row++)
        fill(t.x.bytes + row * row_size(&t.x), shape->inputs, t.x.columns);
    t.scratch = aligned_alloc(64, mc_product_scratch(t.product) + 64);
    assert_int_equal(mc_product_run(t.packed, ROWS, t.x.bytes, t.whole.bytes, t.scratch, NULL),
                     MC_OK);
    return t;
}

static void tried_free(tried *t)
{
    mc_packed_free(t->packed);
    mc_product_free(t->product);
    free(t->x.bytes);
    free(t->whole.bytes);
    free(t->scratch);
}

/* Rows first … first + count − 1 alone, against the same rows among all. */
static void check_rows(const tried *t, size_t first, size_t count)
{
    matrix x = matrix_new(t->x.columns, t->x.dtype);
    matrix y = matrix_new(t->whole.columns, t->whole.dtype);
    memcpy(x.bytes, t->x.bytes + first * row_size(&x), count * row_size(&x));
    assert_int_equal(mc_product_run(t->packed, count, x.bytes, y.bytes, t->scratch, NULL), MC_OK);
    assert_memory_equal(y.bytes, t->whole.bytes + first * row_size(&y), count * row_size(&y));
    free(x.bytes);
    free(y.bytes);
}

/*
 * One row among rows of NaN: a kernel that reads beyond the end of a row and multiplies by zero
 * what it finds there gives NaN.
 */
static void check_among_nan(const tried *t, size_t row)
{
    matrix x = matrix_new(t->x.columns, t->x.dtype);
    matrix y = matrix_new(t->whole.columns, t->whole.dtype);
    memset(x.bytes, 0xff, (ROWS + MC_PRODUCT_ROWS_MOST) * row_size(&x));
    memcpy(x.bytes + row * row_size(&x), t->x.bytes + row * row_size(&x), row_size(&x));
    assert_int_equal(mc_product_run(t->packed, ROWS, x.bytes, y.bytes, t->scratch, NULL), MC_OK);
    assert_memory_equal(y.bytes + row * row_size(&y), t->whole.bytes + row * row_size(&y),
                        row_size(&y));
    free(x.bytes);
    free(y.bytes);
}

static void check_product(const mc_product_shape *shape)
{
    static const struct {
        size_t first, count;
    } some[] = {{0, 1},  {95, 1},  {ROWS - 1, 1}, {3, 23},   {50, 24},     {71, 25},
                {7, 95}, {13, 96}, {100, 97},     {41, 130}, {1, ROWS - 1}};
    tried t = tried_new(shape);
    const size_t least = mc_packed_rows(t.packed);
    assert_true(least == MC_PRODUCT_ROWS || least == MC_PRODUCT_ROWS_MOST);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        check_rows(&t, some[i].first, some[i].count);
    for (size_t row = 0; row < ROWS; row += 23)
        check_among_nan(&t, row);
    tried_free(&t);
}

/* Kernels that cut sums by the number of rows do so from some 2,000 columns on. */
static void check_dtype(mc_dtype inputs, mc_dtype result)
{
    int restore;
    if (mc_onednn_check(inputs, NULL) != MC_OK)
        return; /* not on this CPU */
    assert_int_equal(mc_onednn_begin(&restore, NULL), MC_OK);
    const struct {
        int64_t in, out;
        mc_activation activation;
    } shapes[] = {{768, 768, MC_ACTIVATION_LINEAR},  {768, 3072, MC_ACTIVATION_GELU},
                  {3072, 768, MC_ACTIVATION_LINEAR}, {4096, 1024, MC_ACTIVATION_LINEAR},
                  {1000, 333, MC_ACTIVATION_TANH},   {5, 3, MC_ACTIVATION_LINEAR},
                  {24, 40, MC_ACTIVATION_GELU},      {40, 24, MC_ACTIVATION_LINEAR},
                  {33, 65, MC_ACTIVATION_SIGMOID},   {100, 36, MC_ACTIVATION_LINEAR},
                  {96, 192, MC_ACTIVATION_RELU}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const mc_activation activation = inputs == MC_I8 ? MC_ACTIVATION_LINEAR
                                                         : shapes[i].activation;
        const mc_product_shape shape = {.in = shapes[i].in,
                                        .out = shapes[i].out,
                                        .inputs = inputs,
                                        .result = result,
                                        .stride = shapes[i].in,
                                        .activation = activation};
        check_product(&shape);
    }
    mc_onednn_end(restore);
}

static void test_f32(void **state)
{
    (void)state;
    check_dtype(MC_F32, MC_F32);
}

static void test_bf16(void **state)
{
    (void)state;
    check_dtype(MC_BF16, MC_F32);
    check_dtype(MC_BF16, MC_BF16);
}

static void test_int8(void **state)
{
    (void)state;
    check_dtype(MC_I8, MC_I32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_int8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
