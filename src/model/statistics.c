#include "model/statistics.h"

#include "base/cpu.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/team.h"
#include "checkpoint/safetensors_file.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- digests --------------------------------------------------------------------------------- */

enum { CHUNK = 1 << 20 };

/*
 * Eight bytes at a time. Each step mixes the previous one, so that the positions of the words
 * matter.
 */
static uint64_t hash_words(uint64_t hash, const unsigned char *bytes, size_t size)
{
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    return mc_hash_bytes(hash, bytes + i, size - i);
}

mc_status mc_tensor_digest(const mc_source *source, uint64_t *out, mc_error *error)
{
    const int rank = mc_source_rank(source);
    /* dtype and shape are part of the digest: the same bytes may mean other values. */
    uint64_t hash = mc_hash_text(MC_HASH_START, mc_dtype_name(mc_source_dtype(source)));
    hash = mc_hash_bytes(hash, mc_source_shape(source), (size_t)rank * sizeof(int64_t));
    unsigned char *const buffer = mc_alloc(CHUNK);
    if (!buffer)
        return mc_fail_memory(error);
    mc_status status = MC_OK;
    for (int64_t done = 0; status == MC_OK && done < mc_source_bytes(source); done += CHUNK) {
        const int64_t left = mc_source_bytes(source) - done, taken = left < CHUNK ? left : CHUNK;
        status = mc_source_read_raw(source, done, taken, buffer, error);
        if (status == MC_OK)
            hash = hash_words(hash, buffer, (size_t)taken);
    }
    mc_free(buffer);
    *out = hash;
    return status;
}

typedef struct digesting {
    const mc_state_dict *dict;
    const char *const *names;
    uint64_t *digests;
} digesting;

static mc_status digest_one(void *arg, int worker, size_t item, mc_error *error)
{
    const digesting *const d = arg;
    (void)worker;
    /* A name that the model lacks keeps no digest. */
    const mc_source *const source = mc_state_dict_find(d->dict, d->names[item]);
    return source ? mc_in_tensor(error, d->names[item],
                                 mc_tensor_digest(source, &d->digests[item], error))
                  : MC_OK;
}

mc_status mc_digests(const mc_state_dict *dict, const char *const *names, size_t count, int threads,
                     json_t **out, mc_error *error)
{
    digesting d = {dict, names, mc_alloc_zero(count, sizeof *d.digests)};
    mc_status status = d.digests ? mc_parallel(count, threads, digest_one, &d, error)
                                 : mc_fail_memory(error);
    json_t *object = json_object();
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        char text[24];
        snprintf(text, sizeof text, "%016" PRIx64, d.digests[i]);
        if (mc_state_dict_find(dict, names[i]))
            object = mc_json_put(object, names[i], json_string(text));
    }
    mc_free(d.digests);
    if (status == MC_OK && !object)
        status = mc_fail_memory(error);
    if (status == MC_OK)
        *out = object;
    else
        json_decref(object);
    return status;
}

/* ---- the tensors of one side input ----------------------------------------------------------- */

/* Tensors that multiply the same input have the same Gram matrix, which the file holds once. */
static mc_status add_shared(const mc_model *model, mc_state_dict *to, const json_t *shared,
                            mc_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)shared, name, value)
    {
        const char *const owner = json_string_value(value);
        mc_source *const source = mc_state_dict_find(to, owner);
        if (!source)
            return mc_fail_at(error, MC_FORMAT, model->name, name, -1,
                              "metadata 'shared': expected the Gram matrix of '%s', found none",
                              owner);
        MC_TRY(mc_state_dict_set(to, name, source, error));
    }
    return MC_OK;
}

