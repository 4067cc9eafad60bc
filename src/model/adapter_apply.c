/* Applying an adapter: the base's tensors become low-rank sources. */
#include "model/adapter.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/tied.h"
#include "model/match.h"
#include "model/parts.h"
#include "model/tied_names.h"
#include "tensor/low_rank.h"
#include "tensor/pieces.h"

#include <string.h>

static const char *parameter_of(const mc_adapter_module *module)
{
    return module->parameter ? module->parameter : "weight";
}

/* ---- names in the base ----------------------------------------------------------------------- */

/*
 * Where the base has the tensors that an adapter may update. All names are matched together, so
 * that one prefix or one renaming holds for all of them.
 */
typedef struct finder {
    const mc_adapter *adapter;
    mc_component component; /* that the base is; MC_COMPONENT_NONE: the adapter has no components */
    mc_state_dict *dict;
    char **wanted; /* owned */
    size_t count, capacity;
    mc_index at;        /* name → index in `wanted` */
    const char **names; /* of the base, before the adapter adds any; borrowed from the dict */
    mc_match match;     /* of `wanted` with `names` */
} finder;

static void free_finder(finder *f)
{
    for (size_t i = 0; i < f->count; i++)
        mc_free(f->wanted[i]);
    mc_free(f->wanted);
    mc_index_free(&f->at);
    mc_free((void *)(uintptr_t)f->names);
    mc_match_free(&f->match);
}

/* Adds a name that may be searched for; takes it over. */
static mc_status want(finder *f, char *name, mc_error *error)
{
    if (name && mc_index_find(&f->at, name) != MC_INDEX_NONE) {
        mc_free(name);
        return MC_OK;
    }
    if (!name || !MC_GROW(f->wanted, f->count, f->capacity)) {
        mc_free(name);
        return mc_fail_memory(error);
    }
    f->wanted[f->count++] = name;
    return mc_index_set(&f->at, name, f->count - 1) ? MC_OK : mc_fail_memory(error);
}

/*
 * Whether a name is `path` with dots as underscores, and the ending `suffix`. A shorter name is
 * none: its NUL fits no character of the path.
 */
static bool is_flattened(const char *name, const char *path, const char *suffix)
{
    const size_t length = strlen(path);
    for (size_t i = 0; i < length; i++)
        if (name[i] != path[i] && !(name[i] == '.' && path[i] == '_'))
            return false;
    return strcmp(name + length, suffix) == 0;
}

/* The only tensor whose flattened name fits; NULL: none, or several: choosing would be a guess. */
static const char *find_flattened(const mc_state_dict *dict, const char *path, const char *suffix)
{
    const char *found = NULL;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const one = mc_state_dict_name(dict, i);
        if (!is_flattened(one, path, suffix))
            continue;
        if (found)
            return NULL;
        found = one;
    }
    return found;
}

/*
 * Finds the base's tensor PATH + suffix, which was wanted before: by its name, or as what it was
 * matched with. *out is NULL if there is none, else the dict's own copy of the name.
 */
static mc_status find_name(const finder *f, const char *path, const char *suffix, const char **out,
                           mc_error *error)
{
    static const char only_module[] = "text_model_";
    char *const name = mc_format("%s%s", path, suffix);
    if (!name)
        return mc_fail_memory(error);
    const size_t at = mc_index_find(&f->at, name);
    const size_t partner = at == MC_INDEX_NONE ? MC_MATCH_NONE : f->match.partners[at];
    *out = NULL;
    if (partner != MC_MATCH_NONE)
        *out = f->names[partner];
    /* What the adapter itself has added: a module that is saved whole and updated, too. */
    for (size_t i = 0;
         !*out && mc_state_dict_find(f->dict, name) && i < mc_state_dict_count(f->dict); i++)
        if (strcmp(mc_state_dict_name(f->dict, i), name) == 0)
            *out = mc_state_dict_name(f->dict, i);
    if (!*out && f->adapter->flattened)
        *out = find_flattened(f->dict, path, suffix);
    /* transformers 5 saves a text encoder of CLIP without the name of its only module. */
    if (!*out && f->adapter->flattened && strncmp(path, only_module, strlen(only_module)) == 0)
        *out = find_flattened(f->dict, path + strlen(only_module), suffix);
    mc_free(name);
    return MC_OK;
}

