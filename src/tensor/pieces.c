#include "tensor/pieces.h"

#include "base/memory.h"

/* ---- a part of a tensor ---- */

typedef struct window {
    mc_source source;
    mc_source *whole;
    int64_t first;
} window;

static mc_status window_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    const window *const w = (const window *)self;
    return mc_source_read_as(w->whole, w->first + first, count, as, out, error);
}

static mc_status window_raw(const mc_source *self, int64_t first, int64_t size, void *out,
                            mc_error *error)
{
    const window *const w = (const window *)self;
    return mc_source_read_raw(w->whole, mc_dtype_bytes(self->dtype, w->first) + first, size, out,
                              error);
}

static const void *window_view(const mc_source *self, int64_t first, int64_t count, mc_dtype as)
{
    const window *const w = (const window *)self;
    return mc_source_view(w->whole, w->first + first, count, as);
}

static void window_read_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const window *const w = (const window *)self;
    mc_source_read_ahead(w->whole, mc_dtype_bytes(self->dtype, w->first) + first, size);
}

static mc_status window_check(const mc_source *self, mc_error *error)
{
    return mc_source_check(((const window *)self)->whole, error);
}

static void window_free(mc_source *self)
{
    mc_source_unref(((window *)self)->whole);
}

/* Views of a window are views of the whole: windows of tensors in memory cost no copy. */
static const mc_source_class window_class = {
    .name = "window",
    .read = window_read,
    .raw = window_raw,
    .view = window_view,
    .read_ahead = window_read_ahead,
    .check = window_check,
    .free = window_free,
};

mc_status mc_source_window(mc_source *whole, int64_t first, int rank, const int64_t *shape,
                           mc_source **out, mc_error *error)
{
    mc_source *source = NULL;
    MC_TRY(
        mc_source_create(&window_class, sizeof(window), whole->dtype, rank, shape, &source, error));
    window *const self = (window *)source;
    self->whole = mc_source_ref(whole);
    self->first = first;
    source->depth = 1 + whole->depth;
    source->wide = whole->wide;
    /* Checked after the source was made, which computes the count and checks it for overflow. */
    if (first >= 0 && first <= whole->count && source->count <= whole->count - first) {
        *out = source;
        return MC_OK;
    }
    const int64_t count = source->count;
    mc_source_unref(source);
    return mc_fail(error, MC_MISMATCH,
                   "expected %lld elements from element %lld on, found a tensor of %lld",
                   (long long)count, (long long)first, (long long)whole->count);
}

/* ---- tensors one behind another ---- */

typedef struct joined {
    mc_source source;
    mc_source **parts;
    int64_t *starts; /* of each part, in elements */
    size_t count;
} joined;

/*
 * The part that an element lies in, by binary search: the experts of a block may be hundreds of
 * parts. Of parts that start at the same element only the last is not empty, and the search ends
 * there.
 */
static size_t part_at(const joined *j, int64_t element)
{
    size_t low = 0, high = j->count;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        *(j->starts[middle] <= element ? &low : &high) = middle;
    }
    return low;
}

/* How many of `count` elements from `first` on lie in part `at`. */
static int64_t run_in(const joined *j, size_t at, int64_t first, int64_t count)
{
    const int64_t left = j->starts[at] + j->parts[at]->count - first;
    return left < count ? left : count;
}

static mc_status joined_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    const joined *const j = (const joined *)self;
    char *to = out;
    for (size_t at = part_at(j, first); count > 0; at++) {
        const int64_t run = run_in(j, at, first, count);
        /* Parts may be empty. */
        if (run > 0)
            MC_TRY(mc_source_read_as(j->parts[at], first - j->starts[at], run, as, to, error));
        to += mc_dtype_bytes(as, run);
        first += run;
        count -= run;
    }
    return MC_OK;
}

