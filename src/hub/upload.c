/*
 * Uploads a folder as one commit. Nothing is visible to others before the last step. Content that
 * was sent before an interruption is in the storage already, and the next call does not send it
 * again.
 *
 *     revision? ─▶ create repository, branch ─▶ preupload: small or large, and what is there
 *               ─▶ hashes of large files ─▶ large file storage ─▶ commit
 */
#include <mergecraft/hub.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "hub/base64.h"
#include "hub/lfs.h"

#include <stdlib.h>
#include <string.h>

/* PREUPLOAD: files per request. SAMPLE: bytes of each file that the server sees to classify it. */
enum { PREUPLOAD = 256, SAMPLE = 512 };

static const char *const json_headers[] = {"Content-Type: application/json", NULL};
static const char *const ndjson_headers[] = {"Content-Type: application/x-ndjson", NULL};
static const double interval_seconds = .1;

typedef struct upload {
    mc_transfers transfers;
    mc_repository repository;
    const mc_hub_upload_options *options;
    mc_upload_files files;
    bool missing_repository, missing_branch; /* created, or only reported with dry_run */
    char *commit, *url;                      /* of the result */
    int64_t total, sent;
    double begun, shown;
} upload;

/* ---- requests -------------------------------------------------------------------------------- */

/* Sends JSON and releases it. The reply is in the exchange. */
static mc_status send_json(const upload *up, mc_exchange *exchange, const char *url, json_t *json,
                           bool any_status, mc_error *error)
{
    char *const text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text || !url) {
        free(text);
        return mc_fail_memory(error);
    }
    exchange->method = "POST";
    exchange->url = url;
    exchange->headers = json_headers;
    exchange->body = text;
    exchange->size = strlen(text);
    const mc_status status = any_status ? mc_exchange_send(&up->repository, exchange, error)
                                        : mc_exchange_expect(&up->repository, exchange, error);
    free(text);
    return status;
}

static mc_status fail_format(const upload *up, const char *expected, mc_error *error)
{
    return mc_fail_at(error, MC_FORMAT, up->repository.id.name, NULL, -1,
                      "expected %s in the server's reply", expected);
}

/* ---- the repository -------------------------------------------------------------------------- */

/* A private upload must not end up in a public repository. */
static mc_status read_repository(upload *up, const json_t *json, mc_error *error)
{
    const char *const sha = json_string_value(json_object_get(json, "sha"));
    if (up->options->private_repository && !json_is_true(json_object_get(json, "private")))
        return mc_fail_at(error, MC_EXISTS, up->repository.id.name, NULL, -1,
                          "expected a private repository or none, found a public one");
    if (!sha || !mc_hub_is_commit(sha))
        return fail_format(up, "a commit of 40 hexadecimal digits as sha", error);
    mc_free(up->commit);
    up->commit = mc_strdup(sha);
    return up->commit ? MC_OK : mc_fail_memory(error);
}

/* Finds out whether repository and branch exist. */
static mc_status find_repository(upload *up, mc_error *error)
{
    const mc_repository *const repository = &up->repository;
    char *const url = mc_repository_api_url(repository, "revision", repository->id.revision);
    mc_exchange exchange = {.method = "GET", .url = url};
    mc_status status = url ? mc_exchange_send(repository, &exchange, error) : mc_fail_memory(error);
    up->missing_repository = strcmp(exchange.error_code, "RepoNotFound") == 0;
    up->missing_branch = strcmp(exchange.error_code, "RevisionNotFound") == 0;
    if (status == MC_OK && exchange.status / 100 == 2)
        status = read_repository(up, exchange.json, error);
    else if (status == MC_OK && !up->missing_repository && !up->missing_branch) {
        json_decref(exchange.json);
        exchange.json = NULL;
        status = mc_exchange_expect(repository, &exchange, error); /* fills the error */
    }
    json_decref(exchange.json);
    mc_free(url);
    return status;
}

