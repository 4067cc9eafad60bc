#include "nn/onednn.h"

#include "base/library.h"
#include "base/memory.h"
#include "tensor/convert.h"

#include <dnnl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if DNNL_VERSION_MAJOR == 2
#define LIBRARY "libdnnl.so.2"
#define PACKAGE "libdnnl2"
#elif DNNL_VERSION_MAJOR == 3
#define LIBRARY "libdnnl.so.3"
#define PACKAGE "libdnnl3.6"
#else
#error "oneDNN 2 or 3 is needed"
#endif
/* Debian's 3.x has the minor version in its name, too. */
#ifdef MC_ONEDNN_SONAME
#define LIBRARIES MC_ONEDNN_SONAME, LIBRARY
#else
#define LIBRARIES LIBRARY
#endif

/* ---- the library ----------------------------------------------------------------------------- */

#define FUNCTIONS_OF_BOTH(X)                                                                       \
    X(version)                                                                                     \
    X(get_effective_cpu_isa)                                                                       \
    X(engine_create)                                                                               \
    X(stream_create)                                                                               \
    X(stream_destroy)                                                                              \
    X(memory_create)                                                                               \
    X(memory_destroy)                                                                              \
    X(memory_set_data_handle)                                                                      \
    X(memory_desc_get_size)                                                                        \
    X(post_ops_create)                                                                             \
    X(post_ops_destroy)                                                                            \
    X(post_ops_append_sum)                                                                         \
    X(post_ops_append_eltwise)                                                                     \
    X(primitive_attr_create)                                                                       \
    X(primitive_attr_destroy)                                                                      \
    X(primitive_attr_set_post_ops)                                                                 \
    X(primitive_attr_set_scratchpad_mode)                                                          \
    X(primitive_desc_destroy)                                                                      \
    X(primitive_desc_query_md)                                                                     \
    X(reorder_primitive_desc_create)                                                               \
    X(primitive_create)                                                                            \
    X(primitive_destroy)                                                                           \
    X(primitive_execute)                                                                           \
    X(primitive_get_primitive_desc)

#if DNNL_VERSION_MAJOR == 2
#define FUNCTIONS_OF_ONE(X)                                                                        \
    X(memory_desc_init_by_strides)                                                                 \
    X(memory_desc_init_by_tag)                                                                     \
    X(matmul_desc_init)                                                                            \
    X(primitive_desc_create)
#else
#define FUNCTIONS_OF_ONE(X)                                                                        \
    X(memory_desc_create_with_strides)                                                             \
    X(memory_desc_create_with_tag)                                                                 \
    X(memory_desc_destroy)                                                                         \
    X(matmul_primitive_desc_create)
#endif

/* oneDNN takes the number of threads from OpenMP, which keeps it per calling thread. */
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
#define HAS_OPENMP 1
extern int omp_get_max_threads(void);
extern void omp_set_num_threads(int threads);
#elif DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_SEQ
#define HAS_OPENMP 0
#else
#error "oneDNN built with OpenMP, or without threads, is needed"
#endif

#ifdef MC_LINK_ONEDNN
#define X(name_) static __typeof__(dnnl_##name_) *const name_##_ = dnnl_##name_;
#else
#define X(name_) static __typeof__(dnnl_##name_) *name_##_;
#endif
FUNCTIONS_OF_BOTH(X)
FUNCTIONS_OF_ONE(X)
#undef X
#if HAS_OPENMP
#ifdef MC_LINK_ONEDNN
static __typeof__(omp_get_max_threads) *const omp_get_max_threads_ = omp_get_max_threads;
static __typeof__(omp_set_num_threads) *const omp_set_num_threads_ = omp_set_num_threads;
#else
static __typeof__(omp_get_max_threads) *omp_get_max_threads_;
static __typeof__(omp_set_num_threads) *omp_set_num_threads_;
#endif
#endif

