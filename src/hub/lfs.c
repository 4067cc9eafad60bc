#include "hub/lfs.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/*
 * BATCH is that of other clients: servers limit the size of a batch. MOST_PARTS is the limit of S3.
 */
enum { BATCH = 256, MOST_PARTS = 10000 };

static const char *const lfs_headers[] = {"Content-Type: application/vnd.git-lfs+json",
                                          "Accept: application/vnd.git-lfs+json", NULL};
/* The Hub's own client sends plain JSON here, unlike Git LFS. */
static const char *const verify_headers[] = {"Content-Type: application/json", NULL};
static const char *const binary_headers[] = {"Content-Type: application/octet-stream", NULL};

typedef struct lfs_upload {
    const mc_repository *repository;
    const mc_upload_entry *entry; /* the file that is sent now */
    mc_file *file;
    int64_t sent; /* of it, by requests that ended */
    void (*progress)(const mc_upload_entry *entry, int64_t sent, void *user);
    void *user;
} lfs_upload;

/* ---- requests -------------------------------------------------------------------------------- */

static void on_progress(int64_t sent, void *user)
{
    const lfs_upload *const upload = user;
    upload->progress(upload->entry, upload->sent + sent, upload->user);
}

/* Sends JSON and releases it. *reply is the JSON of the reply, NULL if it has none. */
static mc_status post(const mc_repository *repository, const char *url, const char *const *headers,
                      const char *path, json_t *json, json_t **reply, mc_error *error)
{
    char *const text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    mc_exchange exchange = {
        .method = "POST", .url = url, .headers = headers, .body = text, .path = path};
    exchange.size = text ? strlen(text) : 0;
    json_decref(json);
    const mc_status status = text ? mc_exchange_expect(repository, &exchange, error)
                                  : mc_fail_memory(error);
    free(text);
    if (reply)
        *reply = exchange.json;
    else
        json_decref(exchange.json);
    return status;
}

static mc_status put(lfs_upload *upload, const char *url, int64_t begin, int64_t count,
                     char etag[MC_ETAG_SIZE], mc_error *error)
{
    mc_exchange exchange = {.method = "PUT",
                            .url = url,
                            .headers = binary_headers,
                            .file = upload->file,
                            .begin = begin,
                            .count = count,
                            .path = upload->entry->path,
                            .progress = on_progress,
                            .user = upload};
    const mc_status status = mc_exchange_expect(upload->repository, &exchange, error);
    json_decref(exchange.json);
    memcpy(etag, exchange.etag, MC_ETAG_SIZE);
    upload->sent += status == MC_OK ? count : 0;
    return status;
}

static mc_status fail_reply(const lfs_upload *upload, const char *expected, mc_error *error)
{
    return mc_fail_at(error, MC_FORMAT, upload->entry->file, NULL, -1,
                      "expected %s in the server's instructions for the upload", expected);
}

/* ---- one file -------------------------------------------------------------------------------- */

/* "chunk_size" is a number, or a text with one. 0 if it is missing or not positive. */
static int64_t chunk_size_of(const json_t *header)
{
    const json_t *const value = json_object_get(header, "chunk_size");
    double number = 0;
    if (json_is_integer(value))
        return json_integer_value(value);
    if (json_is_string(value) && mc_parse_number(json_string_value(value), &number) &&
        number >= 1 && number < 0x1p53)
        return (int64_t)number;
    return 0;
}

/* The URL of a part. Its key is its number, with or without leading zeros. */
static const char *part_url(const json_t *header, int64_t part)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)header, name, value)
    {
        if (name[0] && name[strspn(name, "0123456789")] == '\0' && strtoll(name, NULL, 10) == part)
            return json_string_value(value);
    }
    return NULL;
}

static json_t *describe_part(int64_t part, const char *etag)
{
    /* S3 wants the ETag as it sent it, in quotes. */
    char *const quoted = mc_format("\"%s\"", etag);
    json_t *const json = quoted ? json_pack("{s:I, s:s}", "partNumber", (json_int_t)part, "etag",
                                            quoted)
                                : NULL;
    mc_free(quoted);
    return json;
}

