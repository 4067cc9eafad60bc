#include "tensor/low_rank.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "tensor/convert.h"
#include "tensor/low_rank_table.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

/* The most memory that loaded factors take, unless more are in use at the same time. */
enum { KEPT_BYTES = 64 << 20 };

/*
 * Factors in the order in which they are used: of each expert, left [rows, rank] and right
 * [rank, columns], so that update[i, j] = Σ_k left[i, k] · right[k, j] whichever way W lies. Right
 * is in strips (low_rank_table.h).
 */
typedef struct factors {
    void *left, *right;
    void *row_scale, *column_scale; /* DoRA's: one of them, or none */
} factors;

typedef struct low_rank_source {
    mc_source source;
    mc_low_rank parts;
    int64_t rows, columns, rank; /* of one expert */
    factors factors;
    size_t bytes; /* that they take */
    int readers;  /* who use them now; with the rest below, guarded by `lock` */
    bool loaded;
    struct low_rank_source *older, *newer; /* among those that are loaded */
} low_rank_source;

static const mc_source_class low_rank_class;

static const mc_low_rank_table *table(void)
{
#if MC_SIMD
    static const mc_low_rank_table *const tables[MC_CPU_LEVELS] = {
        &mc_low_rank_scalar, &mc_low_rank_avx2, &mc_low_rank_avx512};
    return tables[mc_cpu()];
#else
    return &mc_low_rank_scalar;
#endif
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static size_t real_bytes(mc_dtype real)
{
    return real == MC_F64 ? sizeof(double) : sizeof(float);
}

static void *at(void *array, mc_dtype real, int64_t index)
{
    return (char *)array + (size_t)index * real_bytes(real);
}

static double number_at(const void *array, mc_dtype real, int64_t index)
{
    return real == MC_F64 ? ((const double *)array)[index] : (double)((const float *)array)[index];
}

/* ---- which factors are in memory ------------------------------------------------------------- */

/*
 * A model has hundreds of low-rank sources, and a merge reads them one after the other: only the
 * factors of the last few stay. `lock` guards the list, and the counts of readers; it is also held
 * while factors are read, so that they are read once. It is recursive because DoRA's norms are read
 * from a weight that may be a low-rank source itself (two adapters on one base).
 */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static low_rank_source *oldest, *newest;
static size_t kept_bytes;

static void unlink_loaded(low_rank_source *low)
{
    *(low->older ? &low->older->newer : &oldest) = low->newer;
    *(low->newer ? &low->newer->older : &newest) = low->older;
    low->older = low->newer = NULL;
}

static void link_newest(low_rank_source *low)
{
    low->older = newest;
    *(newest ? &newest->newer : &oldest) = low;
    newest = low;
}

static void free_factors(low_rank_source *low)
{
    mc_free(low->factors.left);
    mc_free(low->factors.right);
    mc_free(low->factors.row_scale);
    mc_free(low->factors.column_scale);
    low->factors = (factors){0};
}

static void unload(low_rank_source *low)
{
    unlink_loaded(low);
    free_factors(low);
    kept_bytes -= low->bytes;
    low->loaded = false;
}

/* Makes room for `bytes` more, oldest first; what is being read stays. */
static void make_room(size_t bytes)
{
    low_rank_source *low = oldest;
    while (low && kept_bytes + bytes > KEPT_BYTES) {
        low_rank_source *const next = low->newer;
        if (low->readers == 0)
            unload(low);
        low = next;
    }
}

/* ---- reading factors ------------------------------------------------------------------------- */

static mc_status read_all(const mc_source *source, mc_dtype real, void **out, mc_error *error)
{
    *out = mc_alloc((size_t)source->count * real_bytes(real));
    return *out ? mc_source_read_as(source, 0, source->count, real, *out, error)
                : mc_fail_memory(error);
}

/* to[i, j] of a [rows, columns] array = from[first + i · row_step + j · column_step] */
static void gather(mc_dtype real, void *to, const void *from, int64_t rows, int64_t columns,
                   int64_t first, int64_t row_step, int64_t column_step)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            const int64_t index = first + i * row_step + j * column_step;
            if (real == MC_F64)
                ((double *)to)[i * columns + j] = ((const double *)from)[index];
            else
                ((float *)to)[i * columns + j] = ((const float *)from)[index];
        }
}

