/* Merging adapters: the method, and the rows of the plan. */
#include "lora/merge.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/team.h"
#include "base/text.h"
#include "tensor/low_rank.h"

#include <mergecraft/text.h>

#include <string.h>

static void free_merging(void *user)
{
    mc_merging *const m = user;
    mc_state_dict_free(m->merged);
    mc_lora_modules_free(&m->modules);
    mc_params_unref(m->params);
    mc_free(m->adapters);
    mc_free(m);
}

static mc_status check_adapters(void *user, mc_error *error)
{
    const mc_merging *const m = user;
    for (size_t i = 0; i < m->count; i++)
        for (size_t f = 0; f < m->adapters[i]->adapter.checkpoint.file_count; f++)
            MC_TRY(mc_file_check(m->adapters[i]->adapter.checkpoint.files[f], error));
    return MC_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most_rank(const mc_merging *m)
{
    int64_t most = 0;
    for (size_t i = 0; i < m->modules.count; i++)
        if (m->modules.items[i].most_rank > most)
            most = m->modules.items[i].most_rank;
    return most;
}

/* Checks that all factors of a module have the same rank: they are combined element by element. */
static mc_status check_ranks(const mc_merging *m, const mc_lora_module *module, mc_error *error)
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
static mc_status find_rank(const mc_merging *m, size_t index, int64_t wanted, int64_t *rank,
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
    const mc_merging *m;
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
        const mc_status status = mc_merge_expert(r->m, item, e, &r->m->how, &t, error);
        if (t.rank > r->ranks[item])
            r->ranks[item] = t.rank;
        mc_truncated_free(&t);
        MC_TRY(mc_in_tensor(error, r->m->modules.items[item].path, status));
    }
    return MC_OK;
}

static mc_status find_ranks(const mc_merging *m, int64_t *ranks, mc_error *error)
{
    if (m->how.energy > 0) {
        ranking r = {m, ranks};
        int64_t most = 0;
        for (size_t i = 0; i < m->modules.count; i++) {
            const int64_t bytes = mc_merge_work(m, i, &m->how);
            MC_TRY(mc_lora_check_memory(m->modules.items[i].path, bytes, m->how.memory, error));
            most = bytes > most ? bytes : most;
        }
        return mc_parallel(m->modules.count, mc_lora_threads(mc_cpu_count(), most, m->how.memory),
                           rank_by_energy, &r, error);
    }
    const int64_t wanted = m->how.rank > 0 ? m->how.rank : most_rank(m);
    for (size_t i = 0; i < m->modules.count; i++)
        MC_TRY(find_rank(m, i, wanted, &ranks[i], error));
    return MC_OK;
}

/* Gives all experts the largest rank among them: PEFT stacks their factors. */
static void equal_experts(const mc_merging *m, int64_t *ranks)
{
    int64_t most = 0;
    for (size_t i = 0; i < m->modules.count; i++)
        if (m->modules.items[i].experts > 1 && ranks[i] > most)
            most = ranks[i];
    for (size_t i = 0; i < m->modules.count; i++)
        if (m->modules.items[i].experts > 1)
            ranks[i] = most;
}

static mc_dtype widest(const mc_merging *m, const mc_lora_module *module)
{
    mc_dtype dtype = module->members[0].module->a->dtype;
    for (size_t i = 0; i < module->count; i++) {
        dtype = mc_dtype_widest(dtype, module->members[i].module->a->dtype);
        dtype = mc_dtype_widest(dtype, module->members[i].module->b->dtype);
    }
    (void)m;
    return dtype;
}

/* The tensors of a single file keep their names in the last adapter that has the module. */
static mc_status keep_names(const mc_lora_module *module, mc_lora_row *row, mc_error *error)
{
    const mc_adapter_module *const last = module->members[module->count - 1].module;
    bool alpha = false;
    for (size_t i = 0; i < module->count; i++)
        alpha = alpha || mc_adapter_has_alpha(module->members[i].module);
    for (size_t i = 0; i < 3; i++)
        if (i != MC_ADAPTER_ALPHA || alpha) {
            row->names[i] = mc_adapter_tensor_name(last, (mc_adapter_tensor)i);
            if (!row->names[i])
                return mc_fail_memory(error);
        }
    return MC_OK;
}

