/* Compiled once for each CPU level, with MC_LOW_RANK_TABLE as the name of its table. */
#include "tensor/low_rank_table.h"

/*
 * The sums of ROWS rows and WIDE vectors stay in registers while k runs: eight of 16 registers, or
 * 16 of AVX-512's 32, where four vectors in a row of `right` are 15 % faster than two (Zen 4).
 */
#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, WIDE = 4 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, WIDE = 2 };
#else
enum { VECTOR_BYTES = 16, WIDE = 2 };
#endif
enum { ROWS = 4 };

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/*
 * Vectors are read where they lie, at any alignment. Their size is the CPU level's own: the
 * compiler keeps larger ones, which it would have to split, in memory instead of registers.
 */
#define DEFINE_ADD(real_, suffix_)                                                                 \
    typedef real_ vector_##suffix_                                                                 \
        __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real_)), may_alias));             \
    enum {                                                                                         \
        STRIP_##suffix_ = MC_LOW_RANK_STRIP_BYTES / sizeof(real_),                                 \
        STEP_##suffix_ = WIDE * VECTOR_BYTES / sizeof(real_),                                      \
    };                                                                                             \
                                                                                                   \
    /* WIDE vectors of `rows` rows, which is a constant: ROWS or 1. */                             \
    static inline __attribute__((always_inline)) void add_vectors_##suffix_(                       \
        const mc_low_rank_block *b, const int rows, const real_ *left, const real_ *right,         \
        real_ scale, real_ *x)                                                                     \
    {                                                                                              \
        vector_##suffix_ sums[ROWS][WIDE] = {0};                                                   \
        for (size_t k = 0; k < b->rank; k++) {                                                     \
            const void *const row = right + k * STRIP_##suffix_;                                   \
            const vector_##suffix_ *const r = row;                                                 \
            _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)                                 \
                _Pragma("GCC unroll 4") for (int v = 0; v < WIDE; v++)                             \
                    sums[i][v] += left[(size_t)i * b->rank + k] * r[v];                            \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)                                     \
        {                                                                                          \
            vector_##suffix_ *const to = (vector_##suffix_ *)(x + (size_t)i * b->stride);          \
            _Pragma("GCC unroll 4") for (int v = 0; v < WIDE; v++) to[v] += scale * sums[i][v];    \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static void add_strip_##suffix_(const mc_low_rank_block *b, const real_ *left,                 \
                                    const real_ *right, real_ scale, real_ *x)                     \
    {                                                                                              \
        for (size_t j = 0; j < STRIP_##suffix_; j += STEP_##suffix_) {                             \
            size_t i = 0;                                                                          \
            for (; i + ROWS <= b->rows; i += ROWS)                                                 \
                add_vectors_##suffix_(b, ROWS, left + i * b->rank, right + j, scale,               \
                                      x + i * b->stride + j);                                      \
            for (; i < b->rows; i++)                                                               \
                add_vectors_##suffix_(b, 1, left + i * b->rank, right + j, scale,                  \
                                      x + i * b->stride + j);                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    /* `count` columns of a strip from column `from` on: sums of the whole strip, of which some \
     * are used. */  \
    static void add_part_##suffix_(const mc_low_rank_block *b, size_t from, size_t count,          \
                                   const real_ *left, const real_ *right, real_ scale, real_ *x)   \
    {                                                                                              \
        for (size_t i = 0; i < b->rows; i++) {                                                     \
            real_ sums[STRIP_##suffix_] = {0};                                                     \
            for (size_t k = 0; k < b->rank; k++)                                                   \
                for (size_t j = 0; j < STRIP_##suffix_; j++)                                       \
                    sums[j] += left[i * b->rank + k] * right[k * STRIP_##suffix_ + j];             \
            for (size_t j = 0; j < count; j++)                                                     \
                x[i * b->stride + j] += scale * sums[from + j];                                    \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static void add_##suffix_(const mc_low_rank_block *b, const real_ *left, const real_ *right,   \
                              real_ scale, real_ *x)                                               \
    {                                                                                              \
        for (size_t done = 0; done < b->count;) {                                                  \
            const size_t column = b->first + done, from = column % STRIP_##suffix_;                \
            const size_t count = smaller(STRIP_##suffix_ - from, b->count - done);                 \
            const real_ *const strip = right + (column - from) * b->rank;                          \
            if (count == STRIP_##suffix_)                                                          \
                add_strip_##suffix_(b, left, strip, scale, x + done);                              \
            else                                                                                   \
                add_part_##suffix_(b, from, count, left, strip, scale, x + done);                  \
            done += count;                                                                         \
        }                                                                                          \
    }

DEFINE_ADD(float, f32)
DEFINE_ADD(double, f64)

const mc_low_rank_table MC_LOW_RANK_TABLE = {.add_f32 = add_f32, .add_f64 = add_f64};
