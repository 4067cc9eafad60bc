#include "tensor/gather.h"

#include "base/hash.h"
#include "base/memory.h"
#include "tensor/cast.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

/*
 * BLOCK: elements that are converted at a time. AHEAD: pieces per call of read_ahead, since rows
 * may be scattered over the whole tensor.
 */
enum { BLOCK = 512, AHEAD = 64 };

/* What the results of one call share: tables and inputs. Immutable once the results exist. */
typedef struct row_set {
    atomic_size_t references;
    mc_source **sources;
    int32_t **ids;
    /*
     * base: index among the sources, or `count` for none. rows: that have ids; padded: all rows of
     * a result.
     */
    size_t count, base, rows, padded;
    mc_gather_rule *rules;
    size_t rule_count;
    mc_dtype mean;
} row_set;

typedef struct gather_source {
    mc_source source;
    row_set *set;
    size_t self;   /* index of its input */
    int64_t inner; /* elements of a row */
    /* Protects `mean`: the first reader of padding computes it. */
    pthread_mutex_t lock;
    double *mean; /* [outer][inner], as reals; NULL: not computed yet */
} gather_source;

static const gather_source *as_gather(const mc_source *self)
{
    return (const gather_source *)self;
}

/* ---- where elements come from ---------------------------------------------------------------- */

typedef enum origin { ZERO, ROW, MEAN, PADDING } origin;

/* Consecutive elements of one origin. */
typedef struct piece {
    origin origin;
    size_t input;  /* ROW */
    int64_t at;    /* ROW: the first element in the input */
    int64_t count; /* elements */
    int64_t outer, row, offset;
} piece;