/* load_once fills it; afterwards it is only read. Every call of oneDNN follows mc_onednn_begin. */
static struct {
    pthread_once_t once;
    mc_status status;
    mc_error error;
    dnnl_engine_t engine;
} library = {.once = PTHREAD_ONCE_INIT};

static mc_status load(mc_error *error)
{
#ifdef MC_LINK_ONEDNN
    (void)error;
    return MC_OK;
#else
    static const char *const names[] = {LIBRARIES, NULL};
    static const mc_symbol symbols[] = {
#define X(name_) {"dnnl_" #name_, (void **)&name_##_},
        FUNCTIONS_OF_BOTH(X) FUNCTIONS_OF_ONE(X)
#undef X
#if HAS_OPENMP
        /* Found in the OpenMP library that oneDNN is linked with. */
        {"omp_get_max_threads", (void **)&omp_get_max_threads_},
        {"omp_set_num_threads", (void **)&omp_set_num_threads_},
#endif
        {NULL, NULL},
    };
    return mc_library_load("oneDNN (Debian's package " PACKAGE ")", names, symbols, error);
#endif
}

static void load_once(void)
{
    /* Each later caller gets a copy of this error. */
    library.error.offset = -1;
    library.status = load(&library.error);
    if (library.status == MC_OK && engine_create_(&library.engine, dnnl_cpu, 0) != dnnl_success)
        library.status = mc_fail(&library.error, MC_UNSUPPORTED, "oneDNN does not know this CPU");
}

mc_status mc_onednn_begin(int *restore, mc_error *error)
{
    pthread_once(&library.once, load_once);
    if (library.status != MC_OK) {
        if (error)
            *error = library.error;
        return library.status;
    }
    *restore = 0;
#if HAS_OPENMP
    *restore = omp_get_max_threads_();
    omp_set_num_threads_(1);
#endif
    return MC_OK;
}

void mc_onednn_end(int restore)
{
#if HAS_OPENMP
    omp_set_num_threads_(restore);
#else
    (void)restore;
#endif
}

int mc_onednn_version(void)
{
    const dnnl_version_t *const version = version_();
    return version->major * 1000000 + version->minor * 1000 + version->patch;
}

static bool has(unsigned extensions)
{
    /* "Effective": also bounded by ONEDNN_MAX_CPU_ISA of the environment. */
    return ((unsigned)get_effective_cpu_isa_() & extensions) == extensions; /* one bit each */
}

/* Without VNNI, oneDNN sums products of int8 in 16 bits, which overflow. */
static mc_status check_cpu(mc_dtype dtype, mc_error *error)
{
    if (dtype == MC_BF16 && !has(dnnl_cpu_isa_avx512_core_bf16))
        return mc_fail(error, MC_UNSUPPORTED,
                       "products in bf16: expected a CPU with AVX512_BF16, found one without");
    if (dtype == MC_I8 && !has(dnnl_cpu_isa_avx512_core_vnni) && !has(dnnl_cpu_isa_avx2_vnni))
        return mc_fail(
            error, MC_UNSUPPORTED,
            "products in int8: expected a CPU with AVX512_VNNI or AVX_VNNI, found one without");
    return MC_OK;
}

mc_status mc_onednn_check(mc_dtype dtype, mc_error *error)
{
    int restore;
    MC_TRY(mc_onednn_begin(&restore, error));
    const mc_status status = check_cpu(dtype, error);
    mc_onednn_end(restore);
    return status;
}

static mc_status check(dnnl_status_t status, const char *doing, mc_error *error)
{
    if (status == dnnl_success)
        return MC_OK;
    if (status == dnnl_out_of_memory)
        return mc_fail_memory(error);
    return mc_fail(error, MC_UNSUPPORTED, "oneDNN cannot %s here (its status %d)", doing,
                   (int)status);
}

/* ---- memory descriptors: values in 2.x, objects in 3.x --------------------------------------- */

