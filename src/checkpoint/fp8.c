#include "checkpoint/fp8.h"

#include "base/error.h"
#include "base/memory.h"
#include "tensor/source.h"

#include <math.h>

enum { USUAL_BLOCK = 128, E8M0_BIAS = 127 };

/*
 * The weight is seen as `planes` matrices of rows × columns, the scale as as many matrices of
 * scale_rows × scale_columns; element (r, c) has scale (r / block_rows, c / block_columns).
 */
typedef struct fp8 {
    mc_source source;
    mc_source *weight, *scale;
    int64_t rows, columns, scale_rows, scale_columns;
    int64_t block_rows, block_columns;
} fp8;

static bool is_power(const mc_source *scale)
{
    return scale->dtype == MC_F8_E8M0 || scale->dtype == MC_U8;
}

/*
 * E8M0 is an exponent alone: 2^(byte − 127), and 255 is NaN. The bytes are read into the last
 * quarter of the output and widened from its beginning: out[i] never overwrites a byte that is
 * still needed.
 */
static mc_status read_powers(const mc_source *scale, int64_t first, int64_t count, float *out,
                             mc_error *error)
{
    unsigned char *const bytes = (unsigned char *)out + 3 * count;
    MC_TRY(mc_source_read_raw(scale, first, count, bytes, error));
    for (int64_t i = 0; i < count; i++)
        out[i] = bytes[i] == 255 ? NAN : ldexpf(1, bytes[i] - E8M0_BIAS);
    return MC_OK;
}

/* The row of the scale that a row of the weight, counted over all planes, has. */
static int64_t scale_row(const fp8 *self, int64_t row)
{
    return row / self->rows * self->scale_rows + row % self->rows / self->block_rows;
}

static void multiply(const fp8 *self, int64_t first, int64_t count, const float *scales,
                     float *values)
{
    /* `scales` begins with the row of scales that the first element needs. */
    const int64_t first_scale = scale_row(self, first / self->columns);
    for (int64_t done = 0; done < count;) {
        const int64_t row = (first + done) / self->columns, column = (first + done) % self->columns;
        const int64_t block = column / self->block_columns;
        const int64_t block_end = (block + 1) * self->block_columns;
        const int64_t end = block_end < self->columns ? block_end : self->columns;
        const int64_t run = end - column < count - done ? end - column : count - done;
        const int64_t at = (scale_row(self, row) - first_scale) * self->scale_columns + block;
        for (int64_t i = 0; i < run; i++)
            values[done + i] *= scales[at];
        done += run;
    }
}

static mc_status fp8_read(const mc_source *source, int64_t first, int64_t count, mc_dtype as,
                          void *out, mc_error *error)
{
    (void)as; /* F32, as the source is not wide */
    const fp8 *const self = (const fp8 *)source;
    if (count == 0)
        return MC_OK;
    MC_TRY(mc_source_read_f32(self->weight, first, count, out, error));
    const int64_t from = scale_row(self, first / self->columns);
    const int64_t to = scale_row(self, (first + count - 1) / self->columns) + 1;
    const int64_t begin = from * self->scale_columns, needed = (to - from) * self->scale_columns;
    /* All scales of the rows that are touched, in one read: they are few beside the weights. */
    float *const scales = mc_alloc((size_t)needed * sizeof *scales);
    if (!scales)
        return mc_fail_memory(error);
    const mc_status status = is_power(self->scale)
                                 ? read_powers(self->scale, begin, needed, scales, error)
                                 : mc_source_read_f32(self->scale, begin, needed, scales, error);
    if (status == MC_OK)
        multiply(self, first, count, scales, out);
    mc_free(scales);
    return status;
}

static void fp8_read_ahead(const mc_source *source, int64_t first, int64_t size)
{
    mc_source_ahead_operand(source, ((const fp8 *)source)->weight, first, size);
}

