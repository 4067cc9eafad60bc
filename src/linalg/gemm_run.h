/* The text of gemm.c for one type: REAL, TYPE, GEMM(name) of gemm.h, LOCAL(name) for its own. */

static const GEMM(kernels) * LOCAL(kernels)(void)
{
#if MC_SIMD
    static const GEMM(kernels) *const tables[MC_CPU_LEVELS] = {&GEMM(scalar), &GEMM(avx2),
                                                               &GEMM(avx512)};
    return tables[mc_cpu()];
#else
    return &GEMM(scalar);
#endif
}

/* Numbers of a thread: the panels of one block's columns. */
static size_t LOCAL(share)(size_t k, bool squares)
{
    return BLOCK_COLUMNS * (squares ? k : least(k, DEPTH));
}

/* Numbers of all panels of A, in whole cache lines. */
static size_t LOCAL(panels)(size_t m, size_t k)
{
    const size_t rows = LOCAL(kernels)()->rows, line = LINE / sizeof(REAL);
    return ceiling(ceiling(m, rows) * rows * k, line) * line;
}

size_t GEMM(work)(size_t m, size_t k, bool squares, int threads)
{
    return LINE / sizeof(REAL) + LOCAL(panels)(m, k) + (size_t)threads * LOCAL(share)(k, squares);
}

/* One product that a team computes; members take panels, then blocks, by counting. */
typedef struct LOCAL(run) {
    const TYPE *g;
    const GEMM(kernels) * kernels;
    mc_team *team;
    REAL *panels, *shares; /* of A; of each thread */
    size_t share;
    size_t row_blocks, block_count;
    size_t next_panels, next_block; /* atomic */
} LOCAL(run);

static size_t LOCAL(take)(size_t *next)
{
    return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
}

static void LOCAL(pack_rows)(LOCAL(run) * r)
{
    const TYPE *const g = r->g;
    const size_t width = r->kernels->rows, step = PANELS * width;
    for (size_t i; (i = LOCAL(take)(&r->next_panels) * step) < g->m;)
        r->kernels->pack(g->a + i * g->a_row, least(step, g->m - i), g->k, g->a_row, g->a_inner,
                         width, r->panels + i * g->k);
}

/* Numbers first … first + depth − 1 of the inner dimension of one block. */
static void LOCAL(add_block)(const LOCAL(run) * r, size_t row, size_t column, size_t first,
                             size_t depth, REAL *share)
{
    const TYPE *const g = r->g;
    const size_t width = r->kernels->columns, n = least(BLOCK_COLUMNS, g->n - column);
    r->kernels->pack(g->b + column * g->b_column + first * g->b_inner, n, depth, g->b_column,
                     g->b_inner, width, share);
    const GEMM(block) block = {.m = least(BLOCK_ROWS, g->m - row),
                               .n = n,
                               .row = row,
                               .column = column,
                               .a = r->panels + row * g->k + first * r->kernels->rows,
                               .b = share,
                               .start = g->row && first == 0 ? g->row + column : NULL,
                               .a_panel = g->k * r->kernels->rows,
                               .b_panel = depth * width,
                               .c = g->c + row * g->stride + column,
                               .stride = g->stride,
                               .ends = g->ends ? g->ends : &depth,
                               .parts = g->ends ? g->parts : 1,
                               .squares = g->ends != NULL,
                               .upper = g->upper};
    r->kernels->block(&block);
}

static void LOCAL(add_blocks)(LOCAL(run) * r, REAL *share)
{
    const size_t k = r->g->k, step = r->g->ends ? k : DEPTH;
    for (size_t i; (i = LOCAL(take)(&r->next_block)) < r->block_count;) {
        const size_t row = i % r->row_blocks * BLOCK_ROWS;
        const size_t column = i / r->row_blocks * BLOCK_COLUMNS;
        if (r->g->upper && row >= column + BLOCK_COLUMNS)
            continue;
        size_t first = 0;
        do /* at least once: even if k is 0, C becomes its start */
            LOCAL(add_block)(r, row, column, first, least(step, k - first), share);
        while ((first += step) < k);
    }
}

static mc_status LOCAL(work_on)(void *arg, int index, int count, mc_error *error)
{
    LOCAL(run) *const r = arg;
    (void)count;
    (void)error;
    LOCAL(pack_rows)(r);
    mc_team_barrier(r->team, true);
    LOCAL(add_blocks)(r, r->shares + (size_t)index * r->share);
    return MC_OK;
}

mc_status GEMM(run)(const TYPE *g, mc_team *team, REAL *work, mc_error *error)
{
    if (g->m == 0 || g->n == 0 || (g->k == 0 && !g->row))
        return MC_OK;
    LOCAL(run) r = {.g = g, .kernels = LOCAL(kernels)(), .team = team};
    /* Vectors of panels must not cross cache lines. */
    r.panels = (REAL *)(((uintptr_t)work + LINE - 1) / LINE * LINE);
    r.shares = r.panels + LOCAL(panels)(g->m, g->k);
    r.share = LOCAL(share)(g->k, g->ends != NULL);
    r.row_blocks = ceiling(g->m, BLOCK_ROWS);
    r.block_count = r.row_blocks * ceiling(g->n, BLOCK_COLUMNS);
    return mc_team_run(team, LOCAL(work_on), &r, error);
}
