#include "base/shard_index.h"

#include "base/file.h"
#include "base/json_scan.h"
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

/* A repeated tensor has the file that is named last, as in Python. */
static mc_status add_entry(mc_shard_index *index, const char *tensor, const char *file,
                           mc_error *error)
{
    const size_t known = mc_index_find(&index->tensors, tensor);
    if (known != MC_INDEX_NONE) {
        index->entries[known].file = file;
        return MC_OK;
    }
    const size_t place = index->entry_count;
    if (!MC_GROW(index->entries, place, index->entry_capacity) ||
        !mc_index_set(&index->tensors, tensor, place))
        return mc_fail_memory(error);
    index->entries[index->entry_count++] = (mc_shard_entry){file, tensor, place};
    return MC_OK;
}

static mc_status scan_map(mc_shard_index *index, mc_scan *s, mc_error *error)
{
    /* The map before it, if the member repeats, does not count. */
    index->entry_count = 0;
    mc_index_free(&index->tensors);
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
        const char *const tensor = mc_scan_keep(s, mc_scan_name(s));
        MC_TRY(mc_scan_check(s, error));
        if (mc_scan_peek(s) != '"')
            return mc_fail_at(error, MC_FORMAT, NULL, tensor, -1,
                              "expected a file name in weight_map");
        const char *const file = mc_scan_keep(s, mc_scan_string(s));
        MC_TRY(mc_scan_check(s, error));
        MC_TRY(mc_in_tensor(error, tensor, check_file_name(file, error)));
        MC_TRY(add_entry(index, tensor, file, error));
    }
    return mc_scan_check(s, error);
}

static mc_status scan_index(mc_shard_index *index, size_t size, mc_error *error)
{
    mc_scan s = mc_scan_begin(index->text, 0, size);
    if (mc_scan_peek(&s) != '{')
        mc_scan_skip(&s);
    else
        for (bool more = mc_scan_open(&s, '{'); more; more = mc_scan_next(&s, '}')) {
            const bool map = mc_scan_is(mc_scan_name(&s), "weight_map");
            if (map && mc_scan_peek(&s) == '{')
                MC_TRY(scan_map(index, &s, error));
            else
                mc_scan_skip(&s);
        }
    mc_scan_end(&s);
    MC_TRY(mc_scan_check(&s, error));
    return index->entry_count > 0
               ? MC_OK
               : mc_fail(error, MC_FORMAT,
                         "expected an object weight_map with the file of each tensor");
}

/* By file: hundreds of shards of many tensors are compared with the index one by one. */
static mc_status collect_files(mc_shard_index *index, mc_error *error)
{
    const size_t count = index->entry_count;
    index->files = mc_alloc_zero(count, sizeof *index->files);
    index->firsts = mc_alloc_zero(count + 1, sizeof *index->firsts);
    if (!index->files || !index->firsts)
        return mc_fail_memory(error);
    qsort(index->entries, count, sizeof *index->entries, compare_entries);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(index->entries[i].file, index->entries[i - 1].file) != 0) {
            index->firsts[index->count] = i;
            index->files[index->count++] = index->entries[i].file;
        }
        /* No memory is needed: the name is in it. */
        (void)mc_index_set(&index->tensors, index->entries[i].tensor, i);
    }
    index->firsts[index->count] = count;
    return MC_OK;
}

/* Parses text of `size` bytes, which the index takes over. */
static mc_status take_text(mc_shard_index *index, char *text, size_t size, mc_error *error)
{
    index->text = text;
    MC_TRY(scan_index(index, size, error));
    return collect_files(index, error);
}

mc_status mc_shard_index_parse(const char *bytes, size_t size, mc_shard_index *out, mc_error *error)
{
    char *const text = mc_alloc(size);
    if (!text)
        return mc_fail_memory(error);
    memcpy(text, bytes, size);
    return take_text(out, text, size, error);
}

mc_status mc_shard_index_load(const char *path, mc_shard_index *out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_file_load(path, INDEX_LIMIT, &text, &size, error));
    return mc_in_file(error, path, take_text(out, text, size, error));
}

void mc_shard_index_free(mc_shard_index *index)
{
    mc_free(index->entries);
    mc_free(index->files);
    mc_free(index->firsts);
    mc_index_free(&index->tensors);
    mc_free(index->text);
    *index = (mc_shard_index){0};
}

const char *mc_shard_index_file(const mc_shard_index *index, const char *tensor)
{
    const size_t at = mc_index_find(&index->tensors, tensor);
    return at == MC_INDEX_NONE ? NULL : index->entries[at].file;
}