static mc_status put_parts(lfs_upload *upload, const json_t *header, int64_t chunk, json_t *parts,
                           mc_error *error)
{
    const int64_t size = upload->entry->size, count = (size + chunk - 1) / chunk;
    char etag[MC_ETAG_SIZE];
    /* A wrong chunk_size must not lead to an endless list of parts. */
    if (count > MOST_PARTS)
        return fail_reply(upload, "at most 10000 parts", error);
    for (int64_t part = 1; part <= count; part++) {
        const char *const url = part_url(header, part);
        const int64_t begin = (part - 1) * chunk;
        if (!url)
            return fail_reply(upload, "a URL for each part", error);
        MC_TRY(put(upload, url, begin, size - begin < chunk ? size - begin : chunk, etag, error));
        if (!etag[0])
            return fail_reply(upload, "an ETag for each part", error);
        if (!mc_json_append(parts, describe_part(part, etag)))
            return mc_fail_memory(error);
    }
    return MC_OK;
}

/* The parts go to the storage. Their list goes to the Hub, which assembles them. */
static mc_status put_multipart(lfs_upload *upload, const char *url, const json_t *header,
                               mc_error *error)
{
    const int64_t chunk = chunk_size_of(header);
    if (chunk <= 0)
        return fail_reply(upload, "a positive chunk_size", error);
    json_t *const parts = json_array();
    const mc_status status = parts ? put_parts(upload, header, chunk, parts, error)
                                   : mc_fail_memory(error);
    if (status != MC_OK) {
        json_decref(parts);
        return status;
    }
    return post(upload->repository, url, lfs_headers, upload->entry->path,
                json_pack("{s:s, s:o}", "oid", upload->entry->sha256, "parts", parts), NULL, error);
}

static mc_status verify(const lfs_upload *upload, const json_t *action, mc_error *error)
{
    const char *const url = json_string_value(json_object_get(action, "href"));
    if (!action)
        return MC_OK;
    if (!url)
        return fail_reply(upload, "an address to verify it at", error);
    return post(upload->repository, url, verify_headers, upload->entry->path,
                json_pack("{s:s, s:I}", "oid", upload->entry->sha256, "size",
                          (json_int_t)upload->entry->size),
                NULL, error);
}

static mc_status follow_actions(lfs_upload *upload, const json_t *actions, mc_error *error)
{
    char ignored[MC_ETAG_SIZE];
    const json_t *const action = json_object_get(actions, "upload");
    const json_t *const header = json_object_get(action, "header");
    const char *const url = json_string_value(json_object_get(action, "href"));
    if (!url)
        return fail_reply(upload, "an upload address (does the server offer xet only?)", error);
    MC_TRY(mc_file_open(upload->entry->file, &upload->file, error));
    /*
     * The server would reject a file that changed since its hash was computed, but only after the
     * transfer.
     */
    mc_status status = mc_file_size(upload->file) == upload->entry->size
                           ? MC_OK
                           : mc_fail_at(error, MC_CHANGED, upload->entry->file, NULL, -1,
                                        "the file changed during the upload");
    if (status == MC_OK)
        status = json_object_get(header, "chunk_size")
                     ? put_multipart(upload, url, header, error)
                     : put(upload, url, 0, upload->entry->size, ignored, error);
    /* Again after the transfer: what was sent must be what was hashed. */
    if (status == MC_OK)
        status = mc_file_check(upload->file, error);
    mc_file_unref(upload->file);
    upload->file = NULL;
    MC_TRY(status);
    return verify(upload, json_object_get(actions, "verify"), error);
}

/* ---- batches --------------------------------------------------------------------------------- */

