/*
 * torch.save before 1.6: pickles one after the other, then the storages.
 *
 *     magic number ▶ protocol version ▶ system ▶ the object ▶ [keys of the storages] ▶ storages
 *
 * and a storage is an int64 count and its elements, in the order of the keys.
 */
#include "checkpoint/reader.h"
#include "checkpoint/torch_globals.h"
#include "checkpoint/torch_state_dict.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

enum { PROTOCOL = 1001, FIRST_LOOK = 256 * 1024, KEY_SHOWN = 100 };

/* 0x1950a86a20f9469cfc6c, as pickles write it. */
static const char magic[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

static bool probe(const unsigned char head[MC_PROBE_BYTES], int64_t size)
{
    /* The PROTO instruction of protocols 2 to 5. What follows is checked while it is read. */
    return size >= 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5;
}

/* end = 0: not located yet. Storages of the pickle that the list of keys omits stay so. */
typedef struct storage {
    char *key;
    int64_t count, element_bytes;
    int64_t begin, end; /* 0 until it is found in the file */
} storage;

/* The file while it is read. */
typedef struct legacy {
    mc_file *file;
    char *bytes; /* the beginning of the file */
    size_t size;
    mc_pickle *object, *keys;
    int64_t data; /* where the storages begin */
    storage *storages;
    size_t count, capacity;
    mc_index index; /* key → storage */
} legacy;

/* ---- pickles ---- */

/* Reads the pickle at *at and moves on behind it. */
static mc_status next_pickle(const legacy *l, size_t *at, mc_pickle **out, bool *ended,
                             mc_error *error)
{
    size_t used = 0;
    const mc_status status = mc_pickle_read(l->bytes + *at, l->size - *at, mc_torch_globals, out,
                                            &used, ended, error);
    if (status == MC_OK)
        *at += used;
    else if (error && error->offset >= 0)
        /* Positions in an error count from the beginning of the file. */
        error->offset += (int64_t)*at;
    return status;
}

static bool is_magic(const mc_pickle_value *value)
{
    return value->kind == MC_PICKLE_BIG && value->size == sizeof magic - 1 &&
           memcmp(value->bytes, magic, sizeof magic - 1) == 0;
}

static bool is_protocol(const mc_pickle_value *value)
{
    return value->kind == MC_PICKLE_INT && value->integer == PROTOCOL;
}

/*
 * The description of the system holds the byte order of the machine that wrote the file. The
 * storages are little-endian in any case.
 */
static bool is_system(const mc_pickle_value *value)
{
    return value->kind == MC_PICKLE_DICT;
}

static mc_status check_pickle(const legacy *l, size_t *at,
                              bool (*is_right)(const mc_pickle_value *), const char *what,
                              bool *ended, mc_error *error)
{
    mc_pickle *pickle = NULL;
    MC_TRY(next_pickle(l, at, &pickle, ended, error));
    const bool right = is_right(mc_pickle_root(pickle));
    mc_pickle_free(pickle);
    if (!right)
        return mc_fail_at(error, MC_UNSUPPORTED, NULL, NULL, (int64_t)*at,
                          "expected %s of a torch checkpoint, found another pickle", what);
    return MC_OK;
}

static mc_status read_pickles(legacy *l, bool *ended, mc_error *error)
{
    size_t at = 0;
    MC_TRY(check_pickle(l, &at, is_magic, "the magic number", ended, error));
    MC_TRY(check_pickle(l, &at, is_protocol, "protocol version 1001", ended, error));
    MC_TRY(check_pickle(l, &at, is_system, "the description of the system", ended, error));
    MC_TRY(next_pickle(l, &at, &l->object, ended, error));
    MC_TRY(next_pickle(l, &at, &l->keys, ended, error));
    l->data = (int64_t)at;
    return MC_OK;
}

static mc_status load(legacy *l, size_t size, mc_error *error)
{
    /* The values of a pickle refer to its bytes. */
    mc_pickle_free(l->object);
    l->object = NULL;
    mc_free(l->bytes);
    l->size = size;
    l->bytes = mc_alloc(size);
    if (!l->bytes)
        return mc_fail_memory(error);
    return mc_file_read(l->file, 0, l->bytes, size, error);
}

/*
 * The end of the pickles is known only once they are read. The beginning of the file is tried, and
 * four times as much while that is too short.
 */
static mc_status find_pickles(legacy *l, mc_error *error)
{
    const int64_t all = mc_file_size(l->file) < MC_PICKLE_LIMIT ? mc_file_size(l->file)
                                                                : MC_PICKLE_LIMIT;
    for (int64_t size = FIRST_LOOK;; size *= 4) {
        bool ended = false;
        const int64_t length = size < all ? size : all;
        MC_TRY(load(l, (size_t)length, error));
        const mc_status status = read_pickles(l, &ended, error);
        /* Only bytes that are missing are a reason to read more. */
        if (status == MC_OK || !ended || length == all)
            return status;
    }
}

/* ---- storages ---- */

/* *out stays NULL if there is no storage of that key. */
static mc_status find_storage(const legacy *l, const char *key, size_t size, storage **out,
                              mc_error *error)
{
    char *const name = mc_strndup(key, size);
    if (!name)
        return mc_fail_memory(error);
    const size_t at = mc_index_find(&l->index, name);
    mc_free(name);
    if (at != MC_INDEX_NONE)
        *out = &l->storages[at];
    return MC_OK;
}

static int shown(size_t size)
{
    return (int)(size < KEY_SHOWN ? size : KEY_SHOWN);
}

static mc_status note_storage(legacy *l, const mc_torch_storage *seen, mc_error *error)
{
    storage *known = NULL;
    MC_TRY(find_storage(l, seen->key, seen->key_size, &known, error));
    /* Two tensors of one storage must agree about its size. */
    if (known && known->count * known->element_bytes != seen->count * seen->element_bytes)
        return mc_fail(error, MC_FORMAT, "storage '%.*s' has two sizes: %lld and %lld bytes",
                       shown(seen->key_size), seen->key,
                       (long long)(known->count * known->element_bytes),
                       (long long)(seen->count * seen->element_bytes));
    if (known)
        return MC_OK;
    if (!MC_GROW(l->storages, l->count, l->capacity))
        return mc_fail_memory(error);
    char *const key = mc_strndup(seen->key, seen->key_size);
    if (!key)
        return mc_fail_memory(error);
    l->storages[l->count] = (storage){
        .key = key, .count = seen->count, .element_bytes = seen->element_bytes};
    /* Counted first: read_file frees the key even if the index cannot be extended. */
    if (!mc_index_set(&l->index, key, l->count++))
        return mc_fail_memory(error);
    return MC_OK;
}

static mc_status note_storages(legacy *l, mc_error *error)
{
    for (size_t i = 0; i < mc_pickle_persistent_count(l->object); i++) {
        mc_torch_storage seen;
        MC_TRY(mc_torch_storage_parse(mc_pickle_persistent(l->object, i), &seen, error));
        MC_TRY(note_storage(l, &seen, error));
    }
    return MC_OK;
}

static mc_status read_count(const mc_file *file, int64_t at, int64_t *count, mc_error *error)
{
    unsigned char bytes[8];
    MC_TRY(mc_file_read(file, at, bytes, sizeof bytes, error));
    uint64_t number = 0;
    for (int i = 7; i >= 0; i--)
        number = number << 8 | bytes[i];
    *count = (int64_t)number;
    return MC_OK;
}

/* Locates the storage whose count stands at *at, and moves on behind its elements. */
static mc_status locate_storage(const legacy *l, const mc_pickle_value *key, int64_t *at,
                                mc_error *error)
{
    storage *one = NULL;
    if (key->kind == MC_PICKLE_TEXT)
        MC_TRY(find_storage(l, key->bytes, key->size, &one, error));
    /* A key that repeats would move the storage to other bytes. */
    if (!one || one->end > 0)
        return mc_fail(error, MC_FORMAT,
                       "expected the key of each storage once in the list of keys, found '%.*s'",
                       key->kind == MC_PICKLE_TEXT ? shown(key->size) : 1,
                       key->kind == MC_PICKLE_TEXT ? key->bytes : "?");
    int64_t count = 0;
    MC_TRY(read_count(l->file, *at, &count, error));
    if (count != one->count)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, *at,
                          "expected %lld elements in storage '%s', found %lld",
                          (long long)one->count, one->key, (long long)count);
    one->begin = *at + (int64_t)sizeof count;
    const int64_t left = mc_file_size(l->file) - one->begin;
    /* Cannot overflow: the count equals that of the pickle, whose product was checked. */
    if (count * one->element_bytes > left)
        return mc_fail_at(
            error, MC_FORMAT, NULL, NULL, one->begin,
            "expected %lld bytes in storage '%s', but the file has only %lld more: it "
            "is not complete",
            (long long)(count * one->element_bytes), one->key, (long long)left);
    *at = one->end = one->begin + count * one->element_bytes;
    return MC_OK;
}

