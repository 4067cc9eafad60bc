#include "tokenizer/document_files.h"

#include "base/checksum.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

void mc_document_files_free(mc_document_files *files)
{
    mc_free(files->tokenizer.text);
    mc_free(files->vocab_txt.text);
    mc_free(files->vocab_json.text);
    mc_free(files->config.text);
    mc_free(files->added.text);
    *files = (mc_document_files){0};
}

/* ---- the key --------------------------------------------------------------------------------- */

/* The member added_tokens_decoder as it is written; empty if there is none, or no JSON. */
static mc_scan_text decoder_text(const mc_document_file *config)
{
    mc_scan_text found = {0};
    mc_scan s = mc_scan_begin(config->text, 0, config->size);
    if (!config->text)
        return found;
    for (bool more = mc_scan_open(&s, '{'); more; more = mc_scan_next(&s, '}')) {
        const bool is_decoder = mc_scan_is(mc_scan_name(&s), "added_tokens_decoder");
        mc_scan_peek(&s);
        const size_t first = s.at;
        mc_scan_skip(&s);
        if (is_decoder)
            found = (mc_scan_text){config->text + first, s.at - first, false};
    }
    /* A file that is not JSON is an error of those who read it. */
    return s.problem ? (mc_scan_text){config->text, config->size, false} : found;
}

/* With its size: ("ab", "c") and ("a", "bc") differ. */
static void add_bytes(mc_checksum *sum, const char *bytes, size_t size)
{
    mc_checksum_add(sum, &size, sizeof size);
    if (size > 0)
        mc_checksum_add(sum, bytes, size);
}

uint64_t mc_document_files_key(const mc_document_files *files)
{
    const mc_document_file *const all[] = {&files->tokenizer, &files->vocab_txt,
                                           &files->vocab_json};
    const mc_scan_text decoder = decoder_text(&files->config);
    mc_checksum sum;
    mc_checksum_begin(&sum);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        add_bytes(&sum, all[i]->text, all[i]->text ? all[i]->size : 0);
    add_bytes(&sum, decoder.bytes, decoder.size);
    if (decoder.size == 0)
        add_bytes(&sum, files->added.text, files->added.text ? files->added.size : 0);
    return mc_checksum_end(&sum);
}

/* ---- vocab.txt and vocab.json ---------------------------------------------------------------- */

/*
 * A document is text, so one is written for files that have another form. Their vocabulary becomes
 * a member of it.
 */
static mc_status document_of_vocab(const char *model, const mc_text *vocab, mc_document **out,
                                   mc_error *error)
{
    mc_text text = {0};
    mc_text_add(&text, "{\"added_tokens\": [], \"model\": {\"type\": \"%s\", \"vocab\": ", model);
    mc_text_append(&text, vocab->data, vocab->length);
    mc_text_append(&text, "}}", 2);
    if (text.failed || vocab->failed) {
        mc_text_free(&text);
        return mc_fail_memory(error);
    }
    return mc_document_take(text.data, text.length, out, error);
}

/*
 * One token per line; of a text that repeats the first line counts. The lines of `text` are ended
 * by NULs, so that they can be names in `seen`.
 */
static void vocab_of_lines(char *text, mc_index *seen, mc_text *vocab)
{
    long id = 0;
    mc_text_append(vocab, "{", 1);
    for (char *at = text, *next; *at; at = next, id++) {
        const size_t length = strcspn(at, "\n");
        next = at + length + (at[length] == '\n');
        at[length > 0 && at[length - 1] == '\r' ? length - 1 : length] = '\0';
        if (mc_index_find(seen, at) != MC_INDEX_NONE)
            continue;
        vocab->failed |= !mc_index_set(seen, at, (size_t)id);
        mc_text_add(vocab, "%s", seen->count > 1 ? ", " : "");
        mc_json_add_text(vocab, at);
        mc_text_add(vocab, ": %ld", id);
    }
    mc_text_append(vocab, "}", 1);
}

