/*
 * Matrix products by oneDNN, the only file that knows it: its 2.x and 3.x interfaces, loaded when first needed.
 *
 * A product is y = f(x·Wᵀ + b), computed in blocks of MC_PRODUCT_ROWS or MC_PRODUCT_ROWS_MOST rows, each on one thread. The bits of a row depend
 * on that row alone: not on what stands in the others, on their number, or on the number of threads.
 *
 * Products of int8 are sums of whole numbers: what the numbers stand for, b and f are the caller's.
 */
#ifndef MC_NN_ONEDNN_H
#define MC_NN_ONEDNN_H

#include "base/error.h"

#include <mergecraft/dtype.h>

/*
 * Rows of a block. The small one: enough that reading W from the cache costs little beside computing with it (measured: from 16 on), and few, as
 * the last block of a batch is filled up. The large one for what is faster than most caches: two units for vectors, AMX. Both are multiples of
 * the rows that any of oneDNN's kernels takes at a time (6 with AVX2): what computes the rows that are left over adds up in another order.
 */
enum { MC_PRODUCT_ROWS = 24, MC_PRODUCT_ROWS_MOST = 192 };

enum { MC_PRODUCT_INT8_COLUMNS = 65536 }; /* of so many the sum still is an int32 */

/* Function in kernels_level.c, algorithm in oneDNN, its parameter. gelu: by erf; gelu_tanh: the approximation by tanh. */
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
 * `inputs`: x and W, MC_F32, MC_BF16, or MC_I8, where x is unsigned; `result`: y, MC_I32 if inputs are MC_I8. b, and the sums of
 * the others, are float32.
 */
typedef struct mc_product_shape {
    int64_t in,
        out; /* columns of x and of y; W is [out][in]; at most MC_PRODUCT_INT8_COLUMNS if inputs are MC_I8 */
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

/* How to compute the products of one shape. Immutable: several threads may use it at once. */
typedef struct mc_product mc_product;

/* MC_UNSUPPORTED where oneDNN is not installed, or cannot do it on this CPU. */
mc_status mc_product_new(const mc_product_shape *shape, mc_product **out, mc_error *error);
void mc_product_free(mc_product *product); /* accepts NULL */
const mc_product_shape *mc_product_shape_of(const mc_product *product);

/* Weights in the order in which the product reads them, and the bias. */
typedef struct mc_packed mc_packed;

/* Memory for one W and b; the product must outlive it. */
mc_status mc_packed_new(const mc_product *product, mc_packed **out, mc_error *error);
void mc_packed_free(mc_packed *packed); /* accepts NULL */
/* Replaces W by weights[out][stride], of float32, or of int8 if inputs are MC_I8. Not while another thread computes with it. */
mc_status mc_packed_set(mc_packed *packed, const void *weights, mc_error *error);
float *mc_packed_bias(mc_packed *packed); /* [out], zeros at first */
/* Rows of its smallest block: MC_PRODUCT_ROWS, or MC_PRODUCT_ROWS_MOST where only blocks of those give each row the same bits. */
size_t mc_packed_rows(const mc_packed *packed);

/* Bytes that a thread needs beside, aligned to 64. */
size_t mc_product_scratch(const mc_product *product);

/*
 * Computes whole blocks: x[rows][in] and y[rows][out] in the dtypes of the shape, dense, in memory for `rows` rounded up to
 * mc_packed_rows. What is in the rows above is computed too, and not looked at.
 */
mc_status mc_product_run(const mc_packed *packed, size_t rows, const void *x, void *y,
                         void *scratch, mc_error *error);

/* Takes y of rows first … first + count − 1, a block or what is left. */
typedef void (*mc_block_done)(void *user, size_t first, size_t count, const void *y);

/* As mc_product_run, but each block is put into y[MC_PRODUCT_ROWS_MOST][out] and given to `done`, while it is in the cache. */
mc_status mc_product_run_blocks(const mc_packed *packed, size_t rows, const void *x, void *y,
                                mc_block_done done, void *user, void *scratch, mc_error *error);

/*
 * Keeps oneDNN to one thread in the calling thread, from begin to end; begin returns what end takes. mc_product_new, _set and _run
 * are to be called in between: products are made for the number of threads of the thread that makes them.
 */
mc_status mc_onednn_begin(int *restore, mc_error *error);
void mc_onednn_end(int restore);

/* MC_UNSUPPORTED unless this CPU multiplies the dtype (MC_F32, MC_BF16, MC_I8) itself, and oneDNN knows how. */
mc_status mc_onednn_check(mc_dtype dtype, mc_error *error);
/* Version of the library that is loaded: 2006003 for 2.6.3. Call between begin and end. */
int mc_onednn_version(void);

#endif