static int64_t strip_length(mc_dtype real)
{
    return MC_LOW_RANK_STRIP_BYTES / (int64_t)real_bytes(real);
}

/* Columns of the right factor, with those that fill the last strip. */
static int64_t padded_columns(const low_rank_source *low, mc_dtype real)
{
    const int64_t strip = strip_length(real);
    return (low->columns + strip - 1) / strip * strip;
}

/* Bytes of both factors in memory. */
static size_t factor_bytes(const low_rank_source *low, mc_dtype real)
{
    return (size_t)(low->rows + padded_columns(low, real)) *
           (size_t)(low->parts.experts * low->rank) * real_bytes(real);
}

/* The same as gather, into strips; the array is zero. */
static void gather_strips(mc_dtype real, void *to, const void *from, int64_t rows, int64_t columns,
                          int64_t first, int64_t row_step, int64_t column_step)
{
    const int64_t strip = strip_length(real);
    for (int64_t column = 0; column < columns; column += strip)
        for (int64_t i = 0; i < rows; i++)
            gather(real, at(to, real, column * rows + i * strip), from, 1,
                   least(strip, columns - column), first + i * row_step + column * column_step, 0,
                   column_step);
}

/* `a` and `b` as they are stored become left and right of every expert. */
static void arrange(const low_rank_source *low, mc_dtype real, void *a, void *b)
{
    const int64_t experts = low->parts.experts, rank = low->rank, rows = low->rows,
                  columns = low->columns;
    const bool transposed = low->parts.transposed;
    const int64_t in = transposed ? rows : columns;
    for (int64_t e = 0; e < experts; e++) {
        void *const left = at(low->factors.left, real, e * rows * rank);
        void *const right = at(low->factors.right, real, e * rank * padded_columns(low, real));
        if (transposed) { /* left = Aᵀ, right = Bᵀ */
            gather(real, left, a, rows, rank, e * rank * in, 1, in);
            gather_strips(real, right, b, rank, columns, e, experts, rank * experts);
        } else {
            gather(real, left, b, rows, rank, e, rank * experts, experts);
            gather_strips(real, right, a, rank, columns, e * rank * in, in, 1);
        }
    }
}

/* Adds the update to columns first … first + count − 1 of rows of one expert; x [rows, columns]. */
static void add_rows(const low_rank_source *low, mc_dtype real, int64_t row, int64_t rows,
                     int64_t first, int64_t count, void *x)
{
    const int64_t expert = row / low->rows;
    const void *const left = at(low->factors.left, real, row * low->rank);
    const void *const right = at(low->factors.right, real,
                                 expert * low->rank * padded_columns(low, real));
    const mc_low_rank_block block = {.rows = (size_t)rows,
                                     .first = (size_t)first,
                                     .count = (size_t)count,
                                     .stride = (size_t)low->columns,
                                     .rank = (size_t)low->rank};
    if (real == MC_F64)
        table()->add_f64(&block, left, right, low->parts.scale, x);
    else
        table()->add_f32(&block, left, right, (float)low->parts.scale, x);
}

/*
 * DoRA: the weights W + scale·B·A of each output are scaled to the norm that was learned for them.
 * An output is a row, or a column if W is transposed. Norms are summed in double and in order, so
 * that they do not depend on threads or CPU.
 */
static mc_status find_scales(low_rank_source *low, mc_dtype real, mc_error *error)
{
    const bool by_column = low->parts.transposed;
    const int64_t outputs = by_column ? low->columns : low->rows;
    void *const row = mc_alloc((size_t)low->columns * real_bytes(real));
    double *const squares = mc_alloc_zero((size_t)outputs, sizeof *squares);
    void *scales = NULL;
    mc_status status = row && squares ? read_all(low->parts.magnitude, real, &scales, error)
                                      : mc_fail_memory(error);
    for (int64_t i = 0; status == MC_OK && i < low->rows; i++) {
        status = mc_source_read_as(low->parts.weight, i * low->columns, low->columns, real, row,
                                   error);
        if (status != MC_OK)
            break;
        add_rows(low, real, i, 1, 0, low->columns, row);
        for (int64_t j = 0; j < low->columns; j++)
            squares[by_column ? j : i] += number_at(row, real, j) * number_at(row, real, j);
    }
    for (int64_t i = 0; status == MC_OK && i < outputs; i++) {
        const double scale = number_at(scales, real, i) / sqrt(squares[i]);
        if (real == MC_F64)
            ((double *)scales)[i] = scale;
        else
            ((float *)scales)[i] = (float)scale;
    }
    mc_free(row);
    mc_free(squares);
    *(by_column ? &low->factors.column_scale : &low->factors.row_scale) = scales;
    return status;
}