#if DNNL_VERSION_MAJOR == 2
typedef dnnl_memory_desc_t description;
typedef const dnnl_memory_desc_t *description_ref;
#define REF(description_) (&(description_))
#define destroy_description(description_) ((void)(description_))
#define describe_tag memory_desc_init_by_tag_
#define describe_strides memory_desc_init_by_strides_
#else
typedef dnnl_memory_desc_t description;
typedef const_dnnl_memory_desc_t description_ref;
#define REF(description_) (description_)
#define destroy_description(description_) memory_desc_destroy_(description_)
#define describe_tag memory_desc_create_with_tag_
#define describe_strides memory_desc_create_with_strides_
#endif

static dnnl_data_type_t data_type(mc_dtype dtype)
{
    return dtype == MC_BF16  ? dnnl_bf16
           : dtype == MC_I8  ? dnnl_s8
           : dtype == MC_I32 ? dnnl_s32
                             : dnnl_f32;
}

/* ---- products -------------------------------------------------------------------------------- */

enum { TILE_COLUMNS = 32 };

/* A block of `rows` rows. */
typedef struct block {
    size_t rows;
    dnnl_primitive_t multiply;
} block;

struct mc_product {
    mc_product_shape shape;
    int64_t in, out; /* as oneDNN has them: padded */
    block blocks[2]; /* that give each row the same bits; the smaller one first */
    int block_count;
    dnnl_primitive_t reorder;
    size_t packed_bytes, scratch_bytes;
};

/*
 * oneDNN's AMX kernels read the last columns of a row of x in whole tiles of 32 bf16 numbers. If
 * the width is not a multiple of 32, some versions (3.7 to 3.14) read on into the next row, or
 * behind the matrix, and multiply these numbers by zeros: NaN and infinity become NaN. Therefore
 * oneDNN never gets such a width (tests/nn/amx_tail.c shows the fault without this library).
 */
int64_t mc_product_pitch(mc_dtype dtype, int64_t columns)
{
    return dtype == MC_BF16 ? (columns + TILE_COLUMNS - 1) / TILE_COLUMNS * TILE_COLUMNS : columns;
}

static bool is_padded(const mc_product *p)
{
    return p->in != p->shape.in || p->out != p->shape.out;
}

static description_ref description_of(dnnl_primitive_t primitive, dnnl_query_t which, int index)
{
    const_dnnl_primitive_desc_t of = NULL;
    if (primitive_get_primitive_desc_(primitive, &of) != dnnl_success)
        return NULL;
    return primitive_desc_query_md_(of, which, index);
}

/* The objects that creating a block takes; destroyed afterwards. */
typedef struct block_parts {
    /* any: W in an order that oneDNN chooses; plain: W as mc_packed_set gets it. */
    description x, any, plain, bias, y;
    int made; /* of the five, in this order */
    dnnl_post_ops_t after;
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t multiply, reorder;
} block_parts;

static dnnl_status_t describe(block_parts *m, const mc_product *p, size_t rows)
{
    const mc_product_shape *const s = &p->shape;
    const dnnl_dims_t x = {(int64_t)rows, p->in}, w = {p->in, p->out}, b = {1, p->out},
                      y = {(int64_t)rows, p->out},
                      transposed = {1, is_padded(p) ? p->in : s->stride};
    const dnnl_data_type_t inputs = data_type(s->inputs);
    const bool int8 = s->inputs == MC_I8;
    /* `made` counts the descriptions that exist: destroy_parts destroys no other. */
    dnnl_status_t status = describe_tag(&m->x, 2, x, int8 ? dnnl_u8 : inputs, dnnl_ab);
    m->made += status == dnnl_success;
    if (status == dnnl_success)
        status = describe_tag(&m->any, 2, w, inputs, dnnl_format_tag_any);
    m->made += status == dnnl_success;
    if (status == dnnl_success)
        status = describe_strides(&m->plain, 2, w, int8 ? inputs : dnnl_f32, transposed);
    m->made += status == dnnl_success;
    if (status == dnnl_success)
        status = describe_tag(&m->bias, 2, b, dnnl_f32, dnnl_ab);
    m->made += status == dnnl_success;
    if (status == dnnl_success)
        status = describe_tag(&m->y, 2, y, data_type(s->result), dnnl_ab);
    m->made += status == dnnl_success;
    return status;
}