static const mc_gather_rule *find_rule(const row_set *set, int64_t row)
{
    size_t low = 0, high = set->rule_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (set->rules[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->rule_count && set->rules[low].row == row ? &set->rules[low] : NULL;
}

/* The row that replaces one that an input lacks: see the table in gather.h. */
static origin substitute(const row_set *set, int64_t row, size_t *input, int32_t *from)
{
    size_t owners = 0;
    for (size_t i = set->count; i-- > 0;)
        if (set->ids[i][row] >= 0) {
            owners++;
            *input = i;
        }
    if (owners == 0)
        return ZERO;
    if (owners > 1 && (set->base == set->count || set->ids[set->base][row] < 0))
        return MEAN;
    if (owners > 1)
        *input = set->base;
    *from = set->ids[*input][row];
    return ROW;
}

static origin origin_of(const gather_source *g, int64_t row, size_t *input, int32_t *from)
{
    const row_set *const set = g->set;
    if (row >= (int64_t)set->rows)
        return PADDING;
    const mc_gather_rule *const rule = set->rule_count ? find_rule(set, row) : NULL;
    *input = g->self;
    *from = set->ids[g->self][row];
    if (*from >= 0 && !(rule && rule->force))
        return ROW;
    if (!rule || rule->input == MC_GATHER_STAND_IN)
        return substitute(set, row, input, from);
    *input = (size_t)rule->input;
    *from = rule->from;
    return rule->input == MC_GATHER_ZERO ? ZERO : ROW;
}

/*
 * The element of an input at which its row `from` begins. Inputs may have different numbers of
 * rows, so the distance of outer indices differs between them.
 */
static int64_t begin_of(const gather_source *g, size_t input, int64_t outer, int32_t from)
{
    const mc_source *const source = g->set->sources[input];
    const int64_t size = source->count;
    const int64_t outers = g->source.count / ((int64_t)g->set->padded * g->inner);
    return outer * (size / outers) + from * g->inner;
}

/*
 * The elements from `first` on that have the same origin. Rows that follow each other in the input
 * too are one piece, and thus one read.
 */
static piece piece_at(const gather_source *g, int64_t first, int64_t most)
{
    const int64_t padded = (int64_t)g->set->padded, in_row = first % g->inner;
    piece p = {.outer = first / g->inner / padded,
               .row = first / g->inner % padded,
               .offset = in_row,
               .count = g->inner - in_row};
    int32_t from = 0;
    p.origin = origin_of(g, p.row, &p.input, &from);
    if (p.origin == ROW)
        p.at = begin_of(g, p.input, p.outer, from) + in_row;
    /*
     * A mean is over one row of each input: mean_of_inputs needs the row, so such pieces end with
     * it.
     */
    for (int64_t row = p.row + 1; p.origin != MEAN && p.count < most && row < padded; row++) {
        size_t input = p.input;
        int32_t next = 0;
        if (origin_of(g, row, &input, &next) != p.origin ||
            (p.origin == ROW && (input != p.input || next != ++from)))
            break;
        p.count += g->inner;
    }
    p.count = p.count < most ? p.count : most;
    return p;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Rounds to a dtype as torch does after an operation: through float32 unless it is float64. */
static void round_to(mc_dtype dtype, double *values, size_t count)
{
    float floats[BLOCK] = {0};
    double narrow[BLOCK];
    if (dtype == MC_F64)
        return;
    for (size_t i = 0; i < count; i++)
        floats[i] = (float)values[i];
    if (dtype != MC_F32) {
        mc_dtype_from_f32(dtype, narrow, floats, count);
        mc_dtype_to_f32(dtype, floats, narrow, count);
    }
    for (size_t i = 0; i < count; i++)
        values[i] = floats[i];
}

/* At most BLOCK elements of the mean over the inputs that have the row. */
static mc_status mean_of_inputs(const gather_source *g, const piece *p, int64_t skip, size_t count,
                                double *out, mc_error *error)
{
    const row_set *const set = g->set;
    double values[BLOCK];
    size_t owners = 0;
    memset(out, 0, count * sizeof *out);
    for (size_t i = 0; i < set->count; i++) {
        const int32_t from = set->ids[i][p->row];
        if (from < 0)
            continue;
        const int64_t at = begin_of(g, i, p->outer, from) + p->offset + skip;
        MC_TRY(mc_source_read_f64(set->sources[i], at, (int64_t)count, values, error));
        for (size_t k = 0; k < count; k++)
            out[k] += values[k];
        /* After each addition, as torch does on tensors of that dtype. */
        round_to(set->mean, out, count);
        owners++;
    }
    for (size_t k = 0; k < count; k++)
        out[k] /= (double)owners;
    round_to(set->mean, out, count);
    return MC_OK;
}

static mc_status gather_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error);

/*
 * Adds the rows before the padding in their order, so that the sum does not depend on tiles. It
 * never reads padding: the lock of mean_of_rows is not taken twice.
 */
static mc_status sum_rows(const gather_source *g, int64_t outer, double *sum, double *buffer,
                          mc_error *error)
{
    const int64_t inner = g->inner, rows = (int64_t)g->set->rows;
    /* About 65,536 elements per read: a row may be much shorter. */
    const int64_t at_once = inner < 65536 ? 65536 / inner : 1;
    const mc_dtype real = mc_source_real(&g->source);
    for (int64_t row = 0; row < rows; row += at_once) {
        const int64_t n = rows - row < at_once ? rows - row : at_once;
        const int64_t first = (outer * (int64_t)g->set->padded + row) * inner;
        MC_TRY(gather_read(&g->source, first, n * inner, real, buffer, error));
        for (int64_t i = 0; i < n * inner; i++)
            sum[i % inner] += real == MC_F64 ? buffer[i] : (double)((const float *)buffer)[i];
    }
    return MC_OK;
}

static mc_status compute_mean(const gather_source *g, double *mean, mc_error *error)
{
    const int64_t inner = g->inner, all = g->source.count / (int64_t)g->set->padded;
    const int64_t block = inner < 65536 ? 65536 : inner;
    double *const buffer = mc_alloc((size_t)block * sizeof *buffer);
    mc_status status = buffer ? MC_OK : mc_fail_memory(error);
    for (int64_t outer = 0; status == MC_OK && outer * inner < all; outer++)
        status = sum_rows(g, outer, mean + outer * inner, buffer, error);
    mc_free(buffer);
    MC_TRY(status);
    for (int64_t i = 0; i < all; i++)
        mean[i] /= (double)g->set->rows;
    for (int64_t i = 0; i < all; i += BLOCK)
        round_to(mc_source_real(&g->source), mean + i, (size_t)(all - i < BLOCK ? all - i : BLOCK));
    return MC_OK;
}

/* The row of the padding, computed once. Readers that come meanwhile wait for it. */
static mc_status mean_of_rows(const gather_source *g, const double **out, mc_error *error)
{
    /* Sources are const for readers; only this cache changes. */
    gather_source *const own = (gather_source *)(uintptr_t)g;
    mc_status status = MC_OK;
    pthread_mutex_lock(&own->lock);
    if (!own->mean) {
        const size_t count = (size_t)(g->source.count / (int64_t)g->set->padded);
        double *const mean = mc_alloc_zero(count, sizeof *mean);
        status = mean ? compute_mean(g, mean, error) : mc_fail_memory(error);
        if (status == MC_OK)
            own->mean = mean;
        else
            mc_free(mean);
    }
    pthread_mutex_unlock(&own->lock);
    /* Never changes after it was set, so that it is read without the lock. */
    *out = own->mean;
    return status;
}

/* At most BLOCK elements of a piece, from its element `skip` on. */
static mc_status computed(const gather_source *g, const piece *p, int64_t skip, size_t count,
                          double *out, mc_error *error)
{
    const double *mean = NULL;
    if (p->origin == MEAN)
        return mean_of_inputs(g, p, skip, count, out, error);
    if (p->origin == ROW)
        return mc_source_read_f64(g->set->sources[p->input], p->at + skip, (int64_t)count, out,
                                  error);
    MC_TRY(mean_of_rows(g, &mean, error));
    for (size_t i = 0; i < count; i++)
        out[i] = mean[p->outer * g->inner + (p->offset + skip + (int64_t)i) % g->inner];
    return MC_OK;
}

static void store(mc_dtype as, void *out, int64_t at, const double *values, size_t count)
{
    if (as == MC_F64)
        memcpy((double *)out + at, values, count * sizeof *values);
    else
        for (size_t i = 0; i < count; i++)
            ((float *)out)[at + (int64_t)i] = (float)values[i];
}

static mc_status read_piece(const gather_source *g, const piece *p, mc_dtype as, void *out,
                            mc_error *error)
{
    double values[BLOCK];
    /* ROW is the usual case: no buffer in between. */
    if (p->origin == ROW)
        return mc_source_read_as(g->set->sources[p->input], p->at, p->count, as, out, error);
    if (p->origin == ZERO) {
        memset(out, 0, (size_t)mc_dtype_bytes(as, p->count));
        return MC_OK;
    }
    for (int64_t done = 0; done < p->count; done += BLOCK) {
        const size_t n = (size_t)(p->count - done < BLOCK ? p->count - done : BLOCK);
        MC_TRY(computed(g, p, done, n, values, error));
        store(as, out, done, values, n);
    }
    return MC_OK;
}

static mc_status gather_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    const gather_source *const g = as_gather(self);
    while (count > 0) {
        const piece p = piece_at(g, first, count);
        MC_TRY(read_piece(g, &p, as, out, error));
        out = (char *)out + mc_dtype_bytes(as, p.count);
        first += p.count;
        count -= p.count;
    }
    return MC_OK;
}

/* Bytes of computed elements; the range need not begin or end with an element. */
static mc_status raw_computed(const gather_source *g, const piece *p, int64_t skip, int64_t size,
                              char *out, mc_error *error)
{
    const mc_dtype dtype = g->source.dtype;
    const int64_t width = mc_dtype_bytes(dtype, 1);
    double values[BLOCK], bytes[BLOCK];
    float floats[BLOCK];
    for (int64_t done = 0; done < size;) {
        const int64_t element = (skip + done) / width, lead = (skip + done) % width;
        const int64_t left = p->count - element, n = left < BLOCK ? left : BLOCK;
        MC_TRY(computed(g, p, element, (size_t)n, values, error));
        for (int64_t i = 0; i < n; i++)
            floats[i] = (float)values[i];
        if (dtype == MC_F64)
            memcpy(bytes, values, (size_t)n * sizeof *values);
        else
            mc_dtype_from_f32(dtype, bytes, floats, (size_t)n);
        const int64_t usable = n * width - lead,
                      taken = usable < size - done ? usable : size - done;
        memcpy(out + done, (const char *)bytes + lead, (size_t)taken);
        done += taken;
    }
    return MC_OK;
}

static mc_status gather_raw(const mc_source *self, int64_t first, int64_t size, void *out,
                            mc_error *error)
{
    const gather_source *const g = as_gather(self);
    const int64_t width = mc_dtype_bytes(self->dtype, 1);
    while (size > 0) {
        const int64_t element = first / width, skip = first % width;
        const piece p = piece_at(g, element, (skip + size + width - 1) / width);
        const int64_t all = p.count * width - skip, n = all < size ? all : size;
        if (p.origin == ZERO)
            memset(out, 0, (size_t)n);
        else if (p.origin == ROW && g->set->sources[p.input]->dtype == self->dtype)
            /* The same dtype: bytes are copied as they are, and NaN payloads with them. */
            MC_TRY(
                mc_source_read_raw(g->set->sources[p.input], p.at * width + skip, n, out, error));
        else
            MC_TRY(raw_computed(g, &p, skip, n, out, error));
        out = (char *)out + n;
        first += n;
        size -= n;
    }
    return MC_OK;
}

/* ---- the class ------------------------------------------------------------------------------- */

static void gather_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const gather_source *const g = as_gather(self);
    const int64_t width = mc_dtype_bytes(self->dtype, 1);
    int64_t at = first / width, count = size / width;
    /* Only a hint, so it may stop early. */
    for (int i = 0; i < AHEAD && count > 0; i++) {
        const piece p = piece_at(g, at, count);
        if (p.origin == ROW) {
            const mc_source *const input = g->set->sources[p.input];
            const int64_t bytes = mc_dtype_bytes(input->dtype, 1);
            mc_source_read_ahead(input, p.at * bytes, p.count * bytes);
        }
        at += p.count;
        count -= p.count;
    }
}

