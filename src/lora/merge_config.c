/* What a merged adapter consists of beside its factors: the configuration and whole tensors. */
#include "lora/merge.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"

#include <stdlib.h>
#include <string.h>

/* ---- configuration and tensors that are whole ------------------------------------------------ */

static const json_t *config_of(const mc_merging *m, size_t i)
{
    return m->adapters[i]->adapter.config;
}

static const char *last_part(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static mc_status warn(const mc_merging *m, bool strict, mc_error *error, const char *what,
                      const char *name, const char *expected, const char *found)
{
    if (strict)
        return mc_fail(error, MC_MISMATCH, "%s: expected %s '%s', found '%s' (strict)", name, what,
                       expected, found);
    return mc_report_add(m->plan->report, error, "%s: expected %s '%s', found '%s'", name, what,
                         expected, found);
}

mc_status mc_merge_check_bases(const mc_merging *m, bool strict, mc_error *error)
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

mc_status mc_merge_check_same(const mc_merging *m, const char *name, mc_error *error)
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
static json_t *union_of(const mc_merging *m, const char *name)
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
static bool has_lists(const mc_merging *m)
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

static json_t *paths_of(const mc_merging *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->modules.count; i++)
        if (!m->modules.items[i].members[0].module->parameter)
            list = mc_json_append(list, mc_json_text(m->modules.items[i].path));
    return list;
}

mc_status mc_merge_make_config(const mc_merging *m, mc_error *error)
{
    if (!config_of(m, 0))
        return MC_OK;
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
static double weight_of_owners(const mc_merging *m, const char *name, bool weighted)
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
static mc_status mean_of(const mc_merging *m, const char *name, mc_source **out, mc_error *error)
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

static size_t owners_of(const mc_merging *m, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < m->count; i++)
        count += mc_state_dict_find(m->adapters[i]->adapter.whole, name) != NULL;
    return count;
}

static mc_status add_whole(const mc_merging *m, const char *name, mc_source *source,
                           mc_names *averaged, mc_error *error)
{
    mc_source *mean = NULL;
    if (owners_of(m, name) == 1)
        return mc_state_dict_set(m->plan->whole, name, source, error);
    MC_TRY(mc_names_add(averaged, name, error));
    mc_status status = mean_of(m, name, &mean, error);
    if (status == MC_OK)
        status = mc_state_dict_set(m->plan->whole, name, mean, error);
    mc_source_unref(mean);
    return mc_in_tensor(error, name, status);
}

mc_status mc_merge_add_wholes(const mc_merging *m, bool strict, mc_error *error)
{
    mc_names averaged = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < m->count; i++) {
        const mc_state_dict *const whole = m->adapters[i]->adapter.whole;
        for (size_t k = 0; status == MC_OK && k < mc_state_dict_count(whole); k++) {
            const char *const name = mc_state_dict_name(whole, k);
            if (!mc_state_dict_find(m->plan->whole, name))
                status = add_whole(m, name, mc_state_dict_source(whole, k), &averaged, error);
        }
    }
    if (status == MC_OK)
        status = mc_report_names(m->plan->report, &averaged, strict,
                                 "saved whole by several adapters and averaged", error);
    mc_names_free(&averaged);
    return status;
}

static json_t *rank_json(const mc_lora_rank *rank)
{
    if (rank->energy > 0)
        return json_pack("{s:f, s:I, s:b}", "energy", rank->energy, "max_rank",
                         (json_int_t)rank->max_rank, "exact", (int)rank->exact);
    return json_pack("{s:I, s:b}", "rank", (json_int_t)rank->rank, "exact", (int)rank->exact);
}

mc_status mc_merge_describe(const mc_merging *m, const mc_lora_merge_input *input, mc_error *error)
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
        resumable = resumable && (config || !lora->adapter.config) && checkpoint->file_count > 0;
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
