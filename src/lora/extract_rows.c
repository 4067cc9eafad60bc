/* The rows of an extraction: modules and experts, their ranks and their factors. */
#include "lora/extract.h"

#include "base/memory.h"
#include "base/team.h"
#include "base/text.h"
#include "lora/truncate.h"

#include <stdio.h>
#include <string.h>

/* The update of one expert of a row. */
typedef struct update {
    mc_matrix matrix;
    const mc_candidate *parts[2];
} update;

/* ---- experts --------------------------------------------------------------------------------- */

/*
 * The ending of an expert's matrix in `name`, under the names of both families; NULL if it is not
 * one.
 */
static const char *module_end(const char *name)
{
    static const char *const ends[] = {"gate_proj.weight", "up_proj.weight", "down_proj.weight",
                                       "w1.weight",        "w2.weight",      "w3.weight"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (mc_ends_with(name, ends[i]))
            return ends[i];
    return NULL;
}

static bool is_expert(const mc_candidate *item)
{
    return item->part.expert >= 0 && module_end(item->name);
}

static bool is_adapted_block(const mc_extracting *x, int block)
{
    for (size_t i = 0; i < x->count; i++)
        if (x->items[i].fate == MC_FATE_ADAPTED && is_expert(&x->items[i]) &&
            x->items[i].part.block == block)
            return true;
    return false;
}

void mc_extract_settle_experts(mc_extracting *x)
{
    bool any = false;
    for (size_t i = 0; i < x->count; i++) {
        mc_candidate *const item = &x->items[i];
        const bool adapted = is_expert(item) && item->base &&
                             mc_source_same_shape(item->tuned, item->base) &&
                             (item->fate == MC_FATE_ADAPTED || item->fate == MC_FATE_SAME) &&
                             is_adapted_block(x, item->part.block);
        if (adapted)
            item->fate = MC_FATE_ADAPTED;
        any = any || adapted;
    }
    for (size_t i = 0; any && i < x->count; i++) {
        mc_candidate *const item = &x->items[i];
        if (item->fate == MC_FATE_ADAPTED && !is_expert(item) && module_end(item->name))
            item->fate = MC_FATE_WHOLE;
    }
}

/* ---- factors of one row ---------------------------------------------------------------------- */

/*
 * Reads tuned − base. The difference is taken in double, of values as their dtypes hold them:
 * float32 would round it once more.
 */
static mc_status read_difference(const mc_candidate *item, int64_t first, int64_t count,
                                 double *out, mc_error *error)
{
    const mc_dtype as = mc_source_real(item->tuned) == MC_F64 ||
                                mc_source_real(item->base) == MC_F64
                            ? MC_F64
                            : MC_F32;
    void *const buffer = mc_alloc((size_t)count * 2 * sizeof(double));
    float *const x = buffer, *const y = x ? x + count : NULL;
    double *const wide = buffer;
    mc_status status = buffer ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK && as == MC_F64) {
        status = mc_source_read_f64(item->tuned, first, count, out, error);
        if (status == MC_OK)
            status = mc_source_read_f64(item->base, first, count, wide, error);
        for (int64_t i = 0; status == MC_OK && i < count; i++)
            out[i] -= wide[i];
    } else if (status == MC_OK) {
        status = mc_source_read_f32(item->tuned, first, count, x, error);
        if (status == MC_OK)
            status = mc_source_read_f32(item->base, first, count, y, error);
        for (int64_t i = 0; status == MC_OK && i < count; i++)
            out[i] = (double)x[i] - (double)y[i];
    }
    mc_free(buffer);
    return mc_in_tensor(error, item->name, status);
}

/*
 * Reads rows of the update. A panel may hold the last rows of the first part and the first of the
 * second.
 */
static mc_status read_update(const mc_matrix *self, int64_t first, int64_t count, double *out,
                             mc_error *error)
{
    const update *const u = (const update *)self;
    const int64_t n = self->columns, rows = u->parts[0]->tuned->shape[0];
    while (count > 0) {
        const size_t part = first >= rows;
        const int64_t at = first - (part ? rows : 0), left = part ? count : rows - at;
        const int64_t taken = count < left ? count : left;
        MC_TRY(read_difference(u->parts[part], at * n, taken * n, out, error));
        first += taken;
        count -= taken;
        out += taken * n;
    }
    return MC_OK;
}

static mc_status truncate(const mc_extracting *x, const mc_row_items *row, size_t expert,
                          const mc_lora_rank *how, mc_truncated *out, mc_error *error)
{
    const size_t *const items = row->items + expert * row->parts;
    const mc_candidate *const c = &x->items[items[0]];
    const int64_t rows = c->tuned->shape[0] * (int64_t)row->parts;
    const update u = {{rows, c->tuned->shape[1], read_update},
                      {c, row->parts > 1 ? &x->items[items[1]] : NULL}};
    return mc_in_tensor(error, c->name, mc_truncate(&u.matrix, how, c->name, out, error));
}

