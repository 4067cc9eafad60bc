#include "tensor/source.h"

#include "tensor/convert.h"

#include "base/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 512 }; /* elements that are converted on the stack at a time */

/* Sizes below it can be added and aligned in int64_t without overflow checks everywhere. */
#define MC_SIZE_LIMIT (INT64_C(1) << 62)

mc_status mc_shape_count(mc_dtype dtype, int rank, const int64_t *shape, int64_t *count,
                         int64_t *bytes, mc_error *error)
{
    if (rank < 0 || rank > MC_MAX_RANK)
        return mc_fail(error, MC_FORMAT, "expected at most %d dimensions, found %d", MC_MAX_RANK,
                       rank);
    int64_t product = 1;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return mc_fail(error, MC_FORMAT, "expected dimensions from 0 up, found %" PRId64,
                           shape[i]);
        empty = empty || shape[i] == 0;
        /* A 0 may follow: [2^40, 2^40, 0] is valid and has no elements. */
        if (shape[i] > 0 && __builtin_mul_overflow(product, shape[i], &product))
            return mc_fail(error, MC_FORMAT, "the product of the dimensions is too large");
    }
    product = empty ? 0 : product;
    if (product % mc_dtype_block(dtype) != 0)
        return mc_fail(error, MC_FORMAT,
                       "expected a multiple of %d elements of %s, found %" PRId64 " elements",
                       mc_dtype_block(dtype), mc_dtype_name(dtype), product);
    const int64_t size = mc_dtype_bytes(dtype, product);
    if (product >= MC_SIZE_LIMIT || size < 0 || size >= MC_SIZE_LIMIT)
        return mc_fail(error, MC_FORMAT, "the product of the dimensions is too large");
    *count = product;
    *bytes = size;
    return MC_OK;
}

mc_status mc_source_create(const mc_source_class *class, size_t size, mc_dtype dtype, int rank,
                           const int64_t *shape, mc_source **out, mc_error *error)
{
    int64_t count, bytes;
    MC_TRY(mc_shape_count(dtype, rank, shape, &count, &bytes, error));
    const size_t shape_at = (size + sizeof *shape - 1) / sizeof *shape * sizeof *shape;
    mc_source *const source = mc_alloc_zero(1, shape_at + (size_t)rank * sizeof *shape);
    if (!source)
        return mc_fail_memory(error);
    source->class = class;
    source->references = 1;
    source->dtype = dtype;
    source->rank = rank;
    source->shape = (int64_t *)((char *)source + shape_at);
    for (int i = 0; i < rank; i++)
        source->shape[i] = shape[i];
    source->count = count;
    source->bytes = bytes;
    source->wide = dtype == MC_F64;
    *out = source;
    return MC_OK;
}

mc_source *mc_source_ref(mc_source *source)
{
    atomic_fetch_add_explicit(&source->references, 1, memory_order_relaxed);
    return source;
}

void mc_source_unref(mc_source *source)
{
    if (!source || atomic_fetch_sub(&source->references, 1) != 1)
        return;
    if (source->class->free)
        source->class->free(source);
    mc_free(source);
}

mc_dtype mc_source_dtype(const mc_source *source)
{
    return source->dtype;
}

int mc_source_rank(const mc_source *source)
{
    return source->rank;
}

const int64_t *mc_source_shape(const mc_source *source)
{
    return source->shape;
}

int64_t mc_source_count(const mc_source *source)
{
    return source->count;
}

int64_t mc_source_bytes(const mc_source *source)
{
    return source->bytes;
}

static mc_status check_range(const char *what, int64_t first, int64_t count, int64_t all,
                             mc_error *error)
{
    /* Written so that no sum can overflow. */
    if (first < 0 || count < 0 || first > all || count > all - first)
        return mc_fail(error, MC_USAGE,
                       "expected a range within %" PRId64 " %s, found %" PRId64 " from %" PRId64
                       " on",
                       all, what, count, first);
    return MC_OK;
}

/* Converts through a block on the stack, for a dtype that is wider than the requested one. */
static mc_status read_narrowing(const mc_source *source, int64_t first, int64_t count, float *out,
                                mc_error *error)
{
    assert(source->dtype == MC_F64);
    double block[BLOCK];
    for (int64_t done = 0; done < count;) {
        const int64_t n = count - done < BLOCK ? count - done : BLOCK;
        MC_TRY(source->class->raw(source, (first + done) * 8, n * 8, block, error));
        mc_dtype_to_f32(MC_F64, out + done, block, (size_t)n);
        done += n;
    }
    return MC_OK;
}

mc_dtype mc_source_real(const mc_source *source)
{
    return source->wide ? MC_F64 : MC_F32;
}

/*
 * A computed source always computes in one dtype, whatever it is asked for: values must not depend
 * on who reads them.
 */
static mc_status read_converted(const mc_source *source, int64_t first, int64_t count, void *out,
                                mc_error *error)
{
    const mc_dtype real = mc_source_real(source);
    /* Large enough for either direction of the conversion. */
    void *const values = mc_alloc((size_t)count * sizeof(double));
    if (!values)
        return mc_fail_memory(error);
    const mc_status status = source->class->read(source, first, count, real, values, error);
    if (status == MC_OK && real == MC_F64)
        mc_dtype_to_f32(MC_F64, out, values, (size_t)count);
    else if (status == MC_OK)
        mc_dtype_to_f64(MC_F32, out, values, (size_t)count);
    mc_free(values);
    return status;
}