/* ---- matrices -------------------------------------------------------------------------------- */

static bool is_transposed_type(const char *model_type)
{
    /* Experts stored as [experts, in, out], as their modelling code multiplies them. */
    static const char *const types[] = {"aria", "aria_text", "gpt_oss", "llama4", "llama4_text"};
    for (size_t i = 0; model_type && i < sizeof types / sizeof *types; i++)
        if (strcmp(model_type, types[i]) == 0)
            return true;
    return false;
}

static bool fits(const mc_source *weight, const mc_adapter_module *module, bool transposed,
                 int64_t experts)
{
    /* The dimension of experts comes first. */
    const int at = experts > 1;
    if (weight->rank < at + 2 || module->a->rank < 2 || module->b->rank < 2)
        return false;
    const int64_t rows = weight->shape[at];
    const int64_t columns = weight->count / (rows > 0 ? rows : 1) / experts;
    const int64_t in = module->a->shape[0] > 0 ? module->a->count / module->a->shape[0] : 0;
    const int64_t out = module->b->shape[0];
    return transposed ? rows == in && columns == out : rows == out && columns == in;
}

/*
 * Whether a module that is not one of experts is stored as [in, out] (Conv1D). fan_in_fan_out is
 * one setting for all modules, which PEFT corrects by the class of the last one: it decides only
 * for architectures that are not known.
 */
static bool is_conv1d(const mc_adapter *adapter, const char *name, const char *model_type)
{
    return mc_encoder_prefix(model_type) ? mc_part_of(model_type, name).transposed
                                         : adapter->fan_in_fan_out;
}

/*
 * Whether the weight is transposed. Shapes decide where they can. For a square weight the kind of
 * module decides (Conv1D, embeddings, experts).
 */
static bool lies_transposed(const mc_adapter *adapter, const mc_adapter_module *module,
                            const char *name, const mc_source *weight, int64_t experts,
                            const char *model_type)
{
    const bool wanted = module->embedding ? true
                        : experts > 1     ? is_transposed_type(model_type)
                                          : is_conv1d(adapter, name, model_type);
    return fits(weight, module, !wanted, experts) && !fits(weight, module, wanted, experts)
               ? !wanted
               : wanted;
}

static mc_status update(const finder *f, const mc_adapter_module *module, const char *model_type,
                        const char *name, int64_t experts, mc_error *error)
{
    mc_source *const weight = mc_state_dict_find(f->dict, name), *made = NULL;
    mc_low_rank parts = {.weight = weight,
                         .a = module->a,
                         .b = module->b,
                         .magnitude = module->magnitude,
                         .experts = experts};
    if (experts > 1 && module->magnitude)
        return mc_fail(error, MC_UNSUPPORTED, "expected plain LoRA for experts, found DoRA");
    MC_TRY(mc_adapter_check_rank(f->adapter, module, experts, error));
    MC_TRY(mc_adapter_scale(f->adapter, module, experts, &parts.scale, error));
    parts.transposed = lies_transposed(f->adapter, module, name, weight, experts, model_type);
    MC_TRY(mc_source_low_rank(&parts, &made, error));
    const mc_status status = mc_state_dict_set(f->dict, name, made, error);
    mc_source_unref(made);
    return status;
}

/* ---- experts in a tensor each ---------------------------------------------------------------- */

/*
 * The tensors in files that make one parameter of all experts: a matrix per expert, or two below
 * each other. Other names (w1) are found as renamed ones.
 */
static const struct {
    const char *parameter;
    const char *parts[2]; /* the second is NULL if there is one */
} expert_parts[] = {
    {".gate_up_proj", {".gate_proj.weight", ".up_proj.weight"}},
    {".down_proj", {".down_proj.weight", NULL}},
};

/* Names and weights of the parts of all experts, in the order in which they are stacked. */
typedef struct stacked {
    const char **names;
    mc_source **weights;
    size_t count, capacity;
} stacked;