/* Whether the tensor is stored as [in, out]: embeddings and GPT-2's matrices. */
static bool is_transposed(const mc_candidate *item)
{
    return item->part.transposed || item->part.role == MC_PART_INPUT_EMBEDDING;
}

/*
 * Places the factors of one expert among those of all, as PEFT stacks them: a [rank · experts,
 * columns] expert after expert, b [rows, rank · experts] with the expert as the fastest index. If
 * transposed, (B·A)ᵀ is the difference.
 */
static void place(const mc_lora_row *row, bool transposed, int64_t expert, const mc_truncated *t,
                  double *a, double *b)
{
    double *const to = a + expert * row->rank * row->columns;
    for (int64_t k = 0; k < t->rank; k++)
        for (int64_t j = 0; j < row->columns; j++)
            to[k * row->columns + j] = transposed ? t->b[j * t->rank + k]
                                                  : t->a[k * row->columns + j];
    for (int64_t i = 0; i < row->rows; i++)
        for (int64_t k = 0; k < t->rank; k++)
            b[(i * row->rank + k) * row->experts + expert] = transposed ? t->a[k * row->rows + i]
                                                                        : t->b[i * t->rank + k];
}

mc_status mc_extract_row(void *user, size_t index, double *a, double *b, mc_energy *energy,
                         mc_error *error)
{
    const mc_extracting *const x = user;
    const mc_lora_row *const row = &x->plan->rows[index];
    const mc_row_items *const items = &x->rows[index];
    const bool transposed = is_transposed(&x->items[items->items[0]]);
    mc_lora_rank how = x->how;
    /* The plan has fixed the rank: shapes and headers depend on it. */
    how.rank = row->rank;
    how.energy = 0;
    for (size_t e = 0; e < items->experts; e++) {
        mc_truncated t = {0};
        MC_TRY(truncate(x, items, e, &how, &t, error));
        energy->total += t.total;
        energy->kept += t.kept;
        place(row, transposed, (int64_t)e, &t, a, b);
        mc_truncated_free(&t);
    }
    return MC_OK;
}

