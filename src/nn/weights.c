#include "nn/weights.h"

#include "base/memory.h"
#include "base/team.h"
#include "nn/kernels.h"
#include "tensor/convert.h"
#include "tensor/source.h"

#include <stdio.h>
#include <string.h>

/* ---- checks ---------------------------------------------------------------------------------- */

static const char *shape_text(int rank, const int64_t *shape, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "",
                                 (long long)shape[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
    return text;
}

static mc_status check_source(const mc_weight *w, const mc_source *source, mc_error *error)
{
    char expected[64], found[400];
    shape_text(w->rank, w->shape, expected, sizeof expected);
    if (!source)
        return mc_fail_at(error, MC_NOT_FOUND, NULL, w->name, -1,
                          "expected a tensor of shape %s, found none", expected);
    const mc_dtype dtype = mc_source_dtype(source);
    if (mc_dtype_kind_of(dtype) != MC_KIND_FLOAT)
        return mc_fail_at(error, MC_MISMATCH, NULL, w->name, -1, "expected floats, found %s",
                          mc_dtype_name(dtype));
    const int rank = mc_source_rank(source);
    bool same = rank == w->rank;
    for (int i = 0; same && i < rank; i++)
        same = mc_source_shape(source)[i] == w->shape[i];
    if (!same)
        return mc_fail_at(error, MC_MISMATCH, NULL, w->name, -1,
                          "expected shape %s, as the configuration says, found %s", expected,
                          shape_text(rank, mc_source_shape(source), found, sizeof found));
    return MC_OK;
}

static mc_status check_all(const mc_network *n, const mc_state_dict *from, mc_error *error)
{
    for (size_t i = 0; i < n->weight_count; i++)
        MC_TRY(check_source(&n->weights[i], mc_state_dict_find(from, n->weights[i].name), error));
    return MC_OK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static bool same_shape(const mc_product_shape *a, const mc_product_shape *b)
{
    return a->in == b->in && a->out == b->out && a->inputs == b->inputs && a->result == b->result &&
           a->activation == b->activation && a->stride == b->stride && a->adds == b->adds;
}

static mc_status find_product(mc_weights *weights, const mc_weight *w, int panel,
                              const mc_product **out, mc_error *error)
{
    /*
     * Matrices of the same shape share their kernels: a model has a few shapes, and each takes time
     * to compile. Of parts by columns, the first writes y and the others add to it. In int8,
     * dequantize applies the activation.
     */
    const mc_product_shape shape = {.in = w->shape[1] / w->column_panels,
                                    .out = w->shape[0] / w->row_panels,
                                    .stride = w->shape[1],
                                    .adds = w->column_panels > 1 && panel > 0,
                                    .inputs = weights->network->dtype,
                                    .result = w->result,
                                    .activation = w->result == MC_I32 ? MC_ACTIVATION_LINEAR
                                                                      : w->activation};
    for (size_t i = 0; i < weights->product_count; i++)
        if (same_shape(mc_product_shape_of(weights->products[i]), &shape)) {
            *out = weights->products[i];
            return MC_OK;
        }
    if (!MC_GROW(weights->products, weights->product_count, weights->product_capacity))
        return mc_fail_memory(error);
    mc_product *made = NULL;
    MC_TRY(mc_product_new(&shape, &made, error));
    weights->products[weights->product_count++] = made;
    const size_t scratch = mc_product_scratch(made);
    if (scratch > weights->product_scratch)
        weights->product_scratch = scratch;
    *out = made;
    return MC_OK;
}

static size_t count_of(const mc_weight *w)
{
    return (size_t)w->shape[0] * (size_t)(w->rank == 2 ? w->shape[1] : 1);
}

static mc_status allocate_matrix(mc_weights *weights, size_t index, mc_error *error)
{
    const mc_weight *const w = &weights->network->weights[index];
    mc_stored_weight *const stored = &weights->stored[index];
    const int panels = w->row_panels * w->column_panels;
    stored->packed = mc_alloc_zero((size_t)panels, sizeof *stored->packed);
    if (!stored->packed)
        return mc_fail_memory(error);
    stored->panels = panels;
    if (weights->network->dtype == MC_I8) {
        stored->scales = mc_alloc((size_t)w->shape[0] * sizeof *stored->scales);
        stored->zeros = mc_alloc((size_t)w->shape[0] * sizeof *stored->zeros);
        if (!stored->scales || !stored->zeros)
            return mc_fail_memory(error);
    }
    for (int i = 0; i < panels; i++) {
        const mc_product *product = NULL;
        MC_TRY(find_product(weights, w, i, &product, error));
        MC_TRY(mc_packed_new(product, &stored->packed[i], error));
    }
    return MC_OK;
}

static mc_status allocate_one(mc_weights *weights, size_t index, mc_error *error)
{
    const mc_weight *const w = &weights->network->weights[index];
    mc_stored_weight *const stored = &weights->stored[index];
    if (w->kind == MC_WEIGHT_MATRIX)
        return allocate_matrix(weights, index, error);
    stored->values = mc_alloc(count_of(w) * sizeof(float));
    return stored->values ? MC_OK : mc_fail_memory(error);
}

void mc_weights_free(mc_weights *weights)
{
    for (size_t i = 0; weights->stored && i < weights->network->weight_count; i++) {
        mc_free(weights->stored[i].values);
        for (int j = 0; j < weights->stored[i].panels; j++)
            mc_packed_free(weights->stored[i].packed[j]);
        mc_free(weights->stored[i].packed);
        mc_free(weights->stored[i].scales);
        mc_free(weights->stored[i].zeros);
    }
    for (size_t i = 0; i < weights->product_count; i++)
        mc_product_free(weights->products[i]);
    mc_free(weights->stored);
    mc_free(weights->products);
    *weights = (mc_weights){.network = weights->network};
}

static mc_status allocate(mc_weights *weights, mc_error *error)
{
    const size_t count = weights->network->weight_count;
    weights->stored = mc_alloc_zero(count, sizeof *weights->stored);
    if (!weights->stored)
        return mc_fail_memory(error);
    mc_status status = MC_OK;
    for (size_t i = 0; i < count && status == MC_OK; i++)
        status = allocate_one(weights, i, error);
    if (status != MC_OK)
        mc_weights_free(weights);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct loading {
    const mc_weights *weights;
    const mc_state_dict *from;
    const volatile int *cancel; /* NULL: never */
} loading;

/*
 * CHUNK: elements that are read at a time. They stay in the second-level cache until they have been
 * rounded and checked. BLOCK: elements that are rounded at a time, on the stack.
 */
enum { CHUNK = 1 << 17, BLOCK = 1 << 11 };

/* Rounds values to a dtype that is narrower than float32. */
static void round_to(mc_dtype dtype, float *values, size_t count)
{
    uint16_t block[BLOCK];
    for (size_t done = 0; done < count; done += BLOCK) {
        const size_t n = count - done < BLOCK ? count - done : BLOCK;
        mc_dtype_from_f32(dtype, block, values + done, n);
        mc_dtype_to_f32(dtype, values + done, block, n);
    }
}

/*
 * Lazy sources, such as merges, are rounded to their dtype first, as if read from a file. Reading
 * their bytes would convert blocks of a few hundred elements: for a merge of five models, most of
 * the time went into such short reads.
 */
static mc_status read_rounded(const mc_source *source, int64_t first, int64_t count, float *out,
                              mc_error *error)
{
    const mc_dtype dtype = mc_source_dtype(source);
    const int64_t bytes = mc_dtype_bytes(dtype, count), room = count * (int64_t)sizeof *out;
    /* float32 and wider numbers are read as float32 directly. */
    if (bytes >= room)
        return mc_source_read_f32(source, first, count, out, error);
    /* From float64 to the dtype in one step: rounding to float32 in between would round twice. */
    if (mc_source_real(source) == MC_F64) {
        MC_TRY(mc_source_read_raw(source, mc_dtype_bytes(dtype, first), bytes,
                                  (char *)out + room - bytes, error));
        mc_widen_in_place(dtype, MC_F32, out, (size_t)count);
        return MC_OK;
    }
    MC_TRY(mc_source_read_f32(source, first, count, out, error));
    round_to(dtype, out, (size_t)count);
    return MC_OK;
}

static mc_status read_finite(const loading *l, const mc_source *source, float *out, mc_error *error)
{
    const int64_t count = mc_source_count(source), grain = mc_source_grain(source);
    const int64_t chunk = grain < CHUNK ? CHUNK / grain * grain : grain;
    for (int64_t first = 0; first < count; first += chunk) {
        const int64_t taken = count - first < chunk ? count - first : chunk;
        if (l->cancel && __atomic_load_n(l->cancel, __ATOMIC_RELAXED))
            return mc_fail(error, MC_INTERRUPTED, "interrupted");
        MC_TRY(read_rounded(source, first, taken, out + first, error));
        if (!mc_nn_kernels_now()->finite(out + first, (size_t)taken))
            return mc_fail(error, MC_FORMAT, "expected finite numbers, found NaN or infinity");
    }
    return MC_OK;
}

/* Replaces rows of float32 by rows of int8 with one scale each. The kernel adds 128 to a number. */
static void quantize(const mc_weight *w, float *values, const mc_stored_weight *stored)
{
    const size_t columns = (size_t)w->shape[1];
    for (int64_t row = 0; row < w->shape[0]; row++) {
        /* In place: a row of bytes ends before the float32 row that follows it begins. */
        uint8_t *const to = (uint8_t *)values + (size_t)row * columns;
        mc_nn_kernels_now()->quantize(to, &stored->scales[row], values + (size_t)row * columns, 1,
                                      columns);
        /*
         * Inputs are stored plus 128: Σ (x + 128) w = Σ x w + 128 Σ w. The last term is subtracted
         * from the sums of a product.
         */
        int32_t sum = 0;
        for (size_t i = 0; i < columns; i++) {
            sum += to[i] - 128;
            /* From w + 128 without a sign to w with one. */
            to[i] ^= 128;
        }
        stored->zeros[row] = 128 * sum;
    }
}

static mc_status pack(const mc_weight *w, const mc_stored_weight *stored, const float *values,
                      mc_error *error)
{
    const size_t rows = (size_t)(w->shape[0] / w->row_panels), columns = (size_t)w->shape[1];
    /*
     * Parts of rows follow each other. Parts of columns begin within the first row, and their rows
     * are `columns` apart.
     */
    const size_t step = w->row_panels > 1 ? rows * columns : columns / (size_t)w->column_panels;
    for (int i = 0; i < stored->panels; i++)
        MC_TRY(mc_packed_set(stored->packed[i], values + (size_t)i * step, error));
    return MC_OK;
}

/*
 * Parts of rows get their share of the bias; of parts whose products are added, the first gets all.
 */
static void set_bias(const mc_weight *matrix, const mc_stored_weight *stored, const float *values)
{
    const size_t count = (size_t)(matrix->shape[0] / matrix->row_panels);
    for (int i = 0; i < matrix->row_panels; i++)
        memcpy(mc_packed_bias(stored->packed[i]), values + (size_t)i * count,
               count * sizeof *values);
}

static mc_status read_bias(const loading *l, const mc_source *source, size_t index, mc_error *error)
{
    const mc_weights *const weights = l->weights;
    float *const values = weights->stored[index].values;
    MC_TRY(read_finite(l, source, values, error));
    /*
     * The matrix before it. Another thread may pack it meanwhile: weights and bias are separate
     * memory.
     */
    set_bias(&weights->network->weights[index - 1], &weights->stored[index - 1], values);
    return MC_OK;
}

static mc_status read_matrix(const loading *l, const mc_source *source, const mc_weight *w,
                             const mc_stored_weight *stored, mc_error *error)
{
    float *const values = mc_alloc((size_t)mc_source_count(source) * sizeof *values);
    if (!values)
        return mc_fail_memory(error);
    mc_status status = read_finite(l, source, values, error);
    int restore;
    if (status == MC_OK && stored->scales)
        quantize(w, values, stored);
    if (status == MC_OK)
        status = mc_onednn_begin(&restore, error);
    if (status == MC_OK) {
        status = pack(w, stored, values, error);
        mc_onednn_end(restore);
    }
    mc_free(values);
    return status;
}

static mc_status read_one(void *user, int worker, size_t index, mc_error *error)
{
    (void)worker;
    const loading *const l = user;
    const mc_weight *const w = &l->weights->network->weights[index];
    const mc_source *const source = mc_state_dict_find(l->from, w->name);
    const mc_stored_weight *const stored = &l->weights->stored[index];
    const mc_status status = w->kind == MC_WEIGHT_MATRIX ? read_matrix(l, source, w, stored, error)
                             : w->kind == MC_WEIGHT_BIAS
                                 ? read_bias(l, source, index, error)
                                 : read_finite(l, source, stored->values, error);
    /* These two are not about a tensor. */
    return status == MC_NO_MEMORY || status == MC_INTERRUPTED
               ? status
               : mc_in_tensor(error, w->name, status);
}

mc_status mc_weights_load(mc_weights *weights, const mc_state_dict *from, int threads,
                          const volatile int *cancel, mc_error *error)
{
    weights->loaded = false;
    /* All shapes first: reading takes long, and memory for impossible shapes may not exist. */
    MC_TRY(check_all(weights->network, from, error));
    if (!weights->stored) {
        int restore;
        MC_TRY(mc_onednn_begin(&restore, error));
        const mc_status status = allocate(weights, error);
        mc_onednn_end(restore);
        MC_TRY(status);
    }
    loading l = {weights, from, cancel};
    MC_TRY(mc_parallel(weights->network->weight_count, threads, read_one, &l, error));
    weights->loaded = true;
    return MC_OK;
}
