/*
 * Casts: the same values under another float dtype, rounded when they are written. Rounded sources:
 * rounded whenever they are read.
 */
#include "tensor/cast.h"

#include "tensor/convert.h"

enum { BLOCK = 512 }; /* elements that are rounded at a time */

typedef struct cast_source {
    mc_source source;
    mc_source *a;
} cast_source;

static mc_source *inner_of(const mc_source *self)
{
    return ((const cast_source *)self)->a;
}

static mc_status cast_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                           void *out, mc_error *error)
{
    return mc_source_read_as(inner_of(self), first, count, as, out, error);
}

static void cast_ahead(const mc_source *self, int64_t first, int64_t size)
{
    mc_source_ahead_operand(self, inner_of(self), first, size);
}

static int64_t cast_grain(const mc_source *self)
{
    return mc_source_grain(inner_of(self));
}

static mc_status cast_check(const mc_source *self, mc_error *error)
{
    return mc_source_check(inner_of(self), error);
}

static void cast_free(mc_source *self)
{
    mc_source_unref(inner_of(self));
}

static const mc_source_class cast_class = {.name = "cast",
                                           .read = cast_read,
                                           .read_ahead = cast_ahead,
                                           .grain = cast_grain,
                                           .check = cast_check,
                                           .free = cast_free};

mc_status mc_source_cast(mc_source *source, mc_dtype dtype, mc_source **out, mc_error *error)
{
    MC_TRY(mc_source_check_operand(source, error));
    MC_TRY(mc_source_create(&cast_class, sizeof(cast_source), dtype, source->rank, source->shape,
                            out, error));
    ((cast_source *)*out)->a = mc_source_ref(source);
    (*out)->depth = 1 + source->depth;
    /*
     * Not from the dtype: values are computed in the operand's type and rounded once, when bytes
     * are read.
     */
    (*out)->wide = source->wide;
    return MC_OK;
}

const mc_source *mc_source_uncast(const mc_source *source)
{
    while (source->class == &cast_class)
        source = inner_of(source);
    return source;
}

/* ---- rounded --------------------------------------------------------------------------------- */

static mc_status rounded_raw(const mc_source *self, int64_t first, int64_t size, void *out,
                             mc_error *error)
{
    return mc_source_read_raw(inner_of(self), first, size, out, error);
}

/*
 * Computes all elements at once, which reads inputs in large pieces, and rounds them in blocks that
 * stay in the cache. Values that are computed in double cannot lie in `out`: their bytes are read.
 */
static mc_status rounded_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                              void *out, mc_error *error)
{
    const mc_dtype dtype = self->dtype;
    const int64_t width = mc_dtype_bytes(dtype, 1), wide = mc_dtype_bytes(as, 1);
    char *const end = (char *)out + count * wide;
    double block[BLOCK];
    if (as != mc_source_real(inner_of(self))) {
        MC_TRY(rounded_raw(self, first * width, count * width, end - count * width, error));
        mc_widen_in_place(dtype, as, out, (size_t)count);
        return MC_OK;
    }
    MC_TRY(mc_source_read_as(inner_of(self), first, count, as, out, error));
    for (char *at = out; at < end && dtype != as; at += BLOCK * wide) {
        const size_t n = at + BLOCK * wide < end ? BLOCK : (size_t)((end - at) / wide);
        /* Only float32 has narrower dtypes: float64 is rounded to none but itself. */
        mc_dtype_from_f32(dtype, block, (const float *)(void *)at, n);
        mc_dtype_to_f32(dtype, (float *)(void *)at, block, n);
    }
    return MC_OK;
}

static const mc_source_class rounded_class = {.name = "rounded",
                                              .read = rounded_read,
                                              .raw = rounded_raw,
                                              .read_ahead = cast_ahead,
                                              .grain = cast_grain,
                                              .check = cast_check,
                                              .free = cast_free};

mc_status mc_source_round(mc_source *source, mc_source **out, mc_error *error)
{
    MC_TRY(mc_source_check_operand(source, error));
    MC_TRY(mc_source_create(&rounded_class, sizeof(cast_source), source->dtype, source->rank,
                            source->shape, out, error));
    ((cast_source *)*out)->a = mc_source_ref(source);
    (*out)->depth = 1 + source->depth;
    return MC_OK;
}
