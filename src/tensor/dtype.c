#include <mergecraft/dtype.h>

#include <assert.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    const char *torch_name;
    int block, block_bytes;
    mc_dtype_kind kind;
} dtypes[MC_DTYPE_COUNT] = {
#define X(id_, torch_, block_, bytes_, kind_)                                                      \
    [MC_##id_] = {#id_, torch_, block_, bytes_, MC_KIND_##kind_},
    MC_DTYPE_MAP(X)
#undef X
};

const char *mc_dtype_name(mc_dtype dtype)
{
    return dtypes[dtype].name;
}

const char *mc_dtype_torch_name(mc_dtype dtype)
{
    return dtypes[dtype].torch_name;
}

int mc_dtype_bits(mc_dtype dtype)
{
    return dtypes[dtype].block_bytes * 8 / dtypes[dtype].block;
}

int mc_dtype_block(mc_dtype dtype)
{
    return dtypes[dtype].block;
}

int64_t mc_dtype_bytes(mc_dtype dtype, int64_t count)
{
    int64_t bytes;
    /* Elements of a dtype may be smaller than a byte: only whole blocks have a size. */
    if (count % dtypes[dtype].block != 0 ||
        __builtin_mul_overflow(count / dtypes[dtype].block, (int64_t)dtypes[dtype].block_bytes,
                               &bytes))
        return -1;
    return bytes;
}

mc_dtype_kind mc_dtype_kind_of(mc_dtype dtype)
{
    return dtypes[dtype].kind;
}

bool mc_dtype_from_name(const char *name, mc_dtype *dtype)
{
    for (int i = 0; i < MC_DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (mc_dtype)i;
            return true;
        }
    }
    return false;
}

bool mc_dtype_parse(const char *text, mc_dtype *dtype)
{
    for (int i = 0; i < MC_DTYPE_COUNT; i++) {
        if (strcasecmp(dtypes[i].name, text) == 0 || strcasecmp(dtypes[i].torch_name, text) == 0) {
            *dtype = (mc_dtype)i;
            return true;
        }
    }
    return false;
}

static bool is_f8(mc_dtype dtype)
{
    return dtype == MC_F8_E4M3 || dtype == MC_F8_E5M2;
}

mc_dtype mc_dtype_widest(mc_dtype a, mc_dtype b)
{
    assert(dtypes[a].kind == MC_KIND_FLOAT && dtypes[b].kind == MC_KIND_FLOAT);
    if (a == b)
        return a;
    if (a == MC_F64 || b == MC_F64)
        return MC_F64;
    if (a == MC_F32 || b == MC_F32)
        return MC_F32;
    /* float16 holds all values of both 8-bit formats. */
    if (is_f8(a) && is_f8(b))
        return MC_F16;
    if (is_f8(a) || is_f8(b))
        return is_f8(a) ? b : a;
    /* float16 and bfloat16: neither holds the values of the other. */
    return MC_F32;
}
