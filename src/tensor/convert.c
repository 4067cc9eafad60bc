#include "tensor/convert.h"

#include "base/cpu.h"
#include "tensor/convert_table.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Elements that go through a buffer at once where a conversion has two steps. */
enum { BLOCK = 512 };

static const mc_convert_table *table(void)
{
#if MC_SIMD
    static const mc_convert_table *const tables[MC_CPU_LEVELS] = {
        &mc_convert_scalar, &mc_convert_avx2, &mc_convert_avx512};
    return tables[mc_cpu()];
#else
    return &mc_convert_scalar;
#endif
}

static size_t block_length(size_t done, size_t count)
{
    return count - done < BLOCK ? count - done : BLOCK;
}

void mc_dtype_to_f32(mc_dtype from, float *out, const void *in, size_t count)
{
    assert(mc_dtype_kind_of(from) == MC_KIND_FLOAT);
    if (count == 0)
        return;
    if (from == MC_F32)
        memcpy(out, in, count * sizeof *out);
    else if (from == MC_F64)
        table()->to_float(out, in, count);
    else
        table()->widen[from](out, in, count);
}

void mc_dtype_to_f64(mc_dtype from, double *out, const void *in, size_t count)
{
    assert(mc_dtype_kind_of(from) == MC_KIND_FLOAT);
    const size_t width = (size_t)mc_dtype_bytes(from, 1);
    const char *const bytes = in;
    if (count == 0)
        return;
    if (from == MC_F64) {
        memcpy(out, in, count * sizeof *out);
        return;
    }
    /* All narrower formats are exact in float32, so the way through it loses nothing. */
    for (size_t done = 0; done < count; done += BLOCK) {
        float block[BLOCK];
        const size_t length = block_length(done, count);
        mc_dtype_to_f32(from, block, bytes + done * width, length);
        table()->to_double(out + done, block, length);
    }
}

void mc_dtype_from_f32(mc_dtype to, void *out, const float *in, size_t count)
{
    assert(mc_dtype_kind_of(to) == MC_KIND_FLOAT);
    if (count == 0)
        return;
    if (to == MC_F32)
        memcpy(out, in, count * sizeof *in);
    else if (to == MC_F64)
        table()->to_double(out, in, count);
    else
        table()->narrow[to](out, in, count);
}

void mc_dtype_from_f64(mc_dtype to, void *out, const double *in, size_t count)
{
    assert(mc_dtype_kind_of(to) == MC_KIND_FLOAT);
    const size_t width = (size_t)mc_dtype_bytes(to, 1);
    char *const bytes = out;
    if (count == 0)
        return;
    if (to == MC_F64)
        memcpy(out, in, count * sizeof *in);
    else if (to == MC_F32)
        table()->to_float(out, in, count);
    /* Narrower than float32: the way through it must not round twice, so its rounding is to odd. */
    for (size_t done = 0; width < sizeof(float) && done < count; done += BLOCK) {
        float block[BLOCK];
        const size_t length = block_length(done, count);
        table()->to_float_odd(block, in + done, length);
        table()->narrow[to](bytes + done * width, block, length);
    }
}

static void widen(mc_dtype from, mc_dtype to, void *out, const void *in, size_t count)
{
    if (to == MC_F64)
        mc_dtype_to_f64(from, out, in, count);
    else
        mc_dtype_to_f32(from, out, in, count);
}

/*
 * The output never reaches input that is still to be read. It may reach the block that is being
 * read, so that block is copied first.
 */
void mc_widen_in_place(mc_dtype from, mc_dtype to, void *buffer, size_t count)
{
    const size_t width = (size_t)mc_dtype_bytes(from, 1), wide = (size_t)mc_dtype_bytes(to, 1);
    assert(width <= wide);
    char *const out = buffer;
    const char *const in = out + count * (wide - width);
    for (size_t done = 0; from != to && done < count; done += BLOCK) {
        char block[BLOCK * sizeof(double)];
        const size_t length = block_length(done, count);
        const char *bytes = in + done * width;
        if (out + (done + length) * wide > bytes) { /* only at the end */
            memcpy(block, bytes, length * width);
            bytes = block;
        }
        widen(from, to, out + done * wide, bytes, length);
    }
}

bool mc_unify_nan(mc_dtype real, void *values, size_t count)
{
    assert(real == MC_F32 || real == MC_F64);
    return real == MC_F64 ? table()->unify_nan_f64(values, count)
                          : table()->unify_nan_f32(values, count);
}

bool mc_are_finite(mc_dtype real, const void *values, size_t count)
{
    return real == MC_F64 ? table()->are_finite_f64(values, count)
                          : table()->are_finite_f32(values, count);
}

/*
 * The largest finite number of a dtype whose range is exceeded in practice. 0 for others: bfloat16
 * has the range of float32.
 */
static double largest_of(mc_dtype dtype)
{
    switch (dtype) {
    case MC_F16:
        return 65504;
    case MC_F8_E5M2:
        return 57344;
    case MC_F8_E4M3:
        return 448;
    default:
        return 0;
    }
}

static int64_t count_lost(mc_dtype to, mc_dtype real, const void *out, const void *values,
                          size_t count)
{
    /*
     * Read back and not compared: a value above the largest number may still be rounded down to it.
     */
    int64_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const double value = real == MC_F64 ? ((const double *)values)[i]
                                            : (double)((const float *)values)[i];
        float back = 0;
        if (!isfinite(value) || fabs(value) <= largest_of(to))
            continue;
        mc_dtype_to_f32(to, &back, (const char *)out + mc_dtype_bytes(to, (int64_t)i), 1);
        found += !isfinite(back);
    }
    return found;
}

int64_t mc_count_overflow(mc_dtype to, mc_dtype real, const void *out, const void *values,
                          size_t count)
{
    /*
     * One vectorised pass decides that nothing was lost, as for almost all tensors. Only then are
     * values counted.
     */
    const double largest = largest_of(to);
    if (largest == 0 || !(real == MC_F64 ? table()->exceeds_f64(values, count, largest)
                                         : table()->exceeds_f32(values, count, (float)largest)))
        return 0;
    return count_lost(to, real, out, values, count);
}
