#include "model/model.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "checkpoint/folder.h"
#include "model/parts.h"
#include "tensor/source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_LIMIT (INT64_C(16) << 20)

void mc_model_close(mc_model *model)
{
    if (!model)
        return;
    mc_checkpoint_close(&model->checkpoint);
    json_decref(model->digests);
    json_decref(model->config);
    mc_free(model->labels);
    mc_free(model->config_text);
    mc_free(model->folder);
    mc_free(model->repository);
    mc_free(model->commit);
    mc_free(model->name);
    mc_free(model);
}

/*
 * id2label: {"0": "entailment", …}. Labels end at the first id that is missing: only ids 0, 1, 2, …
 * are the outputs of a classifier.
 */
static mc_status read_labels(mc_model *model, mc_error *error)
{
    const json_t *const map = json_object_get(model->config, "id2label");
    const size_t count = json_object_size(map);
    model->labels = mc_alloc_zero(count, sizeof *model->labels);
    if (!model->labels)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        char id[24];
        snprintf(id, sizeof id, "%zu", i);
        model->labels[i] = json_string_value(json_object_get(map, id));
        if (!model->labels[i])
            return MC_OK;
        model->label_count = i + 1;
    }
    return MC_OK;
}

static mc_status parse_config(mc_model *model, size_t size, mc_error *error)
{
    MC_TRY(mc_json_parse(model->config_text, size, &model->config, error));
    if (!json_is_object(model->config))
        return mc_fail(error, MC_FORMAT, "expected a JSON object, found something else");
    return read_labels(model, error);
}

static mc_status read_config(mc_model *model, mc_error *error)
{
    struct stat status;
    char *const path = mc_format("%s/config.json", model->folder);
    if (!path)
        return mc_fail_memory(error);
    mc_status result = MC_OK;
    size_t size = 0;
    if (mc_system->stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
        result = mc_file_load(path, CONFIG_LIMIT, &model->config_text, &size, error);
        if (result == MC_OK)
            result = parse_config(model, size, error);
        result = mc_in_file(error, path, result);
    } else if (mc_system->lstat(path, &status) == 0) {
        /* It exists, but is a dangling link or not a regular file. */
        result = mc_notes_add(&model->checkpoint.notes, error,
                              "%s: not a readable file; the model has no configuration", path);
    } else if (errno != ENOENT) {
        result = mc_fail_errno(error, path, "cannot examine it");
    }
    mc_free(path);
    return result;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Writes the configuration anew after a change: it must fit the tensors as they are read. */
static mc_status rewrite_config(mc_model *model, mc_error *error)
{
    char *const text = model->config ? mc_json_write(model->config, JSON_INDENT(2)) : NULL;
    if (model->config && !text)
        return mc_fail_memory(error);
    mc_free(model->config_text);
    model->config_text = text;
    return MC_OK;
}

static bool is_input_embedding(const char *name)
{
    return mc_part_of(NULL, name).role == MC_PART_INPUT_EMBEDDING;
}

int64_t mc_vocabulary_rows(const mc_state_dict *dict)
{
    for (size_t i = 0; i < mc_state_dict_count(dict); i++)
        if (is_input_embedding(mc_state_dict_name(dict, i)) &&
            mc_state_dict_source(dict, i)->rank > 0)
            return mc_state_dict_source(dict, i)->shape[0];
    return 0;
}

mc_status mc_model_resize_vocabulary(mc_model *model, int64_t before, mc_error *error)
{
    static const char key[] = "vocab_size";
    const int64_t rows = mc_vocabulary_rows(model->checkpoint.dict);
    json_t *const objects[] = {model->config, json_object_get(model->config, "text_config")};
    /* A base without an embedding has no vocabulary that its configuration could state. */
    if (rows == before || before == 0)
        return MC_OK;
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        if (json_integer_value(json_object_get(objects[i], key)) == before &&
            json_object_set_new(objects[i], key, json_integer((json_int_t)rows)) != 0)
            return mc_fail_memory(error);
    MC_TRY(rewrite_config(model, error));
    return mc_notes_add(&model->checkpoint.notes, error,
                        "an adapter changes the vocabulary from %lld to %lld tokens: the tokenizer "
                        "is the base's, unless you copy that of the adapter",
                        (long long)before, (long long)rows);
}

/* Whether layers of adapters belong to the architecture, as in Phi-4-multimodal: "speech_lora". */
static bool has_own_adapters(const json_t *config)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        if (mc_ends_with(key, "_lora") && json_is_object(value))
            return true;
    }
    return false;
}

/*
 * Rejects the weights of a model inside PEFT, saved without merging its adapters: what a layer
 * computes is W + B A, and merging A and B each on its own gives another product.
 */
static mc_status refuse_unmerged_adapters(const mc_model *model, const char *path, mc_error *error)
{
    static const char *const marks[] = {".lora_A.", ".lora_B.", ".lora_embedding_A.",
                                        ".base_layer.", ".modules_to_save."};
    if (has_own_adapters(model->config))
        return MC_OK;
    for (size_t i = 0; i < mc_state_dict_count(model->checkpoint.dict); i++) {
        const char *const name = mc_state_dict_name(model->checkpoint.dict, i);
        for (size_t j = 0; j < sizeof marks / sizeof *marks; j++)
            if (strstr(name, marks[j]))
                return mc_fail_at(error, MC_UNSUPPORTED, path, name, -1,
                                  "expected the weights of a model, found an adapter that is not "
                                  "merged into them: call merge_and_unload() before you save it");
    }
    return MC_OK;
}

