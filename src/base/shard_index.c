#include "base/shard_index.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/*
 * The index of a model with 100,000 tensors has about 10 MB. The limit leaves room for ten times as
 * many.
 */
enum { INDEX_LIMIT = 100000000 };

/*
 * A safetensors file begins with a length of 8 bytes, little-endian, and then '{'. Plausible
 * lengths have a zero in the highest byte; JSON text has no NUL.
 */
bool mc_shard_index_probe(const unsigned char *head, size_t size)
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

static int compare_entries(const void *a, const void *b)
{
    const mc_shard_entry *const x = a, *const y = b;
    const int files = strcmp(x->file, y->file);
    return files ? files : (x->place > y->place) - (x->place < y->place);
}

/*
 * Shards lie beside their index. A name with a folder in it could read any file that the user can
 * read.
 */
static mc_status check_file_name(const char *name, mc_error *error)
{
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strpbrk(name, "/\\"))
        return mc_fail(error, MC_FORMAT,
                       "expected a file name without folders in weight_map, found '%s'", name);
    return MC_OK;
}

static mc_status collect_entries(mc_shard_index *index, mc_error *error)
{
    const char *tensor;
    json_t *file;
    size_t count = 0;
    json_object_foreach(index->weight_map, tensor, file)
    {
        if (!json_is_string(file))
            return mc_fail_at(error, MC_FORMAT, NULL, tensor, -1,
                              "expected a file name in weight_map");
        /* Borrowed from the JSON, which the index keeps. */
        const char *const name = json_string_value(file);
        MC_TRY(mc_in_tensor(error, tensor, check_file_name(name, error)));
        index->entries[count] = (mc_shard_entry){name, tensor, count};
        count++;
    }
    return MC_OK;
}

static mc_status collect_files(mc_shard_index *index, mc_error *error)
{
    const size_t count = json_object_size(index->weight_map);
    index->entries = mc_alloc_zero(count, sizeof *index->entries);
    index->files = mc_alloc_zero(count, sizeof *index->files);
    index->firsts = mc_alloc_zero(count + 1, sizeof *index->firsts);
    if (!index->entries || !index->files || !index->firsts)
        return mc_fail_memory(error);
    MC_TRY(collect_entries(index, error));
    /* By file: hundreds of shards of many tensors are compared with the index one by one. */
    qsort(index->entries, count, sizeof *index->entries, compare_entries);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(index->entries[i].file, index->entries[i - 1].file) != 0) {
            index->firsts[index->count] = i;
            index->files[index->count++] = index->entries[i].file;
        }
    index->firsts[index->count] = count;
    return MC_OK;
}

mc_status mc_shard_index_parse(const char *bytes, size_t size, mc_shard_index *out, mc_error *error)
{
    MC_TRY(mc_json_parse(bytes, size, &out->json, error));
    out->weight_map = json_object_get(out->json, "weight_map");
    if (!json_is_object(out->weight_map) || json_object_size(out->weight_map) == 0)
        return mc_fail(error, MC_FORMAT,
                       "expected an object weight_map with the file of each tensor");
    return collect_files(out, error);
}

mc_status mc_shard_index_load(const char *path, mc_shard_index *out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_file_load(path, INDEX_LIMIT, &text, &size, error));
    const mc_status status = mc_in_file(error, path, mc_shard_index_parse(text, size, out, error));
    mc_free(text);
    return status;
}

void mc_shard_index_free(mc_shard_index *index)
{
    mc_free(index->entries);
    mc_free(index->files);
    mc_free(index->firsts);
    json_decref(index->json);
    *index = (mc_shard_index){0};
}

const char *mc_shard_index_file(const mc_shard_index *index, const char *tensor)
{
    return json_string_value(json_object_get(index->weight_map, tensor));
}