static mc_status add_row(const mc_merging *m, size_t index, int64_t rank,
                         const mc_lora_merge_input *input, mc_error *error)
{
    const mc_lora_module *const module = &m->modules.items[index];
    const mc_source *const a = module->members[0].module->a, *const b =
                                                                 module->members[0].module->b;
    mc_lora_row *row;
    MC_TRY(mc_lora_plan_add(m->plan, module->path, &row, error));
    row->outer = module->outer;
    row->parameter = module->members[0].module->parameter;
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
    return m->adapters[0]->adapter.config ? MC_OK : keep_names(module, row, error);
}

static mc_status add_rows(const mc_merging *m, const mc_lora_merge_input *input, mc_error *error)
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
    int64_t shape[] = {module->experts, module->rows, module->columns};
    const bool many = module->experts > 1;
    const mc_source like = {.dtype = MC_F32, .rank = many ? 3 : 2, .shape = shape + !many};
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
static mc_status fill_updates(const mc_merging *m, mc_state_dict **updates, mc_state_dict *base,
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

static mc_status merge_updates(mc_merging *m, const mc_lora_merge_input *input,
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

static mc_status use_method(mc_merging *m, const mc_lora_merge_input *input,
                            const mc_method *method, mc_error *error)
{
    m->space = MC_LORA_METHOD;
    if (method->scope != MC_ELEMENTWISE && method->scope != MC_ROW)
        return mc_fail(error, MC_USAGE,
                       "expected a method that merges elements or rows, found %s, which needs "
                       "whole tensors or models",
                       method->name);
    return mc_params_parse(method, input->params, input->param_count, m->count, &m->params, error);
}

static mc_status choose_method(mc_merging *m, const mc_lora_merge_input *input, mc_error *error)
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

static mc_status check_rank(const mc_merging *m, const mc_lora_rank *rank, mc_error *error)
{
    const bool fixed = m->space == MC_LORA_CAT || m->space == MC_LORA_FACTORS;
    if (fixed && (rank->rank > 0 || rank->energy > 0 || rank->exact))
        return mc_fail(error, MC_USAGE,
                       "%s does not truncate: expected no rank or energy, found one",
                       m->params->method->name);
    return mc_lora_rank_check(rank, error);
}

/* ---- the plan -------------------------------------------------------------------------------- */

static mc_status guard_inputs(const mc_merging *m, mc_error *error)
{
    for (size_t i = 0; i < m->count; i++)
        for (size_t f = 0; f < m->adapters[i]->adapter.checkpoint.file_count; f++)
            MC_TRY(mc_lora_plan_guard(
                m->plan, mc_file_path(m->adapters[i]->adapter.checkpoint.files[f]), error));
    return MC_OK;
}

static mc_status build(mc_merging *m, const mc_lora_merge_input *input, mc_error *error)
{
    m->how = input->rank;
    for (size_t i = 0; i < m->count; i++)
        m->adapters[i] = input->adapters[i];
    MC_TRY(choose_method(m, input, error));
    MC_TRY(check_rank(m, &input->rank, error));
    MC_TRY(mc_lora_modules_match(m->adapters, m->count, &m->modules, error));
    MC_TRY(mc_merge_check_same(m, "fan_in_fan_out", error));
    MC_TRY(mc_merge_check_same(m, "target_parameters", error));
    MC_TRY(mc_merge_check_bases(m, input->strict, error));
    if (m->space == MC_LORA_METHOD)
        MC_TRY(merge_updates(m, input, m->params->method, error));
    MC_TRY(mc_merge_make_config(m, error));
    MC_TRY(mc_merge_add_wholes(m, input->strict, error));
    MC_TRY(mc_merge_scan(m, input->strict, error));
    MC_TRY(add_rows(m, input, error));
    MC_TRY(guard_inputs(m, error));
    MC_TRY(mc_merge_describe(m, input, error));
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
    mc_merging *const m = mc_alloc_zero(1, sizeof *m);
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
    plan->work = mc_merge_work;
    plan->how = input->rank;
    plan->strict = input->strict;
    plan->compute = mc_merge_row;
    plan->check = check_adapters;
    const mc_status status = build(m, input, error);
    if (status != MC_OK) {
        mc_lora_plan_free(plan);
        return status;
    }
    *out = plan;
    return MC_OK;
}