static dnnl_status_t append_activation(block_parts *m, mc_activation activation)
{
    static const struct {
        dnnl_alg_kind_t algorithm;
        float alpha;
    } functions[MC_ACTIVATION_COUNT] = {
#define X(id_, kernel_, algorithm_, alpha_) {dnnl_##algorithm_, alpha_},
        MC_ACTIVATION_MAP(X)
#undef X
    };
#if DNNL_VERSION_MAJOR == 2
    return post_ops_append_eltwise_(m->after, 1, functions[activation].algorithm,
                                    functions[activation].alpha, 0);
#else
    return post_ops_append_eltwise_(m->after, functions[activation].algorithm,
                                    functions[activation].alpha, 0);
#endif
}

static dnnl_status_t append_sum(block_parts *m)
{
#if DNNL_VERSION_MAJOR == 2
    return post_ops_append_sum_(m->after, 1);
#else
    return post_ops_append_sum_(m->after, 1, 0, dnnl_data_type_undef);
#endif
}

static dnnl_status_t set_attributes(block_parts *m, const mc_product_shape *s)
{
    dnnl_status_t status = primitive_attr_create_(&m->attributes);
    if (status == dnnl_success)
        status = primitive_attr_set_scratchpad_mode_(m->attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = post_ops_create_(&m->after);
    if (status == dnnl_success && s->adds)
        status = append_sum(m);
    if (status == dnnl_success && s->activation != MC_ACTIVATION_LINEAR)
        status = append_activation(m, s->activation);
    return status == dnnl_success ? primitive_attr_set_post_ops_(m->attributes, m->after) : status;
}

static dnnl_status_t describe_product(block_parts *m, bool int8, description_ref weights)
{
#if DNNL_VERSION_MAJOR == 2
    const dnnl_memory_desc_t *const bias = int8 ? NULL : &m->bias;
    dnnl_matmul_desc_t matmul;
    const dnnl_status_t status = matmul_desc_init_(&matmul, &m->x, weights, bias, &m->y);
    if (status != dnnl_success)
        return status;
    return primitive_desc_create_(&m->multiply, &matmul, m->attributes, library.engine, NULL);
#else
    const_dnnl_memory_desc_t bias = int8 ? NULL : m->bias;
    return matmul_primitive_desc_create_(&m->multiply, library.engine, m->x, weights, bias, m->y,
                                         m->attributes);
#endif
}

/* The first block chooses the order of packed weights, the second must use the same. */
static dnnl_status_t make_block(mc_product *p, block_parts *m, size_t rows)
{
    dnnl_status_t status = describe(m, p, rows);
    if (status == dnnl_success)
        status = set_attributes(m, &p->shape);
    if (status != dnnl_success)
        return status;
    const description_ref weights = p->block_count > 0 ? description_of(p->blocks[0].multiply,
                                                                        dnnl_query_weights_md, 0)
                                                       : REF(m->any);
    status = describe_product(m, p->shape.inputs == MC_I8, weights);
    if (status != dnnl_success)
        return status;
    /* The caller owns scratch, so a product is immutable and several threads can use it. */
    const size_t scratch = memory_desc_get_size_(
        primitive_desc_query_md_(m->multiply, dnnl_query_scratchpad_md, 0));
    block *const made = &p->blocks[p->block_count];
    made->rows = rows;
    status = primitive_create_(&made->multiply, m->multiply);
    if (status == dnnl_success) {
        p->block_count++;
        p->scratch_bytes = scratch > p->scratch_bytes ? scratch : p->scratch_bytes;
    }
    return status;
}

static dnnl_status_t make_reorder(mc_product *p, block_parts *m)
{
    const description_ref packed = primitive_desc_query_md_(m->multiply, dnnl_query_weights_md, 0);
    p->packed_bytes = memory_desc_get_size_(packed);
    /* In bf16 the reorder also rounds: W is given in float32. */
    const dnnl_status_t status = reorder_primitive_desc_create_(
        &m->reorder, REF(m->plain), library.engine, packed, library.engine, NULL);
    return status == dnnl_success ? primitive_create_(&p->reorder, m->reorder) : status;
}

static void destroy_parts(block_parts *m)
{
    if (m->multiply)
        primitive_desc_destroy_(m->multiply);
    if (m->reorder)
        primitive_desc_destroy_(m->reorder);
    if (m->attributes)
        primitive_attr_destroy_(m->attributes);
    if (m->after)
        post_ops_destroy_(m->after);
    const description all[] = {m->x, m->any, m->plain, m->bias, m->y};
    for (int i = 0; i < m->made; i++)
        destroy_description(all[i]);
}

void mc_product_free(mc_product *product)
{
    if (!product)
        return;
    for (int i = 0; i < product->block_count; i++)
        primitive_destroy_(product->blocks[i].multiply);
    if (product->reorder)
        primitive_destroy_(product->reorder);
    mc_free(product);
}

const mc_product_shape *mc_product_shape_of(const mc_product *product)
{
    return &product->shape;
}

size_t mc_product_scratch(const mc_product *product)
{
    return (product->scratch_bytes + 63) & ~(size_t)63;
}

/* ---- packed weights -------------------------------------------------------------------------- */

/*
 * In 2.x, creating a memory object over padded weights writes the padding; so they are created
 * once.
 *
 * One block of memory, each part aligned to 64 bytes:
 *
 *   block │ bias: float32[out], padded │ W in the product's order │
 */
struct mc_packed {
    const mc_product *product;
    void *block; /* of the heap */
    float *bias; /* in it; the weights follow */
    dnnl_memory_t weights_memory, bias_memory;
};

static size_t aligned(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

static mc_status make_memories(mc_packed *packed, char *weights, mc_error *error)
{
    const dnnl_primitive_t multiply = packed->product->blocks[0].multiply;
    dnnl_status_t status = memory_create_(&packed->weights_memory,
                                          description_of(multiply, dnnl_query_weights_md, 0),
                                          library.engine, weights);
    if (status == dnnl_success && packed->product->shape.inputs != MC_I8)
        status = memory_create_(&packed->bias_memory,
                                description_of(multiply, dnnl_query_weights_md, 1), library.engine,
                                packed->bias);
    return check(status, "describe weights", error);
}

mc_status mc_packed_new(const mc_product *product, mc_packed **out, mc_error *error)
{
    const size_t bias_bytes = aligned((size_t)product->out * sizeof(float));
    mc_packed *const packed = mc_alloc_zero(1, sizeof *packed);
    if (!packed)
        return mc_fail_memory(error);
    packed->product = product;
    /* 64 more bytes for the alignment. Zeros: the bias that nobody sets, and its padding. */
    packed->block = mc_alloc_zero(1, bias_bytes + product->packed_bytes + 64);
    mc_status status = MC_OK;
    if (packed->block) {
        packed->bias = (float *)aligned((uintptr_t)packed->block);
        status = make_memories(packed, (char *)packed->bias + bias_bytes, error);
    } else {
        status = mc_fail_memory(error);
    }
    if (status != MC_OK) {
        mc_packed_free(packed);
        return status;
    }
    *out = packed;
    return MC_OK;
}

void mc_packed_free(mc_packed *packed)
{
    if (!packed)
        return;
    if (packed->weights_memory)
        memory_destroy_(packed->weights_memory);
    if (packed->bias_memory)
        memory_destroy_(packed->bias_memory);
    mc_free(packed->block);
    mc_free(packed);
}

size_t mc_packed_rows(const mc_packed *packed)
{
    return packed->product->blocks[0].rows;
}

float *mc_packed_bias(mc_packed *packed)
{
    return packed->bias;
}

static mc_status reorder_weights(mc_packed *packed, const void *weights, mc_error *error)
{
    const dnnl_primitive_t reorder = packed->product->reorder;
    dnnl_memory_t from = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = memory_create_(&from, description_of(reorder, dnnl_query_src_md, 0),
                                          library.engine, (void *)(uintptr_t)weights);
    if (status == dnnl_success)
        status = stream_create_(&stream, library.engine, dnnl_stream_default_flags);
    if (status == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from},
                                             {DNNL_ARG_TO, packed->weights_memory}};
        status = primitive_execute_(reorder, stream, 2, arguments);
    }
    if (stream)
        stream_destroy_(stream);
    if (from)
        memory_destroy_(from);
    return check(status, "reorder weights", error);
}