static mc_status read_factors(low_rank_source *low, mc_dtype real, mc_error *error)
{
    void *a = NULL, *b = NULL;
    mc_status status = read_all(low->parts.a, real, &a, error);
    if (status == MC_OK)
        status = read_all(low->parts.b, real, &b, error);
    const size_t ranks = (size_t)(low->parts.experts * low->rank), size = real_bytes(real);
    low->factors.left = mc_alloc((size_t)low->rows * ranks * size);
    low->factors.right = mc_alloc_zero((size_t)padded_columns(low, real) * ranks, size);
    if (status == MC_OK && (!low->factors.left || !low->factors.right))
        status = mc_fail_memory(error);
    if (status == MC_OK)
        arrange(low, real, a, b);
    mc_free(a);
    mc_free(b);
    if (status == MC_OK && low->parts.magnitude)
        status = find_scales(low, real, error);
    if (status != MC_OK)
        free_factors(low);
    return status;
}

static mc_status acquire(low_rank_source *low, mc_dtype real, mc_error *error)
{
    mc_status status = MC_OK;
    pthread_mutex_lock(&lock);
    if (low->loaded) {
        unlink_loaded(low);
    } else {
        make_room(low->bytes);
        status = read_factors(low, real, error);
        kept_bytes += status == MC_OK ? low->bytes : 0;
    }
    /* Linked at the end even if it was loaded before: the list is in the order of use. */
    if (status == MC_OK) {
        low->loaded = true;
        low->readers++;
        link_newest(low);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* The factors stay loaded: the next tile of the tensor needs them. */
static void release(low_rank_source *low)
{
    pthread_mutex_lock(&lock);
    low->readers--;
    pthread_mutex_unlock(&lock);
}

/* ---- the source ------------------------------------------------------------------------------ */

#define DEFINE_SCALE(real_, suffix_)                                                               \
    static void scale_##suffix_(real_ *x, const real_ *by_column, const real_ *by_row,             \
                                int64_t count)                                                     \
    {                                                                                              \
        for (int64_t j = 0; by_row && j < count; j++)                                              \
            x[j] *= *by_row;                                                                       \
        for (int64_t j = 0; by_column && j < count; j++)                                           \
            x[j] *= by_column[j];                                                                  \
    }

DEFINE_SCALE(float, f32)
DEFINE_SCALE(double, f64)

static void scale_row(const low_rank_source *low, mc_dtype real, int64_t row, int64_t first,
                      int64_t count, void *x)
{
    const factors *const f = &low->factors;
    const void *const by_row = f->row_scale ? at(f->row_scale, real, row) : NULL;
    const void *const by_column = f->column_scale ? at(f->column_scale, real, first) : NULL;
    if (real == MC_F64)
        scale_f64(x, by_column, by_row, count);
    else
        scale_f32(x, by_column, by_row, count);
}

/*
 * The low-rank source that this one updates, if both can be added to a tile in one go. One with
 * DoRA's scales has to be complete first, and one of another layout has other rows.
 */
static low_rank_source *below(const low_rank_source *low)
{
    if (low->parts.weight->class != &low_rank_class)
        return NULL;
    low_rank_source *const inner = (low_rank_source *)low->parts.weight;
    const bool same = inner->rows == low->rows && inner->columns == low->columns;
    return same && !inner->parts.magnitude ? inner : NULL;
}

/* The factors of a source and of those below it stay in memory until they are released. */
static void release_all(low_rank_source *low)
{
    for (; low; low = below(low))
        release(low);
}

static mc_status acquire_all(low_rank_source *low, mc_dtype real, mc_error *error)
{
    low_rank_source *const inner = below(low);
    if (inner)
        MC_TRY(acquire_all(inner, real, error));
    const mc_status status = acquire(low, real, error);
    if (status != MC_OK)
        release_all(inner);
    return status;
}

/* Innermost first, as if each had been read by itself. */
static void add_all(const low_rank_source *low, mc_dtype real, int64_t row, int64_t rows,
                    int64_t first, int64_t count, void *x)
{
    const low_rank_source *const inner = below(low);
    if (inner)
        add_all(inner, real, row, rows, first, count, x);
    add_rows(low, real, row, rows, first, count, x);
}

/*
 * Updates columns first … first + count − 1 of rows of one expert. One strip of columns after the
 * other gets all updates, since it stays in the nearest cache meanwhile.
 */
static void update(const low_rank_source *low, mc_dtype real, int64_t row, int64_t rows,
                   int64_t first, int64_t count, void *x)
{
    for (int64_t done = 0; done < count;) {
        const int64_t strip = strip_length(real);
        const int64_t length = least(strip - (first + done) % strip, count - done);
        add_all(low, real, row, rows, first + done, length, at(x, real, done));
        done += length;
    }
    for (int64_t i = 0; i < rows; i++)
        scale_row(low, real, row + i, first, count, at(x, real, i * low->columns));
}

static mc_status low_rank_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                               void *out, mc_error *error)
{
    low_rank_source *const low = (low_rank_source *)(uintptr_t)self;
    const low_rank_source *innermost = low;
    while (below(innermost))
        innermost = below(innermost);
    MC_TRY(mc_source_read_as(innermost->parts.weight, first, count, as, out, error));
    if (count == 0)
        return MC_OK;
    /* The weight was read before, outside the lock. */
    MC_TRY(acquire_all(low, as, error));
    for (int64_t done = 0; done < count;) {
        const int64_t row = (first + done) / low->columns, column = (first + done) % low->columns;
        const int64_t length = least(low->columns - column, count - done);
        /* Whole rows of one expert together, else the end or the beginning of one. */
        const int64_t rows = length < low->columns ? 1
                                                   : least((count - done) / low->columns,
                                                           low->rows - row % low->rows);
        update(low, as, row, rows, column, length, at(out, as, done));
        done += rows > 1 ? rows * low->columns : length;
    }
    release_all(low);
    /* Which NaN a sum keeps depends on the compiler: all become the same. Most tiles have none. */
    if (!mc_are_finite(as, out, (size_t)count))
        mc_unify_nan(as, out, (size_t)count);
    return MC_OK;
}

