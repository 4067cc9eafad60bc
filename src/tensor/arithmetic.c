/* Lazy arithmetic: sources that compute when they are read. */
#include "tensor/source.h"

#include "base/memory.h"

typedef struct binary_source {
    mc_source source;
    mc_operator op;
    mc_source *a, *b;
} binary_source;

typedef struct number_source {
    mc_source source;
    mc_operator op;
    mc_source *a;
    double number;
    bool number_first;
} number_source;

typedef struct cast_source {
    mc_source source;
    mc_source *a;
} cast_source;

/* x[i] = x[i] op y[i], and with a number in the place of either. One loop each, so that it is vectorised. */
#define DEFINE_LOOPS(real_, suffix_)                                                               \
    static void combine_##suffix_(mc_operator op, real_ *x, const real_ *y, int64_t n)             \
    {                                                                                              \
        switch (op) {                                                                              \
        case MC_ADD:                                                                               \
            for (int64_t i = 0; i < n; i++)                                                        \
                x[i] = x[i] + y[i];                                                                \
            return;                                                                                \
        case MC_SUBTRACT:                                                                          \
            for (int64_t i = 0; i < n; i++)                                                        \
                x[i] = x[i] - y[i];                                                                \
            return;                                                                                \
        case MC_MULTIPLY:                                                                          \
            for (int64_t i = 0; i < n; i++)                                                        \
                x[i] = x[i] * y[i];                                                                \
            return;                                                                                \
        case MC_DIVIDE:                                                                            \
            for (int64_t i = 0; i < n; i++)                                                        \
                x[i] = x[i] / y[i];                                                                \
            return;                                                                                \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static void with_number_##suffix_(mc_operator op, real_ *x, real_ c, bool first, int64_t n)    \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const real_ left = first ? c : x[i], right = first ? x[i] : c;                         \
            x[i] = op == MC_ADD        ? left + right                                              \
                   : op == MC_SUBTRACT ? left - right                                              \
                   : op == MC_MULTIPLY ? left * right                                              \
                                       : left / right;                                             \
        }                                                                                          \
    }

DEFINE_LOOPS(float, f32)
DEFINE_LOOPS(double, f64)

static mc_status binary_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    const binary_source *const binary = (const binary_source *)self;
    MC_TRY(mc_source_read_as(binary->a, first, count, as, out, error));
    void *const other = mc_alloc((size_t)mc_dtype_bytes(as, count));
    if (!other)
        return mc_fail_memory(error);
    const mc_status status = mc_source_read_as(binary->b, first, count, as, other, error);
    if (status == MC_OK && as == MC_F64)
        combine_f64(binary->op, out, other, count);
    else if (status == MC_OK)
        combine_f32(binary->op, out, other, count);
    mc_free(other);
    return status;
}

static mc_status number_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    const number_source *const with = (const number_source *)self;
    MC_TRY(mc_source_read_as(with->a, first, count, as, out, error));
    if (as == MC_F64)
        with_number_f64(with->op, out, with->number, with->number_first, count);
    else
        with_number_f32(with->op, out, (float)with->number, with->number_first, count);
    return MC_OK;
}

static void binary_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const binary_source *const binary = (const binary_source *)self;
    mc_source_ahead_operand(self, binary->a, first, size);
    mc_source_ahead_operand(self, binary->b, first, size);
}

static void number_ahead(const mc_source *self, int64_t first, int64_t size)
{
    mc_source_ahead_operand(self, ((const number_source *)self)->a, first, size);
}

static mc_status binary_check(const mc_source *self, mc_error *error)
{
    const binary_source *const binary = (const binary_source *)self;
    MC_TRY(mc_source_check(binary->a, error));
    return mc_source_check(binary->b, error);
}

static mc_status cast_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                           void *out, mc_error *error)
{
    return mc_source_read_as(((const cast_source *)self)->a, first, count, as, out, error);
}

static void cast_ahead(const mc_source *self, int64_t first, int64_t size)
{
    mc_source_ahead_operand(self, ((const cast_source *)self)->a, first, size);
}

