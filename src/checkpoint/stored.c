#include "checkpoint/stored.h"

#include "base/error.h"
#include "tensor/convert.h"
#include "tensor/source.h"

#include <string.h>

/*
 * A tensor in a file. Element i of the last dimension is `strides[rank - 1] * i` elements after
 * element 0, and so on outwards. Strides are in elements, not in bytes; 0 repeats an element.
 */
typedef struct stored {
    mc_source source;
    mc_file *file;
    int64_t offset;
    int64_t extent; /* bytes from `offset` to the end of the last element */
    bool row_major;
    int64_t strides[]; /* [rank] unless it is row-major */
} stored;

/* Both buffers lie on the stack of the reading thread. */
enum { WINDOW_BYTES = 32 * 1024, CHUNK_DOUBLES = 2048 };

static int64_t element_size(const mc_source *source)
{
    return mc_dtype_bytes(source->dtype, 1);
}

/*
 * Strided tensors are copied box by box. A box is walked in the order of the file, not of the
 * tensor. A transposed matrix is thus read by a few large reads whose elements are scattered over
 * the output, and not by one small read per element.
 */
typedef struct box {
    int rank;
    int64_t sizes[MC_MAX_RANK];
    int64_t from[MC_MAX_RANK]; /* bytes between neighbours in the file */
    int64_t to[MC_MAX_RANK];   /* and in the output */
    int64_t run;               /* bytes that are contiguous in both */
} box;

/* A cache of the file for runs that are shorter than it. */
typedef struct window {
    const mc_file *file;
    int64_t offset, size; /* what it holds of the file */
    int64_t end;          /* of the tensor in the file */
    unsigned char bytes[WINDOW_BYTES];
} window;

static mc_status copy_run(window *w, int64_t offset, int64_t size, unsigned char *out,
                          mc_error *error)
{
    if (size >= WINDOW_BYTES)
        return mc_file_read(w->file, offset, out, (size_t)size, error);
    if (offset < w->offset || offset + size > w->offset + w->size) {
        const int64_t left = w->end - offset;
        w->size = 0;
        const int64_t wanted = left < WINDOW_BYTES ? left : WINDOW_BYTES;
        /* w->size is 0 until the read succeeds: a failed read leaves no valid bytes. */
        MC_TRY(mc_file_read(w->file, offset, w->bytes, (size_t)wanted, error));
        w->offset = offset;
        w->size = wanted;
    }
    memcpy(out, w->bytes + (offset - w->offset), (size_t)size);
    return MC_OK;
}

/* An odometer: the last dimension turns fastest, and offsets follow its steps. */
static mc_status copy_box(window *w, const box *b, int64_t offset, unsigned char *out,
                          mc_error *error)
{
    int64_t at[MC_MAX_RANK] = {0};
    for (;;) {
        MC_TRY(copy_run(w, offset, b->run, out, error));
        int d = b->rank - 1;
        for (; d >= 0; d--) {
            offset += b->from[d];
            out += b->to[d];
            if (++at[d] < b->sizes[d])
                break;
            offset -= b->from[d] * b->sizes[d];
            out -= b->to[d] * b->sizes[d];
            at[d] = 0;
        }
        if (d < 0)
            return MC_OK;
    }
}

/*
 * Sorted by descending distance in the file, so that the last dimension is the nearest in it.
 * Dimensions of one element have no distance.
 */
static void add_dimension(box *b, int64_t size, int64_t from, int64_t to)
{
    if (size == 1)
        return;
    int at = b->rank++;
    for (; at > 0 && b->from[at - 1] < from; at--) {
        b->sizes[at] = b->sizes[at - 1];
        b->from[at] = b->from[at - 1];
        b->to[at] = b->to[at - 1];
    }
    b->sizes[at] = size;
    b->from[at] = from;
    b->to[at] = to;
}

/* Rows [first, last) of dimension d, all of the inner dimensions. */
static mc_status gather_rows(const stored *self, window *w, int d, int64_t first, int64_t last,
                             int64_t offset, unsigned char *out, mc_error *error)
{
    const int64_t element = element_size(&self->source);
    const int64_t *const shape = self->source.shape;
    box b = {.run = element};
    int64_t to = element;
    for (int i = self->source.rank - 1; i >= d; i--) {
        const int64_t size = i == d ? last - first : shape[i];
        add_dimension(&b, size, self->strides[i] * element, to);
        to *= size;
    }
    /* Dimensions that are contiguous on both sides become part of the run. */
    while (b.rank > 0 && b.from[b.rank - 1] == b.run && b.to[b.rank - 1] == b.run)
        b.run *= b.sizes[--b.rank];
    return copy_box(w, &b, offset + first * self->strides[d] * element, out, error);
}

/*
 * Copies `count` elements from `first` on, counted within dimensions d, d + 1, … that begin at byte
 * `offset` of the file: the rest of a row that has begun, then whole rows, then the beginning of
 * one.
 */
