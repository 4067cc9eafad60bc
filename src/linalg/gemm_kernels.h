/* The innermost loops of gemm.h, compiled for each CPU level. */
#ifndef MC_LINALG_GEMM_KERNELS_H
#define MC_LINALG_GEMM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A block of C [m, n] from panels: panel i of `a` begins at a + i · a_panel. Row 0 of the block is
 * row `row` of C, column 0 is column `column`: for `upper`. start: NULL; or what C's rows are
 * before the product is added.
 */
#define MC_GEMM_KERNELS_OF(S_, REAL_)                                                              \
    typedef struct mc_gemm_block_##S_ {                                                            \
        size_t m, n, row, column;                                                                  \
        const REAL_ *a, *b, *start;                                                                \
        size_t a_panel, b_panel;                                                                   \
        REAL_ *c;                                                                                  \
        size_t stride;                                                                             \
        const size_t *ends;                                                                        \
        size_t parts;                                                                              \
        bool squares, upper;                                                                       \
    } mc_gemm_block_##S_;                                                                          \
    typedef struct mc_gemm_kernels_##S_ {                                                          \
        size_t rows, columns; /* of a tile: the widths of panels of A and B */                     \
        void (*block)(const mc_gemm_block_##S_ *b);                                                \
        /* Packs `outer` rows of `inner` numbers into panels [inner][width], one after another. */ \
        void (*pack)(const REAL_ *from, size_t outer, size_t inner, size_t outer_stride,           \
                     size_t inner_stride, size_t width, REAL_ *to);                                \
    } mc_gemm_kernels_##S_;                                                                        \
    extern const mc_gemm_kernels_##S_ mc_gemm_scalar_##S_, mc_gemm_avx2_##S_, mc_gemm_avx512_##S_;

MC_GEMM_KERNELS_OF(f32, float)
MC_GEMM_KERNELS_OF(f64, double)

#endif