static mc_status cast_check(const mc_source *self, mc_error *error)
{
    return mc_source_check(((const cast_source *)self)->a, error);
}

static void cast_free(mc_source *self)
{
    mc_source_unref(((cast_source *)self)->a);
}

static mc_status number_check(const mc_source *self, mc_error *error)
{
    return mc_source_check(((const number_source *)self)->a, error);
}

static void binary_free(mc_source *self)
{
    binary_source *const binary = (binary_source *)self;
    mc_source_unref(binary->a);
    mc_source_unref(binary->b);
}

static void number_free(mc_source *self)
{
    mc_source_unref(((number_source *)self)->a);
}

static const mc_source_class binary_class = {.name = "arithmetic",
                                             .read = binary_read,
                                             .read_ahead = binary_ahead,
                                             .check = binary_check,
                                             .free = binary_free};
static const mc_source_class number_class = {.name = "arithmetic",
                                             .read = number_read,
                                             .read_ahead = number_ahead,
                                             .check = number_check,
                                             .free = number_free};

static const mc_source_class cast_class = {.name = "cast",
                                           .read = cast_read,
                                           .read_ahead = cast_ahead,
                                           .check = cast_check,
                                           .free = cast_free};

static mc_status check_operand(const mc_source *operand, mc_error *error)
{
    if (mc_dtype_kind_of(operand->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_UNSUPPORTED, "expected a float tensor, found %s",
                       mc_dtype_name(operand->dtype));
    if (operand->depth >= MC_SOURCE_MAX_DEPTH)
        return mc_fail(error, MC_UNSUPPORTED,
                       "more than %d operations on top of each other: compute the state dict in "
                       "between (mc_state_dict_materialize)",
                       MC_SOURCE_MAX_DEPTH);
    return MC_OK;
}

mc_status mc_source_combine(mc_operator op, mc_source *a, mc_source *b, mc_source **out,
                            mc_error *error)
{
    MC_TRY(check_operand(a, error));
    MC_TRY(check_operand(b, error));
    if (!mc_source_same_shape(a, b)) {
        char left[128], right[128];
        return mc_fail(error, MC_MISMATCH, "expected equal shapes, found %s and %s",
                       mc_shape_text(a->rank, a->shape, left, sizeof left),
                       mc_shape_text(b->rank, b->shape, right, sizeof right));
    }
    MC_TRY(mc_source_create(&binary_class, sizeof(binary_source),
                            mc_dtype_widest(a->dtype, b->dtype), a->rank, a->shape, out, error));
    binary_source *const binary = (binary_source *)*out;
    binary->op = op;
    binary->a = mc_source_ref(a);
    binary->b = mc_source_ref(b);
    binary->source.wide = a->wide || b->wide;
    binary->source.depth = 1 + (a->depth > b->depth ? a->depth : b->depth);
    return MC_OK;
}

mc_status mc_source_combine_number(mc_operator op, mc_source *a, double number, bool number_first,
                                   mc_source **out, mc_error *error)
{
    MC_TRY(check_operand(a, error));
    MC_TRY(mc_source_create(&number_class, sizeof(number_source), a->dtype, a->rank, a->shape, out,
                            error));
    number_source *const with = (number_source *)*out;
    with->op = op;
    with->a = mc_source_ref(a);
    with->number = number;
    with->number_first = number_first;
    with->source.wide = a->wide;
    with->source.depth = 1 + a->depth;
    return MC_OK;
}

mc_status mc_source_cast(mc_source *source, mc_dtype dtype, mc_source **out, mc_error *error)
{
    MC_TRY(check_operand(source, error));
    MC_TRY(mc_source_create(&cast_class, sizeof(cast_source), dtype, source->rank, source->shape,
                            out, error));
    ((cast_source *)*out)->a = mc_source_ref(source);
    (*out)->depth = 1 + source->depth;
    (*out)->wide = source->wide;
    return MC_OK;
}

const mc_source *mc_source_uncast(const mc_source *source)
{
    while (source->class == &cast_class)
        source = ((const cast_source *)source)->a;
    return source;
}
