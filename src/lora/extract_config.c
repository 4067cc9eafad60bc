/* What an extracted adapter consists of beside its factors: whole tensors and the configuration. */
#include "lora/extract.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"
#include "model/tied_names.h"

#include <stdlib.h>
#include <string.h>

/* ---- tensors that are saved whole ------------------------------------------------------------ */

static const mc_candidate *find_item(const mc_extracting *x, const char *name)
{
    for (size_t i = 0; i < x->count; i++)
        if (strcmp(x->items[i].name, name) == 0)
            return &x->items[i];
    return NULL;
}

/*
 * The adapted weight beside a bias; NULL if the tensor is not a bias or its module is not adapted.
 */
static const mc_candidate *adapted_beside(const mc_extracting *x, const mc_candidate *item)
{
    if (!mc_ends_with(item->name, ".bias"))
        return NULL;
    char *const module = mc_extract_module_of(item->name);
    char *const name = module ? mc_format("%s.weight", module) : NULL;
    const mc_candidate *const weight = name ? find_item(x, name) : NULL;
    mc_free(module);
    mc_free(name);
    return weight && weight->fate == MC_FATE_ADAPTED ? weight : NULL;
}

/*
 * Saves the modules that share the embedding under tied weights too. PEFT unties a module that it
 * saves, so that saving the embedding alone would leave the head with the base's weights.
 */
static mc_status save_partners(const mc_extracting *x, const mc_candidate *item, json_t **modules,
                               mc_error *error)
{
    const char *names[MC_TIED_NAMES];
    const size_t count = mc_tied_names(x->models[0]->config, x->aligned.dicts[0], item->name,
                                       names);
    for (size_t i = 0; i < count; i++) {
        char *const module = mc_extract_module_of(names[i]);
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
static mc_status save_module(const mc_extracting *x, const mc_candidate *item, json_t **modules,
                             mc_error *error)
{
    char *const module = mc_extract_module_of(item->name);
    if (!module)
        return mc_fail_memory(error);
    mc_status status = MC_OK;
    if (!lists(*modules, module)) {
        *modules = mc_json_append(*modules, mc_json_text(module));
        for (size_t i = 0; status == MC_OK && i < x->count; i++) {
            char *const other = mc_extract_module_of(x->items[i].name);
            if (!other)
                status = mc_fail_memory(error);
            else if (strcmp(other, module) == 0 && mc_extract_can_be_saved(&x->items[i]))
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
static mc_status save_bias(const mc_extracting *x, const mc_candidate *item, mc_error *error)
{
    char *const module = mc_extract_module_of(item->name);
    char *const name = module ? mc_format("%s.base_layer.bias", module) : NULL;
    const mc_status status = name ? mc_state_dict_set(x->plan->whole, name, item->tuned, error)
                                  : mc_fail_memory(error);
    mc_free(module);
    mc_free(name);
    return status;
}

mc_status mc_extract_add_wholes(const mc_extracting *x, json_t **modules, bool *biases,
                                mc_error *error)
{
    mc_names lost = {0}, resized = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < x->count; i++) {
        const mc_candidate *const item = &x->items[i];
        if (item->fate == MC_FATE_IMPOSSIBLE)
            status = mc_names_add(&lost, item->name, error);
        if (item->fate != MC_FATE_WHOLE)
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

mc_status mc_extract_report_missing(const mc_extracting *x, mc_error *error)
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
static bool ending_is_enough(const mc_extracting *x, const char *path)
{
    for (size_t i = 0; i < x->count; i++) {
        const mc_candidate *const item = &x->items[i];
        char *const module = mc_extract_module_of(item->name);
        const bool other = module && mc_extract_has_ending(item->name, ".weight") &&
                           item->fate != MC_FATE_ADAPTED &&
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
static json_t *target_parameters(const mc_extracting *x)
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
static json_t *target_modules(const mc_extracting *x)
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

static const char *task_type(const mc_extracting *x)
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

static bool has_transposed(const mc_extracting *x)
{
    for (size_t i = 0; i < x->count; i++)
        if (x->items[i].fate == MC_FATE_ADAPTED && x->items[i].part.transposed)
            return true;
    return false;
}

mc_status mc_extract_make_config(const mc_extracting *x, json_t *modules, bool biases,
                                 mc_error *error)
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

mc_status mc_extract_describe(const mc_extracting *x, mc_error *error)
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