static const mc_upload_entry *find_entry(const mc_upload_entry *const *batch, size_t count,
                                         const char *oid)
{
    for (size_t i = 0; oid && i < count; i++)
        if (strcmp(batch[i]->sha256, oid) == 0)
            return batch[i];
    return NULL;
}

static json_t *describe_batch(const mc_repository *repository, const mc_upload_entry *const *batch,
                              size_t count)
{
    json_t *objects = json_array();
    for (size_t i = 0; objects && i < count; i++)
        objects = mc_json_append(objects, json_pack("{s:s, s:I}", "oid", batch[i]->sha256, "size",
                                                    (json_int_t)batch[i]->size));
    return json_pack("{s:s, s:[s, s], s:o, s:s, s:{s:s}}", "operation", "upload", "transfers",
                     "basic", "multipart", "objects", objects, "hash_algo", "sha256", "ref", "name",
                     repository->id.revision);
}

static mc_status read_object(lfs_upload *upload, const mc_upload_entry *const *batch, size_t count,
                             const json_t *object, mc_error *error)
{
    const json_t *const problem = json_object_get(object, "error");
    const json_t *const actions = json_object_get(object, "actions");
    const char *const message = json_string_value(json_object_get(problem, "message"));
    const char *const oid = json_string_value(json_object_get(object, "oid"));
    /* Objects may come in another order than they were asked for. */
    upload->entry = find_entry(batch, count, oid);
    upload->sent = 0;
    if (!upload->entry)
        return mc_fail(error, MC_FORMAT,
                       "expected a file of this upload in the server's instructions, found '%.64s'",
                       oid ? oid : "none");
    if (problem)
        return mc_fail_at(error, MC_IO, upload->entry->file, NULL, -1,
                          "the server refuses the file%s%.200s", message ? ": " : "",
                          message ? message : "");
    /* No actions: the storage has the content already. */
    return json_object_size(actions) > 0 ? follow_actions(upload, actions, error) : MC_OK;
}

static mc_status upload_batch(lfs_upload *upload, const mc_upload_entry *const *batch, size_t count,
                              int64_t *sent, mc_error *error)
{
    json_t *reply = NULL;
    const mc_repository *const repository = upload->repository;
    char *const url = mc_format(
        "%s/%s%s.git/info/lfs/objects/batch", repository->transfers->settings.endpoint,
        repository->id.kind == MC_HUB_DATASET ? "datasets/" : "", repository->id.name);
    mc_status status = url ? post(repository, url, lfs_headers, NULL,
                                  describe_batch(repository, batch, count), &reply, error)
                           : mc_fail_memory(error);
    const json_t *const objects = json_object_get(reply, "objects");
    if (status == MC_OK && json_array_size(objects) != count)
        status = mc_fail(error, MC_FORMAT,
                         "expected instructions for %zu files from the server, found %zu", count,
                         json_array_size(objects));
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        status = read_object(upload, batch, count, json_array_get(objects, i), error);
        *sent += upload->sent;
    }
    json_decref(reply);
    mc_free(url);
    return status;
}

mc_status mc_lfs_upload(const mc_repository *repository, const mc_upload_files *files,
                        void (*progress)(const mc_upload_entry *entry, int64_t sent, void *user),
                        void *user, int64_t *sent, mc_error *error)
{
    lfs_upload upload = {.repository = repository, .progress = progress, .user = user};
    const mc_upload_entry *batch[BATCH];
    size_t count = 0;
    /* One step more than there are files: the last one sends the rest. */
    for (size_t i = 0; i <= files->count; i++) {
        const mc_upload_entry *const entry = i < files->count ? &files->entries[i] : NULL;
        if (count == BATCH || (!entry && count > 0)) {
            MC_TRY(upload_batch(&upload, batch, count, sent, error));
            count = 0;
        }
        if (!entry || !entry->large || entry->same || entry->ignored ||
            find_entry(batch, count, entry->sha256))
            continue; /* a second file with the same content needs no second transfer */
        batch[count++] = entry;
    }
    return MC_OK;
}