static mc_status take_side(const mc_model *model, const char *side, const json_t *shared,
                           mc_state_dict *to, mc_error *error)
{
    const mc_state_dict *const from = model->checkpoint.dict;
    const size_t length = strlen(side);
    for (size_t i = 0; i < mc_state_dict_count(from); i++) {
        const char *const name = mc_state_dict_name(from, i);
        /* "grams/…" and "fishers/…": the side input is the first part of a name. */
        if (strncmp(name, side, length) == 0 && name[length] == '/')
            MC_TRY(mc_state_dict_set(to, name + length + 1, mc_state_dict_source(from, i), error));
    }
    const bool shares = strcmp(side, "grams") == 0 && mc_state_dict_count(to) > 0;
    return shares ? add_shared(model, to, shared, error) : MC_OK;
}

static bool is_object_of_strings(const json_t *value)
{
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, name, item)
    {
        if (!json_is_string(item))
            return false;
    }
    return json_is_object(value);
}

/*
 * Reads one of the two objects in the metadata. Every writer of statistics puts them there: without
 * them, statistics of another model would pass unnoticed.
 */
static mc_status read_object(const mc_model *model, const json_t *metadata, const char *key,
                             json_t **out, mc_error *error)
{
    json_t *value = NULL;
    const mc_status status = mc_safetensors_metadata_json(metadata, key, &value, error);
    if (status == MC_NO_MEMORY)
        return status;
    if (status == MC_OK && is_object_of_strings(value)) {
        *out = value;
        return MC_OK;
    }
    json_decref(value);
    return mc_fail_at(error, MC_FORMAT, model->name, NULL, -1,
                      "metadata '%s': expected an object of strings, found %s", key,
                      json_object_get(metadata, key) ? "something else" : "none");
}

static mc_status select_side(mc_model *model, const char *side, const json_t *metadata,
                             mc_error *error)
{
    mc_state_dict *dict = NULL;
    json_t *shared = NULL, *digests = NULL;
    mc_status status = read_object(model, metadata, "digests", &digests, error);
    if (status == MC_OK)
        status = read_object(model, metadata, "shared", &shared, error);
    if (status == MC_OK)
        status = mc_state_dict_new(&dict, error);
    if (status == MC_OK)
        status = take_side(model, side, shared, dict, error);
    json_decref(shared);
    if (status == MC_OK && mc_state_dict_count(dict) == 0)
        status = mc_fail_at(error, MC_NOT_FOUND, model->name, NULL, -1,
                            "expected statistics for the side input '%s', found others", side);
    if (status != MC_OK) {
        mc_state_dict_free(dict);
        json_decref(digests);
        return status;
    }
    mc_state_dict_free(model->checkpoint.dict);
    model->checkpoint.dict = dict;
    json_decref(model->digests);
    model->digests = digests;
    return MC_OK;
}

static mc_status check_version(const mc_model *model, const json_t *metadata, mc_error *error)
{
    const char *const version = json_string_value(json_object_get(metadata, "version"));
    return version && strcmp(version, MC_STATISTICS_VERSION) == 0
               ? MC_OK
               : mc_fail_at(error, MC_UNSUPPORTED, model->name, NULL, -1,
                            "expected statistics of version %s, found %s", MC_STATISTICS_VERSION,
                            version ? version : "none");
}

static bool is_statistics(const json_t *metadata)
{
    const char *const kind = json_string_value(json_object_get(metadata, "kind"));
    return kind && strcmp(kind, MC_STATISTICS_KIND) == 0;
}

mc_status mc_model_take_side(mc_model *model, const char *side, mc_error *error)
{
    json_t *metadata = NULL;
    /* Statistics are always a single safetensors file; anything else is a model. */
    if (mc_model_file_count(model) != 1 || strcmp(mc_model_format(model), "safetensors") != 0)
        return MC_OK;
    MC_TRY(mc_safetensors_metadata(mc_model_file(model, 0), &metadata, error));
    mc_status status = MC_OK;
    if (is_statistics(metadata))
        status = check_version(model, metadata, error);
    if (status == MC_OK && is_statistics(metadata))
        status = select_side(model, side, metadata, error);
    json_decref(metadata);
    return status;
}

/* ---- of which model -------------------------------------------------------------------------- */

