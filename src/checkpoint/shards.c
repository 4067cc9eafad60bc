#include "checkpoint/shards.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { INDEX_LIMIT = 100000000 };

/* A safetensors file has '{' as its ninth byte; its first eight are never all printable. */
bool mc_shards_probe(const unsigned char *head, size_t size)
{
    size_t spaces = 0;
    while (spaces < size && head[spaces] && strchr(" \t\r\n", head[spaces]))
        spaces++;
    if (spaces == size || head[spaces] != '{')
        return false;
    for (size_t i = spaces; i < size && i < 8; i++)
        if (head[i] != '\0' && head[i] < ' ' && !strchr("\t\r\n", head[i]))
            return false;
    return size < 8 || head[7] != '\0';
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Shards lie beside their index: a name that leads elsewhere could read any file of the user. */
static mc_status check_shard_name(const char *name, mc_error *error)
{
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strpbrk(name, "/\\"))
        return mc_fail(error, MC_FORMAT, "expected a file name without folders, found '%s'", name);
    return MC_OK;
}

static mc_status collect_files(mc_shards *shards, mc_error *error)
{
    shards->files = mc_alloc_zero(json_object_size(shards->weight_map), sizeof *shards->files);
    if (!shards->files)
        return mc_fail_memory(error);
    const char *name;
    json_t *file;
    size_t count = 0;
    json_object_foreach(shards->weight_map, name, file)
    {
        if (!json_is_string(file))
            return mc_fail_at(error, MC_FORMAT, NULL, name, -1,
                              "expected a file name in weight_map");
        shards->files[count] = json_string_value(file);
        MC_TRY(mc_in_tensor(error, name, check_shard_name(shards->files[count++], error)));
    }
    qsort(shards->files, count, sizeof *shards->files, compare_names);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(shards->files[i], shards->files[i - 1]) != 0)
            shards->files[shards->count++] = shards->files[i];
    return MC_OK;
}

mc_status mc_shards_parse(const char *bytes, size_t size, mc_shards *out, mc_error *error)
{
    MC_TRY(mc_json_parse(bytes, size, &out->json, error));
    out->weight_map = json_object_get(out->json, "weight_map");
    if (!json_is_object(out->weight_map) || json_object_size(out->weight_map) == 0)
        return mc_fail(error, MC_FORMAT,
                       "expected an object weight_map with the file of each tensor");
    return collect_files(out, error);
}

mc_status mc_shards_read(const char *path, mc_shards *out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_file_load(path, INDEX_LIMIT, &text, &size, error));
    const mc_status status = mc_in_file(error, path, mc_shards_parse(text, size, out, error));
    mc_free(text);
    return status;
}

void mc_shards_free(mc_shards *shards)
{
    mc_free(shards->files);
    json_decref(shards->json);
    *shards = (mc_shards){0};
}

/* The file that the index has a tensor in; NULL if it does not name it. */
static const char *file_of(const mc_shards *shards, const char *name)
{
    return json_string_value(json_object_get(shards->weight_map, name));
}

mc_status mc_shards_take(const mc_shards *shards, const char *file, const mc_state_dict *found,
                         mc_state_dict *dict, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(found); i++) {
        const char *const name = mc_state_dict_name(found, i);
        const char *const owner = file_of(shards, name);
        if (owner ? strcmp(owner, file) == 0 : !mc_state_dict_find(dict, name))
            MC_TRY(mc_state_dict_set(dict, name, mc_state_dict_source(found, i), error));
    }
    const char *name;
    json_t *value;
    json_object_foreach(
        shards->weight_map, name,
        value) if (strcmp(json_string_value(value), file) == 0 &&
                   !mc_state_dict_find(found,
                                       name)) return mc_fail_at(error, MC_FORMAT, NULL, name, -1,
                                                                "expected in this file, as the "
                                                                "index says, but it is not there");
    return MC_OK;
}