static mc_status gather(const stored *self, window *w, int d, int64_t offset, int64_t first,
                        int64_t count, unsigned char *out, mc_error *error)
{
    const int64_t element = element_size(&self->source);
    if (d == self->source.rank)
        return copy_run(w, offset, element, out, error);
    int64_t inner = 1;
    for (int i = d + 1; i < self->source.rank; i++)
        inner *= self->source.shape[i];
    const int64_t step = self->strides[d] * element;
    int64_t row = first / inner;
    const int64_t within = first % inner;
    if (within > 0) {
        const int64_t part = count < inner - within ? count : inner - within;
        MC_TRY(gather(self, w, d + 1, offset + row * step, within, part, out, error));
        out += part * element;
        count -= part;
        row++;
    }
    const int64_t rows = count / inner;
    if (rows > 0)
        MC_TRY(gather_rows(self, w, d, row, row + rows, offset, out, error));
    const int64_t rest = count % inner;
    if (rest == 0)
        return MC_OK;
    return gather(self, w, d + 1, offset + (row + rows) * step, 0, rest,
                  out + rows * inner * element, error);
}

static mc_status read_elements(const stored *self, int64_t first, int64_t count, void *out,
                               mc_error *error)
{
    if (count == 0)
        return MC_OK;
    if (self->row_major) {
        const int64_t element = element_size(&self->source);
        return mc_file_read(self->file, self->offset + first * element, out,
                            (size_t)(count * element), error);
    }
    window w;
    w.file = self->file;
    w.offset = w.size = 0;
    w.end = self->offset + self->extent;
    return gather(self, &w, 0, self->offset, first, count, out, error);
}

static mc_status read_narrowed(const stored *self, int64_t first, int64_t count, float *out,
                               mc_error *error)
{
    double chunk[CHUNK_DOUBLES];
    for (int64_t done = 0; done < count; done += CHUNK_DOUBLES) {
        const int64_t n = count - done < CHUNK_DOUBLES ? count - done : CHUNK_DOUBLES;
        MC_TRY(read_elements(self, first + done, n, chunk, error));
        mc_dtype_from_f64(MC_F32, out + done, chunk, (size_t)n);
    }
    return MC_OK;
}

static mc_status stored_read(const mc_source *source, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    const stored *const self = (const stored *)source;
    if (source->dtype == MC_F64 && as == MC_F32)
        return read_narrowed(self, first, count, out, error);
    /* The elements go to the end of the output and are widened in place from its beginning. */
    const int64_t unused = count * (mc_dtype_bytes(as, 1) - element_size(source));
    MC_TRY(read_elements(self, first, count, (unsigned char *)out + unused, error));
    if (source->dtype != as)
        mc_widen_in_place(source->dtype, as, out, (size_t)count);
    return MC_OK;
}

/*
 * The bytes [from, from + size) of one element; size is at most what is left of it. The widest
 * element has 8 bytes.
 */
static mc_status read_part(const stored *self, int64_t index, int64_t from, int64_t size, void *out,
                           mc_error *error)
{
    unsigned char whole[8];
    MC_TRY(read_elements(self, index, 1, whole, error));
    memcpy(out, whole + from, (size_t)size);
    return MC_OK;
}

static mc_status stored_raw(const mc_source *source, int64_t first, int64_t size, void *out,
                            mc_error *error)
{
    const stored *const self = (const stored *)source;
    if (size == 0)
        return MC_OK;
    if (self->row_major)
        return mc_file_read(self->file, self->offset + first, out, (size_t)size, error);
    const int64_t element = element_size(source);
    unsigned char *at = out;
    if (first % element != 0) {
        const int64_t left = element - first % element;
        const int64_t part = size < left ? size : left;
        MC_TRY(read_part(self, first / element, first % element, part, at, error));
        at += part;
        first += part;
        size -= part;
    }
    const int64_t whole = size / element;
    MC_TRY(read_elements(self, first / element, whole, at, error));
    if (size % element == 0)
        return MC_OK;
    return read_part(self, first / element + whole, 0, size % element, at + whole * element, error);
}

static void stored_read_ahead(const mc_source *source, int64_t first, int64_t size)
{
    const stored *const self = (const stored *)source;
    if (self->row_major)
        mc_file_read_ahead(self->file, self->offset + first, size);
    else if (first == 0)
        /* A part of the tensor may be anywhere in its bytes: all of them are read ahead, once. */
        mc_file_read_ahead(self->file, self->offset, self->extent);
}

static bool stored_place(const mc_source *source, mc_place *place)
{
    const stored *const self = (const stored *)source;
    if (!self->row_major)
        return false;
    *place = (mc_place){.path = mc_file_path(self->file),
                        .fd = mc_file_descriptor(self->file),
                        .offset = self->offset};
    return place->fd >= 0;
}

static mc_status stored_check(const mc_source *source, mc_error *error)
{
    return mc_file_check(((const stored *)source)->file, error);
}

static void stored_free(mc_source *source)
{
    mc_file_unref(((stored *)source)->file);
}

static const mc_source_class stored_class = {
    .name = "stored",
    .read = stored_read,
    .raw = stored_raw,
    .read_ahead = stored_read_ahead,
    .place = stored_place,
    .check = stored_check,
    .free = stored_free,
};

