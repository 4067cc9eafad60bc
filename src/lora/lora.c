#include "lora/lora.h"

#include "base/json.h"
#include "base/memory.h"
#include "model/model.h"
#include "model/open.h"
#include "tensor/source.h"

#include <math.h>
#include <string.h>

/* ---- opening --------------------------------------------------------------------------------- */

void mc_lora_close(mc_lora *lora)
{
    if (!lora)
        return;
    mc_adapter_close(&lora->adapter);
    mc_free(lora->name);
    mc_free(lora->repository);
    mc_free(lora->commit);
    mc_free(lora);
}

static mc_status open_remote(const char *name, const mc_hub_options *hub, mc_lora *lora,
                             mc_error *error)
{
    const mc_hub_spec spec = {.name = name};
    mc_hub_snapshot snapshot;
    MC_TRY(mc_hub_download(&spec, 1, hub, &snapshot, error));
    lora->repository = mc_strdup(snapshot.name);
    lora->commit = mc_strdup(snapshot.commit);
    const mc_status status = lora->repository && lora->commit
                                 ? mc_adapter_open(snapshot.folder, &lora->adapter, error)
                                 : mc_fail_memory(error);
    mc_hub_snapshots_free(&snapshot, 1);
    return status;
}

static mc_status open_at(const char *name, const mc_hub_options *hub, mc_lora *lora,
                         mc_error *error)
{
    lora->name = mc_strdup(name);
    if (!lora->name)
        return mc_fail_memory(error);
    return mc_is_remote(name) ? open_remote(name, hub, lora, error)
                              : mc_adapter_open(name, &lora->adapter, error);
}

mc_status mc_lora_open(const char *name, const mc_hub_options *hub, mc_lora **out, mc_error *error)
{
    mc_lora *const lora = mc_alloc_zero(1, sizeof *lora);
    if (!lora)
        return mc_fail_memory(error);
    const mc_status status = open_at(name, hub, lora, error);
    if (status != MC_OK) {
        mc_lora_close(lora);
        return mc_in_file(error, name, status);
    }
    *out = lora;
    return MC_OK;
}

mc_status mc_lora_wrap(const char *name, const mc_state_dict *dict, const char *config,
                       mc_lora **out, mc_error *error)
{
    mc_lora *const lora = mc_alloc_zero(1, sizeof *lora);
    if (!lora)
        return mc_fail_memory(error);
    lora->name = mc_strdup(name);
    const mc_status status = lora->name ? mc_adapter_wrap(dict, config, &lora->adapter, error)
                                        : mc_fail_memory(error);
    if (status != MC_OK) {
        mc_lora_close(lora);
        return mc_in_file(error, name, status);
    }
    *out = lora;
    return MC_OK;
}

const char *mc_lora_name(const mc_lora *lora)
{
    return lora->name;
}

const char *mc_lora_base(const mc_lora *lora)
{
    return mc_adapter_base_name(&lora->adapter);
}

static mc_status apply_all(const mc_model *base, const mc_lora *const *adapters, size_t count,
                           mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const mc_adapter_base to = {.label = adapters[i]->name,
                                    .name = mc_model_name(base),
                                    .config = base->config,
                                    .dict = dict,
                                    .notes = notes};
        MC_TRY(mc_in_file(error, adapters[i]->name,
                          mc_adapter_apply(&adapters[i]->adapter, &to, error)));
    }
    return MC_OK;
}

/* Copies notes to a model, whose report they end in. */
static mc_status add_notes(mc_model *model, const mc_notes *notes, mc_error *error)
{
    for (size_t i = 0; i < notes->count; i++)
        MC_TRY(mc_notes_add(&model->checkpoint.notes, error, "%s", notes->lines[i]));
    return MC_OK;
}

mc_status mc_lora_apply(const mc_model *base, const mc_lora *const *adapters, size_t count,
                        mc_model **out, mc_error *error)
{
    mc_state_dict *dict = NULL;
    mc_model *model = NULL;
    mc_notes notes = {0};
    mc_status status = mc_state_dict_copy(mc_model_state_dict(base), &dict, error);
    if (status == MC_OK)
        status = apply_all(base, adapters, count, dict, &notes, error);
    if (status == MC_OK)
        status = mc_model_wrap(mc_model_name(base), dict, mc_model_config(base),
                               mc_model_folder(base), &model, error);
    if (status == MC_OK)
        status = add_notes(model, &notes, error);
    if (status == MC_OK)
        status = mc_model_resize_vocabulary(model, mc_vocabulary_rows(mc_model_state_dict(base)),
                                            error);
    if (status == MC_OK)
        *out = model;
    else
        mc_model_close(model);
    mc_notes_free(&notes);
    mc_state_dict_free(dict);
    return status;
}

/* ---- matching modules ------------------------------------------------------------------------ */

void mc_lora_modules_free(mc_lora_modules *modules)
{
    for (size_t i = 0; i < modules->count; i++)
        mc_free(modules->items[i].members);
    mc_free(modules->items);
    *modules = (mc_lora_modules){0};
}

