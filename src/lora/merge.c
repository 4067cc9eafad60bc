/* Merging adapters: rows of a plan from modules, and how a row is computed. */
#include "base/cpu.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/team.h"
#include "linalg/linalg.h"
#include "lora/lora.h"
#include "lora/methods.h"
#include "lora/plan.h"
#include "lora/space.h"
#include "lora/truncate.h"
#include "merge/params.h"
#include "merge/report.h"
#include "tensor/low_rank.h"

#include <mergecraft/random.h>
#include <mergecraft/text.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What rows are computed from. */
typedef struct merging {
    const mc_lora **adapters;
    size_t count;
    mc_lora_modules modules; /* in the order of the rows */
    mc_lora_space space;
    mc_combining combining; /* without key */
    mc_lora_rank how;
    double clamp;
    mc_params *params;
    const double *weights;
    mc_state_dict *merged; /* MC_LORA_METHOD: whole updates, lazy */
    mc_lora_plan *plan;
} merging;

static void free_merging(void *user)
{
    merging *const m = user;
    mc_state_dict_free(m->merged);
    mc_lora_modules_free(&m->modules);
    mc_params_unref(m->params);
    mc_free(m->adapters);
    mc_free(m);
}

static mc_status check_adapters(void *user, mc_error *error)
{
    const merging *const m = user;
    for (size_t i = 0; i < m->count; i++)
        for (size_t f = 0; f < m->adapters[i]->adapter.checkpoint.file_count; f++)
            MC_TRY(mc_file_check(m->adapters[i]->adapter.checkpoint.files[f], error));
    return MC_OK;
}

/* ---- factors of one expert in memory --------------------------------------------------------- */