/* The decomposition, and what read_difference converts. */
int64_t mc_extract_work(const void *user, size_t index, const mc_lora_rank *how)
{
    const mc_extracting *const x = user;
    const mc_row_items *const row = &x->rows[index];
    const mc_source *const tuned = x->items[row->items[0]].tuned;
    const int64_t rows = tuned->shape[0] * (int64_t)row->parts, columns = tuned->shape[1];
    const double panels = 2 * (double)mc_panel_rows(columns) * (double)columns;
    return mc_bytes_of_doubles((double)mc_truncate_memory(rows, columns, how) / sizeof(double) +
                               panels);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/*
 * Decomposes each update only to find its rank; factors are computed again when they are written.
 * Keeping them would take the memory of the whole adapter.
 */
static mc_status rank_by_energy(void *arg, int worker, size_t index, mc_error *error)
{
    const mc_extracting *const x = arg;
    const mc_row_items *const row = &x->rows[index];
    (void)worker;
    for (size_t e = 0; e < row->experts; e++) {
        mc_truncated t = {0};
        MC_TRY(truncate(x, row, e, &x->how, &t, error));
        if (t.rank > x->plan->rows[index].rank)
            x->plan->rows[index].rank = t.rank;
        mc_truncated_free(&t);
    }
    return MC_OK;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static mc_status find_ranks(const mc_extracting *x, mc_error *error)
{
    mc_lora_row *const rows = x->plan->rows;
    int64_t most = 0, bytes = 0;
    for (size_t i = 0; i < x->row_count && x->how.energy > 0; i++) {
        const int64_t needed = mc_extract_work(x, i, &x->how);
        MC_TRY(mc_lora_check_memory(rows[i].path, needed, x->how.memory, error));
        bytes = needed > bytes ? needed : bytes;
    }
    if (x->how.energy > 0)
        MC_TRY(mc_parallel(x->row_count,
                           mc_lora_threads(mc_extract_threads(x), bytes, x->how.memory),
                           rank_by_energy, (void *)(uintptr_t)x, error));
    for (size_t i = 0; i < x->row_count; i++) {
        if (!(x->how.energy > 0))
            rows[i].rank = least(x->how.rank, least(rows[i].rows, rows[i].columns));
        if (rows[i].plain_rank && rows[i].rank > most)
            most = rows[i].rank;
    }
    for (size_t i = 0; i < x->row_count;
         i++) /* all experts have the rank of those that need most */
        if (rows[i].plain_rank)
            rows[i].rank = most;
    return MC_OK;
}

char *mc_extract_module_of(const char *name)
{
    const char *const dot = strrchr(name, '.');
    return dot ? mc_strndup(name, (size_t)(dot - name)) : mc_strdup(name);
}

/* "model.layers.0.mlp.experts" of "model.layers.0.mlp.experts.7.up_proj.weight". */
static char *experts_path(const mc_candidate *item)
{
    char digits[24];
    snprintf(digits, sizeof digits, ".%d.", item->part.expert);
    const char *at = strstr(item->name, ".experts.");
    at = at ? strstr(at + strlen(".expert"), digits) : NULL;
    return mc_strndup(item->name, at ? (size_t)(at - item->name) : strlen(item->name));
}

/* Takes over `items`. */
static mc_status add_row(mc_extracting *x, char *path, const mc_row_items *items, mc_error *error)
{
    const mc_candidate *const item = &x->items[items->items[0]];
    const bool transposed = is_transposed(item);
    mc_lora_row *row = NULL;
    mc_status status = path ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK && !MC_GROW(x->rows, x->row_count, x->row_capacity))
        status = mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_lora_plan_add(x->plan, path, &row, error);
    mc_free(path);
    if (status != MC_OK) {
        mc_free(items->items);
        return status;
    }
    x->rows[x->row_count++] = *items;
    const int64_t parts = (int64_t)items->parts;
    row->rows = transposed ? item->tuned->shape[1] : item->tuned->shape[0] * parts;
    row->columns = item->tuned->shape[transposed ? 0 : 1];
    row->experts = (int64_t)items->experts;
    row->embedding = item->part.role == MC_PART_INPUT_EMBEDDING;
    row->plain_rank = items->leaf != NULL;
    /* PEFT wraps a module once per parameter; the first parameter's wrapper is the innermost. */
    row->outer = items->leaf && strcmp(items->leaf, "gate_up_proj") == 0;
    row->dtype = x->input->convert ? x->input->dtype : MC_F32;
    return MC_OK;
}

static mc_status add_plain_row(mc_extracting *x, size_t index, mc_error *error)
{
    mc_row_items items = {.items = mc_alloc(sizeof *items.items), .experts = 1, .parts = 1};
    if (!items.items)
        return mc_fail_memory(error);
    items.items[0] = index;
    return add_row(x, mc_extract_module_of(x->items[index].name), &items, error);
}

static bool is_part(const mc_candidate *item, int block, int expert, const char *ending)
{
    return item->fate == MC_FATE_ADAPTED && is_expert(item) && item->part.block == block &&
           item->part.expert == expert && mc_ends_with(item->name, ending);
}

static size_t find_part(const mc_extracting *x, int block, int expert, const char *ending)
{
    for (size_t i = 0; i < x->count; i++)
        if (is_part(&x->items[i], block, expert, ending))
            return i;
    return x->count;
}

/*
 * Adds one parameter of all experts of a block; `first` is a tensor of its first expert. Experts
 * are counted from 0 until one is missing; an incomplete or different one is an error, since PEFT
 * needs one shape for all.
 */
static mc_status add_expert_row(mc_extracting *x, const mc_candidate *first, const char *leaf,
                                const char *const endings[2], mc_error *error)
{
    const size_t parts = endings[1] ? 2 : 1;
    mc_row_items row = {.parts = parts, .leaf = leaf};
    size_t capacity = 0, count = 0;
    for (int expert = 0;; expert++)
        for (size_t part = 0; part < parts; part++) {
            const size_t found = find_part(x, first->part.block, expert, endings[part]);
            if (found == x->count && part == 0 && expert > 0) {
                row.experts = (size_t)expert;
                return add_row(x, experts_path(first), &row, error);
            }
            const bool fits = found < x->count &&
                              mc_source_same_shape(x->items[found].tuned, first->tuned);
            if (!fits || !MC_GROW(row.items, count, capacity)) {
                mc_free(row.items);
                return fits ? mc_fail_memory(error)
                            : mc_fail_at(error, MC_MISMATCH, NULL, first->name, -1,
                                         "expected the same matrices of all experts, found none "
                                         "like it of expert %d",
                                         expert);
            }
            row.items[count++] = found;
        }
}

/*
 * Adds a row per parameter at the first matrix of expert 0; the other matrices are found from
 * there.
 */
static mc_status add_experts(mc_extracting *x, const mc_candidate *item, mc_error *error)
{
    static const char *const gate_up[][2] = {{".gate_proj.weight", ".up_proj.weight"},
                                             {".w1.weight", ".w3.weight"}},
                             *const down[][2] = {{".down_proj.weight", NULL}, {".w2.weight", NULL}};
    for (int i = 0; item->part.expert == 0 && i < 2; i++) {
        if (mc_ends_with(item->name, gate_up[i][0]))
            return add_expert_row(x, item, "gate_up_proj", gate_up[i], error);
        if (mc_ends_with(item->name, down[i][0]))
            return add_expert_row(x, item, "down_proj", down[i], error);
    }
    return MC_OK;
}

mc_status mc_extract_add_rows(mc_extracting *x, mc_error *error)
{
    for (size_t i = 0; i < x->count; i++) {
        if (x->items[i].fate != MC_FATE_ADAPTED)
            continue;
        MC_TRY(is_expert(&x->items[i]) ? add_experts(x, &x->items[i], error)
                                       : add_plain_row(x, i, error));
    }
    return find_ranks(x, error);
}