static mc_status create_repository(upload *up, mc_error *error)
{
    mc_exchange exchange = {0};
    const char *const name = up->repository.id.name, *const slash = strchr(name, '/');
    char *const url = mc_format("%s/api/repos/create", up->transfers.settings.endpoint);
    json_t *json = json_pack("{s:s, s:s%, s:s}", "name", slash + 1, "organization", name,
                             (size_t)(slash - name), "type", "model");
    /* Servers know one of the two fields, depending on their age. */
    if (json && up->options->private_repository) {
        json = mc_json_put(json, "private", json_true());
        json = json ? mc_json_put(json, "visibility", json_string("private")) : NULL;
    }
    mc_status status = send_json(up, &exchange, url, json, true, error);
    /* 409: another process created it first, or it is hidden from this token. */
    if (status == MC_OK && exchange.status / 100 != 2)
        status = mc_fail_at(error, MC_IO, name, NULL, -1,
                            "cannot create the repository (status %d): see HF_TOKEN, which needs "
                            "write access to %.*s",
                            exchange.status, (int)(slash - name), name);
    json_decref(exchange.json);
    mc_free(url);
    return status;
}

static mc_status create_branch(upload *up, mc_error *error)
{
    mc_exchange exchange = {0};
    char *const url = mc_repository_api_url(&up->repository, "branch", up->repository.id.revision);
    mc_status status = send_json(up, &exchange, url, json_object(), true, error);
    /* 409: the branch exists, which is what was wanted. */
    if (status == MC_OK && exchange.status / 100 != 2 && exchange.status != 409)
        status = mc_fail_at(error, MC_IO, up->repository.id.name, NULL, -1,
                            "cannot create the branch '%s' (status %d)", up->repository.id.revision,
                            exchange.status);
    json_decref(exchange.json);
    mc_free(url);
    return status;
}

static mc_status prepare_repository(upload *up, mc_error *error)
{
    MC_TRY(find_repository(up, error));
    if (up->options->dry_run)
        return MC_OK;
    const bool created = up->missing_repository;
    if (created) {
        MC_TRY(create_repository(up, error));
        /* Again: only this shows that the token can see the repository, and what its branch is. */
        MC_TRY(find_repository(up, error));
        if (up->missing_repository)
            return fail_format(up, "the repository that was just created", error);
    }
    if (up->missing_branch) {
        MC_TRY(create_branch(up, error));
        MC_TRY(find_repository(up, error));
    }
    /* For the result: whether the repository is new. */
    up->missing_repository = created;
    return MC_OK;
}

/* ---- small or large -------------------------------------------------------------------------- */

static json_t *describe_file(const mc_upload_entry *entry, mc_error *error)
{
    mc_file *file = NULL;
    char sample[SAMPLE];
    const size_t size = entry->size < SAMPLE ? (size_t)entry->size : SAMPLE;
    if (mc_file_open(entry->file, &file, error) != MC_OK)
        return NULL;
    char *const text = mc_file_read(file, 0, sample, size, error) == MC_OK ? mc_base64(sample, size)
                                                                           : NULL;
    mc_file_unref(file);
    /* Checked by jansson: names on the disk can be any bytes, JSON cannot. */
    json_t *const path = json_string(entry->path);
    json_t *const json = path && text ? json_pack("{s:O, s:s, s:I}", "path", path, "sample", text,
                                                  "size", (json_int_t)entry->size)
                                      : NULL;
    if (!path && error && error->code == MC_OK)
        mc_fail_at(error, MC_USAGE, entry->file, NULL, -1, "expected a file name in UTF-8");
    json_decref(path);
    mc_free(text);
    return json;
}