/* The configuration comes first: it decides how the weights are read. */
static mc_status open_at(mc_model *model, const char *path, const mc_comm *comm, mc_error *error)
{
    MC_TRY(mc_checkpoint_folder(path, &model->folder, error));
    MC_TRY(read_config(model, error));
    model->checkpoint.is_input_embedding = is_input_embedding;
    model->checkpoint.comm = comm;
    const mc_status status = mc_checkpoint_open(path, model->config, &model->checkpoint, error);
    model->checkpoint.comm = NULL; /* borrowed until here */
    MC_TRY(status);
    if (mc_checkpoint_is_adapter(&model->checkpoint))
        return mc_folder_refuse_adapter(path, model->folder, error);
    MC_TRY(refuse_unmerged_adapters(model, path, error));
    return model->checkpoint.dequantized ? rewrite_config(model, error) : MC_OK;
}

mc_status mc_model_open_path(const char *name, const char *path, const mc_comm *comm,
                             mc_model **out, mc_error *error)
{
    mc_model *const model = mc_alloc_zero(1, sizeof *model);
    if (!model)
        return mc_fail_memory(error);
    model->name = mc_without_slashes(name); /* its last part is what a model card calls the model */
    const mc_status status = model->name ? open_at(model, path, comm, error)
                                         : mc_fail_memory(error);
    if (status != MC_OK) {
        mc_model_close(model);
        return status;
    }
    *out = model;
    return MC_OK;
}

static mc_status wrap(mc_model *model, const char *name, const mc_state_dict *dict,
                      const char *config, const char *folder, mc_error *error)
{
    model->checkpoint.format = "memory";
    model->name = mc_strdup(name);
    model->folder = folder ? mc_strdup(folder) : NULL;
    model->config_text = config ? mc_strdup(config) : NULL;
    if (!model->name || (folder && !model->folder) || (config && !model->config_text))
        return mc_fail_memory(error);
    /* A copy of the map: the caller may change its own. The tensors are shared. */
    MC_TRY(mc_state_dict_copy(dict, &model->checkpoint.dict, error));
    return config ? mc_in_file(error, name, parse_config(model, strlen(config), error)) : MC_OK;
}

mc_status mc_model_wrap(const char *name, const mc_state_dict *dict, const char *config,
                        const char *folder, mc_model **out, mc_error *error)
{
    mc_model *const model = mc_alloc_zero(1, sizeof *model);
    if (!model)
        return mc_fail_memory(error);
    const mc_status status = wrap(model, name, dict, config, folder, error);
    if (status != MC_OK) {
        mc_model_close(model);
        return status;
    }
    *out = model;
    return MC_OK;
}

const char *mc_model_type(const mc_model *model)
{
    return json_string_value(json_object_get(model->config, "model_type"));
}

bool mc_model_has_adapters(const mc_model *model)
{
    return model->adapters != 0;
}

bool mc_model_is_complete(const mc_model *model)
{
    return model->missing_bytes == 0;
}

const char *mc_model_repository(const mc_model *model)
{
    return model->repository;
}

const char *mc_model_commit(const mc_model *model)
{
    return model->commit;
}

const char *mc_model_name(const mc_model *model)
{
    return model->name;
}

const char *mc_model_folder(const mc_model *model)
{
    return model->folder;
}

const char *mc_model_config(const mc_model *model)
{
    return model->config_text;
}

const char *mc_model_architecture(const mc_model *model)
{
    return json_string_value(json_array_get(json_object_get(model->config, "architectures"), 0));
}

const char *mc_model_format(const mc_model *model)
{
    return model->checkpoint.format;
}

size_t mc_model_file_count(const mc_model *model)
{
    return model->checkpoint.file_count;
}

const char *mc_model_file(const mc_model *model, size_t index)
{
    return mc_file_path(model->checkpoint.files[index]);
}

const mc_state_dict *mc_model_state_dict(const mc_model *model)
{
    return model->checkpoint.dict;
}

size_t mc_model_note_count(const mc_model *model)
{
    return model->checkpoint.notes.count;
}

const char *mc_model_note(const mc_model *model, size_t index)
{
    return model->checkpoint.notes.lines[index];
}

size_t mc_model_label_count(const mc_model *model)
{
    return model->label_count;
}

const char *mc_model_label(const mc_model *model, size_t index)
{
    return model->labels[index];
}

mc_status mc_model_check(const mc_model *model, mc_error *error)
{
    for (size_t i = 0; i < model->checkpoint.file_count; i++)
        MC_TRY(mc_file_check(model->checkpoint.files[i], error));
    return MC_OK;
}

uint64_t mc_model_fingerprint(const mc_model *model)
{
    /* Adapters change the tensors without changing the base's files. */
    uint64_t hash = mc_hash_bytes(MC_HASH_START, &model->adapters, sizeof model->adapters);
    for (size_t i = 0; i < model->checkpoint.file_count; i++) {
        mc_file_identity identity = mc_file_identity_of(model->checkpoint.files[i]);
        identity.device = 0; /* machines number a file system that they share differently */
        hash = mc_hash_bytes(hash, &identity, sizeof identity);
    }
    const mc_state_dict *const dict = model->checkpoint.dict;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const mc_source *const source = mc_state_dict_source(dict, i);
        hash = mc_hash_text(hash, mc_state_dict_name(dict, i));
        hash = mc_hash_bytes(hash, &source->dtype, sizeof source->dtype);
        hash = mc_hash_bytes(hash, source->shape, (size_t)source->rank * sizeof *source->shape);
    }
    return hash;
}

mc_source *mc_model_tied(const mc_model *model, const char *name)
{
    const mc_checkpoint *const checkpoint = &model->checkpoint;
    for (size_t i = 0; i < checkpoint->alias_count; i++)
        if (strcmp(checkpoint->aliases[i], name) == 0)
            return mc_state_dict_find(checkpoint->dict, checkpoint->tied_to[i]);
    return NULL;
}