static mc_status gather_check(const mc_source *self, mc_error *error)
{
    const row_set *const set = as_gather(self)->set;
    for (size_t i = 0; i < set->count; i++)
        MC_TRY(mc_source_check(set->sources[i], error));
    return MC_OK;
}

static void unref_set(row_set *set)
{
    /* The results and, while they are made, mc_gather_new hold references. */
    if (!set || atomic_fetch_sub(&set->references, 1) != 1)
        return;
    for (size_t i = 0; i < set->count; i++) {
        mc_source_unref(set->sources ? set->sources[i] : NULL);
        mc_free(set->ids ? set->ids[i] : NULL);
    }
    mc_free(set->sources);
    mc_free(set->ids);
    mc_free(set->rules);
    mc_free(set);
}

static void gather_free(mc_source *self)
{
    gather_source *const g = (gather_source *)self;
    pthread_mutex_destroy(&g->lock);
    mc_free(g->mean);
    unref_set(g->set);
}

static const mc_source_class gather_class = {.name = "gather",
                                             .read = gather_read,
                                             .raw = gather_raw,
                                             .read_ahead = gather_ahead,
                                             .check = gather_check,
                                             .free = gather_free};

/* ---- making ---------------------------------------------------------------------------------- */

static mc_status check_shapes(const mc_gather *gather, mc_error *error)
{
    const mc_source *const first = gather->inputs[0].source;
    char left[128], right[128];
    if (gather->axis < 0 || gather->axis >= first->rank)
        return mc_fail(error, MC_UNSUPPORTED, "expected dimension %d, found the shape %s",
                       gather->axis, mc_shape_text(first->rank, first->shape, left, sizeof left));
    for (size_t i = 0; i < gather->input_count; i++) {
        const mc_source *const one = gather->inputs[i].source;
        bool same = one->rank == first->rank;
        for (int k = 0; same && k < one->rank; k++)
            same = k == gather->axis || one->shape[k] == first->shape[k];
        if (!same)
            return mc_fail(error, MC_MISMATCH,
                           "expected shapes that differ in dimension %d only, found %s and %s",
                           gather->axis,
                           mc_shape_text(first->rank, first->shape, left, sizeof left),
                           mc_shape_text(one->rank, one->shape, right, sizeof right));
        if (mc_dtype_block(one->dtype) != 1 || mc_dtype_bits(one->dtype) % 8 != 0)
            return mc_fail(error, MC_UNSUPPORTED, "expected elements of whole bytes, found %s",
                           mc_dtype_name(one->dtype));
    }
    return MC_OK;
}

