/* Running the plan of an adapter into a folder. */
#include "base/build_id.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "lora/plan.h"
#include "merge/findings.h"
#include "merge/preflight.h"
#include "merge/save.h"

#include <mergecraft/version.h>

#include <stdlib.h>
#include <string.h>

/*
 * A hash of everything that the bytes depend on; 0 if that cannot be known, and then a run never
 * resumes.
 */
static uint64_t fingerprint(const mc_lora_plan *plan)
{
    if (plan->fingerprint == 0)
        return 0;
    uint64_t hash = mc_hash_text(plan->fingerprint, mc_version());
    hash = mc_hash_text(hash, mc_build_id());
    hash = mc_hash_text(hash, plan->config_text ? plan->config_text : "");
    for (size_t i = 0; i < mc_state_dict_count(plan->dict); i++) {
        const mc_source *const source = mc_state_dict_source(plan->dict, i);
        hash = mc_hash_text(hash, mc_state_dict_name(plan->dict, i));
        hash = mc_hash_bytes(hash, &source->dtype, sizeof source->dtype);
        hash = mc_hash_bytes(hash, source->shape, (size_t)source->rank * sizeof *source->shape);
    }
    return hash ? hash : 1;
}

/* ---- files beside the weights ---------------------------------------------------------------- */

/* mergecraft.json: the plan as JSON, the inputs' files, and the version. */
static mc_status write_provenance(const mc_lora_plan *plan, mc_folder *folder, mc_error *error)
{
    char *text = NULL;
    json_t *json = NULL;
    MC_TRY(mc_lora_plan_json(plan, &text, error));
    mc_status status = mc_json_parse(text, strlen(text), &json, error);
    mc_plan_json_free(text);
    MC_TRY(status);
    json_t *object = mc_json_put(json_object(), "mergecraft", json_string(mc_version()));
    if (object)
        json_object_update(object, json);
    json_decref(json);
    object = mc_json_put(object, "inputs", json_incref(plan->inputs));
    status = object ? mc_folder_write_json(folder, "mergecraft.json", object, error)
                    : mc_fail_memory(error);
    json_decref(object);
    return status;
}

/* A JSON string is also a double-quoted scalar of YAML. */
static void add_quoted(mc_text *card, const json_t *text)
{
    char *const quoted = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    card->failed = card->failed || !quoted;
    mc_text_add(card, "%s", quoted ? quoted : "");
    free(quoted);
}

static void add_card(mc_text *card, const mc_lora_plan *plan, const char *title)
{
    const json_t *const base = json_object_get(plan->config, "base_model_name_or_path");
    mc_text_add(card, "---\n");
    if (json_string_value(base)) {
        mc_text_add(card, "base_model: ");
        add_quoted(card, base);
        mc_text_add(card, "\n");
    }
    mc_text_add(card, "library_name: %s\ntags:\n- lora\n- merge\n- mergecraft\n---\n\n# %s\n\n",
                plan->config ? "peft" : "diffusers", title);
    mc_text_add(card, "%s\n\n", plan->title);
    mc_text_add(card, "It updates %zu modules and replaces %zu tensors.\n", plan->count,
                mc_state_dict_count(plan->whole));
    mc_text_add(card, "\n`mergecraft.json` has what is needed to do it again.\n");
}

static mc_status write_card(const mc_lora_plan *plan, mc_folder *folder, mc_error *error)
{
    mc_text card = {0};
    const char *const slash = strrchr(folder->target, '/');
    add_card(&card, plan, slash ? slash + 1 : folder->target);
    const mc_status status = card.failed ? mc_fail_memory(error)
                                         : mc_folder_write(folder, "README.md", card.data,
                                                           card.length, error);
    mc_text_free(&card);
    return status;
}

/* The tensors that are written, in the order of the file. */
typedef struct finishing {
    const mc_lora_plan *plan;
    const char *const *names;
    mc_source *const *sources;
} finishing;

/* Warnings come first, since provenance lists them. Those about inputs are the plan's already. */
static mc_status finish(mc_folder *folder, const mc_run_result *result, const mc_found *found,
                        void *user, mc_error *error)
{
    (void)found;
    const finishing *const f = user;
    const mc_lora_plan *const plan = f->plan;
    MC_TRY(mc_findings_report(result, f->names, f->sources, plan->report, plan->strict, error));
    /*
     * Inputs that changed while they were read make the result worthless: fail before it gets its
     * name.
     */
    MC_TRY(plan->check ? plan->check(plan->user, error) : MC_OK);
    if (plan->config)
        MC_TRY(mc_folder_write(folder, "adapter_config.json", plan->config_text,
                               strlen(plan->config_text), error));
    MC_TRY(write_card(plan, folder, error));
    return write_provenance(plan, folder, error);
}

/* ---- the run --------------------------------------------------------------------------------- */

typedef struct entry {
    const char *name;
    mc_source *source;
    size_t place;
} entry;

/* By the writer's rank of the dtype; qsort is not stable, so the place decides among equals. */
static int compare(const void *a, const void *b)
{
    const entry *const x = a, *const y = b;
    const int rank_x = mc_writer_adapter.rank(x->source->dtype),
              rank_y = mc_writer_adapter.rank(y->source->dtype);
    return rank_x != rank_y ? (rank_x > rank_y) - (rank_x < rank_y)
                            : (x->place > y->place) - (x->place < y->place);
}

static mc_status save(const mc_lora_plan *plan, const char *folder, const mc_run_options *options,
                      const entry *entries, mc_run_result *result, mc_error *error)
{
    const size_t count = mc_state_dict_count(plan->dict);
    const char **const names = mc_alloc(count * sizeof *names);
    mc_source **const sources = mc_alloc(count * sizeof *sources);
    mc_status status = names && sources ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        names[i] = entries[i].name;
        sources[i] = entries[i].source;
    }
    finishing f = {plan, names, sources};
    const mc_save save = {.writer = plan->config ? &mc_writer_adapter : &mc_writer_lora,
                          .target = folder,
                          .names = names,
                          .sources = sources,
                          .count = count,
                          .fingerprint = fingerprint(plan),
                          .finish = finish,
                          .user = &f};
    if (status == MC_OK)
        status = mc_save_run(&save, options, result, error);
    mc_free(names);
    mc_free(sources);
    return status;
}

mc_status mc_lora_run(mc_lora_plan *plan, const char *folder, const mc_run_options *options,
                      mc_run_result *result, mc_error *error)
{
    const mc_run_options standard = MC_RUN_DEFAULT;
    const size_t count = mc_state_dict_count(plan->dict);
    mc_run_result ignored;
    for (size_t i = 0; i < plan->guarded_count; i++)
        MC_TRY(mc_check_apart(folder, plan->guarded[i], error));
    entry *const entries = mc_alloc(count * sizeof *entries);
    if (!entries)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        entries[i] = (entry){mc_state_dict_name(plan->dict, i), mc_state_dict_source(plan->dict, i),
                             i};
    qsort(entries, count, sizeof *entries, compare);
    const mc_status status = save(plan, folder, options ? options : &standard, entries,
                                  result ? result : &ignored, error);
    mc_free(entries);
    return status;
}