static mc_status locate_storages(const legacy *l, mc_error *error)
{
    const mc_pickle_value *const keys = mc_pickle_root(l->keys);
    if (keys->kind != MC_PICKLE_LIST)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, l->data,
                          "expected the list of storage keys before this byte");
    int64_t at = l->data;
    for (size_t i = 0; i < keys->count; i++)
        MC_TRY(locate_storage(l, keys->items[i], &at, error));
    return MC_OK;
}

static mc_status place(void *user, const mc_torch_storage *wanted, int64_t *begin, int64_t *end,
                       mc_error *error)
{
    storage *one = NULL;
    MC_TRY(find_storage(user, wanted->key, wanted->key_size, &one, error));
    if (!one || one->end == 0)
        return mc_fail(error, MC_FORMAT, "its storage '%.*s' is not in the file",
                       shown(wanted->key_size), wanted->key);
    *begin = one->begin;
    *end = one->end;
    return MC_OK;
}

static mc_status read_legacy(legacy *l, mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    MC_TRY(find_pickles(l, error));
    MC_TRY(note_storages(l, error));
    MC_TRY(locate_storages(l, error));
    const mc_torch_file file = {l->file, place, l};
    return mc_torch_read_state_dict(&file, mc_pickle_root(l->object), dict, notes, error);
}

static mc_status read_file(mc_file *file, mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    legacy l = {.file = file};
    const mc_status status = read_legacy(&l, dict, notes, error);
    for (size_t i = 0; i < l.count; i++)
        mc_free(l.storages[i].key);
    mc_free(l.storages);
    mc_index_free(&l.index);
    mc_pickle_free(l.object);
    mc_pickle_free(l.keys);
    mc_free(l.bytes);
    return status;
}

const mc_reader mc_reader_torch_legacy = {
    .name = "torch legacy", .probe = probe, .read = read_file};