static mc_status read_mode(upload *up, mc_upload_entry *entry, const json_t *files, mc_error *error)
{
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *const file = json_array_get(files, i);
        const char *const path = json_string_value(json_object_get(file, "path"));
        const char *const mode = json_string_value(json_object_get(file, "uploadMode"));
        const char *const oid = json_string_value(json_object_get(file, "oid"));
        if (!path || strcmp(path, entry->path) != 0)
            continue;
        if (!mode || (strcmp(mode, "lfs") != 0 && strcmp(mode, "regular") != 0))
            return fail_format(up, "uploadMode 'lfs' or 'regular'", error);
        /* An empty file cannot be in the large file storage. */
        entry->large = strcmp(mode, "lfs") == 0 && entry->size > 0;
        entry->ignored = json_is_true(json_object_get(file, "shouldIgnore"));
        return oid && !entry->ignored ? mc_upload_compare(&up->transfers, entry, oid, error)
                                      : MC_OK;
    }
    return fail_format(up, "a mode for each file", error);
}

/* One request for many files: the server replies with a mode for each. */
static mc_status preupload(upload *up, mc_upload_entry *entries, size_t count, mc_error *error)
{
    mc_error problem = MC_ERROR_NONE;
    mc_exchange exchange = {0};
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        list = mc_json_append(list, describe_file(&entries[i], &problem));
    if (problem.code != MC_OK) {
        json_decref(list);
        if (error)
            *error = problem;
        return problem.code;
    }
    char *const url = mc_repository_api_url(&up->repository, "preupload",
                                            up->repository.id.revision);
    mc_status status = send_json(up, &exchange, url, json_pack("{s:o}", "files", list), false,
                                 error);
    const json_t *const files = json_object_get(exchange.json, "files");
    for (size_t i = 0; status == MC_OK && i < count; i++)
        status = read_mode(up, &entries[i], files, error);
    json_decref(exchange.json);
    mc_free(url);
    return status;
}

/*
 * Guesses the modes that a server would most likely choose for a repository that does not exist
 * yet.
 */
static void guess_modes(upload *up)
{
    static const char *const suffixes[] = {".safetensors", ".bin",  ".pt",      ".pth",
                                           ".onnx",        ".gguf", ".parquet", ".model"};
    for (size_t i = 0; i < up->files.count; i++) {
        mc_upload_entry *const entry = &up->files.entries[i];
        entry->large = entry->size >= 10 << 20;
        for (size_t s = 0; s < sizeof suffixes / sizeof *suffixes; s++)
            entry->large = entry->large ||
                           (entry->size > 0 && mc_ends_with(entry->path, suffixes[s]));
    }
}

static mc_status ask_modes(upload *up, mc_error *error)
{
    if (up->options->dry_run && (up->missing_repository || up->missing_branch)) {
        guess_modes(up);
        return MC_OK;
    }
    for (size_t i = 0; i < up->files.count; i += PREUPLOAD) {
        const size_t left = up->files.count - i;
        MC_TRY(preupload(up, up->files.entries + i, left < PREUPLOAD ? left : PREUPLOAD, error));
    }
    return MC_OK;
}

static bool is_sent(const mc_upload_entry *entry)
{
    return !entry->same && !entry->ignored;
}

/* ---- content --------------------------------------------------------------------------------- */

static void report(const mc_upload_entry *entry, int64_t sent, void *user)
{
    upload *const up = user;
    const mc_hub_options *const options = up->transfers.options;
    const double now = mc_seconds();
    if (!options || !options->progress || now - up->shown < interval_seconds)
        return;
    up->shown = now;
    const mc_hub_file file = {.repository = up->repository.id.name,
                              .path = entry->path,
                              .bytes_done = sent,
                              .bytes_total = entry->size,
                              .active = true};
    const mc_hub_progress progress = {.bytes_done = up->sent + sent,
                                      .bytes_total = up->total,
                                      .seconds = now - up->begun,
                                      .files = &file,
                                      .file_count = 1};
    options->progress(&progress, options->user);
}

static mc_status send_large(upload *up, mc_error *error)
{
    for (size_t i = 0; i < up->files.count; i++) {
        mc_upload_entry *const entry = &up->files.entries[i];
        if (!is_sent(entry))
            continue;
        up->total += entry->large ? entry->size : 0;
        /* Objects of the large file storage are named by their sha256. */
        if (entry->large)
            MC_TRY(mc_upload_hash(&up->transfers, entry, error));
    }
    return mc_lfs_upload(&up->repository, &up->files, report, up, &up->sent, error);
}