mc_status mc_source_read_as(const mc_source *source, int64_t first, int64_t count, mc_dtype as,
                            void *out, mc_error *error)
{
    MC_TRY(check_range("elements", first, count, source->count, error));
    if (mc_dtype_kind_of(source->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_USAGE, "expected a float tensor, found %s",
                       mc_dtype_name(source->dtype));
    if (source->class->read && as != mc_source_real(source))
        return read_converted(source, first, count, out, error);
    if (source->class->read)
        return source->class->read(source, first, count, as, out, error);
    const int64_t size = mc_dtype_bytes(source->dtype, 1);
    const int64_t wide = mc_dtype_bytes(as, 1);
    if (size > wide)
        return read_narrowing(source, first, count, out, error);
    /*
     * The bytes go to the end of the buffer and are widened from its beginning, so that no second
     * buffer is needed: element i is written at or before the byte that it is read from.
     */
    MC_TRY(source->class->raw(source, first * size, count * size,
                              (char *)out + count * (wide - size), error));
    mc_widen_in_place(source->dtype, as, out, (size_t)count);
    return MC_OK;
}

mc_status mc_source_read_f32(const mc_source *source, int64_t first, int64_t count, float *out,
                             mc_error *error)
{
    return mc_source_read_as(source, first, count, MC_F32, out, error);
}

mc_status mc_source_read_f64(const mc_source *source, int64_t first, int64_t count, double *out,
                             mc_error *error)
{
    return mc_source_read_as(source, first, count, MC_F64, out, error);
}

/*
 * Bytes of a computed source: the elements that cover them are computed block by block and
 * converted.
 */
static mc_status raw_by_read(const mc_source *source, int64_t first, int64_t size, void *out,
                             mc_error *error)
{
    const int64_t width = mc_dtype_bytes(source->dtype, 1);
    const mc_dtype as = mc_source_real(source);
    /*
     * On the stack: reads of a few bytes, as when a tensor is copied in pieces, must not allocate.
     * The range may begin and end inside an element.
     */
    double block[BLOCK], converted[BLOCK];
    for (int64_t done = 0; done < size;) {
        const int64_t element = (first + done) / width, skip = (first + done) % width;
        const int64_t left = source->count - element;
        const int64_t n = left < BLOCK ? left : BLOCK;
        MC_TRY(source->class->read(source, element, n, as, block, error));
        if (as == MC_F64)
            mc_dtype_from_f64(source->dtype, converted, block, (size_t)n);
        else
            mc_dtype_from_f32(source->dtype, converted, (const float *)block, (size_t)n);
        const int64_t usable = n * width - skip;
        const int64_t taken = usable < size - done ? usable : size - done;
        memcpy((char *)out + done, (const char *)converted + skip, (size_t)taken);
        done += taken;
    }
    return MC_OK;
}

mc_status mc_source_read_raw(const mc_source *source, int64_t first, int64_t size, void *out,
                             mc_error *error)
{
    MC_TRY(check_range("bytes", first, size, source->bytes, error));
    if (source->class->raw)
        return source->class->raw(source, first, size, out, error);
    return raw_by_read(source, first, size, out, error);
}

void mc_source_read_ahead(const mc_source *source, int64_t first, int64_t size)
{
    if (source->class->read_ahead && first < source->bytes)
        source->class->read_ahead(source, first,
                                  size < source->bytes - first ? size : source->bytes - first);
}

int64_t mc_source_grain(const mc_source *source)
{
    return source->class->grain ? source->class->grain(source) : 1;
}

/* Unlike a read, a view does not check the range: it must be inside. */
const void *mc_source_view(const mc_source *source, int64_t first, int64_t count, mc_dtype as)
{
    return source->class->view ? source->class->view(source, first, count, as) : NULL;
}

void mc_source_ahead_operand(const mc_source *self, const mc_source *operand, int64_t first,
                             int64_t size)
{
    /* In whole elements: the operand may have another dtype and thus other offsets in bytes. */
    const int64_t from = mc_dtype_bytes(self->dtype, 1), to = mc_dtype_bytes(operand->dtype, 1);
    mc_source_read_ahead(operand, first / from * to, size / from * to);
}

bool mc_source_place(const mc_source *source, mc_place *place)
{
    return source->class->place && source->class->place(source, place);
}

mc_status mc_source_check(const mc_source *source, mc_error *error)
{
    return source->class->check ? source->class->check(source, error) : MC_OK;
}

mc_status mc_source_check_operand(const mc_source *operand, mc_error *error)
{
    if (mc_dtype_kind_of(operand->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_UNSUPPORTED, "expected a float tensor, found %s",
                       mc_dtype_name(operand->dtype));
    if (operand->depth >= MC_SOURCE_MAX_DEPTH)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected at most %d computed tensors on top of each other; compute the "
                       "state dict in between (mc_state_dict_materialize)",
                       MC_SOURCE_MAX_DEPTH);
    return MC_OK;
}

bool mc_source_same_shape(const mc_source *a, const mc_source *b)
{
    return a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

char *mc_shape_text(int rank, const int64_t *shape, char *buffer, size_t size)
{
    size_t at = (size_t)snprintf(buffer, size, "[");
    for (int i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(buffer + at, size - at, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (at < size)
        at += (size_t)snprintf(buffer + at, size - at, "]");
    if (at >= size)
        /* Too long for the buffer: the end shows that something is missing. */
        snprintf(buffer + size - 6, 6, ", ..]");
    return buffer;
}
