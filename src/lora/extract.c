/*
 * Extracting an adapter: what differs between a fine-tuned model and its base. Matrices of linear
 * layers become factors; what PEFT cannot adapt is saved whole.
 */
#include "lora/extract.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/team.h"
#include "base/text.h"
#include "merge/report.h"
#include "model/tied_names.h"

#include <fnmatch.h>
#include <string.h>

/* COMPARED_BYTES: bytes of each tensor that are read at a time to compare it with the base's. */
enum { DEFAULT_RANK = 32, COMPARED_BYTES = 1 << 20 };

static void free_extracting(void *user)
{
    mc_extracting *const x = user;
    mc_alignment_free(&x->aligned);
    mc_free(x->items);
    for (size_t i = 0; i < x->row_count; i++)
        mc_free(x->rows[i].items);
    mc_free(x->rows);
    mc_free(x);
}

static mc_status check_models(void *user, mc_error *error)
{
    const mc_extracting *const x = user;
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

bool mc_extract_has_ending(const char *name, const char *ending)
{
    return mc_ends_with(name, ending) && strlen(name) > strlen(ending);
}

/*
 * Whether PEFT's LoRA has a layer for the module: linear, Conv1D, or an embedding if the user wants
 * it.
 */
static bool is_adaptable(const mc_extracting *x, const mc_candidate *item)
{
    const mc_source *const tuned = item->tuned;
    if (!mc_extract_has_ending(item->name, ".weight") || tuned->rank != 2 || tuned->count == 0 ||
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

bool mc_extract_can_be_saved(const mc_candidate *item)
{
    return mc_dtype_kind_of(item->tuned->dtype) == MC_KIND_FLOAT &&
           (mc_extract_has_ending(item->name, ".weight") ||
            mc_extract_has_ending(item->name, ".bias"));
}

/* Runs on several threads; each call writes only its own item. */
static mc_status decide(void *arg, int worker, size_t index, mc_error *error)
{
    const mc_extracting *const x = arg;
    mc_candidate *const item = &x->items[index];
    bool same = false;
    (void)worker;
    if (matches(x->input->exclude, x->input->exclude_count, item->name)) {
        item->fate = MC_FATE_LEFT_OUT;
        return MC_OK;
    }
    if (item->base)
        MC_TRY(mc_in_tensor(error, item->name, is_same(item->tuned, item->base, &same, error)));
    const bool adapt = !same && item->base && mc_source_same_shape(item->tuned, item->base) &&
                       !matches(x->input->save, x->input->save_count, item->name) &&
                       is_adaptable(x, item);
    item->fate = same                            ? MC_FATE_SAME
                 : adapt                         ? MC_FATE_ADAPTED
                 : mc_extract_can_be_saved(item) ? MC_FATE_WHOLE
                                                 : MC_FATE_IMPOSSIBLE;
    return MC_OK;
}

int mc_extract_threads(const mc_extracting *x)
{
    return x->input->threads > 0 ? x->input->threads : mc_cpu_count();
}

static mc_status find_differences(mc_extracting *x, mc_error *error)
{
    const mc_state_dict *const tuned = x->aligned.dicts[0], *const base = x->aligned.dicts[1];
    x->count = mc_state_dict_count(tuned);
    x->items = mc_alloc_zero(x->count, sizeof *x->items);
    if (!x->items)
        return mc_fail_memory(error);
    for (size_t i = 0; i < x->count; i++) {
        const char *const name = mc_state_dict_name(tuned, i);
        x->items[i] = (mc_candidate){.name = name,
                                     .tuned = mc_state_dict_source(tuned, i),
                                     .base = mc_state_dict_find(base, name),
                                     .part = mc_part_of(x->type, name)};
    }
    return mc_parallel(x->count, mc_extract_threads(x), decide, x, error);
}

/* ---- the plan -------------------------------------------------------------------------------- */

/*
 * Saves embeddings whole that are tied to the output head. A LoRA of the embedding would not change
 * the head, although fine-tuning changed both.
 */
static mc_status keep_tied_embeddings(const mc_extracting *x, mc_error *error)
{
    mc_names tied = {0};
    mc_status status = MC_OK;
    const char *names[MC_TIED_NAMES];
    for (size_t i = 0; status == MC_OK && i < x->count; i++)
        if (x->items[i].fate == MC_FATE_ADAPTED &&
            mc_tied_names(x->models[0]->config, x->aligned.dicts[0], x->items[i].name, names) > 0) {
            x->items[i].fate = MC_FATE_WHOLE;
            status = mc_names_add(&tied, x->items[i].name, error);
        }
    if (status == MC_OK)
        status = mc_report_names(x->plan->report, &tied, x->input->strict,
                                 "tied to the output head and saved whole instead of adapted",
                                 error);
    mc_names_free(&tied);
    return status;
}

static mc_status add_notes(const mc_extracting *x, mc_error *error)
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
static mc_status complete(mc_extracting *x, json_t **modules, mc_error *error)
{
    bool biases = false;
    MC_TRY(mc_extract_add_wholes(x, modules, &biases, error));
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
    MC_TRY(mc_extract_make_config(x, *modules, biases, error));
    MC_TRY(mc_extract_describe(x, error));
    return mc_lora_plan_finish(x->plan, error);
}

static mc_status build(mc_extracting *x, mc_error *error)
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
    mc_extract_settle_experts(x);
    MC_TRY(keep_tied_embeddings(x, error));
    MC_TRY(mc_extract_report_missing(x, error));
    MC_TRY(mc_extract_add_rows(x, error));
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
    mc_extracting *const x = mc_alloc_zero(1, sizeof *x);
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
    plan->compute = mc_extract_row;
    plan->work = mc_extract_work;
    plan->how = input->rank;
    plan->strict = input->strict;
    plan->check = check_models;
    const mc_status status = build(x, error);
    if (status != MC_OK) {
        mc_lora_plan_free(plan);
        return status;
    }
    *out = plan;
    return MC_OK;
}