/* ---- commit ---------------------------------------------------------------------------------- */

static json_t *describe_small(const mc_upload_entry *entry, mc_error *error)
{
    char *content = NULL;
    if (mc_upload_load(entry, &content, error) != MC_OK)
        return NULL;
    char *const text = mc_base64(content, (size_t)entry->size);
    json_t *const json = text
                             ? json_pack("{s:s, s:{s:s, s:s, s:s}}", "key", "file", "value",
                                         "content", text, "path", entry->path, "encoding", "base64")
                             : NULL;
    mc_free(text);
    mc_free(content);
    return json;
}

static json_t *describe_large(const mc_upload_entry *entry)
{
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:I}}", "key", "lfsFile", "value", "path",
                     entry->path, "algo", "sha256", "oid", entry->sha256, "size",
                     (json_int_t)entry->size);
}

/* Adds a line and releases the JSON. NULL is a failure, whose error may be filled already. */
static mc_status add_line(mc_text *text, json_t *json, mc_error *error)
{
    char *const line = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (line) {
        mc_text_append(text, line, strlen(line));
        mc_text_append(text, "\n", 1);
        free(line);
    }
    if (line && !text->failed)
        return MC_OK;
    return error && error->code != MC_OK ? error->code : mc_fail_memory(error);
}

static mc_status write_commit(const upload *up, mc_text *text, mc_error *error)
{
    const mc_hub_upload_options *const options = up->options;
    const char *const message = options->message ? options->message : "Upload with mergecraft";
    MC_TRY(add_line(text,
                    json_pack("{s:s, s:{s:s, s:s}}", "key", "header", "value", "summary", message,
                              "description", options->description ? options->description : ""),
                    error));
    for (size_t i = 0; i < up->files.count; i++) {
        const mc_upload_entry *const entry = &up->files.entries[i];
        if (is_sent(entry))
            MC_TRY(add_line(
                text, entry->large ? describe_large(entry) : describe_small(entry, error), error));
    }
    return MC_OK;
}

static mc_status read_commit(upload *up, const json_t *json, mc_error *error)
{
    const char *const oid = json_string_value(json_object_get(json, "commitOid"));
    const char *const url = json_string_value(json_object_get(json, "commitUrl"));
    if (!oid || !mc_hub_is_commit(oid))
        return fail_format(up, "a commit of 40 hexadecimal digits as commitOid", error);
    mc_free(up->commit);
    up->commit = mc_strdup(oid);
    up->url = url ? mc_strdup(url) : NULL;
    return up->commit && (!url || up->url) ? MC_OK : mc_fail_memory(error);
}