static mc_status add_part(stacked *s, const char *name, mc_source *weight, mc_error *error)
{
    /* Two arrays of one capacity: each pointer is kept as soon as its array has moved. */
    const size_t room = s->capacity ? 2 * s->capacity : 16;
    if (s->count == s->capacity) {
        const char **const names = mc_realloc((void *)(uintptr_t)s->names, room * sizeof *names);
        s->names = names ? names : s->names;
        mc_source **const weights = mc_realloc(s->weights, room * sizeof(mc_source *));
        s->weights = weights ? weights : s->weights;
        if (!names || !weights)
            return mc_fail_memory(error);
        s->capacity = room;
    }
    s->names[s->count] = name;
    s->weights[s->count++] = weight;
    return MC_OK;
}

static bool is_parameter(size_t row, const char *leaf)
{
    return strcmp(expert_parts[row].parameter + 1, leaf) == 0;
}

/* Wants PATH.0.gate_proj.weight, PATH.0.up_proj.weight, PATH.1.gate_proj.weight, … */
static mc_status want_experts(finder *f, const mc_adapter_module *module, mc_error *error)
{
    int64_t experts = 1;
    MC_TRY(mc_adapter_experts(f->adapter, module, &experts, error));
    for (size_t row = 0; row < sizeof expert_parts / sizeof *expert_parts; row++)
        for (int64_t e = 0; is_parameter(row, module->parameter) && e < experts; e++)
            for (size_t k = 0; k < 2 && expert_parts[row].parts[k]; k++)
                MC_TRY(want(
                    f,
                    mc_format("%s.%lld%s", module->path, (long long)e, expert_parts[row].parts[k]),
                    error));
    return MC_OK;
}

/* Collects what want_experts named. */
static mc_status collect(const finder *f, const char *path, const char *const parts[2], stacked *s,
                         mc_error *error)
{
    for (size_t i = 0;; i++) {
        const char *name = NULL;
        if (i % 2 == 1 && !parts[1])
            continue;
        char *const expert = mc_format("%s.%zu", path, i / 2);
        const mc_status status = expert ? find_name(f, expert, parts[i % 2], &name, error)
                                        : mc_fail_memory(error);
        mc_free(expert);
        MC_TRY(status);
        /* The experts are numbered without gaps: the first missing name ends the list. */
        if (!name)
            return MC_OK;
        MC_TRY(add_part(s, name, mc_state_dict_find(f->dict, name), error));
    }
}

/*
 * Updates the parts as one tensor [experts, out, in], and cuts it into the parts again. All of this
 * is lazy: no tensor is copied.
 */
static mc_status update_parts(const finder *f, const mc_adapter_module *module, const stacked *s,
                              size_t per_expert, mc_error *error)
{
    const mc_source *const first = s->weights[0];
    const int64_t experts = (int64_t)(s->count / per_expert);
    if (first->rank != 2 || s->count % per_expert != 0)
        return mc_fail(error, MC_MISMATCH, "expected matrices of all experts");
    /* per_expert matrices lie below each other, so their rows add up. */
    const int64_t shape[] = {experts, (int64_t)per_expert * first->shape[0], first->shape[1]};
    mc_source *whole = NULL, *updated = NULL;
    mc_low_rank parts = {.a = module->a, .b = module->b, .experts = experts};
    mc_status status = mc_source_join(s->weights, s->count, 3, shape, &whole, error);
    parts.weight = whole;
    if (status == MC_OK)
        status = mc_adapter_check_rank(f->adapter, module, experts, error);
    if (status == MC_OK)
        status = mc_adapter_scale(f->adapter, module, experts, &parts.scale, error);
    if (status == MC_OK)
        status = mc_source_low_rank(&parts, &updated, error);
    for (size_t i = 0; status == MC_OK && i < s->count; i++) {
        mc_source *piece = NULL;
        status = mc_source_window(updated, (int64_t)i * first->count, 2, first->shape, &piece,
                                  error);
        if (status == MC_OK)
            status = mc_state_dict_set(f->dict, s->names[i], piece, error);
        mc_source_unref(piece);
    }
    mc_source_unref(whole);
    mc_source_unref(updated);
    return status;
}