/*
 * Finds a module among those seen. Adapters mostly list the same modules in the same order, so
 * `hint` is where to look first. A path may occur once per component and wrapper (`outer`).
 * Files may have different names for one module, "unet.q.lora_A" and "unet.processor.q_lora.down".
 */
static size_t find(const mc_lora_modules *modules, const mc_lora_module *wanted, size_t hint)
{
    for (size_t k = 0; k < modules->count; k++) {
        const size_t i = (hint + k) % modules->count;
        const mc_lora_module *const one = &modules->items[i];
        if (one->outer == wanted->outer && one->component == wanted->component &&
            strcmp(one->place, wanted->place) == 0)
            return i;
    }
    return modules->count;
}

/*
 * The name of a module in messages. A file without a configuration may hold several components with
 * modules of the same path, which only the prefix of their names distinguishes.
 */
static const char *label_of(const mc_adapter *adapter, const mc_adapter_module *module)
{
    return adapter->config ? module->path : module->stem;
}

/*
 * Measures the update [rows, columns]. Factors of a convolution count as matrices. The ranks of
 * experts are stacked, so their sum is a multiple of the number of experts.
 */
static mc_status measure(const mc_adapter *adapter, const mc_adapter_module *module,
                         int64_t experts, mc_lora_module *out, mc_error *error)
{
    const mc_source *const a = module->a, *const b = module->b;
    const bool matrices = a->rank >= 2 && b->rank >= 2 && a->count > 0 && b->count > 0;
    const int64_t inner = matrices ? a->shape[0] : 0;
    char text_a[128], text_b[128];
    if (!matrices || b->count != b->shape[0] * inner || inner % experts != 0)
        return mc_fail(error, MC_MISMATCH,
                       "expected factors [rank, columns] and [rows, rank], found %s and %s",
                       mc_shape_text(a->rank, a->shape, text_a, sizeof text_a),
                       mc_shape_text(b->rank, b->shape, text_b, sizeof text_b));
    if (mc_dtype_kind_of(a->dtype) != MC_KIND_FLOAT || mc_dtype_kind_of(b->dtype) != MC_KIND_FLOAT)
        return mc_fail(error, MC_UNSUPPORTED, "expected factors of floats, found %s and %s",
                       mc_dtype_name(a->dtype), mc_dtype_name(b->dtype));
    *out = (mc_lora_module){.path = label_of(adapter, module),
                            .component = module->component,
                            .place = module->path,
                            .outer = module->outer,
                            .embedding = module->embedding,
                            .rows = b->shape[0],
                            .columns = a->count / inner,
                            .experts = experts};
    return MC_OK;
}

static mc_status add_member(const mc_lora *lora, size_t adapter, const mc_adapter_module *module,
                            mc_lora_modules *out, size_t hint, mc_error *error)
{
    mc_lora_module measured;
    int64_t experts;
    double scale;
    /* DoRA rescales W + B·A by a magnitude vector: the update is not a product of two factors. */
    if (module->magnitude)
        return mc_fail(
            error, MC_UNSUPPORTED,
            "expected plain LoRA, found DoRA, whose updates depend on the base: bake it");
    MC_TRY(mc_adapter_experts(&lora->adapter, module, &experts, error));
    MC_TRY(mc_adapter_scale(&lora->adapter, module, experts, &scale, error));
    if (!isfinite(scale))
        return mc_fail(error, MC_FORMAT, "expected a finite lora_alpha / r, found %g", scale);
    MC_TRY(measure(&lora->adapter, module, experts, &measured, error));
    MC_TRY(mc_adapter_check_rank(&lora->adapter, module, experts, error));
    const size_t at = find(out, &measured, hint);
    if (at == out->count) {
        if (!MC_GROW(out->items, out->count, out->capacity))
            return mc_fail_memory(error);
        out->items[out->count++] = measured;
    }
    mc_lora_module *const to = &out->items[at];
    if (to->rows != measured.rows || to->columns != measured.columns || to->experts != experts ||
        to->embedding != measured.embedding)
        return mc_fail(error, MC_MISMATCH,
                       "expected an update [%lld, %lld] of %lld experts, as the first adapter has, "
                       "found [%lld, %lld] of %lld",
                       (long long)to->rows, (long long)to->columns, (long long)to->experts,
                       (long long)measured.rows, (long long)measured.columns, (long long)experts);
    if (!MC_GROW(to->members, to->count, to->capacity))
        return mc_fail_memory(error);
    const int64_t rank = module->a->shape[0] / experts;
    to->members[to->count++] = (mc_member){adapter, module, rank, scale};
    to->most_rank = rank > to->most_rank ? rank : to->most_rank;
    to->sum_rank += rank;
    return MC_OK;
}

static mc_status add_adapter(const mc_lora *lora, size_t index, mc_lora_modules *out,
                             mc_error *error)
{
    const mc_adapter *const adapter = &lora->adapter;
    for (size_t i = 0; i < adapter->module_count; i++)
        MC_TRY(mc_in_tensor(error, label_of(adapter, &adapter->modules[i]),
                            add_member(lora, index, &adapter->modules[i], out, i, error)));
    return MC_OK;
}

