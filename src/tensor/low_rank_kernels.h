/* Compiled once for each CPU level, with MC_LOW_RANK_TABLE as the name of its table. */
#include "tensor/low_rank_table.h"

/*
 * PANEL: columns of `right` that are used for all rows before the next ones, so that they stay in
 * the nearest cache: 16 KB at rank 16. ROWS: rows whose sums, two vectors each, stay in registers
 * while k runs. Each loaded vector of `right` then serves that many products.
 */
enum { PANEL = 256, ROWS = 4 };

/*
 * The compiler splits vectors where registers are narrower. They are read where they lie, at any
 * alignment: a function that returned one would have an ABI per CPU level.
 */
#define DEFINE_ADD(real_, suffix_)                                                                 \
    typedef real_ vector_##suffix_                                                                 \
        __attribute__((vector_size(64), aligned(sizeof(real_)), may_alias));                       \
    enum { WIDTH_##suffix_ = 64 / sizeof(real_) };                                                 \
                                                                                                   \
    /* Four rows of two vectors. */                                                                \
    static void add_rows_##suffix_(const mc_low_rank_block *b, const real_ *left,                  \
                                   const real_ *right, real_ scale, real_ *x)                      \
    {                                                                                              \
        vector_##suffix_ s[ROWS][2] = {0};                                                         \
        const real_ *const l[] = {left, left + b->rank, left + 2 * b->rank, left + 3 * b->rank};   \
        for (size_t k = 0; k < b->rank; k++) {                                                     \
            const vector_##suffix_ *const r = (const vector_##suffix_ *)(right + k * b->stride);   \
            _Pragma("GCC unroll 4") for (int i = 0; i < ROWS; i++)                                 \
            {                                                                                      \
                s[i][0] += l[i][k] * r[0];                                                         \
                s[i][1] += l[i][k] * r[1];                                                         \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < ROWS; i++)                                  \
        {                                                                                          \
            vector_##suffix_ *const to = (vector_##suffix_ *)(x + i * b->stride);                  \
            to[0] += scale * s[i][0];                                                              \
            to[1] += scale * s[i][1];                                                              \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    /* One vector of one row. */                                                                   \
    static void add_vector_##suffix_(const mc_low_rank_block *b, const real_ *left,                \
                                     const real_ *right, real_ scale, real_ *x)                    \
    {                                                                                              \
        vector_##suffix_ sum = {0};                                                                \
        for (size_t k = 0; k < b->rank; k++)                                                       \
            sum += left[k] * *(const vector_##suffix_ *)(right + k * b->stride);                   \
        *(vector_##suffix_ *)x += scale * sum;                                                     \
    }                                                                                              \
                                                                                                   \
    static void add_element_##suffix_(const mc_low_rank_block *b, const real_ *left,               \
                                      const real_ *right, real_ scale, real_ *x)                   \
    {                                                                                              \
        real_ sum = 0;                                                                             \
        for (size_t k = 0; k < b->rank; k++)                                                       \
            sum += left[k] * right[k * b->stride];                                                 \
        *x += scale * sum;                                                                         \
    }                                                                                              \
                                                                                                   \
    /* Columns first … end − 1 of rows i … i + rows − 1. */                                \
    static void add_panel_##suffix_(const mc_low_rank_block *b, size_t i, size_t rows,             \
                                    size_t first, size_t end, const real_ *left,                   \
                                    const real_ *right, real_ scale, real_ *x)                     \
    {                                                                                              \
        const real_ *const l = left + i * b->rank;                                                 \
        real_ *const out = x + i * b->stride;                                                      \
        size_t j = first;                                                                          \
        for (; rows == ROWS && j + 2 * WIDTH_##suffix_ <= end; j += 2 * WIDTH_##suffix_)           \
            add_rows_##suffix_(b, l, right + j, scale, out + j);                                   \
        for (size_t row = 0; row < rows; row++) {                                                  \
            size_t at = j;                                                                         \
            for (; at + WIDTH_##suffix_ <= end; at += WIDTH_##suffix_)                             \
                add_vector_##suffix_(b, l + row * b->rank, right + at, scale,                      \
                                     out + row * b->stride + at);                                  \
            for (; at < end; at++)                                                                 \
                add_element_##suffix_(b, l + row * b->rank, right + at, scale,                     \
                                      out + row * b->stride + at);                                 \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static void add_##suffix_(const mc_low_rank_block *b, const real_ *left, const real_ *right,   \
                              real_ scale, real_ *x)                                               \
    {                                                                                              \
        for (size_t first = 0; first < b->count; first += PANEL) {                                 \
            const size_t end = b->count - first < PANEL ? b->count : first + PANEL;                \
            for (size_t i = 0; i < b->rows; i += ROWS)                                             \
                add_panel_##suffix_(b, i, b->rows - i < ROWS ? b->rows - i : ROWS, first, end,     \
                                    left, right, scale, x);                                        \
        }                                                                                          \
    }

DEFINE_ADD(float, f32)
DEFINE_ADD(double, f64)

const mc_low_rank_table MC_LOW_RANK_TABLE = {.add_f32 = add_f32, .add_f64 = add_f64};