static mc_status document_of_lines(const mc_document_file *file, mc_document **out, mc_error *error)
{
    const size_t size = strlen(file->text), valid = mc_utf8_valid(file->text, size);
    mc_index seen = {0};
    mc_text vocab = {0};
    if (valid < size)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, (int64_t)valid,
                          "expected text in UTF-8, found other bytes");
    vocab_of_lines(file->text, &seen, &vocab);
    const mc_status status = document_of_vocab("WordPiece", &vocab, out, error);
    mc_index_free(&seen);
    mc_text_free(&vocab);
    return status;
}

static mc_status document_of_object(const mc_document_file *file, mc_document **out,
                                    mc_error *error)
{
    /* Checked before it becomes a part of another text. */
    mc_scan s = mc_scan_begin(file->text, 0, file->size);
    mc_text vocab = {0};
    mc_scan_skip(&s);
    mc_scan_end(&s);
    MC_TRY(mc_scan_check(&s, error));
    mc_text_append(&vocab, file->text, file->size);
    const mc_status status = document_of_vocab("BPE", &vocab, out, error);
    mc_text_free(&vocab);
    return status;
}

static mc_status read_main(mc_document_files *files, mc_document **out, mc_error *error)
{
    const mc_document_file tokenizer = files->tokenizer;
    files->tokenizer = (mc_document_file){0};
    if (tokenizer.text)
        return mc_in_file(error, "tokenizer.json",
                          mc_document_take(tokenizer.text, tokenizer.size, out, error));
    if (files->vocab_txt.text)
        return mc_in_file(error, "vocab.txt", document_of_lines(&files->vocab_txt, out, error));
    return files->vocab_json.text
               ? mc_in_file(error, "vocab.json", document_of_object(&files->vocab_json, out, error))
               : MC_OK;
}

/* ---- tokens of other files ------------------------------------------------------------------- */

/* The document's added tokens, and those that it lacks. Texts belong to the JSON values. */
typedef struct additions {
    mc_document_added *tokens;
    size_t count, before;
} additions;

static bool has_token(const mc_document *d, const char *text, int32_t id)
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
    /* The document's own token of that id counts. */
    return (low < count && tokens[low].id == id) || mc_document_find(d, text) >= 0;
}

static void add_missing(const mc_document *d, additions *a, const char *text, long id,
                        const json_t *block)
{
    if (!text || id < 0 || id >= MC_MOST_TOKENS || has_token(d, text, (int32_t)id))
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

static int by_id(const void *left, const void *right)
{
    const mc_document_added *const a = left, *const b = right;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* A text that files list twice is their error. */
static mc_status as_format(mc_status status, mc_error *error)
{
    if (status == MC_USAGE && error)
        error->code = MC_FORMAT;
    return status == MC_USAGE ? MC_FORMAT : status;
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
    mc_status status = MC_OK;
    /* Without new tokens the document stays byte for byte. */
    if (a.count > a.before) {
        /* transformers adds them in the order of their ids. */
        qsort(a.tokens + a.before, a.count - a.before, sizeof *a.tokens, by_id);
        status = as_format(mc_document_set_added(d, a.tokens, a.count, error), error);
    }
    mc_free(a.tokens);
    return status;
}

static mc_status parse(const mc_document_file *file, const char *name, json_t **out,
                       mc_error *error)
{
    *out = NULL;
    return file->text ? mc_in_file(error, name, mc_json_parse(file->text, file->size, out, error))
                      : MC_OK;
}

/* transformers reads added_tokens.json only where the configuration has no tokens with ids. */
static mc_status add_others(const mc_document_files *files, mc_document *d, mc_error *error)
{
    json_t *config = NULL, *added = NULL;
    mc_status status = parse(&files->config, "tokenizer_config.json", &config, error);
    const json_t *const decoder = json_object_get(config, "added_tokens_decoder");
    if (status == MC_OK && !decoder)
        status = parse(&files->added, "added_tokens.json", &added, error);
    if (status == MC_OK)
        status = add_all(d, decoder, added, error);
    json_decref(config);
    json_decref(added);
    return status;
}

mc_status mc_document_of_files(mc_document_files *files, mc_document **out, bool *own,
                               mc_error *error)
{
    mc_document *document = NULL;
    *out = NULL;
    *own = files->tokenizer.text != NULL;
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
