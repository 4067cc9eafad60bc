#include "merge/plugin.h"

#include "base/build_id.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/plugin_cache.h"
#include "methods/variant.h"

#include <mergecraft/host.h>

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#define PLUGIN_LIMIT (INT64_C(256) << 20)

struct mc_plugin {
    char *path, *text; /* text: of a C file, else NULL */
    uint64_t hash;
    const mc_method **methods;
    size_t count, capacity;
    mc_plugin *next;
};

/*
 * Plug-ins stay loaded for the life of the process, since plans and sources may point into their
 * code. The lock guards the list; an entry never changes once it is in the list.
 */
static pthread_mutex_t plugins_lock = PTHREAD_MUTEX_INITIALIZER;
static mc_plugin *plugins;

static const mc_host host = {.api = MC_METHOD_API,
#define X(result_, name_, parameters_) .name_ = mc_##name_,
                             MC_HOST_MAP(X)
#undef X
};

static void free_plugin(mc_plugin *plugin)
{
    mc_free(plugin->path);
    mc_free(plugin->text);
    mc_free(plugin->methods);
    mc_free(plugin);
}

static mc_status check_method(const mc_method *method, const char *path, mc_error *error)
{
    if (!method->name || !(method->apply || method->merge))
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1,
                          "expected methods with a name and a function, found one without");
    /* A method of another real would read float tiles as doubles. */
    if (method->real_size != sizeof(mc_real))
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1,
                          "expected method '%s' to compute in float, found %u bytes a number",
                          method->name, method->real_size);
    return MC_OK;
}

static mc_status add_methods(mc_plugin *plugin, const mc_plugin_methods *methods, mc_error *error)
{
    for (const mc_plugin_method_node *node = methods->first; node; node = node->next) {
        MC_TRY(check_method(node->method, plugin->path, error));
        if (!MC_GROW(plugin->methods, plugin->count, plugin->capacity))
            return mc_fail_memory(error);
        plugin->methods[plugin->count++] = node->method;
    }
    if (plugin->count == 0)
        return mc_fail_at(error, MC_FORMAT, plugin->path, NULL, -1,
                          "expected a method (MC_LAYER_MERGE or MC_MODEL_MERGE), found none");
    return MC_OK;
}

static mc_status load_object(mc_plugin *plugin, const char *object, mc_error *error)
{
    /* A name without a slash would be looked for in the system's folders. */
    char *const path = strchr(object, '/') ? mc_strdup(object) : mc_format("./%s", object);
    if (!path)
        return mc_fail_memory(error);
    void *const code = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    mc_free(path);
    if (!code)
        return mc_fail_at(error, MC_FORMAT, plugin->path, NULL, -1, "cannot load it: %s",
                          dlerror());
    mc_plugin_entry_function entry;
    *(void **)&entry = dlsym(code, "mc_plugin_entry");
    if (!entry)
        return mc_fail_at(error, MC_FORMAT, plugin->path, NULL, -1,
                          "expected a shared object of merge methods (compiled with -DMC_PLUGIN), "
                          "found none");
    const mc_plugin_methods *const methods = entry(&host);
    if (!methods || methods->api != MC_METHOD_API)
        return mc_fail_at(error, MC_FORMAT, plugin->path, NULL, -1,
                          "expected version %u of the method interface, found another: compile it "
                          "again",
                          MC_METHOD_API);
    return add_methods(plugin, methods, error);
}

static mc_status load(mc_plugin *plugin, const volatile int *cancel, mc_error *error)
{
    char *text = NULL, *object = NULL;
    size_t size = 0;
    MC_TRY(mc_file_load(plugin->path, PLUGIN_LIMIT, &text, &size, error));
    /* The hash is part of a merge's fingerprint: a changed method does not resume an old run. */
    plugin->hash = mc_hash_bytes(MC_HASH_START, text, size);
    if (!mc_ends_with(plugin->path, ".c")) {
        mc_free(text);
        return load_object(plugin, plugin->path, error);
    }
    plugin->text = text;
    MC_TRY(mc_plugin_compile(plugin->path, text, size, cancel, &object, error));
    const mc_status status = load_object(plugin, object, error);
    mc_free(object);
    return status;
}

mc_status mc_plugin_open(const char *path, const volatile int *cancel, mc_plugin **out,
                         mc_error *error)
{
    mc_plugin *const plugin = mc_alloc_zero(1, sizeof *plugin);
    if (!plugin)
        return mc_fail_memory(error);
    plugin->path = mc_strdup(path);
    const mc_status status = plugin->path ? load(plugin, cancel, error) : mc_fail_memory(error);
    if (status != MC_OK) {
        free_plugin(plugin);
        return status;
    }
    pthread_mutex_lock(&plugins_lock);
    plugin->next = plugins;
    plugins = plugin;
    pthread_mutex_unlock(&plugins_lock);
    *out = plugin;
    return MC_OK;
}

void mc_plugin_close(mc_plugin *plugin)
{
    (void)plugin; /* see `plugins` */
}

size_t mc_plugin_method_count(const mc_plugin *plugin)
{
    return plugin->count;
}

const mc_method *mc_plugin_method(const mc_plugin *plugin, size_t index)
{
    return plugin->methods[index];
}

static const mc_plugin *owner_of(const mc_method *method)
{
    const mc_plugin *found = NULL;
    pthread_mutex_lock(&plugins_lock);
    for (const mc_plugin *plugin = plugins; plugin && !found; plugin = plugin->next)
        for (size_t i = 0; i < plugin->count; i++)
            if (plugin->methods[i] == method)
                found = plugin;
    pthread_mutex_unlock(&plugins_lock);
    return found;
}

bool mc_plugin_origin(const mc_method *method, const char **path, uint64_t *hash)
{
    const mc_plugin *const plugin = owner_of(method);
    if (!plugin)
        return false;
    *path = plugin->path;
    *hash = plugin->hash;
    return true;
}

bool mc_plugin_hash_code(const mc_method *method, uint64_t *hash)
{
    char program[MC_PROGRAM_ID_SIZE];
    const char *path = NULL;
    uint64_t code = 0;
    if (mc_method_is_builtin(method))
        return true;
    if (mc_plugin_origin(method, &path, &code)) {
        *hash = mc_hash_bytes(*hash, &code, sizeof code);
        return true;
    }
    mc_program_id(method, program);
    *hash = mc_hash_text(*hash, program);
    return *program != '\0';
}

const char *mc_plugin_text(const mc_method *method)
{
    const mc_plugin *const plugin = owner_of(method);
    return plugin ? plugin->text : NULL;
}
