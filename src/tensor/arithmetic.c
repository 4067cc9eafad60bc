/*
 * Lazy arithmetic: sources that compute when they are read.
 *
 * A tree of operations is evaluated as a program of steps, block by block: blocks stay in the
 * cache, a tensor that occurs several times (the base in base + Σ (model − base)) is read once per
 * block, and nothing is allocated per operation. For four models of float32 this takes as long as
 * the method that does the same in one pass; operation by operation over whole tiles it took twice
 * as long.
 */
#include "tensor/cast.h"
#include "tensor/source.h"

#include "base/memory.h"

#include <assert.h>

/*
 * Elements of a block: long enough for reads of files, and a few registers fit into the
 * second-level cache.
 */
enum { BLOCK = 32768 };

/*
 * The output of a loop may be one of its operands, but only at the same index. The iterations are
 * therefore independent, which the compiler cannot prove by itself.
 */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

/* a op b, or a op number, or number op a. */
typedef struct arithmetic_source {
    mc_source source;
    mc_operator op;
    mc_source *a, *b; /* b: NULL if the other operand is a number */
    double number;
    bool number_first;
} arithmetic_source;

static const mc_source_class arithmetic_class;

/* ---- programs ------------------------------------------------------------------------------- */

/* One node of a tree. Its operands are earlier steps. */
typedef struct step {
    const mc_source *source;
    const arithmetic_source *node; /* NULL: the source is read */
    size_t a, b;                   /* operands, as indices of steps */
    size_t last;                   /* the last step that uses the result */
    size_t reg;                    /* the register of the result; 0: the output */
    const void *view;              /* of a block that is in memory already */
    size_t busy_until; /* of the register whose number is this step's index: when it is free */
} step;

/* A program lives for one read, since several threads may read a tree at once. */
typedef struct program {
    step *steps; /* the last one makes the result */
    size_t count, capacity;
    size_t registers;
    mc_dtype real;
    bool random_access; /* every tensor that is read can be read block by block */
} program;

/*
 * The node if `source` is arithmetic in the program's type. Nodes of the other type are read as
 * values and converted.
 */
static const arithmetic_source *node_of(const program *p, const mc_source *source)
{
    return source->class == &arithmetic_class && mc_source_real(source) == p->real
               ? (const arithmetic_source *)source
               : NULL;
}

/*
 * Appends the steps of a tree; a node that occurs again gets no second step. *index: the step of
 * its result.
 */
static mc_status compile(program *p, const mc_source *source, size_t *index, mc_error *error)
{
    /* Casts round only when bytes are read: within arithmetic, values keep their full precision. */
    source = mc_source_uncast(source);
    for (*index = 0; *index < p->count; ++*index)
        if (p->steps[*index].source == source)
            return MC_OK;
    step made = {.source = source, .node = node_of(p, source)};
    if (made.node)
        MC_TRY(compile(p, made.node->a, &made.a, error));
    if (made.node && made.node->b)
        MC_TRY(compile(p, made.node->b, &made.b, error));
    if (!MC_GROW(p->steps, p->count, p->capacity))
        return mc_fail_memory(error);
    /* Without `raw`, a source may compute more than it is asked for: see run_program. */
    if (!made.node && !source->class->raw)
        p->random_access = false;
    *index = p->count;
    p->steps[p->count++] = made;
    return MC_OK;
}

static void note_uses(program *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const step *const s = &p->steps[i];
        if (s->node)
            p->steps[s->a].last = i;
        if (s->node && s->node->b)
            p->steps[s->b].last = i;
    }
    /* The result is needed after the last step. */
    p->steps[p->count - 1].last = p->count;
}

/*
 * Gives each step the lowest register that no later step needs. An operand that is used for the
 * last time is overwritten in place. At the last step all other values are dead, so the result lies
 * in register 0, which is the output.
 */
