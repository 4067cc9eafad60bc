/*
 * torch.save since 1.6: a zip file of stored members, all in one folder.
 *
 *     NAME/data.pkl    the pickle        NAME/data/KEY   the bytes of storage KEY
 *     NAME/byteorder   little or big     NAME/version    and others without tensors
 */
#include "checkpoint/reader.h"
#include "checkpoint/torch_globals.h"
#include "checkpoint/torch_state_dict.h"
#include "checkpoint/zip.h"

#include "base/memory.h"
#include "base/text.h"

#include <string.h>

static const char pickle_name[] = "/data.pkl";

enum { PREFIX_LIMIT = 1024 }; /* bytes: it is part of the name of each storage */

/* Only "PK": whether it is a checkpoint is known once the members are listed. */
static bool probe(const unsigned char head[MC_PROBE_BYTES], int64_t size)
{
    /* An empty zip file begins with its end record. */
    return size >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0);
}

/* The file while it is read. */
typedef struct archive {
    mc_file *file;
    mc_zip zip;
    char *prefix; /* "NAME" */
    char *pickle_bytes;
    mc_pickle *pickle;
} archive;

/* *out stays NULL if there is no such member. */
static mc_status find_member(const archive *a, const char *folder, const char *name, size_t size,
                             const mc_zip_member **out, mc_error *error)
{
    char *const path = mc_format("%s/%s%.*s", a->prefix, folder, (int)size, name);
    if (!path)
        return mc_fail_memory(error);
    *out = mc_zip_find(&a->zip, path);
    mc_free(path);
    return MC_OK;
}

/*
 * The prefix is the folder of the one member that is called data.pkl and lies in a folder of the
 * first level. torch names the folder after the file, so it can be anything.
 */
static mc_status find_prefix(archive *a, mc_error *error)
{
    for (size_t i = 0; i < a->zip.count; i++) {
        const char *const name = a->zip.members[i].name;
        /*
         * May wrap around if the name is shorter: it is used only if the name has this ending.
         */
        const size_t length = strlen(name) - (sizeof pickle_name - 1);
        if (!mc_ends_with(name, pickle_name) || strchr(name, '/') != name + length)
            continue;
        if (a->prefix)
            return mc_fail(error, MC_FORMAT, "expected one data.pkl, found two");
        if (length > PREFIX_LIMIT)
            return mc_fail(error, MC_FORMAT,
                           "expected at most %d bytes before /data.pkl, found %zu", PREFIX_LIMIT,
                           length);
        a->prefix = mc_strndup(name, length);
        if (!a->prefix)
            return mc_fail_memory(error);
    }
    if (!a->prefix)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a torch checkpoint, found a zip file without NAME/data.pkl");
    return MC_OK;
}

static mc_status check_byte_order(const archive *a, mc_error *error)
{
    const mc_zip_member *member = NULL;
    MC_TRY(find_member(a, "byteorder", "", 0, &member, error));
    /* Older files lack the record; they are read as little-endian. */
    if (!member)
        return MC_OK;
    char text[8] = {0};
    const int64_t size = member->end - member->begin;
    if (size < (int64_t)sizeof text)
        MC_TRY(mc_file_read(a->file, member->begin, text, (size_t)size, error));
    if (strcmp(text, "little") != 0)
        return mc_fail(error, MC_UNSUPPORTED, "expected byte order little, found %s",
                       strcmp(text, "big") == 0 ? "big" : "something else");
    return MC_OK;
}

static mc_status check_kind(const archive *a, mc_error *error)
{
    const mc_zip_member *program = NULL;
    /* TorchScript programs have a data.pkl too, but their tensors are those of the program. */
    MC_TRY(find_member(a, "constants.pkl", "", 0, &program, error));
    if (program)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a checkpoint, found a TorchScript program: save its state dict");
    return MC_OK;
}

static mc_status read_pickle(archive *a, mc_error *error)
{
    const mc_zip_member *member = NULL;
    MC_TRY(find_member(a, "data.pkl", "", 0, &member, error));
    const int64_t size = member->end - member->begin;
    /* Checked before memory is allocated. */
    if (size > MC_PICKLE_LIMIT)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, member->begin,
                          "expected a pickle of at most %d bytes, found %lld", MC_PICKLE_LIMIT,
                          (long long)size);
    a->pickle_bytes = mc_alloc((size_t)size);
    if (!a->pickle_bytes)
        return mc_fail_memory(error);
    MC_TRY(mc_file_read(a->file, member->begin, a->pickle_bytes, (size_t)size, error));
    size_t used = 0;
    return mc_pickle_read(a->pickle_bytes, (size_t)size, mc_torch_globals, &a->pickle, &used, NULL,
                          error);
}

static mc_status place(void *user, const mc_torch_storage *storage, int64_t *begin, int64_t *end,
                       mc_error *error)
{
    const archive *const a = user;
    const mc_zip_member *member = NULL;
    MC_TRY(find_member(a, "data/", storage->key, storage->key_size, &member, error));
    if (!member)
        return mc_fail(error, MC_FORMAT, "its storage '%.*s' is not in the file",
                       (int)storage->key_size, storage->key);
    /* Cannot overflow: mc_torch_storage_parse checked the product. */
    const int64_t expected = storage->count * storage->element_bytes;
    if (member->end - member->begin != expected)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, member->begin,
                          "expected %lld bytes in storage '%.*s', found %lld", (long long)expected,
                          (int)storage->key_size, storage->key,
                          (long long)(member->end - member->begin));
    *begin = member->begin;
    *end = member->end;
    return MC_OK;
}

static mc_status read_archive(archive *a, mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    MC_TRY(mc_zip_open(a->file, &a->zip, error));
    MC_TRY(find_prefix(a, error));
    MC_TRY(check_kind(a, error));
    MC_TRY(check_byte_order(a, error));
    MC_TRY(read_pickle(a, error));
    const mc_torch_file file = {a->file, place, a};
    return mc_torch_read_state_dict(&file, mc_pickle_root(a->pickle), dict, notes, error);
}

static mc_status read_file(mc_file *file, mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    archive a = {.file = file};
    const mc_status status = read_archive(&a, dict, notes, error);
    mc_pickle_free(a.pickle);
    mc_free(a.pickle_bytes);
    mc_free(a.prefix);
    mc_zip_free(&a.zip);
    return status;
}

const mc_reader mc_reader_torch_zip = {.name = "torch zip", .probe = probe, .read = read_file};