/* Without the digest of a tensor, statistics of another one would pass unnoticed. */
static mc_status check_complete(const mc_model *side, const mc_model *model, mc_error *error)
{
    const mc_state_dict *const values = side->checkpoint.dict;
    for (size_t i = 0; i < mc_state_dict_count(values); i++) {
        const char *const name = mc_state_dict_name(values, i);
        if (mc_state_dict_find(model->checkpoint.dict, name) &&
            !json_object_get(side->digests, name))
            return mc_fail_at(error, MC_FORMAT, side->name, name, -1,
                              "expected a digest in metadata 'digests', found none");
    }
    return MC_OK;
}

/* `found`: the digests of those tensors of the model that the statistics name. */
static mc_status compare(const mc_model *side, const mc_model *model, const json_t *found,
                         mc_error *error)
{
    const char *name;
    json_t *value;
    if (json_object_size(found) == 0)
        return mc_fail_at(error, MC_MISMATCH, side->name, NULL, -1,
                          "expected statistics of %s, found those of a model with other tensor "
                          "names",
                          model->name);
    json_object_foreach((json_t *)(uintptr_t)found, name, value)
    {
        const char *const expected = json_string_value(json_object_get(side->digests, name));
        if (expected && strcmp(expected, json_string_value(value)) != 0)
            return mc_fail_at(error, MC_MISMATCH, side->name, name, -1,
                              "expected statistics of %s, found those of another model",
                              model->name);
    }
    return MC_OK;
}

mc_status mc_statistics_check(const mc_model *side, const mc_model *model, mc_error *error)
{
    /* Values that were not downloaded cannot be compared. */
    if (!side->digests || model->missing_bytes > 0)
        return MC_OK;
    MC_TRY(check_complete(side, model, error));
    const size_t count = json_object_size(side->digests);
    const char **const names = mc_alloc((count + 1) * sizeof *names);
    json_t *found = NULL;
    const char *name;
    json_t *value;
    size_t used = 0;
    if (!names)
        return mc_fail_memory(error);
    json_object_foreach(side->digests, name, value) names[used++] = name;
    mc_status status = mc_digests(model->checkpoint.dict, names, count, mc_cpu_count(), &found,
                                  error);
    if (status == MC_OK)
        status = compare(side, model, found, error);
    json_decref(found);
    mc_free(names);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* An object as one text: metadata hold texts only. */
static json_t *as_text(const json_t *object)
{
    char *const text = json_dumps(object, JSON_COMPACT);
    json_t *const value = text ? json_string(text) : NULL;
    free(text);
    return value;
}

static json_t *number_text(size_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", number);
    return json_string(text);
}

mc_status mc_statistics_write(const char *path, const mc_state_dict *values,
                              const mc_statistics_origin *origin, const json_t *digests,
                              const json_t *shared, mc_error *error)
{
    json_t *m = json_object();
    m = mc_json_put(m, "format", json_string("pt"));
    m = mc_json_put(m, "kind", json_string(MC_STATISTICS_KIND));
    m = mc_json_put(m, "version", json_string(MC_STATISTICS_VERSION));
    m = mc_json_put(m, "model", mc_json_text(origin->model ? origin->model : ""));
    m = mc_json_put(m, "task", mc_json_text(origin->task ? origin->task : ""));
    m = mc_json_put(m, "data", mc_json_text(origin->data ? origin->data : ""));
    m = mc_json_put(m, "examples", number_text(origin->examples));
    m = mc_json_put(m, "tokens", number_text(origin->tokens));
    m = mc_json_put(m, "truncated", number_text(origin->truncated));
    m = mc_json_put(m, "singular", number_text(origin->singular));
    m = mc_json_put(m, "form", json_string(origin->form));
    m = mc_json_put(m, "digests", as_text(digests));
    m = mc_json_put(m, "shared", as_text(shared));
    const mc_status status = m ? mc_safetensors_save(path, values, m, error)
                               : mc_fail_memory(error);
    json_decref(m);
    return status;
}