static void low_rank_ahead(const mc_source *self, int64_t first, int64_t size)
{
    mc_source_ahead_operand(self, ((const low_rank_source *)self)->parts.weight, first, size);
}

static mc_status low_rank_check(const mc_source *self, mc_error *error)
{
    const mc_low_rank *const parts = &((const low_rank_source *)self)->parts;
    MC_TRY(mc_source_check(parts->weight, error));
    MC_TRY(mc_source_check(parts->a, error));
    return mc_source_check(parts->b, error);
}

static void low_rank_free(mc_source *self)
{
    low_rank_source *const low = (low_rank_source *)self;
    /* No reader is left, but make_room of another thread may be looking at this source. */
    pthread_mutex_lock(&lock);
    if (low->loaded)
        unload(low);
    pthread_mutex_unlock(&lock);
    mc_source_unref(low->parts.weight);
    mc_source_unref(low->parts.a);
    mc_source_unref(low->parts.b);
    mc_source_unref(low->parts.magnitude);
}

static const mc_source_class low_rank_class = {.name = "low rank",
                                               .read = low_rank_read,
                                               .read_ahead = low_rank_ahead,
                                               .check = low_rank_check,
                                               .free = low_rank_free};

/* ---- making one ------------------------------------------------------------------------------ */

static mc_status check_floats(const mc_source *source, const char *what, mc_error *error)
{
    if (!source || mc_dtype_kind_of(source->dtype) == MC_KIND_FLOAT)
        return MC_OK;
    return mc_fail(error, MC_UNSUPPORTED, "expected the %s as floats, found %s", what,
                   mc_dtype_name(source->dtype));
}

