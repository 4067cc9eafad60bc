#include "tokenizer/document_files.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* ---- vocab.txt and vocab.json ---------------------------------------------------------------- */

/* One token per line; of a text that repeats the first line counts. */
static json_t *vocab_of_lines(const char *text)
{
    json_t *vocab = json_object();
    json_int_t id = 0;
    for (const char *at = text; vocab && *at; id++) {
        const size_t length = strcspn(at, "\n");
        const size_t size = length > 0 && at[length - 1] == '\r' ? length - 1 : length;
        char *const token = mc_strndup(at, size);
        /* mc_json_put passes a failure on: NULL for the value makes the object NULL. */
        if (!token || !json_object_get(vocab, token))
            vocab = mc_json_put(vocab, token ? token : "", token ? json_integer(id) : NULL);
        mc_free(token);
        at += length + (at[length] == '\n');
    }
    return vocab;
}

static mc_status document_of_vocab(const char *model, json_t *vocab, mc_document **out,
                                   mc_error *error)
{
    json_t *root = mc_json_put(json_object(), "added_tokens", json_array());
    json_t *inner = mc_json_put(json_object(), "type", json_string(model));
    inner = mc_json_put(inner, "vocab", vocab);
    root = mc_json_put(root, "model", inner);
    /* A document is text, so one is written for files that have another form. */
    char *const text = root ? mc_json_write(root, JSON_COMPACT) : NULL;
    json_decref(root);
    const mc_status status = text ? mc_document_parse(text, strlen(text), out, error)
                                  : mc_fail_memory(error);
    mc_free(text);
    return status;
}

static mc_status document_of_lines(const char *text, mc_document **out, mc_error *error)
{
    const size_t size = strlen(text), valid = mc_utf8_valid(text, size);
    if (valid < size)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, (int64_t)valid,
                          "expected text in UTF-8, found other bytes");
    return document_of_vocab("WordPiece", vocab_of_lines(text), out, error);
}

static mc_status read_main(const mc_document_files *files, mc_document **out, mc_error *error)
{
    json_t *vocab = NULL;
    if (files->tokenizer)
        return mc_in_file(error, "tokenizer.json",
                          mc_document_parse(files->tokenizer, files->tokenizer_size, out, error));
    if (files->vocab_txt)
        return mc_in_file(error, "vocab.txt", document_of_lines(files->vocab_txt, out, error));
    if (!files->vocab_json)
        return MC_OK;
    MC_TRY(mc_in_file(error, "vocab.json",
                      mc_json_parse(files->vocab_json, strlen(files->vocab_json), &vocab, error)));
    return mc_in_file(error, "vocab.json", document_of_vocab("BPE", vocab, out, error));
}

/* ---- tokens of other files ------------------------------------------------------------------- */

/* The document's added tokens, and those that it lacks. Texts belong to the JSON values. */
typedef struct additions {
    mc_document_added *tokens;
    size_t count, before;
} additions;

static bool has_token(const mc_document *d, const additions *a, const char *text, int32_t id)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(d, &count);
    /* Tokens are in the order of their ids. */
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (tokens[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < count && tokens[low].id == id)
        return true; /* the document's own token of that id counts */
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->tokens[i].text, text) == 0)
            return true;
    return false;
}

static void add_missing(const mc_document *d, additions *a, const char *text, long id,
                        const json_t *block)
{
    if (!text || id < 0 || id >= MC_MOST_TOKENS || has_token(d, a, text, (int32_t)id))
        return;
    a->tokens[a->count++] = (mc_document_added){
        .text = text,
        .id = (int32_t)id,
        .special = json_is_true(json_object_get(block, "special")),
        /* A token of added_tokens.json has no attributes: it is an ordinary one. */
        .normalized = !block || json_is_true(json_object_get(block, "normalized")),
        .left_strip = json_is_true(json_object_get(block, "lstrip")),
        .right_strip = json_is_true(json_object_get(block, "rstrip")),
        .single_word = json_is_true(json_object_get(block, "single_word"))};
}

static mc_status add_all(mc_document *d, const json_t *decoder, const json_t *added,
                         mc_error *error)
{
    const char *name;
    json_t *value;
    additions a = {0};
    const mc_document_added *const own = mc_document_added_tokens(d, &a.before);
    a.tokens = mc_alloc((a.before + json_object_size(decoder) + json_object_size(added)) *
                        sizeof *a.tokens);
    if (!a.tokens)
        return mc_fail_memory(error);
    if (a.before > 0)
        memcpy(a.tokens, own, a.before * sizeof *own);
    a.count = a.before;
    json_object_foreach((json_t *)(uintptr_t)decoder, name, value) add_missing(
        d, &a, json_string_value(json_object_get(value, "content")), strtol(name, NULL, 10), value);
    json_object_foreach((json_t *)(uintptr_t)added, name, value) add_missing(
        d, &a, name, json_is_integer(value) ? (long)json_integer_value(value) : -1, NULL);
    /* Without new tokens the document stays byte for byte. */
    const mc_status status = a.count > a.before ? mc_document_set_added(d, a.tokens, a.count, error)
                                                : MC_OK;
    mc_free(a.tokens);
    return status;
}

static mc_status parse(const char *text, const char *name, json_t **out, mc_error *error)
{
    *out = NULL;
    return text ? mc_in_file(error, name, mc_json_parse(text, strlen(text), out, error)) : MC_OK;
}

/* transformers reads added_tokens.json only where the configuration has no tokens with ids. */
static mc_status add_others(const mc_document_files *files, mc_document *d, mc_error *error)
{
    json_t *config = NULL, *added = NULL;
    mc_status status = parse(files->config, "tokenizer_config.json", &config, error);
    const json_t *const decoder = json_object_get(config, "added_tokens_decoder");
    if (status == MC_OK && !decoder)
        status = parse(files->added, "added_tokens.json", &added, error);
    if (status == MC_OK)
        status = add_all(d, decoder, added, error);
    json_decref(config);
    json_decref(added);
    return status;
}

mc_status mc_document_of_files(const mc_document_files *files, mc_document **out, bool *own,
                               mc_error *error)
{
    mc_document *document = NULL;
    *out = NULL;
    *own = files->tokenizer != NULL;
    MC_TRY(read_main(files, &document, error));
    if (!document)
        return MC_OK;
    const mc_status status = add_others(files, document, error);
    if (status == MC_OK)
        *out = document;
    else
        mc_document_free(document);
    return status;
}
