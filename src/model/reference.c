/*
 * Model references: NAME, or NAME+ADAPTER[+ADAPTER…]. The base models are opened together, so that
 * their downloads run side by side. Then adapters, which are small, are downloaded as a whole and
 * applied in order.
 */
#include "base/hash.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"
#include "model/adapter.h"
#include "model/open.h"

#include <string.h>

/* The parts of a reference. */
typedef struct reference {
    char *base;
    char **adapters;
    size_t count, capacity;
} reference;

static void free_references(reference *references, size_t count)
{
    for (size_t i = 0; references && i < count; i++) {
        for (size_t k = 0; k < references[i].count; k++)
            mc_free(references[i].adapters[k]);
        mc_free(references[i].adapters);
        mc_free(references[i].base);
    }
    mc_free(references);
}

/* Takes over `name`, also on failure. */
static mc_status add_adapter(reference *to, char *name, mc_error *error)
{
    if (name && MC_GROW(to->adapters, to->count, to->capacity)) {
        to->adapters[to->count++] = name;
        return MC_OK;
    }
    mc_free(name);
    return mc_fail_memory(error);
}

/* The folder of an adapter alone stands for the base model that it names, with the adapter. */
static mc_status from_folder(const char *name, const mc_comm *comm, reference *to, mc_error *error)
{
    mc_adapter adapter = {.checkpoint.comm = comm};
    mc_status status = mc_adapter_open(name, &adapter, error);
    const char *const base = mc_adapter_base_name(&adapter);
    if (status == MC_OK && !base)
        status = mc_fail_at(error, MC_USAGE, name, NULL, -1,
                            "expected an adapter that names its base model, found one that does "
                            "not: give it as BASE+ADAPTER");
    if (status == MC_OK && !(to->base = mc_strdup(base)))
        status = mc_fail_memory(error);
    mc_adapter_close(&adapter);
    return status == MC_OK ? add_adapter(to, mc_strdup(name), error) : status;
}

static mc_status split(const char *name, reference *to, mc_error *error)
{
    const char *const plus = strchr(name, '+');
    to->base = plus ? mc_strndup(name, (size_t)(plus - name)) : mc_strdup(name);
    if (!to->base)
        return mc_fail_memory(error);
    for (const char *at = plus; at;) {
        const char *const next = strchr(++at, '+');
        const size_t length = next ? (size_t)(next - at) : strlen(at);
        if (length == 0 || !*to->base)
            return mc_fail(error, MC_USAGE, "expected MODEL+ADAPTER, found '%s' with an empty part",
                           name);
        MC_TRY(add_adapter(to, mc_strndup(at, length), error));
        at = next;
    }
    return MC_OK;
}

/* A path that exists is taken as it is, even with "+" in it. */
static mc_status parse(const char *name, const mc_comm *comm, reference *to, mc_error *error)
{
    struct stat status;
    bool adapter = false;
    MC_TRY(mc_adapter_is_folder(name, &adapter, error));
    if (adapter)
        return from_folder(name, comm, to, error);
    if (mc_system->stat(name, &status) == 0 || !strchr(name, '+')) {
        to->base = mc_strdup(name);
        return to->base ? MC_OK : mc_fail_memory(error);
    }
    return split(name, to, error);
}

/* ---- adapters -------------------------------------------------------------------------------- */

static mc_status take_files(mc_model *model, const mc_adapter *adapter, mc_error *error)
{
    mc_checkpoint *const to = &model->checkpoint;
    const size_t more = adapter->checkpoint.file_count;
    /*
     * The adapter's files belong to the model from now on: its check and its fingerprint include
     * them.
     */
    mc_file **const files = mc_realloc(to->files, (to->file_count + more) * sizeof(mc_file *));
    if (!files)
        return mc_fail_memory(error);
    to->files = files;
    for (size_t i = 0; i < more; i++)
        files[to->file_count++] = mc_file_ref(adapter->checkpoint.files[i]);
    return MC_OK;
}

/* The result also depends on the configuration, which is not among the weight files. */
static mc_status hash_config(mc_model *model, const mc_adapter *adapter, mc_error *error)
{
    char *const text = adapter->config ? json_dumps(adapter->config, JSON_SORT_KEYS) : NULL;
    if (adapter->config && !text)
        return mc_fail_memory(error);
    model->adapters = mc_hash_text(model->adapters ? model->adapters : MC_HASH_START,
                                   text ? text : "");
    free(text);
    return MC_OK;
}