static void allocate_registers(program *p)
{
    for (size_t i = 0; i < p->count; i++) {
        size_t reg = 0;
        while (reg < p->registers && p->steps[reg].busy_until > i)
            reg++;
        p->registers = reg == p->registers ? reg + 1 : p->registers;
        p->steps[i].reg = reg;
        p->steps[reg].busy_until = p->steps[i].last;
    }
    assert(p->steps[p->count - 1].reg == 0);
}

/* ---- evaluation ----------------------------------------------------------------------------- */

/* out[i] = a[i] op b[i], and with a number in place of either. One loop each, to be vectorised. */
#define DEFINE_LOOPS(real_, suffix_)                                                               \
    static void combine_##suffix_(mc_operator op, real_ *out, const real_ *a, const real_ *b,      \
                                  int64_t n)                                                       \
    {                                                                                              \
        switch (op) {                                                                              \
        case MC_ADD:                                                                               \
            INDEPENDENT                                                                            \
            for (int64_t i = 0; i < n; i++)                                                        \
                out[i] = a[i] + b[i];                                                              \
            return;                                                                                \
        case MC_SUBTRACT:                                                                          \
            INDEPENDENT                                                                            \
            for (int64_t i = 0; i < n; i++)                                                        \
                out[i] = a[i] - b[i];                                                              \
            return;                                                                                \
        case MC_MULTIPLY:                                                                          \
            INDEPENDENT                                                                            \
            for (int64_t i = 0; i < n; i++)                                                        \
                out[i] = a[i] * b[i];                                                              \
            return;                                                                                \
        case MC_DIVIDE:                                                                            \
            INDEPENDENT                                                                            \
            for (int64_t i = 0; i < n; i++)                                                        \
                out[i] = a[i] / b[i];                                                              \
            return;                                                                                \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static void with_number_##suffix_(mc_operator op, real_ *out, const real_ *a, real_ c,         \
                                      bool first, int64_t n)                                       \
    {                                                                                              \
        INDEPENDENT                                                                                \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const real_ left = first ? c : a[i], right = first ? a[i] : c;                         \
            out[i] = op == MC_ADD        ? left + right                                            \
                     : op == MC_SUBTRACT ? left - right                                            \
                     : op == MC_MULTIPLY ? left * right                                            \
                                         : left / right;                                           \
        }                                                                                          \
    }

DEFINE_LOOPS(float, f32)
DEFINE_LOOPS(double, f64)

/* Where the registers of a block lie. */
typedef struct block {
    char *out, *registers; /* register 0; registers 1, 2, … */
    size_t register_bytes;
    int64_t first, count;
} block;

static void *register_at(const block *b, size_t reg)
{
    return reg == 0 ? b->out : b->registers + (reg - 1) * b->register_bytes;
}

static const void *value_of(const block *b, const step *s)
{
    return s->view ? s->view : register_at(b, s->reg);
}

static void compute(const program *p, const block *b, const step *s)
{
    const arithmetic_source *const node = s->node;
    void *const out = register_at(b, s->reg);
    const void *const left = value_of(b, &p->steps[s->a]);
    /* With a number as operand, `b` is 0 and the value at `right` is not used. */
    const void *const right = value_of(b, &p->steps[s->b]);
    if (node->b && p->real == MC_F64)
        combine_f64(node->op, out, left, right, b->count);
    else if (node->b)
        combine_f32(node->op, out, left, right, b->count);
    else if (p->real == MC_F64)
        with_number_f64(node->op, out, left, node->number, node->number_first, b->count);
    else
        with_number_f32(node->op, out, left, (float)node->number, node->number_first, b->count);
}

static mc_status run_block(program *p, const block *b, mc_error *error)
{
    for (size_t i = 0; i < p->count; i++) {
        step *const s = &p->steps[i];
        if (s->node) {
            compute(p, b, s);
            continue;
        }
        /* Tensors in memory are used where they lie, without a copy to a register. */
        s->view = mc_source_view(s->source, b->first, b->count, p->real);
        if (!s->view)
            MC_TRY(mc_source_read_as(s->source, b->first, b->count, p->real, register_at(b, s->reg),
                                     error));
    }
    return MC_OK;
}

