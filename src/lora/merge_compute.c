/* How a row of merged adapters is computed. */
#include "lora/merge.h"

#include "base/hash.h"
#include "base/memory.h"
#include "linalg/linalg.h"
#include "lora/space.h"

#include <mergecraft/random.h>

#include <math.h>
#include <string.h>

/* ---- factors of one expert in memory --------------------------------------------------------- */

static mc_status read_factors(const mc_merging *m, const mc_lora_module *module, int64_t expert,
                              mc_expert *out, mc_error *error)
{
    const size_t n = module->count;
    *out = (mc_expert){.rows = module->rows, .columns = module->columns, .count = n};
    out->members = mc_alloc_zero(n, sizeof *out->members);
    int64_t most = 0;
    for (size_t i = 0; i < n; i++)
        if (mc_member_scratch(&module->members[i]) > most)
            most = mc_member_scratch(&module->members[i]);
    double *const scratch = mc_alloc((size_t)most * sizeof *scratch);
    mc_status status = out->members && scratch ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < n; i++) {
        const mc_member *const member = &module->members[i];
        mc_factors *const f = &out->members[i];
        f->rank = member->rank;
        f->weight = m->weights ? m->weights[member->adapter] : 1;
        f->scale = member->scale;
        f->b = mc_alloc((size_t)(module->rows * f->rank) * sizeof *f->b);
        f->a = mc_alloc((size_t)(module->columns * f->rank) * sizeof *f->a);
        status = f->a && f->b ? mc_member_read(module, member, expert, f->b, f->a, scratch, error)
                              : mc_fail_memory(error);
        status = mc_in_file(error, m->adapters[member->adapter]->name, status);
    }
    mc_free(scratch);
    return status;
}

/* ---- A and B each for itself ----------------------------------------------------------------- */

/*
 * Combines A and B each for itself: the square root of |weight · scale| goes to each factor, and
 * the sign to A. Random numbers of A and B come from separate streams: those of A count from 0,
 * those of B from 2^16.
 */
static mc_status combine_factors(const mc_merging *m, const mc_expert *expert, uint64_t key,
                                 mc_truncated *out, mc_error *error)
{
    const size_t n = expert->count;
    double **const arrays = mc_alloc(n * sizeof *arrays);
    double *const weights = mc_alloc(n * sizeof *weights);
    const int64_t rank = expert->members[0].rank;
    const int64_t sizes[] = {rank * expert->columns, rank * expert->rows};
    mc_combining combining = m->combining;
    combining.key = key;
    out->rank = rank;
    out->a = mc_alloc((size_t)sizes[0] * sizeof *out->a);
    out->b = mc_alloc((size_t)sizes[1] * sizeof *out->b);
    mc_status status = arrays && weights && out->a && out->b ? MC_OK : mc_fail_memory(error);
    for (int is_b = 0; status == MC_OK && is_b < 2; is_b++) {
        for (size_t i = 0; i < n; i++) {
            const double product = expert->members[i].weight * expert->members[i].scale;
            weights[i] = sqrt(fabs(product)) * (!is_b && product < 0 ? -1 : 1);
            arrays[i] = is_b ? expert->members[i].b : expert->members[i].a;
        }
        combining.stream = is_b ? UINT32_C(1) << 16 : 0;
        status = mc_combine_whole(&combining, arrays, weights, n, sizes[is_b],
                                  is_b ? out->b : out->a, error);
    }
    mc_free(arrays);
    mc_free(weights);
    return status;
}

/* ---- whole updates --------------------------------------------------------------------------- */

/* Whole updates of one expert that are combined where they are read. */
typedef struct combined {
    mc_matrix matrix;
    const mc_expert *expert;
    mc_combining combining;
    mc_cut *cuts;    /* [count], if values are pruned by magnitude */
    double *panels;  /* [count][panel rows, columns] */
    double **arrays; /* [count] the panels */
    double *weights; /* [count] */
} combined;

