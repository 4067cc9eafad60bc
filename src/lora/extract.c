/*
 * Extracting an adapter: what differs between a fine-tuned model and its base. Matrices of linear
 * layers become factors; what PEFT cannot adapt is saved whole.
 */
#include "base/cpu.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/team.h"
#include "base/text.h"
#include "lora/plan.h"
#include "lora/truncate.h"
#include "merge/align.h"
#include "merge/report.h"
#include "model/model.h"
#include "model/parts.h"
#include "model/tied_names.h"

#include <mergecraft/random.h>

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* COMPARED_BYTES: bytes of each tensor that are read at a time to compare it with the base's. */
enum { DEFAULT_RANK = 32, COMPARED_BYTES = 1 << 20 };

/*
 * What becomes of a tensor: nothing, as it equals the base's; left out at the user's wish; factors;
 * saved whole; changed, but PEFT can store it in no way.
 */
typedef enum fate { SAME, LEFT_OUT, ADAPTED, WHOLE, IMPOSSIBLE } fate;

/* A tensor of the fine-tuned model, with the base's. */
typedef struct candidate {
    const char *name;        /* borrowed from the alignment */
    mc_source *tuned, *base; /* borrowed; base is NULL if the base lacks it */
    mc_part part;
    fate fate;
} candidate;

/* The tensors that a row updates. */
typedef struct row_items {
    size_t *items;    /* [experts · parts], indices of candidates */
    size_t experts;   /* 1 of all that are not experts */
    size_t parts;     /* 2: gate and up of an expert, below each other */
    const char *leaf; /* of experts: the parameter that has them all, "gate_up_proj" */
} row_items;

/* The update of one expert of a row. */
typedef struct update {
    mc_matrix matrix;
    const candidate *parts[2];
} update;

typedef struct extracting {
    const mc_model *models[2]; /* fine-tuned, base */
    mc_alignment aligned;
    const char *type; /* model_type; may be NULL */
    candidate *items;
    size_t count;
    row_items *rows; /* in the order of the plan's */
    size_t row_count, row_capacity;
    mc_lora_rank how;
    const mc_lora_extract_input *input; /* while the plan is made */
    mc_lora_plan *plan;
} extracting;

static void free_extracting(void *user)
{
    extracting *const x = user;
    mc_alignment_free(&x->aligned);
    mc_free(x->items);
    for (size_t i = 0; i < x->row_count; i++)
        mc_free(x->rows[i].items);
    mc_free(x->rows);
    mc_free(x);
}

static mc_status check_models(void *user, mc_error *error)
{
    const extracting *const x = user;
    MC_TRY(mc_model_check(x->models[0], error));
    return mc_model_check(x->models[1], error);
}

/* ---- which tensors differ -------------------------------------------------------------------- */

static bool matches(const char *const *patterns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    return false;
}

static mc_status read_piece(const mc_source *source, bool raw, int64_t first, int64_t count,
                            void *out, mc_error *error)
{
    return raw ? mc_source_read_raw(source, first, count, out, error)
               : mc_source_read_f64(source, first, count, out, error);
}

/*
 * Compares two tensors: bytes if the dtypes are equal, values otherwise. Stops at the first piece
 * that differs, so only equal tensors are read to their end.
 */
static mc_status is_same(const mc_source *a, const mc_source *b, bool *same, mc_error *error)
{
    const bool raw = a->dtype == b->dtype;
    const int64_t total = raw ? a->bytes : a->count,
                  step = raw ? COMPARED_BYTES : COMPARED_BYTES / (int64_t)sizeof(double);
    char *const buffer = mc_alloc(2 * COMPARED_BYTES);
    mc_status status = buffer ? MC_OK : mc_fail_memory(error);
    *same = mc_source_same_shape(a, b);
    for (int64_t at = 0; status == MC_OK && *same && at < total; at += step) {
        const int64_t count = total - at < step ? total - at : step;
        status = read_piece(a, raw, at, count, buffer, error);
        if (status == MC_OK)
            status = read_piece(b, raw, at, count, buffer + COMPARED_BYTES, error);
        *same = memcmp(buffer, buffer + COMPARED_BYTES,
                       (size_t)count * (raw ? 1 : sizeof(double))) == 0;
    }
    mc_free(buffer);
    return status;
}