/* Updates a parameter that the base has as a tensor per expert; *done: whether it has. */
static mc_status update_experts(const finder *f, const mc_adapter_module *module, bool *done,
                                mc_error *error)
{
    *done = false;
    for (size_t i = 0; i < sizeof expert_parts / sizeof *expert_parts && !*done; i++) {
        stacked s = {0};
        if (!is_parameter(i, module->parameter))
            continue;
        mc_status status = collect(f, module->path, expert_parts[i].parts, &s, error);
        *done = s.count > 0;
        if (status == MC_OK && *done)
            status = module->magnitude
                         ? mc_fail(error, MC_UNSUPPORTED,
                                   "expected plain LoRA for experts, found DoRA")
                         : update_parts(f, module, &s, expert_parts[i].parts[1] ? 2 : 1, error);
        mc_free((void *)(uintptr_t)s.names);
        mc_free(s.weights);
        MC_TRY(mc_in_tensor(error, module->path, status));
    }
    return MC_OK;
}

/* ---- modules and whole tensors --------------------------------------------------------------- */

static mc_status want_all(finder *f, mc_error *error)
{
    for (size_t i = 0; i < f->adapter->module_count; i++) {
        const mc_adapter_module *const module = &f->adapter->modules[i];
        MC_TRY(want(f, mc_format("%s.%s", module->path, parameter_of(module)), error));
        if (module->parameter)
            MC_TRY(want_experts(f, module, error));
    }
    for (size_t i = 0; i < mc_state_dict_count(f->adapter->whole); i++)
        MC_TRY(want(f, mc_strdup(mc_state_dict_name(f->adapter->whole, i)), error));
    return MC_OK;
}

static mc_status match_names(finder *f, const char *model_type, mc_error *error)
{
    const size_t count = mc_state_dict_count(f->dict);
    f->names = mc_alloc(count * sizeof *f->names);
    if (!f->names)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        f->names[i] = mc_state_dict_name(f->dict, i);
    const mc_match_side mine = {.names = (const char *const *)f->wanted, .count = f->count};
    const mc_match_side theirs = {.names = f->names, .count = count};
    return mc_match_new(&mine, &theirs, mc_encoder_prefix(model_type), &f->match, error);
}

/* Modules of a single file that are left out. */
typedef struct left_out {
    size_t others;  /* of other components than the base */
    size_t missing; /* whose tensor the base lacks */
} left_out;

static mc_status apply_module(const finder *f, const mc_adapter_module *module,
                              const char *model_type, left_out *out, mc_error *error)
{
    if (module->component != f->component) {
        out->others++;
        return MC_OK;
    }
    const char *name = NULL;
    bool done = false;
    char *const suffix = mc_format(".%s", parameter_of(module));
    const mc_status status = suffix ? find_name(f, module->path, suffix, &name, error)
                                    : mc_fail_memory(error);
    mc_free(suffix);
    MC_TRY(status);
    if (module->parameter && !name)
        MC_TRY(update_experts(f, module, &done, error));
    if (done)
        return MC_OK;
    if (name) {
        const mc_source *const found = mc_state_dict_find(f->dict, name);
        /* A parameter of rank 3 holds a matrix per expert. */
        const bool has_experts = module->parameter && found->rank == 3 && found->shape[0] > 0;
        const int64_t experts = has_experts ? found->shape[0] : 1;
        return mc_in_tensor(error, name, update(f, module, model_type, name, experts, error));
    }
    /*
     * Single files may update what a base has under names of other code. A PEFT adapter belongs to
     * one model, so a missing tensor is an error there.
     */
    if (!f->adapter->config) {
        out->missing++;
        return MC_OK;
    }
    return mc_fail(error, MC_MISMATCH,
                   "expected the tensor '%s.%s' in the base model, which the adapter updates, "
                   "found none",
                   module->path, parameter_of(module));
}

static bool is_adapted(const mc_adapter *adapter, const char *name)
{
    for (size_t i = 0; i < adapter->module_count; i++) {
        const char *const path = adapter->modules[i].path;
        const size_t length = strlen(path);
        if (strncmp(name, path, length) == 0 && strcmp(name + length, ".weight") == 0)
            return true;
    }
    return false;
}

/*
 * Adds what is tied to an embedding that the adapter replaces. PEFT unties a module that it saves,
 * so the output head keeps the base's values. An embedding that is updated, too, was saved as the
 * base of its update, and the head is still tied to that.
 */
