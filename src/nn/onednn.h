/*
 * Matrix products by oneDNN. Only onednn.c knows that library: its 2.x and 3.x interfaces, loaded
 * at first use.
 *
 * A product is y = f(x·Wᵀ + b), computed in blocks of MC_PRODUCT_ROWS or MC_PRODUCT_ROWS_MOST rows,
 * each on one thread. The bits of a row depend on that row alone: not on the other rows, their
 * number, or the number of threads.
 *
 * Products of int8 are exact sums of integers; the caller applies scales, b and f.
 */
#ifndef MC_NN_ONEDNN_H
#define MC_NN_ONEDNN_H

#include "base/error.h"

#include <mergecraft/dtype.h>

/*
 * Rows per block. The small one has enough rows that reading W from the cache costs little
 * (measured: from 16 on), and few, as the last block is filled up. The large one is for units that
 * are faster than most caches: two vector units, AMX. Both are multiples of the rows that oneDNN's
 * kernels take at a time (6 with AVX2): leftover rows are summed in another order.
 */
enum { MC_PRODUCT_ROWS = 24, MC_PRODUCT_ROWS_MOST = 192 };

/* The most columns whose sum of int8 products fits an int32: 65,536 · 255 · 127 is below 2^31. */
enum { MC_PRODUCT_INT8_COLUMNS = 65536 };

/*
 * Kernel in kernels_level.c, oneDNN's algorithm and its parameter. gelu uses erf; gelu_tanh is the
 * approximation by tanh.
 */
#define MC_ACTIVATION_MAP(X)                                                                       \
    X(LINEAR, linear, eltwise_linear, 1)                                                           \
    X(GELU, gelu, eltwise_gelu_erf, 0)                                                             \
    X(GELU_TANH, gelu_tanh, eltwise_gelu_tanh, 0)                                                  \
    X(QUICK_GELU, quick_gelu, eltwise_swish, 1.702F)                                               \
    X(SILU, silu, eltwise_swish, 1)                                                                \
    X(RELU, relu, eltwise_relu, 0)                                                                 \
    X(TANH, tanh_of, eltwise_tanh, 0)                                                              \
    X(SIGMOID, sigmoid, eltwise_logistic, 0)

typedef enum mc_activation {
#define X(id_, kernel_, algorithm_, alpha_) MC_ACTIVATION_##id_,
    MC_ACTIVATION_MAP(X)
#undef X
        MC_ACTIVATION_COUNT
} mc_activation;

/*
 * inputs: dtype of x and W: MC_F32, MC_BF16, or MC_I8 (x is unsigned then). result: dtype of y,
 * MC_I32 for inputs of MC_I8. b is float32, and so are sums that are not of integers.
 */
typedef struct mc_product_shape {
    /* Columns of x and of y; W is [out][in]. At most MC_PRODUCT_INT8_COLUMNS for MC_I8. */
    int64_t in, out;
    mc_dtype inputs, result;
    mc_activation activation; /* f */
    int64_t stride; /* of W in mc_packed_set: numbers from one row to the next, at least `in` */
    bool adds;      /* y = f(x·Wᵀ + b + y) */
} mc_product_shape;

/*
 * Numbers from one row of x or y to the next: `columns`, and for bf16 zeros up to a multiple of 32.
 * Products read the zeros of x, and write activation(0) in place of those of y.
 */
int64_t mc_product_pitch(mc_dtype dtype, int64_t columns);

/* The kernels for one shape. Immutable: several threads may use it at once. */
typedef struct mc_product mc_product;

/* Errors: MC_UNSUPPORTED: oneDNN is not installed, or cannot compute it on this CPU. */
mc_status mc_product_new(const mc_product_shape *shape, mc_product **out, mc_error *error);
void mc_product_free(mc_product *product); /* accepts NULL */
const mc_product_shape *mc_product_shape_of(const mc_product *product);

/* W in the order in which the product reads it, and b. */
typedef struct mc_packed mc_packed;

/* Memory for one W and b; the product must outlive it. */
mc_status mc_packed_new(const mc_product *product, mc_packed **out, mc_error *error);
void mc_packed_free(mc_packed *packed); /* accepts NULL */
/*
 * Replaces W by weights[out][stride] in float32, or in int8 if inputs are MC_I8. No other thread
 * may compute with it meanwhile.
 */
mc_status mc_packed_set(mc_packed *packed, const void *weights, mc_error *error);
float *mc_packed_bias(mc_packed *packed); /* [out], zeros at first */
/*
 * Rows of its smallest block: MC_PRODUCT_ROWS, or MC_PRODUCT_ROWS_MOST if a smaller block would
 * give a row other bits.
 */
size_t mc_packed_rows(const mc_packed *packed);

/* Bytes of scratch per thread, aligned to 64. */
size_t mc_product_scratch(const mc_product *product);

/*
 * Computes whole blocks: x[rows][in] and y[rows][out] in the dtypes of the shape, rows
 * mc_product_pitch apart. Both need memory for `rows` rounded up to mc_packed_rows; the rows above
 * are computed too, and may hold anything.
 */
mc_status mc_product_run(const mc_packed *packed, size_t rows, const void *x, void *y,
                         void *scratch, mc_error *error);

/* Receives y of rows first … first + count − 1: a block, or its used part. */
typedef void (*mc_block_done)(void *user, size_t first, size_t count, const void *y);

/*
 * As mc_product_run, but computes each block into y[MC_PRODUCT_ROWS_MOST][out] and passes it to
 * `done` while it is in the cache.
 */
mc_status mc_product_run_blocks(const mc_packed *packed, size_t rows, const void *x, void *y,
                                mc_block_done done, void *user, void *scratch, mc_error *error);

/*
 * Limit oneDNN to one thread in the calling thread, from begin to end; begin sets what end takes.
 * Call mc_product_new, mc_packed_set and mc_product_run in between: kernels are made for the number
 * of threads of the thread that makes them.
 */
mc_status mc_onednn_begin(int *restore, mc_error *error);
void mc_onednn_end(int restore);

/* MC_UNSUPPORTED unless the CPU has products of the dtype, and oneDNN uses them. */
mc_status mc_onednn_check(mc_dtype dtype, mc_error *error);
/* Version of the loaded library: 2006003 is 2.6.3. Call between begin and end. */
int mc_onednn_version(void);

#endif