static mc_status fp8_check(const mc_source *source, mc_error *error)
{
    MC_TRY(mc_source_check(((const fp8 *)source)->weight, error));
    return mc_source_check(((const fp8 *)source)->scale, error);
}

static void fp8_free(mc_source *source)
{
    mc_source_unref(((fp8 *)source)->weight);
    mc_source_unref(((fp8 *)source)->scale);
}

static const mc_source_class fp8_class = {
    .name = "fp8",
    .read = fp8_read,
    .read_ahead = fp8_read_ahead,
    .check = fp8_check,
    .free = fp8_free,
};

/* ---- the shapes ---- */

/*
 * The size of the blocks into which `parts` scales divide `size` elements; 0 if no size fits. The
 * number of scales alone is ambiguous: without a configuration, 192 elements with two scales are
 * blocks of 128 and 64, as in all known models, and not two of 96.
 */
static int64_t block_size(int64_t size, int64_t parts, int64_t wanted)
{
    if (parts == 1)
        return size > 0 ? size : 1;
    if (wanted > 0 && (size - 1) / wanted + 1 == parts)
        return wanted;
    if ((size - 1) / USUAL_BLOCK + 1 == parts)
        return USUAL_BLOCK;
    return parts > 0 && size % parts == 0 ? size / parts : 0;
}

static int64_t dimension(const mc_source *source, int from_last)
{
    const int at = source->rank - 1 - from_last;
    return at >= 0 ? source->shape[at] : 1;
}

static bool fits(fp8 *self, const int64_t block[2])
{
    const mc_source *const weight = self->weight, *const scale = self->scale;
    const bool per_row = scale->rank == 1 && scale->count > 1;
    self->columns = dimension(weight, 0);
    self->rows = dimension(weight, 1);
    self->scale_columns = per_row ? 1 : dimension(scale, 0);
    self->scale_rows = per_row ? dimension(scale, 0) : dimension(scale, 1);
    if (scale->count == 1) /* one block of everything */
        self->rows = weight->count / (self->columns > 0 ? self->columns : 1);
    const int64_t planes = weight->count / (self->rows * self->columns);
    if (scale->count != planes * self->scale_rows * self->scale_columns)
        return false;
    self->block_rows = block_size(self->rows, self->scale_rows, block[0]);
    self->block_columns = block_size(self->columns, self->scale_columns, block[1]);
    return self->block_rows > 0 && self->block_columns > 0;
}

static mc_status check(fp8 *self, const int64_t block[2], mc_error *error)
{
    const mc_source *const weight = self->weight, *const scale = self->scale;
    char shape[128], scale_shape[128];
    if (mc_dtype_kind_of(scale->dtype) != MC_KIND_FLOAT && !is_power(scale))
        return mc_fail(error, MC_UNSUPPORTED, "expected floats as scales, found %s",
                       mc_dtype_name(scale->dtype));
    /* Empty tensors have no blocks, and dividing by their dimensions would fail. */
    if (weight->count > 0 && !fits(self, block))
        return mc_fail(error, MC_FORMAT, "expected a scale per block of a tensor %s, found %s",
                       mc_shape_text(weight->rank, weight->shape, shape, sizeof shape),
                       mc_shape_text(scale->rank, scale->shape, scale_shape, sizeof scale_shape));
    return MC_OK;
}

mc_status mc_fp8_source(mc_source *weight, mc_source *scale, const int64_t block[2], mc_dtype dtype,
                        mc_source **out, mc_error *error)
{
    mc_source *source = NULL;
    MC_TRY(mc_source_create(&fp8_class, sizeof(fp8), dtype, weight->rank, weight->shape, &source,
                            error));
    fp8 *const self = (fp8 *)source;
    self->weight = mc_source_ref(weight);
    self->scale = mc_source_ref(scale);
    source->depth = 1;
    const mc_status status = check(self, block, error);
    if (status != MC_OK) {
        mc_source_unref(source);
        return status;
    }
    *out = source;
    return MC_OK;
}