static mc_status read_update(const combined *c, size_t i, int64_t first, int64_t count, double *out,
                             mc_error *error)
{
    const mc_factors *const f = &c->expert->members[i];
    return mc_product(MC_PLAIN, MC_PLAIN, (size_t)count, (size_t)c->matrix.columns, (size_t)f->rank,
                      f->scale, f->b + first * f->rank, f->a, 0, out, error);
}

static mc_status read_combined(const mc_matrix *self, int64_t first, int64_t count, double *out,
                               mc_error *error)
{
    const combined *const c = (const combined *)self;
    for (size_t i = 0; i < c->expert->count; i++)
        MC_TRY(read_update(c, i, first, count, c->arrays[i], error));
    mc_combine(&c->combining, c->arrays, c->weights, c->expert->count, c->cuts,
               first * self->columns, count * self->columns, out);
    return MC_OK;
}

/*
 * Finds the cut of one update. It needs all magnitudes at once; as floats they take half the memory
 * of the update.
 */
static mc_status find_cut(const combined *c, size_t i, float *magnitudes, mc_cut *out,
                          mc_error *error)
{
    const int64_t rows = c->matrix.rows, columns = c->matrix.columns, step = mc_panel_rows(columns);
    for (int64_t row = 0; row < rows; row += step) {
        const int64_t count = rows - row < step ? rows - row : step;
        MC_TRY(read_update(c, i, row, count, c->panels, error));
        for (int64_t k = 0; k < count * columns; k++)
            magnitudes[row * columns + k] = fabsf((float)c->panels[k]);
    }
    *out = mc_find_cut(magnitudes, magnitudes + rows * columns, rows * columns,
                       c->combining.density);
    return MC_OK;
}

static mc_status set_up(combined *c, mc_error *error)
{
    const size_t n = c->expert->count;
    const size_t panel = (size_t)(mc_panel_rows(c->matrix.columns) * c->matrix.columns);
    c->cuts = mc_alloc(n * sizeof *c->cuts);
    c->panels = mc_alloc(n * panel * sizeof *c->panels);
    c->arrays = mc_alloc(n * sizeof *c->arrays);
    c->weights = mc_alloc(n * sizeof *c->weights);
    if (!c->cuts || !c->panels || !c->arrays || !c->weights)
        return mc_fail_memory(error);
    for (size_t i = 0; i < n; i++) {
        c->arrays[i] = c->panels + i * panel;
        c->weights[i] = c->expert->members[i].weight;
    }
    if (!mc_needs_cuts(&c->combining))
        return MC_OK;
    float *const magnitudes = mc_alloc(2 * (size_t)(c->matrix.rows * c->matrix.columns) *
                                       sizeof *magnitudes);
    mc_status status = magnitudes ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < n; i++)
        status = find_cut(c, i, magnitudes, &c->cuts[i], error);
    mc_free(magnitudes);
    return status;
}

static mc_status combine_updates(const mc_merging *m, const mc_expert *expert, uint64_t key,
                                 const mc_lora_rank *how, const char *name, mc_truncated *out,
                                 mc_error *error)
{
    combined c = {.matrix = {expert->rows, expert->columns, read_combined},
                  .expert = expert,
                  .combining = m->combining};
    c.combining.key = key;
    mc_status status = set_up(&c, error);
    if (status == MC_OK)
        status = mc_truncate(&c.matrix, how, name, out, error);
    mc_free(c.cuts);
    mc_free(c.panels);
    mc_free(c.arrays);
    mc_free(c.weights);
    return status;
}

/* ---- by a method of the library -------------------------------------------------------------- */

typedef struct stored_matrix {
    mc_matrix matrix;
    const mc_source *source;
    int64_t first; /* element */
} stored_matrix;

static mc_status read_stored(const mc_matrix *self, int64_t first, int64_t count, double *out,
                             mc_error *error)
{
    const stored_matrix *const s = (const stored_matrix *)self;
    return mc_source_read_f64(s->source, s->first + first * self->columns, count * self->columns,
                              out, error);
}