/*
 * The strides that a row-major tensor would have. They remain for dimensions of one element, where
 * any stride would be right.
 */
static void set_usual_strides(stored *self)
{
    int64_t stride = 1;
    for (int d = self->source.rank - 1; d >= 0; d--) {
        self->strides[d] = stride;
        stride *= self->source.shape[d];
    }
}

static mc_status set_strides(stored *self, const int64_t *strides, mc_error *error)
{
    const int64_t element = element_size(&self->source);
    int64_t last = 0;
    set_usual_strides(self);
    for (int d = 0; d < self->source.rank; d++) {
        int64_t distance;
        /* The stride of a single element is never used: any value is valid. */
        if (self->source.shape[d] == 1)
            continue;
        if (strides[d] < 0)
            return mc_fail(error, MC_FORMAT, "expected strides of 0 and more, found %lld",
                           (long long)strides[d]);
        /*
         * The last element decides how far the tensor reaches; with strides from 0 up no other
         * element is further.
         */
        if (__builtin_mul_overflow(self->source.shape[d] - 1, strides[d], &distance) ||
            __builtin_add_overflow(last, distance, &last))
            return mc_fail(error, MC_FORMAT, "strides are too large: dimension %d has stride %lld",
                           d, (long long)strides[d]);
        self->row_major = self->row_major && strides[d] == self->strides[d];
        self->strides[d] = strides[d];
    }
    if (__builtin_add_overflow(last, 1, &last) ||
        __builtin_mul_overflow(last, element, &self->extent))
        return mc_fail(error, MC_FORMAT, "strides are too large: last element at %lld",
                       (long long)last);
    return MC_OK;
}

static mc_status place(stored *self, int64_t begin, int64_t end, const int64_t *strides,
                       mc_error *error)
{
    self->row_major = true;
    self->extent = self->source.bytes;
    /* Without elements nothing is ever read: the place may be anywhere. */
    if (self->source.count == 0)
        return MC_OK;
    if (strides && mc_dtype_block(self->source.dtype) != 1)
        return mc_fail(error, MC_UNSUPPORTED, "strides of %s, whose elements are not whole bytes",
                       mc_dtype_name(self->source.dtype));
    if (strides)
        MC_TRY(set_strides(self, strides, error));
    if (begin < 0 || end < begin || end > mc_file_size(self->file))
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, begin,
                          "expected data within the file's %lld bytes, found bytes %lld to %lld",
                          (long long)mc_file_size(self->file), (long long)begin, (long long)end);
    /* Compared by subtraction: the sum of offset and extent could overflow. */
    if (self->offset < begin || self->offset > end || self->extent > end - self->offset)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, self->offset,
                          "expected %lld bytes from byte %lld on, but its storage is bytes %lld to "
                          "%lld",
                          (long long)self->extent, (long long)self->offset, (long long)begin,
                          (long long)end);
    return MC_OK;
}

mc_status mc_stored_new(mc_file *file, int64_t begin, int64_t end, int64_t offset, mc_dtype dtype,
                        int rank, const int64_t *shape, const int64_t *strides, mc_source **out,
                        mc_error *error)
{
    mc_source *source = NULL;
    const size_t size = sizeof(stored) + (strides ? (size_t)rank * sizeof *strides : 0);
    MC_TRY(mc_source_create(&stored_class, size, dtype, rank, shape, &source, error));
    stored *const self = (stored *)source;
    self->file = mc_file_ref(file);
    self->offset = offset;
    const mc_status status = place(self, begin, end, strides, error);
    if (status != MC_OK) {
        mc_source_unref(source);
        return status;
    }
    *out = source;
    return MC_OK;
}

mc_file *mc_stored_file(const mc_source *source)
{
    return source->class == &stored_class ? ((const stored *)source)->file : NULL;
}

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int order_unsigned(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* By device and inode: links and relative paths lead to the same file under other names. */
static int compare_files(const mc_file *a, const mc_file *b)
{
    const mc_file_identity x = mc_file_identity_of(a), y = mc_file_identity_of(b);
    const int by_device = order_unsigned(x.device, y.device);
    return by_device ? by_device : order_unsigned(x.inode, y.inode);
}

int mc_stored_compare(const mc_source *a, const mc_source *b)
{
    const stored *const x = (const stored *)a, *const y = (const stored *)b;
    int difference = compare_files(x->file, y->file);
    if (!difference)
        difference = order(x->offset, y->offset);
    if (!difference)
        difference = order(a->dtype, b->dtype);
    if (!difference)
        difference = order(a->rank, b->rank);
    for (int d = 0; !difference && d < a->rank; d++)
        difference = order(a->shape[d], b->shape[d]);
    if (!difference)
        difference = order(x->row_major, y->row_major);
    for (int d = 0; !difference && !x->row_major && d < a->rank; d++)
        difference = order(x->strides[d], y->strides[d]);
    return difference;
}

bool mc_stored_same(const mc_source *a, const mc_source *b)
{
    return mc_stored_file(a) && mc_stored_file(b) && mc_stored_compare(a, b) == 0;
}