static mc_status untie(const finder *f, const mc_adapter_base *base, const char *name,
                       const char *path, mc_source *replacement, mc_error *error)
{
    const char *tied[MC_TIED_NAMES];
    mc_source *const old = mc_state_dict_find(f->dict, name);
    mc_source *const kept = is_adapted(f->adapter, path) ? replacement : old;
    const size_t count = old ? mc_tied_names(base->config, f->dict, name, tied) : 0;
    for (size_t i = 0; i < count; i++) {
        if (mc_state_dict_find(f->adapter->whole, tied[i]))
            continue;
        if (!mc_source_same_shape(kept, replacement))
            return mc_fail(error, MC_MISMATCH,
                           "expected '%s' in the adapter, too, which is tied to '%s' and has to "
                           "grow with it, found none",
                           tied[i], name);
        MC_TRY(mc_state_dict_set(f->dict, tied[i], kept, error));
        MC_TRY(mc_notes_add(base->notes, error,
                            "the adapter replaces '%s', but not '%s', which is untied and keeps "
                            "its values",
                            name, tied[i]));
    }
    return MC_OK;
}

/* Biases and whole modules replace the base's, or are added (a classifier). */
static mc_status apply_whole(const finder *f, const mc_adapter_base *base, mc_error *error)
{
    const mc_state_dict *const whole = f->adapter->whole;
    for (size_t i = 0; i < mc_state_dict_count(whole); i++) {
        const char *const path = mc_state_dict_name(whole, i);
        const char *name = NULL;
        MC_TRY(find_name(f, path, "", &name, error));
        if (name)
            MC_TRY(untie(f, base, name, path, mc_state_dict_source(whole, i), error));
        MC_TRY(
            mc_state_dict_set(f->dict, name ? name : path, mc_state_dict_source(whole, i), error));
    }
    return MC_OK;
}

/* Notes embeddings whose update changes the output head, too, as it does in PEFT's merge. */
static mc_status note_tied(const finder *f, const mc_adapter_base *base,
                           const mc_adapter_module *module, mc_error *error)
{
    const char *tied[MC_TIED_NAMES], *name = NULL;
    if (!module->embedding)
        return MC_OK;
    MC_TRY(find_name(f, module->path, ".weight", &name, error));
    if (name && mc_tied_names(base->config, f->dict, name, tied) > 0)
        MC_TRY(mc_notes_add(base->notes, error,
                            "the adapter updates '%s', and with it '%s', which is tied to it", name,
                            tied[0]));
    return MC_OK;
}

/* ---- components of a pipeline ---------------------------------------------------------------- */

