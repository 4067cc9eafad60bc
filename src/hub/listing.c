#include "hub/listing.h"

#include "base/json.h"
#include "base/memory.h"

#include <string.h>

/* Bounds the memory that a hostile server can make the client use. */
enum { MOST_FILES = 1000000 };

/*
 * Names become paths in the cache. A name that leads out of its folder is dropped and not an error.
 */
mc_status mc_listing_add(mc_listing *listing, const char *name, mc_error *error)
{
    if (!mc_hub_path_ok(name))
        return MC_OK;
    if (listing->count == MOST_FILES)
        return mc_fail(error, MC_FORMAT, "expected at most %d files in the repository, found more",
                       MOST_FILES);
    if (!MC_GROW(listing->names, listing->count, listing->capacity))
        return mc_fail_memory(error);
    char *const copy = mc_strdup(name);
    if (!copy)
        return mc_fail_memory(error);
    listing->names[listing->count++] = copy;
    return MC_OK;
}

static mc_status add_siblings(const json_t *siblings, mc_listing *out, mc_error *error)
{
    /* Old servers omit the list: the caller then asks for the tree. */
    out->complete = json_is_array(siblings);
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        const json_t *const name = json_object_get(json_array_get(siblings, i), "rfilename");
        if (!json_is_string(name))
            return mc_fail(
                error, MC_FORMAT,
                "expected a string as rfilename in entry %zu of the server's list of files", i);
        MC_TRY(mc_listing_add(out, json_string_value(name), error));
    }
    return MC_OK;
}

mc_status mc_listing_parse(const char *text, size_t size, mc_listing *out, mc_error *error)
{
    json_t *json = NULL;
    MC_TRY(mc_json_parse(text, size, &json, error));
    const char *const commit = json_string_value(json_object_get(json, "sha"));
    mc_status status = MC_OK;
    if (!commit || !mc_hub_is_commit(commit))
        status = mc_fail(
            error, MC_FORMAT,
            "expected a commit of 40 hexadecimal digits as sha in the server's answer");
    else
        memcpy(out->commit, commit, MC_COMMIT_SIZE);
    if (status == MC_OK)
        status = add_siblings(json_object_get(json, "siblings"), out, error);
    json_decref(json);
    return status;
}

mc_status mc_listing_parse_tree(const char *text, size_t size, mc_listing *listing, mc_error *error)
{
    json_t *json = NULL;
    MC_TRY(mc_json_parse(text, size, &json, error));
    mc_status status = json_is_array(json)
                           ? MC_OK
                           : mc_fail(error, MC_FORMAT,
                                     "expected an array as the server's list of files");
    for (size_t i = 0; status == MC_OK && i < json_array_size(json); i++) {
        const json_t *const entry = json_array_get(json, i);
        const char *const type = json_string_value(json_object_get(entry, "type"));
        const char *const path = json_string_value(json_object_get(entry, "path"));
        if (!type || !path)
            status = mc_fail(error, MC_FORMAT,
                             "expected type and path in entry %zu of the server's list of files",
                             i);
        else if (strcmp(type, "file") == 0)
            status = mc_listing_add(listing, path, error);
    }
    json_decref(json);
    return status;
}

bool mc_listing_has(const mc_listing *listing, const char *name)
{
    for (size_t i = 0; i < listing->count; i++)
        if (strcmp(listing->names[i], name) == 0)
            return true;
    return false;
}

void mc_listing_free(mc_listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        mc_free(listing->names[i]);
    mc_free(listing->names);
    *listing = (mc_listing){0};
}