static mc_status read_factors(const merging *m, const mc_lora_module *module, int64_t expert,
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
static mc_status combine_factors(const merging *m, const mc_expert *expert, uint64_t key,
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

static mc_status combine_updates(const merging *m, const mc_expert *expert, uint64_t key,
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
static mc_status clamp(const merging *m, const mc_lora_module *module, mc_truncated *t,
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

static mc_status by_method(const merging *m, const mc_lora_module *module, size_t row,
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
static mc_status compute_expert(const merging *m, size_t row, int64_t index,
                                const mc_lora_rank *how, mc_truncated *out, mc_error *error)
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

static mc_status compute_row(void *user, size_t index, double *a, double *b, mc_energy *energy,
                             mc_error *error)
{
    const merging *const m = user;
    const mc_lora_row *const row = &m->plan->rows[index];
    mc_lora_rank how = m->how;
    how.rank = row->rank;
    how.energy = 0;
    for (int64_t e = 0; e < row->experts; e++) {
        mc_truncated t = {0};
        const mc_status status = compute_expert(m, index, e, &how, &t, error);
        if (status == MC_OK)
            place(row, e, &t, a, b);
        energy->total += t.total;
        energy->kept += t.kept;
        mc_truncated_free(&t);
        MC_TRY(status);
    }
    return MC_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most_rank(const merging *m)
{
    int64_t most = 0;
    for (size_t i = 0; i < m->modules.count; i++)
        if (m->modules.items[i].most_rank > most)
            most = m->modules.items[i].most_rank;
    return most;
}

/* Checks that all factors of a module have the same rank: they are combined element by element. */
static mc_status check_ranks(const merging *m, const mc_lora_module *module, mc_error *error)
{
    for (size_t i = 1; i < module->count; i++)
        if (module->members[i].rank != module->members[0].rank)
            return mc_fail_at(
                error, MC_MISMATCH, m->adapters[module->members[i].adapter]->name, module->path, -1,
                "expected the rank %lld of %s, found %lld: merge adapters of "
                "different ranks by cat, svd or another method that ends in _svd",
                (long long)module->members[0].rank, m->adapters[module->members[0].adapter]->name,
                (long long)module->members[i].rank);
    return MC_OK;
}

/*
 * The rank that a space gives: factors keep theirs, stacked ones add up, and what is made of the
 * factors' product has at most the sum of their ranks. Combined updates may have full rank.
 */
static mc_status find_rank(const merging *m, size_t index, int64_t wanted, int64_t *rank,
                           mc_error *error)
{
    const mc_lora_module *const module = &m->modules.items[index];
    const int64_t size = least(module->rows, module->columns);
    *rank = least(wanted, size);
    if (m->space == MC_LORA_FACTORS) {
        *rank = module->members[0].rank;
        return check_ranks(m, module, error);
    }
    if (m->space == MC_LORA_CAT)
        *rank = module->sum_rank;
    else if (m->space != MC_LORA_UPDATES && m->space != MC_LORA_METHOD)
        *rank = least(*rank, module->sum_rank);
    return MC_OK;
}

typedef struct ranking {
    const merging *m;
    int64_t *ranks;
} ranking;

/*
 * Decomposes the updates only to find the rank; factors are computed again when they are written.
 */
static mc_status rank_by_energy(void *arg, int worker, size_t item, mc_error *error)
{
    const ranking *const r = arg;
    (void)worker;
    r->ranks[item] = 1;
    for (int64_t e = 0; e < r->m->modules.items[item].experts; e++) {
        mc_truncated t = {0};
        const mc_status status = compute_expert(r->m, item, e, &r->m->how, &t, error);
        if (t.rank > r->ranks[item])
            r->ranks[item] = t.rank;
        mc_truncated_free(&t);
        MC_TRY(mc_in_tensor(error, r->m->modules.items[item].path, status));
    }
    return MC_OK;
}

static mc_status find_ranks(const merging *m, int64_t *ranks, mc_error *error)
{
    if (m->how.energy > 0) {
        ranking r = {m, ranks};
        return mc_parallel(m->modules.count, mc_cpu_count(), rank_by_energy, &r, error);
    }
    const int64_t wanted = m->how.rank > 0 ? m->how.rank : most_rank(m);
    for (size_t i = 0; i < m->modules.count; i++)
        MC_TRY(find_rank(m, i, wanted, &ranks[i], error));
    return MC_OK;
}

/* Gives all experts the largest rank among them: PEFT stacks their factors. */
static void equal_experts(const merging *m, int64_t *ranks)
{
    int64_t most = 0;
    for (size_t i = 0; i < m->modules.count; i++)
        if (m->modules.items[i].experts > 1 && ranks[i] > most)
            most = ranks[i];
    for (size_t i = 0; i < m->modules.count; i++)
        if (m->modules.items[i].experts > 1)
            ranks[i] = most;
}

static mc_dtype widest(const merging *m, const mc_lora_module *module)
{
    mc_dtype dtype = module->members[0].module->a->dtype;
    for (size_t i = 0; i < module->count; i++) {
        dtype = mc_dtype_widest(dtype, module->members[i].module->a->dtype);
        dtype = mc_dtype_widest(dtype, module->members[i].module->b->dtype);
    }
    (void)m;
    return dtype;
}

static mc_status add_row(const merging *m, size_t index, int64_t rank,
                         const mc_lora_merge_input *input, mc_error *error)
{
    const mc_lora_module *const module = &m->modules.items[index];
    const mc_source *const a = module->members[0].module->a, *const b =
                                                                 module->members[0].module->b;
    mc_lora_row *row;
    MC_TRY(mc_lora_plan_add(m->plan, module->path, &row, error));
    row->outer = module->outer;
    row->embedding = module->embedding;
    row->rows = module->rows;
    row->columns = module->columns;
    row->rank = rank;
    row->experts = module->experts;
    row->a_rank = a->rank > 2 ? a->rank - 1 : 0;
    row->b_rank = b->rank > 2 ? b->rank - 2 : 0;
    memcpy(row->a_rest, a->shape + 1, (size_t)row->a_rank * sizeof *row->a_rest);
    memcpy(row->b_rest, b->shape + 2, (size_t)row->b_rank * sizeof *row->b_rest);
    row->dtype = input->convert ? input->dtype : widest(m, module);
    return MC_OK;
}

static mc_status add_rows(const merging *m, const mc_lora_merge_input *input, mc_error *error)
{
    int64_t *const ranks = mc_alloc(m->modules.count * sizeof *ranks);
    mc_status status = ranks ? find_ranks(m, ranks, error) : mc_fail_memory(error);
    if (status == MC_OK)
        equal_experts(m, ranks);
    for (size_t i = 0; status == MC_OK && i < m->modules.count; i++)
        status = add_row(m, i, ranks[i], input, error);
    mc_free(ranks);
    return status;
}

/* ---- updates for a method of the library ----------------------------------------------------- */

/* A tensor of zeros [experts, rows, columns], or [rows, columns]. */
static mc_status zeros_of(const mc_lora_module *module, mc_source **out, mc_error *error)
{
    mc_source like = {.dtype = MC_F32};
    if (module->experts > 1)
        like.shape[like.rank++] = module->experts;
    like.shape[like.rank++] = module->rows;
    like.shape[like.rank++] = module->columns;
    return mc_source_zeros_like(&like, out, error);
}

static mc_status update_of(const mc_lora_module *module, size_t adapter, mc_source *zeros,
                           mc_source **out, mc_error *error)
{
    const mc_member *member = NULL;
    for (size_t i = 0; i < module->count && !member; i++)
        member = module->members[i].adapter == adapter ? &module->members[i] : NULL;
    if (!member) { /* the adapter leaves this module as it is */
        *out = mc_source_ref(zeros);
        return MC_OK;
    }
    const mc_low_rank parts = {.weight = zeros,
                               .a = member->module->a,
                               .b = member->module->b,
                               .scale = member->scale,
                               .experts = module->experts};
    return mc_source_low_rank(&parts, out, error);
}

/*
 * Fills one state dict per adapter with whole updates, and `base` with zeros: an update is a task
 * vector over a base of zeros. A path may repeat with other wrappers, so names end in their number.
 */
static mc_status fill_updates(const merging *m, mc_state_dict **updates, mc_state_dict *base,
                              mc_error *error)
{
    for (size_t i = 0; i < m->modules.count; i++) {
        const mc_lora_module *const module = &m->modules.items[i];
        mc_source *zeros = NULL;
        char *const name = mc_format("%s#%d", module->path, module->outer);
        mc_status status = name ? zeros_of(module, &zeros, error) : mc_fail_memory(error);
        if (status == MC_OK)
            status = mc_state_dict_set(base, name, zeros, error);
        for (size_t k = 0; status == MC_OK && k < m->count; k++) {
            mc_source *update = NULL;
            status = update_of(module, k, zeros, &update, error);
            if (status == MC_OK)
                status = mc_state_dict_set(updates[k], name, update, error);
            mc_source_unref(update);
        }
        mc_source_unref(zeros);
        mc_free(name);
        MC_TRY(mc_in_tensor(error, module->path, status));
    }
    return MC_OK;
}

static mc_status merge_updates(merging *m, const mc_lora_merge_input *input,
                               const mc_method *method, mc_error *error)
{
    mc_state_dict **const updates = mc_alloc_zero(m->count + 1, sizeof *updates);
    mc_status status = updates ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i <= m->count; i++)
        status = mc_state_dict_new(&updates[i], error);
    if (status == MC_OK)
        status = fill_updates(m, updates, updates[m->count], error);
    if (status == MC_OK) {
        const mc_merge_input dicts = {.models = (const mc_state_dict *const *)updates,
                                      .model_count = m->count,
                                      .base = method->needs_base ? updates[m->count] : NULL,
                                      .params = input->params,
                                      .param_count = input->param_count,
                                      .seed = input->rank.seed};
        status = mc_dict_map(method, &dicts, &m->merged, NULL, error);
    }
    for (size_t i = 0; updates && i <= m->count; i++)
        mc_state_dict_free(updates[i]);
    mc_free(updates);
    return status;
}

/* ---- method and parameters ------------------------------------------------------------------- */

static double parameter(const mc_params *params, const char *name, double missing)
{
    for (size_t i = 0; params->method->params && params->method->params[i].name; i++)
        if (strcmp(params->method->params[i].name, name) == 0)
            return params->values[i].numbers[0];
    return missing;
}

static mc_status use_method(merging *m, const mc_lora_merge_input *input, const mc_method *method,
                            mc_error *error)
{
    m->space = MC_LORA_METHOD;
    if (method->scope != MC_ELEMENTWISE && method->scope != MC_ROW)
        return mc_fail(error, MC_USAGE,
                       "expected a method that merges elements or rows, found %s, which needs "
                       "whole tensors or models",
                       method->name);
    return mc_params_parse(method, input->params, input->param_count, m->count, &m->params, error);
}

static mc_status choose_method(merging *m, const mc_lora_merge_input *input, mc_error *error)
{
    const mc_lora_method *const own = mc_lora_method_find(input->method);
    const mc_method *const other = own ? NULL : mc_method_find(input->method);
    const char *const near = own || other ? NULL : mc_lora_method_near(input->method);
    m->clamp = 1;
    if (other)
        return use_method(m, input, other, error);
    if (!own)
        return mc_fail(error, MC_USAGE, "unknown method '%s'%s%s%s", input->method,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    MC_TRY(mc_params_parse(&own->method, input->params, input->param_count, m->count, &m->params,
                           error));
    m->space = own->space;
    m->weights = m->params->values[0].numbers;
    m->clamp = parameter(m->params, "svd_clamp", 1);
    m->combining = (mc_combining){.how = own->combination,
                                  .density = parameter(m->params, "density", 1),
                                  .frequency = parameter(m->params, "majority_sign_method", 0) > 0};
    return MC_OK;
}

static mc_status check_rank(const merging *m, const mc_lora_rank *rank, mc_error *error)
{
    const bool fixed = m->space == MC_LORA_CAT || m->space == MC_LORA_FACTORS;
    if (fixed && (rank->rank > 0 || rank->energy > 0 || rank->exact))
        return mc_fail(error, MC_USAGE,
                       "%s does not truncate: expected no rank or energy, found one",
                       m->params->method->name);
    return mc_lora_rank_check(rank, error);
}

mc_status mc_lora_rank_check(const mc_lora_rank *rank, mc_error *error)
{
    if (rank->rank > 0 && rank->energy > 0)
        return mc_fail(error, MC_USAGE, "expected a rank or an energy, found both");
    if (!(rank->energy >= 0 && rank->energy <= 1))
        return mc_fail(error, MC_USAGE, "expected an energy above 0 and at most 1, found %g",
                       rank->energy);
    if (rank->max_rank > 0 && !(rank->energy > 0))
        return mc_fail(error, MC_USAGE, "expected an energy with the largest rank, found none");
    if (rank->rank < 0 || rank->max_rank < 0)
        return mc_fail(error, MC_USAGE, "expected a rank of at least 1, found %lld",
                       (long long)(rank->rank < 0 ? rank->rank : rank->max_rank));
    return mc_linalg_check(error);
}

/* ---- configuration and tensors that are whole ------------------------------------------------ */

static const json_t *config_of(const merging *m, size_t i)
{
    return m->adapters[i]->adapter.config;
}

static const char *last_part(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static mc_status warn(const merging *m, bool strict, mc_error *error, const char *what,
                      const char *name, const char *expected, const char *found)
{
    if (strict)
        return mc_fail(error, MC_MISMATCH, "%s: expected %s '%s', found '%s' (strict)", name, what,
                       expected, found);
    return mc_report_add(m->plan->report, error, "%s: expected %s '%s', found '%s'", name, what,
                         expected, found);
}

static mc_status check_bases(const merging *m, bool strict, mc_error *error)
{
    const char *first = NULL;
    for (size_t i = 0; i < m->count; i++) {
        const char *const base = mc_lora_base(m->adapters[i]);
        if (first && base && strcmp(last_part(first), last_part(base)) != 0)
            MC_TRY(warn(m, strict, error, "the base model", m->adapters[i]->name, first, base));
        first = first ? first : base;
    }
    return MC_OK;
}

/* Checks a setting that decides what the factors mean; missing, null and false are the same. */
static mc_status check_same(const merging *m, const char *name, mc_error *error)
{
    json_t *const none = json_false();
    const json_t *const first = json_object_get(config_of(m, 0), name);
    for (size_t i = 1; i < m->count; i++) {
        const json_t *const other = json_object_get(config_of(m, i), name);
        const bool same = json_equal(first && !json_is_null(first) ? first : none,
                                     other && !json_is_null(other) ? other : none);
        if (!same)
            return mc_fail_at(error, MC_MISMATCH, m->adapters[i]->name, NULL, -1,
                              "adapter_config.json: expected the %s of %s, found another", name,
                              m->adapters[0]->name);
    }
    return MC_OK;
}

static bool has_text(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_string_value(json_array_get(list, i)) &&
            strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return true;
    return false;
}

/* The union of the lists under a name of the configurations; null if all are empty. */
static json_t *union_of(const merging *m, const char *name)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->count; i++) {
        const json_t *const other = json_object_get(config_of(m, i), name);
        for (size_t k = 0; k < json_array_size(other); k++) {
            const char *const text = json_string_value(json_array_get(other, k));
            if (text && !has_text(list, text))
                list = mc_json_append(list, mc_json_text(text));
        }
    }
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return json_null();
}

/*
 * Whether all configurations name their modules by a list that nothing else narrows. Otherwise the
 * union of the lists would name modules that no adapter has.
 */
static bool has_lists(const merging *m)
{
    for (size_t i = 0; i < m->count; i++) {
        const json_t *const config = config_of(m, i);
        if (!json_is_array(json_object_get(config, "target_modules")) ||
            json_array_size(json_object_get(config, "exclude_modules")) > 0 ||
            (json_object_get(config, "layers_to_transform") &&
             !json_is_null(json_object_get(config, "layers_to_transform"))))
            return false;
    }
    return true;
}

static json_t *paths_of(const merging *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->modules.count; i++)
        if (m->modules.items[i].experts == 1)
            list = mc_json_append(list, mc_json_text(m->modules.items[i].path));
    return list;
}

static mc_status make_config(const merging *m, mc_error *error)
{
    json_t *config = json_deep_copy(config_of(m, 0));
    config = mc_json_put(config, "target_modules",
                         has_lists(m) ? union_of(m, "target_modules") : paths_of(m));
    config = mc_json_put(config, "modules_to_save", union_of(m, "modules_to_save"));
    config = mc_json_put(config, "layers_to_transform", json_null());
    config = mc_json_put(config, "layers_pattern", json_null());
    config = mc_json_put(config, "exclude_modules", json_null());
    config = mc_json_put(config, "use_rslora", json_false());
    config = mc_json_put(config, "init_lora_weights", json_true());
    config = mc_json_put(config, "inference_mode", json_true());
    m->plan->config = config;
    return config ? MC_OK : mc_fail_memory(error);
}

/* The sum of the weights of the adapters that have a whole tensor; their number without weights. */
static double weight_of_owners(const merging *m, const char *name, bool weighted)
{
    double total = 0;
    for (size_t i = 0; i < m->count; i++)
        if (mc_state_dict_find(m->adapters[i]->adapter.whole, name))
            total += weighted ? m->weights[i] : 1;
    return total;
}

/*
 * The mean of a whole tensor over the adapters that have it. It is weighted unless their weights
 * have a sum of 0 or less, which no mean can be divided by.
 */
static mc_status mean_of(const merging *m, const char *name, mc_source **out, mc_error *error)
{
    const bool weighted = m->weights && weight_of_owners(m, name, true) > 0;
    const double total = weight_of_owners(m, name, weighted);
    mc_source *sum = NULL;
    for (size_t i = 0; i < m->count; i++) {
        mc_source *const one = mc_state_dict_find(m->adapters[i]->adapter.whole, name);
        mc_source *scaled = NULL, *next = NULL;
        if (!one)
            continue;
        const double share = (weighted ? m->weights[i] : 1) / total;
        mc_status status = mc_source_combine_number(MC_MULTIPLY, one, share, false, &scaled, error);
        if (status == MC_OK && sum)
            status = mc_source_combine(MC_ADD, sum, scaled, &next, error);
        else if (status == MC_OK)
            next = mc_source_ref(scaled);
        mc_source_unref(scaled);
        mc_source_unref(sum);
        sum = next;
        MC_TRY(status);
    }
    *out = sum;
    return MC_OK;
}

static size_t owners_of(const merging *m, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < m->count; i++)
        count += mc_state_dict_find(m->adapters[i]->adapter.whole, name) != NULL;
    return count;
}

static mc_status add_whole(const merging *m, const char *name, mc_source *source, bool strict,
                           mc_names *averaged, mc_error *error)
{
    mc_source *mean = NULL;
    (void)strict;
    if (owners_of(m, name) == 1)
        return mc_state_dict_set(m->plan->whole, name, source, error);
    MC_TRY(mc_names_add(averaged, name, error));
    mc_status status = mean_of(m, name, &mean, error);
    if (status == MC_OK)
        status = mc_state_dict_set(m->plan->whole, name, mean, error);
    mc_source_unref(mean);
    return mc_in_tensor(error, name, status);
}

/*
 * Adds tensors of modules_to_save, and biases: copied if one adapter has them, averaged if several
 * do.
 */
static mc_status add_wholes(const merging *m, bool strict, mc_error *error)
{
    mc_names averaged = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < m->count; i++) {
        const mc_state_dict *const whole = m->adapters[i]->adapter.whole;
        for (size_t k = 0; status == MC_OK && k < mc_state_dict_count(whole); k++) {
            const char *const name = mc_state_dict_name(whole, k);
            if (!mc_state_dict_find(m->plan->whole, name))
                status = add_whole(m, name, mc_state_dict_source(whole, k), strict, &averaged,
                                   error);
        }
    }
    if (status == MC_OK)
        status = mc_report_names(m->plan->report, &averaged, strict,
                                 "saved whole by several adapters and averaged", error);
    mc_names_free(&averaged);
    return status;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static json_t *rank_json(const mc_lora_rank *rank)
{
    if (rank->energy > 0)
        return json_pack("{s:f, s:I, s:b}", "energy", rank->energy, "max_rank",
                         (json_int_t)rank->max_rank, "exact", (int)rank->exact);
    return json_pack("{s:I, s:b}", "rank", (json_int_t)rank->rank, "exact", (int)rank->exact);
}

static mc_status describe(const merging *m, const mc_lora_merge_input *input, mc_error *error)
{
    char *const parameters = mc_params_json(m->params);
    json_t *names = json_array(), *files = json_array(), *parsed = NULL;
    uint64_t hash = MC_HASH_START;
    bool resumable = true;
    for (size_t i = 0; i < m->count; i++) {
        const mc_lora *const lora = m->adapters[i];
        const mc_checkpoint *const checkpoint = &lora->adapter.checkpoint;
        names = mc_json_append(names, mc_json_text(lora->name));
        files = mc_json_append(files,
                               mc_lora_files_json(lora->name, lora->repository, lora->commit,
                                                  checkpoint->files, checkpoint->file_count));
        char *const config = json_dumps(lora->adapter.config, JSON_SORT_KEYS);
        hash = mc_hash_text(hash, config ? config : "");
        resumable = resumable && config && checkpoint->file_count > 0;
        free(config);
        for (size_t f = 0; f < checkpoint->file_count; f++) {
            const mc_file_identity identity = mc_file_identity_of(checkpoint->files[f]);
            hash = mc_hash_bytes(hash, &identity, sizeof identity);
        }
    }
    mc_status status = parameters ? mc_json_parse(parameters, strlen(parameters), &parsed, error)
                                  : mc_fail_memory(error);
    json_t *summary = mc_json_put(json_object(), "method", json_string(input->method));
    summary = mc_json_put(summary, "parameters", parsed);
    summary = mc_json_put(summary, "rank", rank_json(&input->rank));
    summary = mc_json_put(summary, "seed", json_integer((json_int_t)input->rank.seed));
    m->plan->summary = mc_json_put(summary, "adapters", names);
    m->plan->inputs = files;
    m->plan->title = mc_format("Merged with mergecraft from %zu LoRA adapters by the method `%s`.",
                               m->count, input->method);
    char *const text = m->plan->summary ? json_dumps(m->plan->summary, JSON_SORT_KEYS) : NULL;
    m->plan->fingerprint = resumable && text ? mc_hash_text(hash, text) : 0;
    free(text);
    mc_free(parameters);
    if (status == MC_OK && (!m->plan->summary || !files || !m->plan->title))
        status = mc_fail_memory(error);
    return status;
}

static mc_status guard_inputs(const merging *m, mc_error *error)
{
    for (size_t i = 0; i < m->count; i++)
        for (size_t f = 0; f < m->adapters[i]->adapter.checkpoint.file_count; f++)
            MC_TRY(mc_lora_plan_guard(
                m->plan, mc_file_path(m->adapters[i]->adapter.checkpoint.files[f]), error));
    return MC_OK;
}

static mc_status build(merging *m, const mc_lora_merge_input *input, mc_error *error)
{
    m->how = input->rank;
    for (size_t i = 0; i < m->count; i++)
        m->adapters[i] = input->adapters[i];
    MC_TRY(choose_method(m, input, error));
    MC_TRY(check_rank(m, &input->rank, error));
    MC_TRY(mc_lora_modules_match(m->adapters, m->count, &m->modules, error));
    MC_TRY(check_same(m, "fan_in_fan_out", error));
    MC_TRY(check_same(m, "target_parameters", error));
    MC_TRY(check_bases(m, input->strict, error));
    if (m->space == MC_LORA_METHOD)
        MC_TRY(merge_updates(m, input, m->params->method, error));
    MC_TRY(make_config(m, error));
    MC_TRY(add_wholes(m, input->strict, error));
    MC_TRY(add_rows(m, input, error));
    MC_TRY(guard_inputs(m, error));
    MC_TRY(describe(m, input, error));
    return mc_lora_plan_finish(m->plan, error);
}

mc_status mc_lora_merge(const mc_lora_merge_input *input, mc_lora_plan **out, mc_error *error)
{
    mc_lora_plan *plan = NULL;
    if (input->adapter_count == 0)
        return mc_fail(error, MC_USAGE, "expected adapters to merge, found none");
    if (input->convert && mc_dtype_kind_of(input->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_USAGE, "expected a dtype of floats for the result, found %s",
                       mc_dtype_name(input->dtype));
    MC_TRY(mc_lora_plan_new(&plan, error));
    merging *const m = mc_alloc_zero(1, sizeof *m);
    if (m)
        m->adapters = mc_alloc_zero(input->adapter_count, sizeof *m->adapters);
    if (!m || !m->adapters) {
        mc_free(m);
        mc_lora_plan_free(plan);
        return mc_fail_memory(error);
    }
    m->count = input->adapter_count;
    m->plan = plan;
    plan->user = m;
    plan->free_user = free_merging;
    plan->compute = compute_row;
    plan->check = check_adapters;
    const mc_status status = build(m, input, error);
    if (status != MC_OK) {
        mc_lora_plan_free(plan);
        return status;
    }
    *out = plan;
    return MC_OK;
}
