/* Tensors in memory: wrapped arrays, zeros; tensors that a function of the caller makes. */
#include "tensor/source.h"

#include <string.h>

typedef struct memory_source {
    mc_source source;
    const char *data;
    void (*release)(void *cookie);
    void *cookie;
} memory_source;

static mc_status memory_raw(const mc_source *self, int64_t first, int64_t size, void *out,
                            mc_error *error)
{
    (void)error;
    const memory_source *const memory = (const memory_source *)self;
    if (size > 0)
        memcpy(out, memory->data + first, (size_t)size);
    return MC_OK;
}

/* Arrays of a caller may lie at any address: an unaligned one is copied instead. */
static const void *memory_view(const mc_source *self, int64_t first, int64_t count, mc_dtype as)
{
    (void)count;
    const memory_source *const memory = (const memory_source *)self;
    const int64_t width = mc_dtype_bytes(as, 1);
    const char *const at = memory->data + first * width;
    return self->dtype == as && (uintptr_t)at % (uintptr_t)width == 0 ? at : NULL;
}

static void memory_free(mc_source *self)
{
    memory_source *const memory = (memory_source *)self;
    if (memory->release)
        memory->release(memory->cookie);
}

static const mc_source_class memory_class = {
    .name = "memory", .raw = memory_raw, .view = memory_view, .free = memory_free};

mc_status mc_source_wrap(mc_dtype dtype, int rank, const int64_t *shape, const void *data,
                         void (*release)(void *cookie), void *cookie, mc_source **out,
                         mc_error *error)
{
    mc_source *source = NULL;
    MC_TRY(
        mc_source_create(&memory_class, sizeof(memory_source), dtype, rank, shape, &source, error));
    memory_source *const memory = (memory_source *)source;
    /* On failure above, the data stays the caller's and is not released. */
    memory->data = data;
    memory->release = release;
    memory->cookie = cookie;
    *out = source;
    return MC_OK;
}

const void *mc_source_data(const mc_source *source)
{
    return source->class == &memory_class ? ((const memory_source *)source)->data : NULL;
}

static mc_status zeros_raw(const mc_source *self, int64_t first, int64_t size, void *out,
                           mc_error *error)
{
    (void)self, (void)first, (void)error;
    if (size > 0)
        memset(out, 0, (size_t)size);
    return MC_OK;
}

static const mc_source_class zeros_class = {.name = "zeros", .raw = zeros_raw};

mc_status mc_source_zeros_like(const mc_source *like, mc_source **out, mc_error *error)
{
    return mc_source_create(&zeros_class, sizeof(mc_source), like->dtype, like->rank, like->shape,
                            out, error);
}

typedef struct computed_source {
    mc_source source;
    mc_compute compute;
    void (*release)(void *cookie);
    void *cookie;
} computed_source;

static mc_status computed_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                               void *out, mc_error *error)
{
    (void)as; /* what mc_source_real returns: F64 if the dtype is F64 */
    const computed_source *const computed = (const computed_source *)self;
    return count == 0 ? MC_OK : computed->compute(computed->cookie, first, count, out, error);
}

static void computed_free(mc_source *self)
{
    computed_source *const computed = (computed_source *)self;
    if (computed->release)
        computed->release(computed->cookie);
}

static const mc_source_class computed_class = {
    .name = "computed", .read = computed_read, .free = computed_free};

mc_status mc_source_compute(mc_dtype dtype, int rank, const int64_t *shape, mc_compute compute,
                            void (*release)(void *cookie), void *cookie, mc_source **out,
                            mc_error *error)
{
    if (mc_dtype_kind_of(dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_UNSUPPORTED, "expected a float dtype, found %s",
                       mc_dtype_name(dtype));
    mc_source *source = NULL;
    MC_TRY(mc_source_create(&computed_class, sizeof(computed_source), dtype, rank, shape, &source,
                            error));
    computed_source *const computed = (computed_source *)source;
    computed->compute = compute;
    computed->release = release;
    computed->cookie = cookie;
    *out = source;
    return MC_OK;
}
