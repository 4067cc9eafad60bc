/* Compiled once per CPU level, with MC_LEVEL its name. */
#include "linalg/gemm_kernels.h"

#include <stdint.h>
#include <string.h>

/*
 * The sums of ROWS rows and two vectors stay in registers while the innermost loop runs: 24 of
 * AVX-512's 32, 12 of AVX2's 16. Twelve rows take as long as fourteen, and divide common widths.
 */
#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, ROWS = 12 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, ROWS = 6 };
#else
enum { VECTOR_BYTES = 16, ROWS = 4 };
#endif
enum { WIDE = 2 };

#define PASTE(a_, b_, c_) a_##b_##c_
#define EXPAND(a_, b_, c_) PASTE(a_, b_, c_)
#define TABLE(level_, suffix_) EXPAND(mc_gemm_, level_, suffix_)

/* Four of the eight numbers of two vectors. */
#if defined(__clang__)
#define SHUFFLE(order_, a_, b_, ...) __builtin_shufflevector(a_, b_, __VA_ARGS__)
#else
#define SHUFFLE(order_, a_, b_, ...) __builtin_shuffle(a_, b_, (order_){__VA_ARGS__})
#endif

#define REAL float
#define INDEX int32_t
#define SUFFIX _f32
#define NAME(name_) mc_gemm_##name_##_f32
#include "linalg/gemm_real.h"
#undef REAL
#undef INDEX
#undef SUFFIX
#undef NAME

#define REAL double
#define INDEX int64_t
#define SUFFIX _f64
#define NAME(name_) mc_gemm_##name_##_f64
#include "linalg/gemm_real.h"