static mc_status send_commit(upload *up, mc_error *error)
{
    mc_text text = {0};
    /*
     * An error of its own: the caller's may be NULL, but add_line has to know whether there was
     * one.
     */
    mc_error problem = MC_ERROR_NONE;
    char *const url = mc_repository_api_url(&up->repository, "commit", up->repository.id.revision);
    mc_status status = url ? write_commit(up, &text, &problem) : mc_fail_memory(&problem);
    mc_exchange exchange = {.method = "POST",
                            .url = url,
                            .headers = ndjson_headers,
                            .body = text.data,
                            .size = text.length,
                            /* A commit that is sent twice would appear twice. */
                            .once = true};
    if (status == MC_OK)
        status = mc_exchange_expect(&up->repository, &exchange, &problem);
    if (status == MC_OK)
        status = read_commit(up, exchange.json, &problem);
    if (status != MC_OK && error)
        *error = problem;
    json_decref(exchange.json);
    mc_text_free(&text);
    mc_free(url);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static mc_status check_settings(const upload *up, mc_error *error)
{
    const mc_hub_settings *const settings = &up->transfers.settings;
    if (settings->offline)
        return mc_fail(error, MC_USAGE, "cannot upload: HF_HUB_OFFLINE is set");
    if (!settings->token)
        return mc_fail(error, MC_USAGE,
                       "expected a token with write access in HF_TOKEN or in the token file, found "
                       "none");
    return MC_OK;
}

static mc_status open_upload(upload *up, const char *name, mc_error *error)
{
    if (!mc_hub_is_name(name))
        return mc_fail(error, MC_USAGE,
                       "expected the name of a repository, ORG/NAME or ORG/NAME@BRANCH, found '%s'",
                       name);
    MC_TRY(mc_repository_open(&up->repository, &up->transfers, name, MC_HUB_MODEL, error));
    /* A commit is never changed: only a branch can be uploaded to. */
    if (mc_hub_is_commit(up->repository.id.revision))
        return mc_fail(error, MC_USAGE, "expected a branch after '@', found the commit %s",
                       up->repository.id.revision);
    MC_TRY(check_settings(up, error));
    return mc_transfers_connect(&up->transfers, error);
}

static mc_status run(upload *up, const char *folder, const char *name, mc_error *error)
{
    MC_TRY(open_upload(up, name, error));
    MC_TRY(mc_upload_files_list(&up->transfers, folder, &up->files, error));
    MC_TRY(prepare_repository(up, error));
    MC_TRY(ask_modes(up, error));
    if (up->options->dry_run)
        return MC_OK;
    MC_TRY(send_large(up, error));
    /* A commit without files would be empty. */
    for (size_t i = 0; i < up->files.count; i++)
        if (is_sent(&up->files.entries[i]))
            return send_commit(up, error);
    return MC_OK; /* nothing changed */
}

/* ---- result ---------------------------------------------------------------------------------- */

static mc_status describe(upload *up, mc_hub_upload_result *out, mc_error *error)
{
    const size_t count = up->files.count;
    *out = (mc_hub_upload_result){.name = mc_strdup(up->repository.id.name),
                                  .branch = mc_strdup(up->repository.id.revision),
                                  .files = mc_alloc_zero(count, sizeof *out->files),
                                  .created = up->missing_repository,
                                  .bytes_sent = up->sent,
                                  .commit = up->commit,
                                  .url = up->url};
    /* The result owns them now. */
    up->commit = up->url = NULL;
    if (!out->name || !out->branch || !out->files) {
        mc_hub_upload_result_free(out);
        return mc_fail_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        mc_upload_entry *const entry = &up->files.entries[i];
        out->files[i] = (mc_hub_upload_file){.path = entry->path,
                                             .bytes = entry->size,
                                             .large = entry->large,
                                             .unchanged = entry->same,
                                             .ignored = entry->ignored};
        entry->path = NULL;
        out->committed += is_sent(entry) && !up->options->dry_run;
    }
    out->file_count = count;
    return MC_OK;
}

mc_status mc_hub_upload(const char *folder, const char *name, const mc_hub_upload_options *options,
                        const mc_hub_options *hub, mc_hub_upload_result *out, mc_error *error)
{
    static const mc_hub_upload_options defaults = {0};
    upload up = {.options = options ? options : &defaults, .begun = mc_seconds()};
    mc_status status = mc_transfers_begin(&up.transfers, hub, error);
    if (status == MC_OK)
        status = run(&up, folder, name, error);
    if (status == MC_OK)
        status = describe(&up, out, error);
    mc_upload_files_free(&up.files);
    mc_repository_close(&up.repository);
    mc_transfers_end(&up.transfers);
    mc_free(up.commit);
    mc_free(up.url);
    return status;
}

void mc_hub_upload_result_free(mc_hub_upload_result *result)
{
    for (size_t i = 0; i < result->file_count; i++)
        mc_free(result->files[i].path);
    mc_free(result->files);
    mc_free(result->name);
    mc_free(result->branch);
    mc_free(result->commit);
    mc_free(result->url);
    *result = (mc_hub_upload_result){0};
}