static mc_status apply(mc_model *model, const mc_adapter *adapter, const char *name,
                       mc_error *error)
{
    const mc_adapter_base base = {.label = name,
                                  .name = model->name,
                                  .config = model->config,
                                  .dict = model->checkpoint.dict,
                                  .notes = &model->checkpoint.notes};
    const int64_t rows = mc_vocabulary_rows(base.dict);
    MC_TRY(mc_adapter_apply(adapter, &base, error));
    MC_TRY(mc_model_resize_vocabulary(model, rows, error));
    MC_TRY(take_files(model, adapter, error));
    return hash_config(model, adapter, error);
}

static mc_status adapt(mc_model *model, const char *path, const char *name, const mc_comm *comm,
                       mc_error *error)
{
    mc_adapter adapter = {.checkpoint.comm = comm};
    mc_status status = mc_adapter_open(path, &adapter, error);
    if (status == MC_OK)
        status = mc_in_file(error, name, apply(model, &adapter, name, error));
    mc_adapter_close(&adapter);
    return status;
}

/* Gives the model the name that the user wrote. */
static mc_status rename_model(mc_model *model, const char *name, mc_error *error)
{
    char *const copy = mc_without_slashes(name);
    if (!copy)
        return mc_fail_memory(error);
    mc_free(model->name);
    model->name = copy;
    return MC_OK;
}

/*
 * Downloads the adapters that are on the Hub, all together. *remote: how many there are; 0 after a
 * failure, when no snapshot is filled.
 */
static mc_status download(const reference *references, size_t count, const mc_hub_options *hub,
                          mc_hub_snapshot **out, size_t *remote, mc_error *error)
{
    size_t room = 0;
    for (size_t i = 0; i < count; i++)
        room += references[i].count;
    mc_hub_spec *const specs = mc_alloc_zero(room, sizeof *specs);
    *out = mc_alloc_zero(room, sizeof **out);
    mc_status status = specs && *out ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        for (size_t k = 0; k < references[i].count; k++)
            if (mc_is_remote(references[i].adapters[k]))
                specs[(*remote)++].name = references[i].adapters[k];
    if (status == MC_OK && *remote > 0)
        status = mc_hub_download(specs, *remote, hub, *out, error);
    if (status != MC_OK)
        *remote = 0;
    mc_free(specs);
    return status;
}

static mc_status adapt_all(const reference *references, const char *const *names, size_t count,
                           const mc_hub_snapshot *snapshots, const mc_comm *comm, mc_model **models,
                           mc_error *error)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < references[i].count; k++) {
            const char *const name = references[i].adapters[k];
            /* In the order in which `download` listed them. */
            const char *const path = mc_is_remote(name) ? (snapshots++)->folder : name;
            MC_TRY(adapt(models[i], path, name, comm, error));
        }
        if (references[i].count > 0)
            MC_TRY(rename_model(models[i], names[i], error));
    }
    return MC_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static mc_status parse_all(const char *const *names, size_t count, const mc_comm *comm,
                           reference *references, const char **bases, mc_error *error)
{
    if (!references || !bases)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        MC_TRY(parse(names[i], comm, &references[i], error));
        bases[i] = references[i].base;
    }
    return MC_OK;
}

mc_status mc_models_open(const char *const *names, size_t count, const mc_hub_options *hub,
                         bool headers_only, mc_model **out, mc_error *error)
{
    reference *const references = mc_alloc_zero(count, sizeof *references);
    const char **const bases = mc_alloc_zero(count, sizeof *bases);
    mc_hub_snapshot *snapshots = NULL;
    size_t remote = 0;
    memset(out, 0, count * sizeof *out);
    mc_status status = parse_all(names, count, hub ? hub->comm : NULL, references, bases, error);
    if (status == MC_OK)
        status = mc_models_open_plain(bases, count, hub, headers_only, out, error);
    if (status == MC_OK) {
        status = download(references, count, hub, &snapshots, &remote, error);
        if (status == MC_OK)
            status = adapt_all(references, names, count, snapshots, hub ? hub->comm : NULL, out,
                               error);
        for (size_t i = 0; status != MC_OK && i < count; i++) {
            mc_model_close(out[i]);
            out[i] = NULL;
        }
    }
    mc_hub_snapshots_free(snapshots, remote);
    mc_free(snapshots);
    mc_free(bases);
    free_references(references, count);
    return status;
}

mc_status mc_model_open(const char *name, mc_model **out, mc_error *error)
{
    return mc_models_open(&name, 1, NULL, false, out, error);
}