/* mc_source_join accepts only dtypes with whole bytes per element. */
static mc_status joined_raw(const mc_source *self, int64_t first, int64_t size, void *out,
                            mc_error *error)
{
    const joined *const j = (const joined *)self;
    const int64_t bytes = mc_dtype_bytes(self->dtype, 1);
    char *to = out;
    for (size_t at = part_at(j, first / bytes); size > 0; at++) {
        const int64_t inside = first - j->starts[at] * bytes;
        const int64_t left = j->parts[at]->bytes - inside;
        const int64_t run = left < size ? left : size;
        if (run > 0)
            MC_TRY(mc_source_read_raw(j->parts[at], inside, run, to, error));
        to += run;
        first += run;
        size -= run;
    }
    return MC_OK;
}

static void joined_read_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const joined *const j = (const joined *)self;
    const int64_t bytes = mc_dtype_bytes(self->dtype, 1);
    for (size_t at = part_at(j, first / bytes); size > 0 && at < j->count; at++) {
        const int64_t inside = first - j->starts[at] * bytes;
        const int64_t left = j->parts[at]->bytes - inside;
        const int64_t run = left < size ? left : size;
        if (run > 0)
            mc_source_read_ahead(j->parts[at], inside, run);
        first += run;
        size -= run;
    }
}

static mc_status joined_check(const mc_source *self, mc_error *error)
{
    const joined *const j = (const joined *)self;
    for (size_t i = 0; i < j->count; i++)
        MC_TRY(mc_source_check(j->parts[i], error));
    return MC_OK;
}

static void joined_free(mc_source *self)
{
    joined *const j = (joined *)self;
    for (size_t i = 0; j->parts && i < j->count; i++)
        mc_source_unref(j->parts[i]);
    mc_free(j->parts);
    mc_free(j->starts);
}

static const mc_source_class joined_class = {
    .name = "joined",
    .read = joined_read,
    .raw = joined_raw,
    .read_ahead = joined_read_ahead,
    .check = joined_check,
    .free = joined_free,
};

static mc_status take_parts(joined *j, mc_source *const *parts, size_t count, mc_error *error)
{
    int64_t elements = 0;
    j->parts = mc_alloc_zero(count, sizeof(mc_source *));
    j->starts = mc_alloc_zero(count, sizeof *j->starts);
    if (!j->parts || !j->starts)
        return mc_fail_memory(error);
    j->count = count;
    for (size_t i = 0; i < count; i++) {
        if (parts[i]->dtype != j->source.dtype)
            return mc_fail(error, MC_MISMATCH, "expected parts of one dtype, found %s and %s",
                           mc_dtype_name(j->source.dtype), mc_dtype_name(parts[i]->dtype));
        j->parts[i] = mc_source_ref(parts[i]);
        j->starts[i] = elements;
        elements += parts[i]->count;
        /*
         * The depth bounds the recursion of reads: operations on chains that are too deep are
         * rejected (mc_source_check_operand).
         */
        if (parts[i]->depth >= j->source.depth)
            j->source.depth = 1 + parts[i]->depth;
        j->source.wide |= parts[i]->wide;
    }
    return elements == j->source.count
               ? MC_OK
               : mc_fail(error, MC_MISMATCH, "expected parts of %lld elements, found %lld",
                         (long long)j->source.count, (long long)elements);
}

mc_status mc_source_join(mc_source *const *parts, size_t count, int rank, const int64_t *shape,
                         mc_source **out, mc_error *error)
{
    mc_source *source = NULL;
    if (count == 0)
        return mc_fail(error, MC_MISMATCH, "expected parts of a tensor, found none");
    MC_TRY(mc_source_create(&joined_class, sizeof(joined), parts[0]->dtype, rank, shape, &source,
                            error));
    const mc_status status = mc_dtype_block(parts[0]->dtype) == 1
                                 ? take_parts((joined *)source, parts, count, error)
                                 : mc_fail(error, MC_UNSUPPORTED, "parts of %s",
                                           mc_dtype_name(parts[0]->dtype));
    if (status == MC_OK)
        *out = source;
    else
        mc_source_unref(source);
    return status;
}
