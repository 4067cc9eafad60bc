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
static size_t LOCAL(share)(const TYPE *g)
{
    return BLOCK_COLUMNS * (g->ends ? g->k : least(g->k, DEPTH));
}

/* Numbers of all panels of A, in whole cache lines. */
static size_t LOCAL(panels)(const TYPE *g)
{
    const size_t rows = LOCAL(kernels)()->rows, line = LINE / sizeof(REAL);
    return ceiling(ceiling(g->m, rows) * rows * g->k, line) * line;
}

size_t GEMM(work)(const TYPE *g, size_t count, int threads)
{
    size_t panels = 0, share = 0;
    for (size_t i = 0; i < count; i++) {
        panels += LOCAL(panels)(&g[i]);
        share = LOCAL(share)(&g[i]) > share ? LOCAL(share)(&g[i]) : share;
    }
    return LINE / sizeof(REAL) + panels + (size_t)threads * share;
}

/* One product of a run. Members take its groups of panels, then its blocks. */
typedef struct LOCAL(part) {
    const TYPE *g;
    REAL *panels; /* of A */
    size_t pack_count, block_count, row_blocks;
} LOCAL(part);

/* Products that a team computes; members take items by counting through all of them. */
typedef struct LOCAL(run) {
    LOCAL(part) parts[MC_GEMM_MOST];
    size_t count;
    const GEMM(kernels) * kernels;
    mc_team *team;
    REAL *shares; /* of each thread */
    size_t share;
    size_t next_pack, next_block; /* atomic */
} LOCAL(run);

static size_t LOCAL(take)(size_t *next)
{
    return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
}

static void LOCAL(pack_item)(const LOCAL(run) * r, const LOCAL(part) * p, size_t item)
{
    const TYPE *const g = p->g;
    const size_t width = r->kernels->rows, step = PANELS * width, i = item * step;
    r->kernels->pack(g->a + i * g->a_row, least(step, g->m - i), g->k, g->a_row, g->a_inner, width,
                     p->panels + i * g->k);
}

static void LOCAL(pack_rows)(LOCAL(run) * r)
{
    const LOCAL(part) *p = r->parts, *const end = p + r->count;
    for (size_t i = LOCAL(take)(&r->next_pack), before = 0; p < end; before += p++->pack_count)
        for (; i - before < p->pack_count; i = LOCAL(take)(&r->next_pack))
            LOCAL(pack_item)(r, p, i - before);
}

/* Numbers first … first + depth − 1 of the inner dimension of one block. */
static void LOCAL(add_block)(const LOCAL(run) * r, const LOCAL(part) * p, size_t row, size_t column,
                             size_t first, size_t depth, REAL *share)
{
    const TYPE *const g = p->g;
    const size_t width = r->kernels->columns, n = least(BLOCK_COLUMNS, g->n - column);
    r->kernels->pack(g->b + column * g->b_column + first * g->b_inner, n, depth, g->b_column,
                     g->b_inner, width, share);
    const GEMM(block) block = {.m = least(BLOCK_ROWS, g->m - row),
                               .n = n,
                               .row = row,
                               .column = column,
                               .a = p->panels + row * g->k + first * r->kernels->rows,
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

static void LOCAL(block_item)(const LOCAL(run) * r, const LOCAL(part) * p, size_t item, REAL *share)
{
    const size_t k = p->g->k, step = p->g->ends ? k : DEPTH;
    const size_t row = item % p->row_blocks * BLOCK_ROWS;
    const size_t column = item / p->row_blocks * BLOCK_COLUMNS;
    if (p->g->upper && row >= column + BLOCK_COLUMNS)
        return;
    size_t first = 0;
    do /* at least once: even if k is 0, C becomes its start */
        LOCAL(add_block)(r, p, row, column, first, least(step, k - first), share);
    while ((first += step) < k);
}

static void LOCAL(add_blocks)(LOCAL(run) * r, REAL *share)
{
    const LOCAL(part) *p = r->parts, *const end = p + r->count;
    for (size_t i = LOCAL(take)(&r->next_block), before = 0; p < end; before += p++->block_count)
        for (; i - before < p->block_count; i = LOCAL(take)(&r->next_block))
            LOCAL(block_item)(r, p, i - before, share);
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

/* Appends a product whose panels begin at `panels`; returns where the next one's do. */
static REAL *LOCAL(add_part)(LOCAL(run) * r, const TYPE *g, REAL *panels)
{
    if (g->m == 0 || g->n == 0 || (g->k == 0 && !g->row))
        return panels;
    const size_t row_blocks = ceiling(g->m, BLOCK_ROWS);
    r->parts[r->count++] = (LOCAL(part)){.g = g,
                                         .panels = panels,
                                         .pack_count = ceiling(g->m, PANELS * r->kernels->rows),
                                         .block_count = row_blocks * ceiling(g->n, BLOCK_COLUMNS),
                                         .row_blocks = row_blocks};
    r->share = LOCAL(share)(g) > r->share ? LOCAL(share)(g) : r->share;
    return panels + LOCAL(panels)(g);
}

mc_status GEMM(run)(const TYPE *g, size_t count, mc_team *team, REAL *work, mc_error *error)
{
    LOCAL(run) r = {.kernels = LOCAL(kernels)(), .team = team};
    assert(count <= MC_GEMM_MOST);
    /* Vectors of panels must not cross cache lines. */
    r.shares = (REAL *)(((uintptr_t)work + LINE - 1) / LINE * LINE);
    for (size_t i = 0; i < count; i++)
        r.shares = LOCAL(add_part)(&r, &g[i], r.shares);
    return r.count > 0 ? mc_team_run(team, LOCAL(work_on), &r, error) : MC_OK;
}
