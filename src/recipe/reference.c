#include "recipe/reference.h"

#include "base/memory.h"

#include <string.h>

#define FAIL(node_, ...)                                                                           \
    mc_yaml_fail(error, MC_FORMAT, file, (node_)->line, (node_)->column, __VA_ARGS__)

static mc_status expect_string(const char *file, const mc_yaml *node, const char *what,
                               mc_error *error)
{
    if (node->kind == MC_YAML_STRING)
        return MC_OK;
    const bool scalar = node->kind != MC_YAML_LIST && node->kind != MC_YAML_MAP;
    return FAIL(node, "expected %s as a string, found %s%s", what, mc_yaml_kind_text(node->kind),
                scalar && node->kind != MC_YAML_NULL ? "; quote it" : "");
}

/* Rejects a second separator: it would be ambiguous which of them separates. */
static mc_status check_separator(const char *file, const mc_yaml *node, const char *text,
                                 size_t length, char separator, mc_error *error)
{
    const char *const first = memchr(text, separator, length);
    if (first && memchr(first + 1, separator, length - (size_t)(first + 1 - text)))
        return FAIL(node,
                    "expected at most one '%c' in '%s'; write a path with it as a map: "
                    "{model: {path: …}}",
                    separator, node->text);
    return MC_OK;
}

static mc_status read_text(const char *file, const mc_yaml *node, mc_reference *out,
                           mc_error *error)
{
    const char *const text = node->text, *const plus = strchr(text, '+');
    const size_t length = plus ? (size_t)(plus - text) : strlen(text);
    if (!*text)
        return FAIL(node, "expected a model, found an empty string");
    MC_TRY(check_separator(file, node, text, strlen(text), '+', error));
    MC_TRY(check_separator(file, node, text, length, '@', error));
    if (plus)
        MC_TRY(check_separator(file, node, plus, strlen(plus), '@', error));
    out->text = mc_strdup(text);
    out->path = mc_strndup(text, strcspn(text, "+@"));
    out->adapter = plus ? mc_strdup(plus + 1) : NULL;
    if (!out->text || !out->path || (plus && !out->adapter))
        return mc_fail_memory(error);
    if (!*out->path || (plus && (!plus[1] || plus[1] == '@')))
        return FAIL(node, "expected MODEL or MODEL+ADAPTER, found '%s' with an empty part", text);
    return MC_OK;
}

/* Reads {path: …, revision: …}, or a string, as "path@revision". */
static mc_status read_part(const char *file, const mc_yaml *node, char **path, char **text,
                           mc_error *error)
{
    const mc_yaml *const name = node->kind == MC_YAML_MAP ? mc_yaml_get(node, "path") : node;
    const mc_yaml *const revision = mc_yaml_get(node, "revision");
    if (!name)
        return FAIL(node, "expected 'path' (and 'revision') of a model");
    MC_TRY(expect_string(file, name, "a path", error));
    if (!*name->text)
        return FAIL(name, "expected a path, found an empty string");
    const bool has_revision = revision && revision->kind != MC_YAML_NULL;
    if (has_revision)
        MC_TRY(expect_string(file, revision, "a revision", error));
    *path = mc_strdup(name->text);
    *text = has_revision ? mc_format("%s@%s", name->text, revision->text) : mc_strdup(name->text);
    return *path && *text ? MC_OK : mc_fail_memory(error);
}

/* The text gets the adapter too: models of one text are one model. */
static mc_status read_adapter(const char *file, const mc_yaml *node, mc_reference *out,
                              mc_error *error)
{
    char *path = NULL, *text = NULL;
    mc_status status = read_part(file, node, &path, &text, error);
    mc_free(path);
    out->adapter = text;
    if (status == MC_OK) {
        char *const both = mc_format("%s+%s", out->text, text);
        mc_free(out->text);
        out->text = both;
        status = both ? MC_OK : mc_fail_memory(error);
    }
    return status;
}

static mc_status read_map(const char *file, const mc_yaml *map, mc_reference *out, mc_error *error)
{
    const mc_yaml *const model = mc_yaml_get(map, "model"), *const lora = mc_yaml_get(map, "lora");
    const mc_yaml *const architecture = mc_yaml_get(map, "override_architecture");
    if (!model)
        return FAIL(map, "expected 'model' (and 'lora') of a model reference");
    MC_TRY(read_part(file, model, &out->path, &out->text, error));
    if (lora && lora->kind != MC_YAML_NULL)
        MC_TRY(read_adapter(file, lora, out, error));
    if (architecture && architecture->kind != MC_YAML_NULL) {
        MC_TRY(expect_string(file, architecture, "an architecture", error));
        out->architecture = mc_strdup(architecture->text);
        if (!out->architecture)
            return mc_fail_memory(error);
    }
    return MC_OK;
}

mc_status mc_reference_read(const char *file, const mc_yaml *node, mc_reference *out,
                            mc_error *error)
{
    out->at = node;
    if (node->kind == MC_YAML_MAP)
        return read_map(file, node, out, error);
    MC_TRY(expect_string(file, node, "a model", error));
    return read_text(file, node, out, error);
}

void mc_reference_free(mc_reference *reference)
{
    mc_free(reference->text);
    mc_free(reference->path);
    mc_free(reference->adapter);
    mc_free(reference->architecture);
    *reference = (mc_reference){0};
}