/* The product has columns and rows that W lacks: zeros, which add nothing to a sum. */
static mc_status reorder_padded(mc_packed *packed, const float *weights, mc_error *error)
{
    const mc_product *const p = packed->product;
    const size_t in = (size_t)p->in, stride = (size_t)p->shape.stride;
    float *const padded = mc_alloc_zero((size_t)p->out * in, sizeof *padded);
    if (!padded)
        return mc_fail_memory(error);
    for (size_t row = 0; row < (size_t)p->shape.out; row++)
        memcpy(padded + row * in, weights + row * stride, (size_t)p->shape.in * sizeof *padded);
    const mc_status status = reorder_weights(packed, padded, error);
    mc_free(padded);
    return status;
}

mc_status mc_packed_set(mc_packed *packed, const void *weights, mc_error *error)
{
    return is_padded(packed->product) ? reorder_padded(packed, weights, error)
                                      : reorder_weights(packed, weights, error);
}

/* ---- running --------------------------------------------------------------------------------- */

/* x, y and scratch of the calling thread, for each kind of block. */
typedef struct running {
    dnnl_stream_t stream;
    dnnl_memory_t x[2], y[2], scratch[2];
} running;

static dnnl_status_t describe_memory(dnnl_memory_t *out, const block *b, dnnl_query_t which,
                                     void *at)
{
    return memory_create_(out, description_of(b->multiply, which, 0), library.engine, at);
}