/* ---- one row --------------------------------------------------------------------------------- */

/*
 * Clamps the factors to a quantile of all their values, as PEFT does: torch.quantile with linear
 * interpolation. What is kept of the energy is not known afterwards.
 */
static mc_status clamp(const mc_merging *m, const mc_lora_module *module, mc_truncated *t,
                       mc_error *error)
{
    const int64_t b = module->rows * t->rank, a = module->columns * t->rank, count = a + b;
    if (m->clamp >= 1 || count == 0)
        return MC_OK;
    double *const values = mc_alloc((size_t)count * sizeof *values);
    if (!values)
        return mc_fail_memory(error);
    memcpy(values, t->b, (size_t)b * sizeof *values);
    memcpy(values + b, t->a, (size_t)a * sizeof *values);
    mc_sort_doubles(values, count);
    const double place = m->clamp * (double)(count - 1);
    const int64_t below = (int64_t)place, above = below + 1 < count ? below + 1 : below;
    const double limit = values[below] + (place - (double)below) * (values[above] - values[below]);
    mc_free(values);
    for (int64_t i = 0; i < b; i++)
        t->b[i] = fmin(fmax(t->b[i], -limit), limit);
    for (int64_t i = 0; i < a; i++)
        t->a[i] = fmin(fmax(t->a[i], -limit), limit);
    t->kept = NAN;
    return MC_OK;
}

static mc_status by_method(const mc_merging *m, const mc_lora_module *module, size_t row,
                           int64_t expert, const mc_lora_rank *how, mc_truncated *out,
                           mc_error *error)
{
    const stored_matrix s = {{module->rows, module->columns, read_stored},
                             mc_state_dict_source(m->merged, row),
                             expert * module->rows * module->columns};
    return mc_truncate(&s.matrix, how, module->path, out, error);
}

/*
 * Random numbers are keyed by seed, module, expert and wrapper, so that rows can be computed in any
 * order, and again with the same result.
 */
mc_status mc_merge_expert(const mc_merging *m, size_t row, int64_t index, const mc_lora_rank *how,
                          mc_truncated *out, mc_error *error)
{
    const mc_lora_module *const module = &m->modules.items[row];
    const uint64_t key = mc_random_mix(mc_random_key(m->how.seed, module->path) +
                                       (uint64_t)index * MC_HASH_START + (uint64_t)module->outer);
    mc_expert expert = {0};
    if (m->space == MC_LORA_METHOD)
        return by_method(m, module, row, index, how, out, error);
    mc_combining combining = m->combining;
    combining.key = key;
    mc_status status = read_factors(m, module, index, &expert, error);
    if (status == MC_OK)
        switch (m->space) {
        case MC_LORA_CAT:
            status = mc_expert_stack(&expert, out, error);
            break;
        case MC_LORA_PRODUCT:
            status = mc_expert_product(&expert, how, out, error);
            break;
        case MC_LORA_KNOTS:
            status = mc_expert_knots(&expert, &combining, how, out, error);
            break;
        case MC_LORA_CORE:
            status = mc_expert_core(&expert, &combining, how, out, error);
            break;
        case MC_LORA_UPDATES:
            status = combine_updates(m, &expert, key, how, module->path, out, error);
            break;
        case MC_LORA_FACTORS:
        case MC_LORA_METHOD:
            status = combine_factors(m, &expert, key, out, error);
            break;
        }
    mc_expert_free(&expert);
    return status == MC_OK ? clamp(m, module, out, error) : status;
}

/* Places the factors of one expert among those of all. */
static void place(const mc_lora_row *row, int64_t expert, const mc_truncated *t, double *a,
                  double *b)
{
    memcpy(a + expert * row->rank * row->columns, t->a,
           (size_t)(t->rank * row->columns) * sizeof *a);
    for (int64_t i = 0; i < row->rows; i++)
        for (int64_t k = 0; k < t->rank; k++)
            b[(i * row->rank + k) * row->experts + expert] = t->b[i * t->rank + k];
}