static bool has_ending(const char *name, const char *ending)
{
    return mc_ends_with(name, ending) && strlen(name) > strlen(ending);
}

/*
 * Whether PEFT's LoRA has a layer for the module: linear, Conv1D, or an embedding if the user wants
 * it.
 */
static bool is_adaptable(const extracting *x, const candidate *item)
{
    const mc_source *const tuned = item->tuned;
    if (!has_ending(item->name, ".weight") || tuned->rank != 2 || tuned->count == 0 ||
        mc_dtype_kind_of(tuned->dtype) != MC_KIND_FLOAT ||
        mc_dtype_kind_of(item->base->dtype) != MC_KIND_FLOAT)
        return false;
    switch (item->part.role) {
    case MC_PART_INPUT_EMBEDDING:
        return x->input->embeddings;
    case MC_PART_POSITION_EMBEDDING:
    case MC_PART_TYPE_EMBEDDING:
    case MC_PART_PATCH_EMBEDDING:
    case MC_PART_HEAD: /* PEFT saves classifiers whole, whatever the configuration lists */
    case MC_PART_NORM:
    case MC_PART_ROUTER:
    case MC_PART_CONVOLUTION:
    case MC_PART_BUFFER:
        return false;
    case MC_PART_OTHER:
        return !strstr(item->name, "embed");
    default:
        return true;
    }
}

/* Whether PEFT can save the tensor: it belongs to a module, by its name, and holds floats. */
static bool can_be_saved(const candidate *item)
{
    return mc_dtype_kind_of(item->tuned->dtype) == MC_KIND_FLOAT &&
           (has_ending(item->name, ".weight") || has_ending(item->name, ".bias"));
}

/* Runs on several threads; each call writes only its own item. */
static mc_status decide(void *arg, int worker, size_t index, mc_error *error)
{
    const extracting *const x = arg;
    candidate *const item = &x->items[index];
    bool same = false;
    (void)worker;
    if (matches(x->input->exclude, x->input->exclude_count, item->name)) {
        item->fate = LEFT_OUT;
        return MC_OK;
    }
    if (item->base)
        MC_TRY(mc_in_tensor(error, item->name, is_same(item->tuned, item->base, &same, error)));
    const bool adapt = !same && item->base && mc_source_same_shape(item->tuned, item->base) &&
                       !matches(x->input->save, x->input->save_count, item->name) &&
                       is_adaptable(x, item);
    item->fate = same ? SAME : adapt ? ADAPTED : can_be_saved(item) ? WHOLE : IMPOSSIBLE;
    return MC_OK;
}

static int threads_of(const extracting *x)
{
    return x->input->threads > 0 ? x->input->threads : mc_cpu_count();
}

static mc_status find_differences(extracting *x, mc_error *error)
{
    const mc_state_dict *const tuned = x->aligned.dicts[0], *const base = x->aligned.dicts[1];
    x->count = mc_state_dict_count(tuned);
    x->items = mc_alloc_zero(x->count, sizeof *x->items);
    if (!x->items)
        return mc_fail_memory(error);
    for (size_t i = 0; i < x->count; i++) {
        const char *const name = mc_state_dict_name(tuned, i);
        x->items[i] = (candidate){.name = name,
                                  .tuned = mc_state_dict_source(tuned, i),
                                  .base = mc_state_dict_find(base, name),
                                  .part = mc_part_of(x->type, name)};
    }
    return mc_parallel(x->count, threads_of(x), decide, x, error);
}

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

static bool is_expert(const candidate *item)
{
    return item->part.expert >= 0 && module_end(item->name);
}

static bool is_adapted_block(const extracting *x, int block)
{
    for (size_t i = 0; i < x->count; i++)
        if (x->items[i].fate == ADAPTED && is_expert(&x->items[i]) &&
            x->items[i].part.block == block)
            return true;
    return false;
}

/*
 * Makes the experts of a block adapted together or not at all: PEFT stacks their factors, as
 * transformers stacks their weights. PEFT matches by name, so it would take a module elsewhere that
 * is called as an expert's (a shared expert, a dense block) for experts too: those are saved whole.
 */