static mc_status check_row(const mc_gather *gather, size_t input, int32_t row, mc_error *error)
{
    const int64_t rows = gather->inputs[input].source->shape[gather->axis];
    /* −1, for a row that the input lacks, passes. */
    if (row < rows)
        return MC_OK;
    return mc_fail(error, MC_MISMATCH, "expected row %d of input %zu, found %" PRId64 " rows", row,
                   input, rows);
}

static mc_status check_rows(const mc_gather *gather, mc_error *error)
{
    for (size_t i = 0; i < gather->input_count; i++)
        for (size_t r = 0; r < gather->rows; r++)
            MC_TRY(check_row(gather, i, gather->inputs[i].ids[r], error));
    for (size_t i = 0; i < gather->rule_count; i++)
        if (gather->rules[i].input >= 0)
            MC_TRY(check_row(gather, (size_t)gather->rules[i].input, gather->rules[i].from, error));
    return MC_OK;
}

static void *copy_of(const void *bytes, size_t size)
{
    void *const copy = mc_alloc(size);
    return copy && size > 0 ? memcpy(copy, bytes, size) : copy;
}

static mc_status fill_set(row_set *set, const mc_gather *gather, mc_error *error)
{
    const size_t count = gather->input_count;
    set->sources = mc_alloc_zero(count, sizeof *set->sources);
    set->ids = mc_alloc_zero(count, sizeof *set->ids);
    set->rules = copy_of(gather->rules, gather->rule_count * sizeof *set->rules);
    if (!set->sources || !set->ids || !set->rules)
        return mc_fail_memory(error);
    /* Before the loop: if it fails, unref_set skips what is still NULL. */
    set->count = count;
    set->base = gather->base;
    set->rows = gather->rows;
    set->padded = gather->padded;
    set->rule_count = gather->rule_count;
    set->mean = gather->mean;
    for (size_t i = 0; i < count; i++) {
        const mc_gather_input *const input = &gather->inputs[i];
        set->sources[i] = mc_source_ref(input->source);
        set->ids[i] = copy_of(input->ids, gather->rows * sizeof *input->ids);
        if (!set->ids[i])
            return mc_fail_memory(error);
    }
    return MC_OK;
}