static dnnl_status_t start(running *r, const mc_product *p, void *scratch)
{
    dnnl_status_t status = stream_create_(&r->stream, library.engine, dnnl_stream_default_flags);
    for (int i = 0; i < p->block_count && status == dnnl_success; i++) {
        /* x and y differ from block to block; run_block sets their addresses. */
        status = describe_memory(&r->x[i], &p->blocks[i], dnnl_query_src_md, DNNL_MEMORY_NONE);
        if (status == dnnl_success)
            status = describe_memory(&r->y[i], &p->blocks[i], dnnl_query_dst_md, DNNL_MEMORY_NONE);
        if (status == dnnl_success)
            status = describe_memory(&r->scratch[i], &p->blocks[i], dnnl_query_scratchpad_md,
                                     scratch);
    }
    return status;
}

static void stop(running *r)
{
    for (int i = 0; i < 2; i++) {
        const dnnl_memory_t memories[] = {r->x[i], r->y[i], r->scratch[i]};
        for (int j = 0; j < 3; j++)
            if (memories[j])
                memory_destroy_(memories[j]);
    }
    if (r->stream)
        stream_destroy_(r->stream);
}

static dnnl_status_t run_block(const running *r, const mc_packed *packed, int kind, void *x,
                               void *y)
{
    dnnl_status_t status = memory_set_data_handle_(r->x[kind], x);
    if (status == dnnl_success)
        status = memory_set_data_handle_(r->y[kind], y);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, r->x[kind]},
                                         {DNNL_ARG_WEIGHTS, packed->weights_memory},
                                         {DNNL_ARG_DST, r->y[kind]},
                                         {DNNL_ARG_SCRATCHPAD, r->scratch[kind]},
                                         {DNNL_ARG_BIAS, packed->bias_memory}};
    /* In int8 the caller adds the bias. */
    const int count = packed->bias_memory ? 5 : 4;
    return status == dnnl_success ? primitive_execute_(packed->product->blocks[kind].multiply,
                                                       r->stream, count, arguments)
                                  : status;
}