static void settle_experts(extracting *x)
{
    bool any = false;
    for (size_t i = 0; i < x->count; i++) {
        candidate *const item = &x->items[i];
        const bool adapted = is_expert(item) && item->base &&
                             mc_source_same_shape(item->tuned, item->base) &&
                             (item->fate == ADAPTED || item->fate == SAME) &&
                             is_adapted_block(x, item->part.block);
        if (adapted)
            item->fate = ADAPTED;
        any = any || adapted;
    }
    for (size_t i = 0; any && i < x->count; i++) {
        candidate *const item = &x->items[i];
        if (item->fate == ADAPTED && !is_expert(item) && module_end(item->name))
            item->fate = WHOLE;
    }
}

/* ---- factors of one row ---------------------------------------------------------------------- */

/*
 * Reads tuned − base. The difference is taken in double, of values as their dtypes hold them:
 * float32 would round it once more.
 */
static mc_status read_difference(const candidate *item, int64_t first, int64_t count, double *out,
                                 mc_error *error)
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

static mc_status truncate(const extracting *x, const row_items *row, size_t expert,
                          const mc_lora_rank *how, mc_truncated *out, mc_error *error)
{
    const size_t *const items = row->items + expert * row->parts;
    const candidate *const c = &x->items[items[0]];
    const int64_t rows = c->tuned->shape[0] * (int64_t)row->parts;
    const update u = {{rows, c->tuned->shape[1], read_update},
                      {c, row->parts > 1 ? &x->items[items[1]] : NULL}};
    return mc_in_tensor(error, c->name, mc_truncate(&u.matrix, how, c->name, out, error));
}

/* Whether the tensor is stored as [in, out]: embeddings and GPT-2's matrices. */
static bool is_transposed(const candidate *item)
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

