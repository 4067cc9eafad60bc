/*
 * The text of a table of kernels for one type: REAL, INDEX (an integer of its size), SUFFIX,
 * NAME(name) for its types.
 */
#define LOCAL_(name_, suffix_) name_##suffix_
#define LOCAL__(name_, suffix_) LOCAL_(name_, suffix_)
#define LOCAL(name_) LOCAL__(name_, SUFFIX)

typedef REAL LOCAL(vector)
    __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
enum {
    LOCAL(LANES) = VECTOR_BYTES / sizeof(REAL),
    LOCAL(COLUMNS) = WIDE * LOCAL(LANES),
};

/* A tile of C += a b, or the square of a b, element by element. `row`: replaces C's rows. */
static inline __attribute__((always_inline)) void LOCAL(add_tile)(size_t inner, const REAL *a,
                                                                  const REAL *b, REAL *c,
                                                                  size_t stride, const REAL *row,
                                                                  const bool squares)
{
    LOCAL(vector) sums[ROWS][WIDE] = {0};
    const LOCAL(vector) ones = sums[0][0] + 1;
    /* C is not in a cache: fetch it while the loop runs. */
    for (int i = 0; i < ROWS; i++)
        for (int v = 0; v < WIDE; v++)
            __builtin_prefetch(c + (size_t)i * stride + v * LOCAL(LANES), 1);
    for (size_t p = 0; p < inner; p++) {
        const void *const columns = b + p * LOCAL(COLUMNS);
        const LOCAL(vector) *const r = columns;
        _Pragma("GCC unroll 12") for (int i = 0; i < ROWS; i++)
            _Pragma("GCC unroll 2") for (int v = 0; v < WIDE; v++)
                sums[i][v] += a[p * ROWS + i] * r[v];
    }
    _Pragma("GCC unroll 12") for (int i = 0; i < ROWS; i++)
    {
        LOCAL(vector) *const to = (LOCAL(vector) *)(void *)(c + (size_t)i * stride);
        const LOCAL(vector) *const old = row ? (const LOCAL(vector) *)(const void *)row : to;
        _Pragma("GCC unroll 2") for (int v = 0; v < WIDE; v++)
            to[v] = old[v] + sums[i][v] * (squares ? sums[i][v] : ones);
    }
}

/* All parts of the inner dimension, whose tile of C stays in the first cache. */
static void LOCAL(add_parts)(const NAME(block) * b, const REAL *a, const REAL *columns, REAL *c,
                             size_t stride, const REAL *row)
{
    if (!b->squares) {
        LOCAL(add_tile)(b->ends[0], a, columns, c, stride, row, false);
        return;
    }
    for (size_t part = 0, first = 0; part < b->parts; first = b->ends[part++]) {
        const size_t inner = b->ends[part] - first, at = first * LOCAL(COLUMNS);
        const REAL *const old = part == 0 ? row : NULL;
        LOCAL(add_tile)(inner, a + first * ROWS, columns + at, c, stride, old, true);
    }
}

/* A tile that C has only a part of. */
static void LOCAL(add_edge)(const NAME(block) * b, const REAL *a, const REAL *columns, REAL *c,
                            size_t m, size_t n, const REAL *row)
{
    REAL tile[ROWS * LOCAL(COLUMNS)] = {0};
    LOCAL(add_parts)(b, a, columns, tile, LOCAL(COLUMNS), NULL);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            c[i * b->stride + j] = (row ? row[j] : c[i * b->stride + j]) +
                                   tile[i * LOCAL(COLUMNS) + j];
}

static void LOCAL(block)(const NAME(block) * b)
{
    for (size_t i = 0; i < b->m; i += ROWS)
        for (size_t j = 0; j < b->n; j += LOCAL(COLUMNS)) {
            const REAL *const a = b->a + i / ROWS * b->a_panel;
            const REAL *const columns = b->b + j / LOCAL(COLUMNS) * b->b_panel;
            REAL *const c = b->c + i * b->stride + j;
            if (b->upper && b->row + i >= b->column + j + LOCAL(COLUMNS))
                continue;
            const REAL *const start = b->start ? b->start + j : NULL;
            const size_t m = b->m - i, n = b->n - j;
            if (m >= ROWS && n >= LOCAL(COLUMNS)) {
                LOCAL(add_parts)(b, a, columns, c, b->stride, start);
            } else {
                const size_t rows = m < ROWS ? m : ROWS;
                const size_t width = n < LOCAL(COLUMNS) ? n : LOCAL(COLUMNS);
                LOCAL(add_edge)(b, a, columns, c, rows, width, start);
            }
        }
}

typedef REAL LOCAL(four)
    __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef INDEX LOCAL(order) __attribute__((vector_size(4 * sizeof(INDEX))));