static size_t bytes_of_rows(size_t rows, int64_t columns, mc_dtype dtype)
{
    const int64_t pitch = mc_product_pitch(dtype, columns);
    return rows * (size_t)pitch * (size_t)mc_dtype_bytes(dtype, 1);
}

/* done NULL: blocks are stored one after the other in y. */
static dnnl_status_t run_all(const running *r, const mc_packed *packed, size_t rows, const char *x,
                             char *y, mc_block_done done, void *user)
{
    const mc_product *const p = packed->product;
    const mc_product_shape *const s = &p->shape;
    size_t row = 0;
    while (row < rows) {
        const size_t left = rows - row;
        /* The large block while it is full, the small one for the rest. */
        const int kind = p->block_count > 1 && left >= p->blocks[1].rows;
        const size_t taken = p->blocks[kind].rows;
        const char *const from = x + bytes_of_rows(row, s->in, s->inputs);
        char *const to = done ? y : y + bytes_of_rows(row, s->out, s->result);
        const dnnl_status_t status = run_block(r, packed, kind, (char *)(uintptr_t)from, to);
        if (status != dnnl_success)
            return status;
        if (done)
            done(user, row, left < taken ? left : taken, to);
        row += taken;
    }
    return dnnl_success;
}

mc_status mc_product_run_blocks(const mc_packed *packed, size_t rows, const void *x, void *y,
                                mc_block_done done, void *user, void *scratch, mc_error *error)
{
    running r = {0};
    dnnl_status_t status = start(&r, packed->product, scratch);
    if (status == dnnl_success)
        status = run_all(&r, packed, rows, x, y, done, user);
    stop(&r);
    return check(status, "multiply", error);
}

mc_status mc_product_run(const mc_packed *packed, size_t rows, const void *x, void *y,
                         void *scratch, mc_error *error)
{
    return mc_product_run_blocks(packed, rows, x, y, NULL, NULL, scratch, error);
}

/* ---- making a product ------------------------------------------------------------------------ */

/* The same rows multiplied by the same weights, in blocks of both sizes. */
typedef struct trial {
    mc_packed *packed;
    float *weights, *numbers; /* [out][stride], [MC_PRODUCT_ROWS_MOST][in] */
    char *x, *y[2]; /* [MC_PRODUCT_ROWS_MOST][in] and [out], in the dtypes of the product */
    char *scratch;
} trial;

/* Different numbers from −1 to 1. */
static void fill(float *numbers, size_t count)
{
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        /*
         * A linear congruential generator: signs and magnitudes vary, so that sums in another order
         * have other bits.
         */
        state = state * 1664525 + 1013904223;
        numbers[i] = (float)(int32_t)state * 0x1p-31F;
    }
}

static mc_status prepare(trial *t, const mc_product *p, mc_error *error)
{
    const mc_product_shape *const s = &p->shape;
    const size_t inputs = MC_PRODUCT_ROWS_MOST * (size_t)p->in;
    const size_t weights = (size_t)s->stride * (size_t)s->out;
    const size_t results = bytes_of_rows(MC_PRODUCT_ROWS_MOST, s->out, s->result);
    t->weights = mc_alloc(weights * sizeof *t->weights);
    t->numbers = mc_alloc(inputs * sizeof *t->numbers);
    t->x = mc_alloc(bytes_of_rows(MC_PRODUCT_ROWS_MOST, s->in, s->inputs));
    t->y[0] = mc_alloc_zero(1, results);
    t->y[1] = mc_alloc_zero(1, results);
    t->scratch = mc_alloc(mc_product_scratch(p) + 64);
    if (!t->weights || !t->numbers || !t->x || !t->y[0] || !t->y[1] || !t->scratch)
        return mc_fail_memory(error);
    fill(t->weights, weights);
    fill(t->numbers, inputs);
    mc_dtype_from_f32(s->inputs, t->x, t->numbers, inputs);
    MC_TRY(mc_packed_new(p, &t->packed, error));
    return mc_packed_set(t->packed, t->weights, error);
}