static mc_status compute_row(void *user, size_t index, double *a, double *b, mc_energy *energy,
                             mc_error *error)
{
    const extracting *const x = user;
    const mc_lora_row *const row = &x->plan->rows[index];
    const row_items *const items = &x->rows[index];
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

/* ---- rows ------------------------------------------------------------------------------------ */

/*
 * Decomposes each update only to find its rank; factors are computed again when they are written.
 * Keeping them would take the memory of the whole adapter.
 */
static mc_status rank_by_energy(void *arg, int worker, size_t index, mc_error *error)
{
    const extracting *const x = arg;
    const row_items *const row = &x->rows[index];
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

static mc_status find_ranks(const extracting *x, mc_error *error)
{
    mc_lora_row *const rows = x->plan->rows;
    int64_t most = 0;
    if (x->how.energy > 0)
        MC_TRY(
            mc_parallel(x->row_count, threads_of(x), rank_by_energy, (void *)(uintptr_t)x, error));
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

/*
 * The module that a tensor belongs to, in new memory: the name up to its last dot. NULL: no memory.
 */
static char *module_of(const char *name)
{
    const char *const dot = strrchr(name, '.');
    return dot ? mc_strndup(name, (size_t)(dot - name)) : mc_strdup(name);
}

/* "model.layers.0.mlp.experts" of "model.layers.0.mlp.experts.7.up_proj.weight". */
static char *experts_path(const candidate *item)
{
    char digits[24];
    snprintf(digits, sizeof digits, ".%d.", item->part.expert);
    const char *at = strstr(item->name, ".experts.");
    at = at ? strstr(at + strlen(".expert"), digits) : NULL;
    return mc_strndup(item->name, at ? (size_t)(at - item->name) : strlen(item->name));
}

/* Takes over `items`. */
static mc_status add_row(extracting *x, char *path, const row_items *items, mc_error *error)
{
    const candidate *const item = &x->items[items->items[0]];
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

static mc_status add_plain_row(extracting *x, size_t index, mc_error *error)
{
    row_items items = {.items = mc_alloc(sizeof *items.items), .experts = 1, .parts = 1};
    if (!items.items)
        return mc_fail_memory(error);
    items.items[0] = index;
    return add_row(x, module_of(x->items[index].name), &items, error);
}

static bool is_part(const candidate *item, int block, int expert, const char *ending)
{
    return item->fate == ADAPTED && is_expert(item) && item->part.block == block &&
           item->part.expert == expert && mc_ends_with(item->name, ending);
}

static size_t find_part(const extracting *x, int block, int expert, const char *ending)
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
static mc_status add_expert_row(extracting *x, const candidate *first, const char *leaf,
                                const char *const endings[2], mc_error *error)
{
    const size_t parts = endings[1] ? 2 : 1;
    row_items row = {.parts = parts, .leaf = leaf};
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
static mc_status add_experts(extracting *x, const candidate *item, mc_error *error)
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

static mc_status add_rows(extracting *x, mc_error *error)
{
    for (size_t i = 0; i < x->count; i++) {
        if (x->items[i].fate != ADAPTED)
            continue;
        MC_TRY(is_expert(&x->items[i]) ? add_experts(x, &x->items[i], error)
                                       : add_plain_row(x, i, error));
    }
    return find_ranks(x, error);
}

/* ---- tensors that are saved whole ------------------------------------------------------------ */

static const candidate *find_item(const extracting *x, const char *name)
{
    for (size_t i = 0; i < x->count; i++)
        if (strcmp(x->items[i].name, name) == 0)
            return &x->items[i];
    return NULL;
}

/*
 * The adapted weight beside a bias; NULL if the tensor is not a bias or its module is not adapted.
 */
static const candidate *adapted_beside(const extracting *x, const candidate *item)
{
    if (!mc_ends_with(item->name, ".bias"))
        return NULL;
    char *const module = module_of(item->name);
    char *const name = module ? mc_format("%s.weight", module) : NULL;
    const candidate *const weight = name ? find_item(x, name) : NULL;
    mc_free(module);
    mc_free(name);
    return weight && weight->fate == ADAPTED ? weight : NULL;
}

/*
 * Saves the modules that share the embedding under tied weights too. PEFT unties a module that it
 * saves, so that saving the embedding alone would leave the head with the base's weights.
 */
static mc_status save_partners(const extracting *x, const candidate *item, json_t **modules,
                               mc_error *error)
{
    const char *names[MC_TIED_NAMES];
    const size_t count = mc_tied_names(x->models[0]->config, x->aligned.dicts[0], item->name,
                                       names);
    for (size_t i = 0; i < count; i++) {
        char *const module = module_of(names[i]);
        *modules = mc_json_append(*modules, module ? mc_json_text(module) : NULL);
        mc_free(module);
        MC_TRY(mc_state_dict_set(x->plan->whole, names[i], item->tuned, error));
    }
    return MC_OK;
}

static bool lists(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return true;
    return false;
}

/* Saves a module with all its tensors, as PEFT replaces modules and not single tensors. */
static mc_status save_module(const extracting *x, const candidate *item, json_t **modules,
                             mc_error *error)
{
    char *const module = module_of(item->name);
    if (!module)
        return mc_fail_memory(error);
    mc_status status = MC_OK;
    if (!lists(*modules, module)) {
        *modules = mc_json_append(*modules, mc_json_text(module));
        for (size_t i = 0; status == MC_OK && i < x->count; i++) {
            char *const other = module_of(x->items[i].name);
            if (!other)
                status = mc_fail_memory(error);
            else if (strcmp(other, module) == 0 && can_be_saved(&x->items[i]))
                status = mc_state_dict_set(x->plan->whole, x->items[i].name, x->items[i].tuned,
                                           error);
            mc_free(other);
        }
        if (status == MC_OK)
            status = save_partners(x, item, modules, error);
    }
    mc_free(module);
    return status;
}

/* Saves the bias of an adapted module under the name inside PEFT's wrapper. */
static mc_status save_bias(const extracting *x, const candidate *item, mc_error *error)
{
    char *const module = module_of(item->name);
    char *const name = module ? mc_format("%s.base_layer.bias", module) : NULL;
    const mc_status status = name ? mc_state_dict_set(x->plan->whole, name, item->tuned, error)
                                  : mc_fail_memory(error);
    mc_free(module);
    mc_free(name);
    return status;
}

static mc_status add_wholes(const extracting *x, json_t **modules, bool *biases, mc_error *error)
{
    mc_names lost = {0}, resized = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < x->count; i++) {
        const candidate *const item = &x->items[i];
        if (item->fate == IMPOSSIBLE)
            status = mc_names_add(&lost, item->name, error);
        if (item->fate != WHOLE)
            continue;
        if (item->base && !mc_source_same_shape(item->tuned, item->base))
            status = mc_names_add(&resized, item->name, error);
        if (status == MC_OK && adapted_beside(x, item)) {
            *biases = true;
            status = save_bias(x, item, error);
        } else if (status == MC_OK) {
            status = save_module(x, item, modules, error);
        }
    }
    const bool strict = x->input->strict;
    if (status == MC_OK)
        status = mc_report_names(x->plan->report, &lost, strict,
                                 "changed but neither adaptable nor part of a module that can be "
                                 "saved, and left out",
                                 error);
    if (status == MC_OK)
        status = mc_report_names(x->plan->report, &resized, strict,
                                 "of another shape than in the base, which has to be resized "
                                 "before PEFT can load the adapter",
                                 error);
    mc_names_free(&lost);
    mc_names_free(&resized);
    return status;
}

/* Tensors that only the base has. */
static mc_status report_missing(const extracting *x, mc_error *error)
{
    const mc_state_dict *const tuned = x->aligned.dicts[0], *const base = x->aligned.dicts[1];
    mc_names missing = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(base); i++)
        if (!mc_state_dict_find(tuned, mc_state_dict_name(base, i)))
            status = mc_names_add(&missing, mc_state_dict_name(base, i), error);
    if (status == MC_OK)
        status = mc_report_names(x->plan->report, &missing, x->input->strict,
                                 "only in the base and left out", error);
    mc_names_free(&missing);
    return status;
}

/* ---- configuration --------------------------------------------------------------------------- */

static const char *last_part(const char *path)
{
    const char *const dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/*
 * Whether the last part of `path` names adapted modules only: PEFT matches target_modules by the
 * end of a path, and would adapt any other module of that ending.
 */
static bool ending_is_enough(const extracting *x, const char *path)
{
    for (size_t i = 0; i < x->count; i++) {
        const candidate *const item = &x->items[i];
        char *const module = module_of(item->name);
        const bool other = module && has_ending(item->name, ".weight") && item->fate != ADAPTED &&
                           strcmp(last_part(module), last_part(path)) == 0;
        mc_free(module);
        if (other)
            return false;
    }
    return true;
}

/*
 * The value of target_parameters, such as "mlp.experts.gate_up_proj": PEFT finds parameters of
 * experts by the end of their path, in all blocks.
 */
static json_t *target_parameters(const extracting *x)
{
    static const char *const leaves[] = {"gate_up_proj", "down_proj"};
    json_t *list = json_array();
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < x->row_count; i++) {
            if (!x->rows[i].leaf || strcmp(x->rows[i].leaf, leaves[k]) != 0)
                continue;
            const char *const path = x->plan->rows[i].path, *at = strstr(path, ".experts");
            while (at && at > path && at[-1] != '.')
                at--;
            char *const name = mc_format("%s.%s", at ? at : path, leaves[k]);
            if (name && !lists(list, name))
                list = mc_json_append(list, mc_json_text(name));
            mc_free(name);
        }
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return json_null();
}

/*
 * Short names ("q_proj") if they are unambiguous, as configurations usually have them; whole paths
 * otherwise.
 */
static json_t *target_modules(const extracting *x)
{
    bool short_names = true;
    json_t *list = json_array();
    for (size_t i = 0; i < x->plan->count && short_names; i++) {
        const char *const path = x->plan->rows[i].path;
        if (x->rows[i].leaf || lists(list, last_part(path)))
            continue;
        short_names = ending_is_enough(x, path);
        list = mc_json_append(list, mc_json_text(last_part(path)));
    }
    if (short_names)
        return list;
    json_decref(list);
    list = json_array();
    for (size_t i = 0; i < x->plan->count; i++)
        if (!x->rows[i].leaf)
            list = mc_json_append(list, mc_json_text(x->plan->rows[i].path));
    return list;
}

static const char *task_type(const extracting *x)
{
    static const struct {
        const char *part, *task;
    } rows[] = {{"ForCausalLM", "CAUSAL_LM"},
                {"LMHeadModel", "CAUSAL_LM"},
                {"ForSequenceClassification", "SEQ_CLS"},
                {"ForConditionalGeneration", "SEQ_2_SEQ_LM"},
                {"ForTokenClassification", "TOKEN_CLS"},
                {"ForQuestionAnswering", "QUESTION_ANS"}};
    const char *const architecture = mc_model_architecture(x->models[0]);
    for (size_t i = 0; architecture && i < sizeof rows / sizeof *rows; i++)
        if (strstr(architecture, rows[i].part))
            return rows[i].task;
    return NULL;
}

static bool has_transposed(const extracting *x)
{
    for (size_t i = 0; i < x->count; i++)
        if (x->items[i].fate == ADAPTED && x->items[i].part.transposed)
            return true;
    return false;
}

static mc_status make_config(const extracting *x, json_t *modules, bool biases, mc_error *error)
{
    const char *const repository = mc_model_repository(x->models[1]);
    const char *const task = task_type(x);
    json_t *config = mc_json_put(json_object(), "peft_type", json_string("LORA"));
    config = mc_json_put(config, "task_type", task ? json_string(task) : json_null());
    config = mc_json_put(config, "base_model_name_or_path",
                         mc_json_text(repository ? repository : mc_model_name(x->models[1])));
    config = mc_json_put(config, "target_modules", target_modules(x));
    config = mc_json_put(config, "target_parameters", target_parameters(x));
    config = mc_json_put(config, "modules_to_save",
                         json_array_size(modules) > 0 ? json_incref(modules) : json_null());
    config = mc_json_put(config, "bias", json_string(biases ? "all" : "none"));
    config = mc_json_put(config, "fan_in_fan_out", json_boolean(has_transposed(x)));
    config = mc_json_put(config, "use_rslora", json_false());
    config = mc_json_put(config, "use_dora", json_false());
    config = mc_json_put(config, "lora_dropout", json_real(0));
    config = mc_json_put(config, "inference_mode", json_true());
    x->plan->config = mc_json_put(config, "init_lora_weights", json_true());
    return x->plan->config ? MC_OK : mc_fail_memory(error);
}

static json_t *model_json(const mc_model *model)
{
    return mc_lora_files_json(mc_model_name(model), mc_model_repository(model),
                              mc_model_commit(model), model->checkpoint.files,
                              model->checkpoint.file_count);
}

static mc_status describe(const extracting *x, mc_error *error)
{
    mc_lora_plan *const plan = x->plan;
    json_t *rank = x->how.energy > 0
                       ? json_pack("{s:f, s:I, s:b}", "energy", x->how.energy, "max_rank",
                                   (json_int_t)x->how.max_rank, "exact", (int)x->how.exact)
                       : json_pack("{s:I, s:b}", "rank", (json_int_t)x->how.rank, "exact",
                                   (int)x->how.exact);
    json_t *summary = mc_json_put(json_object(), "method", json_string("extract"));
    summary = mc_json_put(summary, "rank", rank);
    summary = mc_json_put(summary, "seed", json_integer((json_int_t)x->how.seed));
    summary = mc_json_put(summary, "model", mc_json_text(mc_model_name(x->models[0])));
    plan->summary = mc_json_put(summary, "base", mc_json_text(mc_model_name(x->models[1])));
    plan->inputs = mc_json_append(mc_json_append(json_array(), model_json(x->models[0])),
                                  model_json(x->models[1]));
    plan->title = mc_strdup("Extracted with mergecraft from a fine-tuned model and its base.");
    char *const text = plan->summary ? json_dumps(plan->summary, JSON_SORT_KEYS) : NULL;
    uint64_t hash = mc_hash_text(MC_HASH_START, text ? text : "");
    bool resumable = text != NULL;
    free(text);
    for (size_t i = 0; i < 2; i++) {
        const uint64_t print = mc_model_fingerprint(x->models[i]);
        hash = mc_hash_bytes(hash, &print, sizeof print);
        resumable = resumable && mc_model_file_count(x->models[i]) > 0;
        MC_TRY(mc_lora_plan_guard(
            plan, mc_model_config(x->models[i]) ? mc_model_folder(x->models[i]) : NULL, error));
        for (size_t f = 0; f < mc_model_file_count(x->models[i]); f++)
            MC_TRY(mc_lora_plan_guard(plan, mc_model_file(x->models[i], f), error));
    }
    plan->fingerprint = resumable ? hash : 0;
    return plan->summary && plan->inputs && plan->title ? MC_OK : mc_fail_memory(error);
}

/* ---- the plan -------------------------------------------------------------------------------- */

/*
 * Saves embeddings whole that are tied to the output head. A LoRA of the embedding would not change
 * the head, although fine-tuning changed both.
 */
static mc_status keep_tied_embeddings(const extracting *x, mc_error *error)
{
    mc_names tied = {0};
    mc_status status = MC_OK;
    const char *names[MC_TIED_NAMES];
    for (size_t i = 0; status == MC_OK && i < x->count; i++)
        if (x->items[i].fate == ADAPTED &&
            mc_tied_names(x->models[0]->config, x->aligned.dicts[0], x->items[i].name, names) > 0) {
            x->items[i].fate = WHOLE;
            status = mc_names_add(&tied, x->items[i].name, error);
        }
    if (status == MC_OK)
        status = mc_report_names(x->plan->report, &tied, x->input->strict,
                                 "tied to the output head and saved whole instead of adapted",
                                 error);
    mc_names_free(&tied);
    return status;
}

static mc_status add_notes(const extracting *x, mc_error *error)
{
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < mc_model_note_count(x->models[i]); k++) {
            const char *const note = mc_model_note(x->models[i], k);
            MC_TRY(x->input->strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", note)
                                    : mc_report_add(x->plan->report, error, "%s", note));
        }
    return MC_OK;
}

/*
 * Completes the plan from its rows: whole tensors, then the configuration, which follows from both.
 */
static mc_status complete(extracting *x, json_t **modules, mc_error *error)
{
    bool biases = false;
    MC_TRY(add_wholes(x, modules, &biases, error));
    if (!*modules)
        return mc_fail_memory(error);
    if (x->plan->count + mc_state_dict_count(x->plan->whole) == 0)
        return mc_fail(error, MC_MISMATCH,
                       "%s: expected tensors that differ from those of %s, "
                       "found none",
                       mc_model_name(x->models[0]), mc_model_name(x->models[1]));
    if (x->plan->count == 0)
        return mc_fail(error, MC_MISMATCH,
                       "%s: expected matrices that differ from those of %s, found only tensors "
                       "that an adapter does not update",
                       mc_model_name(x->models[0]), mc_model_name(x->models[1]));
    MC_TRY(make_config(x, *modules, biases, error));
    MC_TRY(describe(x, error));
    return mc_lora_plan_finish(x->plan, error);
}

static mc_status build(extracting *x, mc_error *error)
{
    x->how = x->input->rank;
    if (x->how.rank == 0 && !(x->how.energy > 0))
        x->how.rank = DEFAULT_RANK;
    MC_TRY(mc_lora_rank_check(&x->input->rank, error));
    MC_TRY(add_notes(x, error));
    MC_TRY(mc_align(x->models, 1, 2, &x->aligned, x->plan->report, error));
    MC_TRY(find_differences(x, error));
    /*
     * Fates change in this order: experts first, then ties, both before rows are made of what stays
     * adapted.
     */
    settle_experts(x);
    MC_TRY(keep_tied_embeddings(x, error));
    MC_TRY(report_missing(x, error));
    MC_TRY(add_rows(x, error));
    json_t *modules = json_array();
    const mc_status status = complete(x, &modules, error);
    json_decref(modules);
    x->input = NULL;
    return status;
}

mc_status mc_lora_extract(const mc_lora_extract_input *input, mc_lora_plan **out, mc_error *error)
{
    mc_lora_plan *plan = NULL;
    if (input->convert && mc_dtype_kind_of(input->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_USAGE, "expected a dtype of floats for the result, found %s",
                       mc_dtype_name(input->dtype));
    MC_TRY(mc_lora_plan_new(&plan, error));
    extracting *const x = mc_alloc_zero(1, sizeof *x);
    if (!x) {
        mc_lora_plan_free(plan);
        return mc_fail_memory(error);
    }
    x->models[0] = input->model;
    x->models[1] = input->base;
    x->type = mc_model_type(input->model);
    x->input = input;
    x->plan = plan;
    plan->user = x;
    plan->free_user = free_extracting;
    plan->compute = compute_row;
    plan->check = check_models;
    const mc_status status = build(x, error);
    if (status != MC_OK) {
        mc_lora_plan_free(plan);
        return status;
    }
    *out = plan;
    return MC_OK;
}