mc_status mc_merge_row(void *user, size_t index, double *a, double *b, mc_energy *energy,
                       mc_error *error)
{
    const mc_merging *const m = user;
    const mc_lora_row *const row = &m->plan->rows[index];
    mc_lora_rank how = m->how;
    how.rank = row->rank;
    how.energy = 0;
    for (int64_t e = 0; e < row->experts; e++) {
        mc_truncated t = {0};
        const mc_status status = mc_merge_expert(m, index, e, &how, &t, error);
        if (status == MC_OK)
            place(row, e, &t, a, b);
        energy->total += t.total;
        energy->kept += t.kept;
        mc_truncated_free(&t);
        MC_TRY(status);
    }
    return MC_OK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Doubles of a space's coordinates and of its bases, which have at most `k` vectors. */
static double space_doubles(const mc_merging *m, const mc_lora_module *module, double k)
{
    const double rows = (double)module->rows, columns = (double)module->columns;
    const double inner = (double)module->sum_rank, most = (double)module->most_rank;
    const double n = (double)module->count;
    const bool core = m->space == MC_LORA_CORE;
    const double width = core ? k : columns;
    const double narrow = columns * most + 2 * most * most + rows * most +
                          (double)mc_qr_work((size_t)columns, (size_t)most);
    const double left = 2 * rows * k + k + k * inner +
                        (double)mc_svd_work((size_t)rows, (size_t)inner, MC_SVD_EXACT);
    const double right = core
                             ? 2 * columns * k + k + k * inner +
                                   (double)mc_svd_work((size_t)inner, (size_t)columns, MC_SVD_EXACT)
                             : 0;
    return (rows + columns) * inner + narrow + left + right + (n + 2) * k * width + 2 * k * most +
           k * columns;
}

/* An upper bound: adds up arrays of consecutive steps that do not exist at the same time. */
int64_t mc_merge_work(const void *user, size_t index, const mc_lora_rank *how)
{
    const mc_merging *const m = user;
    const mc_lora_module *const module = &m->modules.items[index];
    const int64_t rows = module->rows, columns = module->columns, inner = module->sum_rank;
    const int64_t k = rows < inner ? rows : inner;
    const double sides = (double)rows + (double)columns;
    const double panel = (double)mc_panel_rows(columns) * (double)columns;
    double doubles = sides * ((double)inner + (double)module->most_rank);
    int64_t scratch = 0, bytes = 0;
    for (size_t i = 0; i < module->count; i++)
        if (mc_member_scratch(&module->members[i]) > scratch)
            scratch = mc_member_scratch(&module->members[i]);
    switch (m->space) {
    case MC_LORA_CAT:
    case MC_LORA_FACTORS:
        doubles += (double)scratch + sides * (double)inner;
        break;
    case MC_LORA_PRODUCT:
        doubles += (double)scratch + sides * (double)inner;
        bytes = mc_truncate_product_memory(rows, columns, inner, how);
        break;
    case MC_LORA_KNOTS:
    case MC_LORA_CORE:
        doubles += (double)scratch + space_doubles(m, module, (double)k);
        bytes = mc_truncate_product_memory(rows, columns, k, how);
        break;
    case MC_LORA_UPDATES:
        /* Magnitudes are floats, and twice as many as values. */
        doubles += (double)scratch + (double)module->count * panel +
                   (mc_needs_cuts(&m->combining) ? (double)rows * (double)columns : 0);
        bytes = mc_truncate_memory(rows, columns, how);
        break;
    case MC_LORA_METHOD:
        doubles += (double)(m->count + 3) * panel;
        bytes = mc_truncate_memory(rows, columns, how);
        break;
    }
    /* Clamping sorts a copy of the factors. */
    return mc_bytes_of_doubles(doubles + (double)bytes / sizeof(double));
}