static mc_status check_shape(const mc_source *source, const char *what, int64_t rows,
                             int64_t columns, mc_error *error)
{
    char found[128];
    int64_t rest = 1;
    for (int i = 1; i < source->rank; i++)
        rest *= source->shape[i];
    if (source->rank >= 1 && source->shape[0] == rows && rest == columns)
        return MC_OK;
    return mc_fail(error, MC_MISMATCH, "%s: expected [%lld, %lld], found %s", what, (long long)rows,
                   (long long)columns,
                   mc_shape_text(source->rank, source->shape, found, sizeof found));
}

/* Rows and columns of one expert's matrix, and the rank that the factors have. */
static mc_status measure(const mc_low_rank *parts, low_rank_source *low, mc_error *error)
{
    const mc_source *const weight = parts->weight;
    const bool many = parts->experts > 1;
    char found[128];
    if (weight->rank < 2 || (many && (weight->rank != 3 || weight->shape[0] != parts->experts)))
        return mc_fail(error, MC_MISMATCH,
                       "expected a matrix%s for a low-rank update, found the shape %s",
                       many ? " per expert" : "",
                       mc_shape_text(weight->rank, weight->shape, found, sizeof found));
    low->rows = many ? weight->shape[1] : weight->shape[0];
    /* Higher ranks are convolutions: all dimensions but the first are columns. */
    low->columns = weight->count == 0 ? 0 : weight->count / (low->rows * parts->experts);
    const int64_t in = parts->transposed ? low->rows : low->columns;
    const int64_t out = parts->transposed ? low->columns : low->rows;
    const int64_t ranks = parts->a->rank > 0 ? parts->a->shape[0] : 0;
    if (ranks % parts->experts != 0)
        return mc_fail(error, MC_MISMATCH,
                       "lora_A: expected the same rank for %lld experts, found "
                       "%lld rows",
                       (long long)parts->experts, (long long)ranks);
    low->rank = ranks / parts->experts;
    MC_TRY(check_shape(parts->a, "lora_A", ranks, in, error));
    MC_TRY(check_shape(parts->b, "lora_B", out, ranks, error));
    return parts->magnitude && parts->magnitude->count != out
               ? mc_fail(error, MC_MISMATCH, "magnitude: expected %lld values, found %lld",
                         (long long)out, (long long)parts->magnitude->count)
               : MC_OK;
}

static int deepest(const mc_low_rank *parts)
{
    int depth = parts->weight->depth;
    depth = parts->a->depth > depth ? parts->a->depth : depth;
    return parts->b->depth > depth ? parts->b->depth : depth;
}

mc_status mc_source_low_rank(const mc_low_rank *parts, mc_source **out, mc_error *error)
{
    assert(parts->experts >= 1 && (parts->experts == 1 || !parts->magnitude));
    MC_TRY(check_floats(parts->weight, "weight", error));
    MC_TRY(check_floats(parts->a, "factor lora_A", error));
    MC_TRY(check_floats(parts->b, "factor lora_B", error));
    MC_TRY(check_floats(parts->magnitude, "magnitude", error));
    if (deepest(parts) >= MC_SOURCE_MAX_DEPTH)
        return mc_fail(error, MC_UNSUPPORTED, "more than %d operations on top of each other",
                       MC_SOURCE_MAX_DEPTH);
    low_rank_source measured = {0};
    MC_TRY(measure(parts, &measured, error));
    const mc_source *const weight = parts->weight;
    MC_TRY(mc_source_create(&low_rank_class, sizeof(low_rank_source), weight->dtype, weight->rank,
                            weight->shape, out, error));
    low_rank_source *const low = (low_rank_source *)*out;
    low->source.wide = weight->wide || weight->dtype == MC_F64;
    low->source.depth = 1 + deepest(parts);
    low->parts = *parts;
    low->rows = measured.rows;
    low->columns = measured.columns;
    low->rank = measured.rank;
    low->bytes = factor_bytes(low, mc_source_real(*out));
    mc_source_ref(parts->weight);
    mc_source_ref(parts->a);
    mc_source_ref(parts->b);
    if (parts->magnitude)
        mc_source_ref(parts->magnitude);
    return MC_OK;
}