static const char *last_part(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* The component that diffusers saves in a folder of this name; MC_COMPONENT_NONE: none. */
static mc_component component_of(const char *folder)
{
    static const struct {
        const char *name;
        mc_component component;
    } folders[] = {{"unet", MC_COMPONENT_DENOISER},
                   {"transformer", MC_COMPONENT_DENOISER},
                   {"text_encoder", MC_COMPONENT_ENCODER_1},
                   {"text_encoder_2", MC_COMPONENT_ENCODER_2},
                   {"text_encoder_3", MC_COMPONENT_ENCODER_3}};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (strcmp(folder, folders[i].name) == 0)
            return folders[i].component;
    return MC_COMPONENT_NONE;
}

/*
 * Counts the modules of each component whose tensor is in the base, and fits if `shapes`. Both text
 * encoders of Stable Diffusion XL have the same names, and differ in their width.
 */
static mc_status count_found(const finder *f, bool shapes, size_t counts[MC_COMPONENTS],
                             mc_error *error)
{
    memset(counts, 0, MC_COMPONENTS * sizeof *counts);
    for (size_t i = 0; i < f->adapter->module_count; i++) {
        const mc_adapter_module *const module = &f->adapter->modules[i];
        const char *name = NULL;
        MC_TRY(find_name(f, module->path, ".weight", &name, error));
        const mc_source *const weight = name ? mc_state_dict_find(f->dict, name) : NULL;
        counts[module->component] += weight && (!shapes || fits(weight, module, false, 1) ||
                                                fits(weight, module, true, 1));
    }
    return MC_OK;
}

/*
 * Finds the component that the base is: by the name of its folder, else as the only one whose
 * modules are in the base. Choosing one of several would be a guess.
 */
static mc_status find_component(finder *f, const mc_adapter_base *base, mc_error *error)
{
    size_t counts[MC_COMPONENTS], found = 0;
    bool any = false;
    for (size_t i = 0; i < f->adapter->module_count; i++)
        any = any || f->adapter->modules[i].component != MC_COMPONENT_NONE;
    f->component = any ? component_of(last_part(base->name)) : MC_COMPONENT_NONE;
    for (int shapes = 1; shapes >= 0 && any && f->component == MC_COMPONENT_NONE && found == 0;
         shapes--) {
        MC_TRY(count_found(f, shapes, counts, error));
        for (size_t i = 0; i < MC_COMPONENTS; i++)
            found += counts[i] > 0;
    }
    for (size_t i = 0; i < MC_COMPONENTS && found == 1; i++)
        f->component = counts[i] > 0 ? (mc_component)i : f->component;
    return found > 1 ? mc_fail(error, MC_MISMATCH,
                               "expected a base in a folder named unet, transformer, text_encoder "
                               "or text_encoder_2, as the adapter updates several components that "
                               "fit, found '%s'",
                               last_part(base->name))
                     : MC_OK;
}

/* ---- all ------------------------------------------------------------------------------------- */

static mc_status apply_all(finder *f, const mc_adapter_base *base, left_out *out, mc_error *error)
{
    const char *const model_type = json_string_value(json_object_get(base->config, "model_type"));
    const size_t count = f->adapter->module_count;
    MC_TRY(want_all(f, error));
    MC_TRY(match_names(f, model_type, error));
    MC_TRY(find_component(f, base, error));
    /* First: a module that is both adapted and saved as a whole is updated from what was saved. */
    MC_TRY(apply_whole(f, base, error));
    for (size_t i = 0; i < count; i++) {
        const mc_adapter_module *const module = &f->adapter->modules[i];
        MC_TRY(apply_module(f, module, model_type, out, error));
        MC_TRY(note_tied(f, base, module, error));
    }
    if (out->others + out->missing == count)
        return mc_fail(error, MC_MISMATCH,
                       "expected tensors that the adapter updates, '%s' say, found none in the "
                       "base model",
                       f->adapter->modules[0].stem);
    return MC_OK;
}

/* Notes another base than the adapter was made for, modules left out, and tensors that are new. */
static mc_status note_rest(const mc_adapter *adapter, const mc_adapter_base *base,
                           const left_out *out, size_t tensors_before, mc_error *error)
{
    const char *const wanted = mc_adapter_base_name(adapter);
    /* Last parts only: one name may be a path and the other an id of the Hub. */
    if (wanted && strcmp(last_part(wanted), last_part(base->name)) != 0)
        MC_TRY(mc_notes_add(base->notes, error, "adapter %s was made for the base model '%s'",
                            base->label, wanted));
    if (out->others > 0)
        MC_TRY(mc_notes_add(base->notes, error,
                            "adapter %s: %zu of %zu modules belong to another component and are "
                            "left out",
                            base->label, out->others, adapter->module_count));
    if (out->missing > 0)
        MC_TRY(mc_notes_add(base->notes, error,
                            "adapter %s: %zu of %zu modules are left out, as %s lacks their "
                            "tensors",
                            base->label, out->missing, adapter->module_count, base->name));
    /* New tensors are appended, so they are behind the others. */
    for (size_t i = tensors_before; i < mc_state_dict_count(base->dict); i++)
        MC_TRY(mc_notes_add(base->notes, error, "adapter %s adds the tensor '%s', which %s lacks",
                            base->label, mc_state_dict_name(base->dict, i), base->name));
    return MC_OK;
}

mc_status mc_adapter_apply(const mc_adapter *adapter, const mc_adapter_base *base, mc_error *error)
{
    const size_t before = mc_state_dict_count(base->dict);
    left_out out = {0};
    finder f = {.adapter = adapter, .dict = base->dict};
    const mc_status status = apply_all(&f, base, &out, error);
    free_finder(&f);
    return status == MC_OK ? note_rest(adapter, base, &out, before, error) : status;
}