static void clean_up(trial *t)
{
    void *const all[] = {t->weights, t->numbers, t->x, t->y[0], t->y[1], t->scratch};
    mc_packed_free(t->packed);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mc_free(all[i]);
}

static mc_status multiply_both(const trial *t, const mc_product *p, mc_error *error)
{
    const mc_product_shape *const s = &p->shape;
    void *const scratch = (void *)aligned((uintptr_t)t->scratch);
    const size_t step = p->blocks[0].rows;
    for (size_t row = 0; row < MC_PRODUCT_ROWS_MOST; row += step)
        MC_TRY(mc_product_run(t->packed, step, t->x + bytes_of_rows(row, s->in, s->inputs),
                              t->y[0] + bytes_of_rows(row, s->out, s->result), scratch, error));
    return mc_product_run(t->packed, MC_PRODUCT_ROWS_MOST, t->x, t->y[1], scratch, error);
}

/*
 * Drops the smaller block if it gives a row other bits than the larger one. oneDNN does not promise
 * that they agree: in some kernels (bf16 on AMX, from about 2,000 columns on), the number of rows
 * decides where long sums are cut.
 */
static mc_status compare_blocks(mc_product *p, mc_error *error)
{
    trial t = {0};
    mc_status status = prepare(&t, p, error);
    if (status == MC_OK)
        status = multiply_both(&t, p, error);
    const size_t size = bytes_of_rows(MC_PRODUCT_ROWS_MOST, p->shape.out, p->shape.result);
    const bool same = status == MC_OK && memcmp(t.y[0], t.y[1], size) == 0;
    clean_up(&t);
    if (status == MC_OK && !same) {
        primitive_destroy_(p->blocks[0].multiply);
        p->blocks[0] = p->blocks[1];
        p->block_count = 1;
    }
    return status;
}

/*
 * Large blocks read the weights less often. In int8 the sums of a block must stay in the cache,
 * too; only AMX is fast enough to gain.
 */
static bool gains_by_large_blocks(const mc_product_shape *s)
{
    return s->inputs != MC_I8 || has(dnnl_cpu_isa_avx512_core_amx);
}

static mc_status make(mc_product *p, mc_error *error)
{
    block_parts small = {0}, large = {0};
    dnnl_status_t status = make_block(p, &small, MC_PRODUCT_ROWS);
    if (status == dnnl_success)
        status = make_reorder(p, &small);
    if (status == dnnl_success && gains_by_large_blocks(&p->shape))
        /* A gain of speed only: without it, all rows are computed in small blocks. */
        (void)make_block(p, &large, MC_PRODUCT_ROWS_MOST);
    destroy_parts(&small);
    destroy_parts(&large);
    MC_TRY(check(status, "multiply matrices", error));
    /* Sums of int8 are exact, so blocks of any size agree. */
    return p->block_count > 1 && p->shape.inputs != MC_I8 ? compare_blocks(p, error) : MC_OK;
}

mc_status mc_product_new(const mc_product_shape *shape, mc_product **out, mc_error *error)
{
    if (shape->inputs == MC_I8 && shape->in > MC_PRODUCT_INT8_COLUMNS)
        return mc_fail(error, MC_UNSUPPORTED,
                       "products in int8: expected at most %d columns, found %lld",
                       MC_PRODUCT_INT8_COLUMNS, (long long)shape->in);
    mc_product *const product = mc_alloc_zero(1, sizeof *product);
    if (!product)
        return mc_fail_memory(error);
    product->shape = *shape;
    product->in = mc_product_pitch(shape->inputs, shape->in);
    product->out = mc_product_pitch(shape->result, shape->out);
    const mc_status status = make(product, error);
    if (status != MC_OK) {
        mc_product_free(product);
        return status;
    }
    *out = product;
    return MC_OK;
}