/*
 * Sources without `raw`, such as a merged layer, compute more than they are asked for. A program
 * with such a source reads all elements at once instead of block by block.
 */
static mc_status run_program(program *p, int64_t first, int64_t count, char *out, mc_error *error)
{
    const int64_t length = p->random_access && count > BLOCK ? BLOCK : count;
    const int64_t width = mc_dtype_bytes(p->real, 1);
    block b = {.register_bytes = (size_t)(length * width)};
    b.registers = mc_alloc((p->registers - 1) * b.register_bytes);
    mc_status status = b.registers ? MC_OK : mc_fail_memory(error);
    for (int64_t done = 0; status == MC_OK && done < count; done += length) {
        b.first = first + done;
        b.count = count - done < length ? count - done : length;
        b.out = out + done * width;
        status = run_block(p, &b, error);
    }
    mc_free(b.registers);
    return status;
}

static mc_status arithmetic_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                                 void *out, mc_error *error)
{
    program p = {.real = as, .random_access = true};
    size_t result;
    assert(as == mc_source_real(self));
    mc_status status = compile(&p, self, &result, error);
    if (status == MC_OK) {
        note_uses(&p);
        allocate_registers(&p);
        status = run_program(&p, first, count, out, error);
    }
    mc_free(p.steps);
    return status;
}

/* ---- the class ------------------------------------------------------------------------------ */

static void arithmetic_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const arithmetic_source *const node = (const arithmetic_source *)self;
    mc_source_ahead_operand(self, node->a, first, size);
    if (node->b)
        mc_source_ahead_operand(self, node->b, first, size);
}

static mc_status arithmetic_check(const mc_source *self, mc_error *error)
{
    const arithmetic_source *const node = (const arithmetic_source *)self;
    MC_TRY(mc_source_check(node->a, error));
    return node->b ? mc_source_check(node->b, error) : MC_OK;
}

static void arithmetic_free(mc_source *self)
{
    arithmetic_source *const node = (arithmetic_source *)self;
    mc_source_unref(node->a);
    mc_source_unref(node->b);
}

static const mc_source_class arithmetic_class = {.name = "arithmetic",
                                                 .read = arithmetic_read,
                                                 .read_ahead = arithmetic_ahead,
                                                 .check = arithmetic_check,
                                                 .free = arithmetic_free};

mc_status mc_source_combine(mc_operator op, mc_source *a, mc_source *b, mc_source **out,
                            mc_error *error)
{
    MC_TRY(mc_source_check_operand(a, error));
    MC_TRY(mc_source_check_operand(b, error));
    if (!mc_source_same_shape(a, b)) {
        char left[128], right[128];
        return mc_fail(error, MC_MISMATCH, "expected equal shapes, found %s and %s",
                       mc_shape_text(a->rank, a->shape, left, sizeof left),
                       mc_shape_text(b->rank, b->shape, right, sizeof right));
    }
    MC_TRY(mc_source_create(&arithmetic_class, sizeof(arithmetic_source),
                            mc_dtype_widest(a->dtype, b->dtype), a->rank, a->shape, out, error));
    arithmetic_source *const node = (arithmetic_source *)*out;
    node->op = op;
    node->a = mc_source_ref(a);
    node->b = mc_source_ref(b);
    /* Computed in double if one operand is: the other converts without loss. */
    node->source.wide = a->wide || b->wide;
    node->source.depth = 1 + (a->depth > b->depth ? a->depth : b->depth);
    return MC_OK;
}

mc_status mc_source_combine_number(mc_operator op, mc_source *a, double number, bool number_first,
                                   mc_source **out, mc_error *error)
{
    MC_TRY(mc_source_check_operand(a, error));
    MC_TRY(mc_source_create(&arithmetic_class, sizeof(arithmetic_source), a->dtype, a->rank,
                            a->shape, out, error));
    arithmetic_source *const node = (arithmetic_source *)*out;
    node->op = op;
    node->a = mc_source_ref(a);
    node->number = number;
    node->number_first = number_first;
    node->source.wide = a->wide;
    node->source.depth = 1 + a->depth;
    return MC_OK;
}