static mc_status new_source(row_set *set, const mc_gather *gather, size_t self, mc_source **out,
                            mc_error *error)
{
    const mc_source *const input = set->sources[self];
    int64_t shape[MC_MAX_RANK];
    memcpy(shape, input->shape, (size_t)input->rank * sizeof *shape);
    shape[gather->axis] = (int64_t)set->padded;
    MC_TRY(mc_source_create(&gather_class, sizeof(gather_source), input->dtype, input->rank, shape,
                            out, error));
    gather_source *const g = (gather_source *)*out;
    pthread_mutex_init(&g->lock, NULL);
    atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
    g->set = set;
    g->self = self;
    g->inner = 1;
    for (int i = gather->axis + 1; i < input->rank; i++)
        g->inner *= input->shape[i];
    g->source.wide = input->wide;
    for (size_t i = 0; i < set->count; i++)
        if (g->source.depth <= set->sources[i]->depth)
            g->source.depth = set->sources[i]->depth + 1;
    return MC_OK;
}

mc_status mc_gather_new(const mc_gather *gather, mc_source **out, mc_error *error)
{
    MC_TRY(check_shapes(gather, error));
    MC_TRY(check_rows(gather, error));
    /* Reading recurses along the inputs, and the stack of a thread is limited. */
    for (size_t i = 0; i < gather->input_count; i++)
        if (gather->inputs[i].source->depth >= MC_SOURCE_MAX_DEPTH)
            return mc_fail(error, MC_UNSUPPORTED,
                           "expected at most %d computed tensors on top of each other",
                           MC_SOURCE_MAX_DEPTH);
    row_set *const set = mc_alloc_zero(1, sizeof *set);
    if (!set)
        return mc_fail_memory(error);
    set->references = 1;
    mc_status status = fill_set(set, gather, error);
    size_t made = 0;
    while (status == MC_OK && made < gather->input_count) {
        status = new_source(set, gather, made, &out[made], error);
        made += status == MC_OK;
    }
    while (status != MC_OK && made > 0)
        mc_source_unref(out[--made]);
    /* The results hold their own references. Without any result this frees the set. */
    unref_set(set);
    return status;
}

uint64_t mc_gather_hash(const mc_source *source)
{
    source = mc_source_uncast(source);
    if (source->class != &gather_class)
        return 0;
    const gather_source *const g = as_gather(source);
    const row_set *const set = g->set;
    const uint64_t sizes[] = {set->count, set->base, set->rows, set->padded, set->mean, g->self};
    uint64_t hash = mc_hash_bytes(MC_HASH_START, sizes, sizeof sizes);
    for (size_t i = 0; i < set->count; i++)
        hash = mc_hash_bytes(hash, set->ids[i], set->rows * sizeof **set->ids);
    for (size_t i = 0; i < set->rule_count; i++) {
        const mc_gather_rule *const rule = &set->rules[i];
        const int32_t words[] = {rule->row, rule->input, rule->from, rule->force};
        hash = mc_hash_bytes(hash, words, sizeof words);
    }
    return hash ? hash : 1;
}