/* Four numbers of each of four rows become four columns, `width` apart. */
static inline void LOCAL(transpose)(const REAL *from, size_t stride, size_t width, REAL *to)
{
    LOCAL(four) r[4], pairs[4];
    for (int i = 0; i < 4; i++)
        r[i] = *(const LOCAL(four) *)(const void *)(from + (size_t)i * stride);
    for (int i = 0; i < 2; i++) {
        pairs[i] = SHUFFLE(LOCAL(order), r[2 * i], r[2 * i + 1], 0, 4, 1, 5);
        pairs[2 + i] = SHUFFLE(LOCAL(order), r[2 * i], r[2 * i + 1], 2, 6, 3, 7);
    }
    for (int i = 0; i < 2; i++) {
        LOCAL(four) *const even = (LOCAL(four) *)(void *)(to + (size_t)(2 * i) * width);
        LOCAL(four) *const odd = (LOCAL(four) *)(void *)(to + (size_t)(2 * i + 1) * width);
        *even = SHUFFLE(LOCAL(order), pairs[2 * i], pairs[2 * i + 1], 0, 1, 4, 5);
        *odd = SHUFFLE(LOCAL(order), pairs[2 * i], pairs[2 * i + 1], 2, 3, 6, 7);
    }
}

/* Numbers first … end − 1 of up to `width` rows become rows of one panel. */
static void LOCAL(pack_part)(const REAL *from, size_t rows, size_t first, size_t end, size_t stride,
                             size_t width, REAL *to)
{
    size_t i = 0;
    for (; i + 4 <= rows; i += 4) {
        size_t p = first;
        for (; p + 4 <= end; p += 4)
            LOCAL(transpose)(from + i * stride + p, stride, width, to + p * width + i);
        for (; p < end; p++)
            for (size_t k = i; k < i + 4; k++)
                to[p * width + k] = from[k * stride + p];
    }
    for (; i < width; i++)
        for (size_t p = first; p < end; p++)
            to[p * width + i] = i < rows ? from[i * stride + p] : 0;
}

/*
 * Rows that lie in memory one after the other become columns of panels. In parts, so that what is
 * written stays in the first cache until its lines are complete.
 */
static void LOCAL(pack_rows)(const REAL *from, size_t outer, size_t inner, size_t stride,
                             size_t width, REAL *to)
{
    enum { PART = 64 };
    for (size_t i = 0; i < outer; i += width)
        for (size_t p = 0; p < inner; p += PART) {
            const size_t rows = outer - i < width ? outer - i : width;
            const size_t end = inner - p < PART ? inner : p + PART;
            LOCAL(pack_part)(from + i * stride, rows, p, end, stride, width, to + i * inner);
        }
}

/* Both numbers are constants where it matters, so that copies need no calls. */
static inline __attribute__((always_inline)) void LOCAL(copy_panels)(const REAL *from, size_t inner,
                                                                     size_t stride,
                                                                     const size_t panels,
                                                                     const size_t width, REAL *to)
{
    for (size_t p = 0; p < inner; p++, from += stride, to += width)
        for (size_t i = 0; i < panels; i++)
            memcpy(to + i * inner * width, from + i * width, width * sizeof *to);
}

/* Several panels at a time: a row of one does not fill the cache lines that it lies in. */
static inline __attribute__((always_inline)) void LOCAL(pack_columns)(const REAL *from,
                                                                      size_t outer, size_t inner,
                                                                      size_t stride,
                                                                      const size_t width, REAL *to)
{
    enum { TOGETHER = 4 };
    size_t i = 0;
    for (; i + TOGETHER * width <= outer; i += TOGETHER * width)
        LOCAL(copy_panels)(from + i, inner, stride, TOGETHER, width, to + i * inner);
    for (; i + width <= outer; i += width)
        LOCAL(copy_panels)(from + i, inner, stride, 1, width, to + i * inner);
    for (size_t p = 0; i < outer && p < inner; p++)
        for (size_t k = 0; k < width; k++)
            to[i * inner + p * width + k] = i + k < outer ? from[p * stride + i + k] : 0;
}

static void LOCAL(pack)(const REAL *from, size_t outer, size_t inner, size_t outer_stride,
                        size_t inner_stride, size_t width, REAL *to)
{
    if (inner_stride == 1)
        LOCAL(pack_rows)(from, outer, inner, outer_stride, width, to);
    else if (width == ROWS)
        LOCAL(pack_columns)(from, outer, inner, inner_stride, ROWS, to);
    else
        LOCAL(pack_columns)(from, outer, inner, inner_stride, LOCAL(COLUMNS), to);
}

const NAME(kernels) TABLE(MC_LEVEL, SUFFIX) = {
    .rows = ROWS, .columns = LOCAL(COLUMNS), .block = LOCAL(block), .pack = LOCAL(pack)};

#undef LOCAL
#undef LOCAL_
#undef LOCAL__