/* ---- conventions of names -------------------------------------------------------------------- */

static bool has_start(const mc_adapter *adapter, const char *const *starts, size_t count)
{
    for (size_t i = 0; i < adapter->module_count; i++)
        for (size_t k = 0; k < count; k++)
            if (strncmp(adapter->modules[i].stem, starts[k], strlen(starts[k])) == 0)
                return true;
    return false;
}

/* The first module that names its component, or the first that does not; NULL: there is none. */
static const mc_adapter_module *find_module(const mc_adapter *adapter, bool names_component)
{
    for (size_t i = 0; i < adapter->module_count; i++)
        if ((adapter->modules[i].component != MC_COMPONENT_NONE) == names_component)
            return &adapter->modules[i];
    return NULL;
}

/*
 * In a file with names of both kinds, "x" may be the same module as "transformer.x", here or in
 * another file: it would be merged as two.
 */
static mc_status check_prefixes(const mc_lora *lora, mc_error *error)
{
    const mc_adapter_module *const with = find_module(&lora->adapter, true);
    const mc_adapter_module *const without = find_module(&lora->adapter, false);
    return !with || !without
               ? MC_OK
               : mc_fail_at(error, MC_MISMATCH, lora->name, NULL, -1,
                            "expected the prefix of a component in all names or in none, found "
                            "'%s' and '%s'",
                            with->stem, without->stem);
}

/*
 * The naming convention of an adapter. Names without the prefix of a component ("transformer.") do
 * not show which module of a file with prefixes they mean. The UNet of Stable Diffusion XL has two
 * sets of names: diffusers' and those of its original code. If they were mixed, one layer would be
 * merged as two.
 */
static const char *convention_of(const mc_adapter *adapter)
{
    static const char *const published[] = {"lora_unet_input_blocks_", "lora_unet_middle_block_",
                                            "lora_unet_output_blocks_"};
    if (adapter->config)
        return "PEFT's";
    if (!adapter->flattened)
        return find_module(adapter, true) ? "diffusers'" : "diffusers', without prefixes";
    return has_start(adapter, published, 3) ? "kohya's, with input_blocks" : "kohya's";
}

/* Text encoders have the same names in both of kohya's conventions: such a file fits both. */
static bool has_denoiser(const mc_adapter *adapter)
{
    for (size_t i = 0; i < adapter->module_count; i++)
        if (adapter->modules[i].component == MC_COMPONENT_DENOISER)
            return true;
    return false;
}

static mc_status check_conventions(const mc_lora *const *adapters, size_t count, mc_error *error)
{
    const mc_lora *first = adapters[0];
    for (size_t i = 1; i < count; i++) {
        const mc_adapter *const one = &adapters[i]->adapter;
        const bool both = first->adapter.flattened && one->flattened;
        /* Compare with the first file whose names show which of kohya's conventions it follows. */
        if (both && !has_denoiser(&first->adapter))
            first = adapters[i];
        if (both && (!has_denoiser(one) || !has_denoiser(&first->adapter)))
            continue;
        if (strcmp(convention_of(&first->adapter), convention_of(one)) != 0)
            return mc_fail_at(error, MC_MISMATCH, adapters[i]->name, NULL, -1,
                              "expected names in the convention of %s (%s), found %s: convert one "
                              "of them first",
                              first->name, convention_of(&first->adapter), convention_of(one));
    }
    return MC_OK;
}

mc_status mc_lora_modules_match(const mc_lora *const *adapters, size_t count, mc_lora_modules *out,
                                mc_error *error)
{
    for (size_t i = 0; i < count; i++)
        MC_TRY(check_prefixes(adapters[i], error));
    MC_TRY(check_conventions(adapters, count, error));
    for (size_t i = 0; i < count; i++)
        MC_TRY(mc_in_file(error, adapters[i]->name, add_adapter(adapters[i], i, out, error)));
    return MC_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Room for either factor, as PEFT stacks it over all experts. */
int64_t mc_member_scratch(const mc_member *member)
{
    const int64_t a = member->module->a->count, b = member->module->b->count;
    return a > b ? a : b;
}

mc_status mc_member_read(const mc_lora_module *module, const mc_member *member, int64_t expert,
                         double *b, double *a, double *scratch, mc_error *error)
{
    const int64_t rank = member->rank, experts = module->experts;
    const mc_adapter_module *const from = member->module;
    MC_TRY(mc_source_read_f64(from->a, expert * rank * module->columns, rank * module->columns, a,
                              error));
    MC_TRY(mc_source_read_f64(from->b, 0, from->b->count, scratch, error));
    /* B is stacked with the expert as the fastest index, A expert after expert. */
    for (int64_t i = 0; i < module->rows; i++)
        for (int64_t k = 0; k < rank; k++)
            b[i * rank + k] = scratch[(i * rank + k) * experts + expert];
    return MC_OK;
}
