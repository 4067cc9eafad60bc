#include "tokenizer/document.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "tokenizer/splice.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

struct mc_document {
    char *text;
    size_t size;
    json_t *root; /* what the texts below point into */
    const char *model;
    mc_document_token *tokens;
    size_t token_count;
    mc_document_added *added;
    size_t added_count;
};

void mc_document_free(mc_document *document)
{
    if (!document)
        return;
    json_decref(document->root);
    mc_free(document->tokens);
    mc_free(document->added);
    mc_free(document->text);
    mc_free(document);
}

const char *mc_document_model(const mc_document *document)
{
    return document->model;
}

const char *mc_document_text(const mc_document *document, size_t *size)
{
    *size = document->size;
    return document->text;
}

const mc_document_token *mc_document_tokens(const mc_document *document, size_t *count)
{
    *count = document->token_count;
    return document->tokens;
}

const mc_document_added *mc_document_added_tokens(const mc_document *document, size_t *count)
{
    *count = document->added_count;
    return document->added;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Files of old versions do not name the type of the model; its members show it. */
static mc_status find_model(mc_document *d, const json_t **model, mc_error *error)
{
    static const char *const known[] = {"BPE", "WordPiece", "WordLevel", "Unigram"};
    *model = json_object_get(d->root, "model");
    const char *type = json_string_value(json_object_get(*model, "type"));
    if (!json_is_object(*model))
        return mc_fail(error, MC_FORMAT, "expected an object 'model', found none");
    if (!type)
        type = json_object_get(*model, "merges")                     ? "BPE"
               : json_object_get(*model, "max_input_chars_per_word") ? "WordPiece"
               : json_is_array(json_object_get(*model, "vocab"))     ? "Unigram"
                                                                     : "WordLevel";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(type, known[i]) == 0)
            d->model = known[i];
    return d->model ? MC_OK
                    : mc_fail(error, MC_UNSUPPORTED,
                              "model '%s': expected BPE, WordPiece, WordLevel or Unigram", type);
}

static mc_status read_id(const json_t *value, const char *token, int32_t *id, mc_error *error)
{
    const json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number >= MC_MOST_TOKENS)
        return mc_fail(error, MC_FORMAT, "token '%s': expected an id of 0 to %d", token,
                       MC_MOST_TOKENS - 1);
    *id = (int32_t)number;
    return MC_OK;
}

static mc_status read_table(mc_document *d, const json_t *vocab, mc_error *error)
{
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)(uintptr_t)vocab, text, id)
    {
        mc_document_token *const token = &d->tokens[d->token_count++];
        *token = (mc_document_token){.text = text};
        MC_TRY(read_id(id, text, &token->id, error));
    }
    return MC_OK;
}

static mc_status read_pieces(mc_document *d, const json_t *vocab, mc_error *error)
{
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        /* An id of Unigram is the place in the list. */
        const json_t *const piece = json_array_get(vocab, i), *const score = json_array_get(piece,
                                                                                            1);
        const char *const text = json_string_value(json_array_get(piece, 0));
        if (json_array_size(piece) != 2 || !text || !json_is_number(score))
            return mc_fail(error, MC_FORMAT, "vocab, entry %zu: expected a token and a score", i);
        d->tokens[d->token_count++] = (mc_document_token){text, (int32_t)i,
                                                          json_number_value(score)};
    }
    return MC_OK;
}

static mc_status read_vocabulary(mc_document *d, const json_t *vocab, mc_error *error)
{
    const bool pieces = strcmp(d->model, "Unigram") == 0;
    if (!(pieces ? json_is_array(vocab) : json_is_object(vocab)))
        return mc_fail(error, MC_FORMAT, "expected a vocabulary in model '%s', found none",
                       d->model);
    /* Of an object the ids are checked; of a list they are places, so its length is. */
    if (json_array_size(vocab) >= MC_MOST_TOKENS)
        return mc_fail(error, MC_FORMAT, "expected fewer than %d tokens, found %zu", MC_MOST_TOKENS,
                       json_array_size(vocab));
    return pieces ? read_pieces(d, vocab, error) : read_table(d, vocab, error);
}

static bool flag(const json_t *block, const char *name)
{
    return json_is_true(json_object_get(block, name));
}

static mc_status read_added(mc_document *d, const json_t *list, mc_error *error)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const block = json_array_get(list, i);
        mc_document_added *const added = &d->added[d->added_count++];
        *added = (mc_document_added){.text = json_string_value(json_object_get(block, "content")),
                                     .special = flag(block, "special"),
                                     .normalized = flag(block, "normalized"),
                                     .left_strip = flag(block, "lstrip"),
                                     .right_strip = flag(block, "rstrip"),
                                     .single_word = flag(block, "single_word")};
        if (!added->text)
            return mc_fail(error, MC_FORMAT, "added_tokens: expected a 'content'");
        MC_TRY(read_id(json_object_get(block, "id"), added->text, &added->id, error));
        d->tokens[d->token_count++] = (mc_document_token){.text = added->text, .id = added->id};
    }
    return MC_OK;
}

/* Of equal ids, that of the vocabulary first: it has a score. */
static int by_id(const void *left, const void *right)
{
    const mc_document_token *const a = left, *const b = right;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return (a->score == 0) - (b->score == 0);
}

/* Sorts by id and drops added tokens that the vocabulary has, too. */
static mc_status order_tokens(mc_document *d, mc_error *error)
{
    size_t kept = 0;
    qsort(d->tokens, d->token_count, sizeof *d->tokens, by_id);
    for (size_t i = 0; i < d->token_count; i++) {
        const mc_document_token *const token = &d->tokens[i];
        if (kept == 0 || d->tokens[kept - 1].id != token->id)
            d->tokens[kept++] = *token;
        else if (strcmp(d->tokens[kept - 1].text, token->text) != 0)
            return mc_fail(error, MC_FORMAT, "id %d belongs to two tokens, '%s' and '%s'",
                           token->id, d->tokens[kept - 1].text, token->text);
    }
    d->token_count = kept;
    return MC_OK;
}

static mc_status read_all(mc_document *d, mc_error *error)
{
    const json_t *model = NULL;
    MC_TRY(mc_json_parse(d->text, d->size, &d->root, error));
    MC_TRY(find_model(d, &model, error));
    const json_t *const vocab = json_object_get(model, "vocab");
    const json_t *const list = json_object_get(d->root, "added_tokens");
    if (list && !json_is_array(list))
        return mc_fail(error, MC_FORMAT, "added_tokens: expected a list");
    const size_t added = json_array_size(list);
    d->tokens = mc_alloc((json_object_size(vocab) + json_array_size(vocab) + added) *
                         sizeof *d->tokens);
    d->added = mc_alloc(added * sizeof *d->added);
    if (!d->tokens || !d->added)
        return mc_fail_memory(error);
    MC_TRY(read_vocabulary(d, vocab, error));
    MC_TRY(read_added(d, list, error));
    return order_tokens(d, error);
}

mc_status mc_document_parse(const char *text, size_t size, mc_document **out, mc_error *error)
{
    mc_document *const d = mc_alloc_zero(1, sizeof *d);
    char *const copy = mc_alloc(size + 1);
    if (!d || !copy) {
        mc_free(d);
        mc_free(copy);
        return mc_fail_memory(error);
    }
    memcpy(copy, text, size);
    /* A terminator for mc_document_text, whose size does not count it. */
    copy[size] = '\0';
    d->text = copy;
    d->size = size;
    const mc_status status = read_all(d, error);
    if (status != MC_OK) {
        mc_document_free(d);
        return status;
    }
    *out = d;
    return MC_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Appends a JSON string, non-ASCII characters as they are. */
static void add_string(mc_text *to, const char *text)
{
    json_t *const value = json_string(text);
    char *const dumped = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (dumped)
        mc_text_add(to, "%s", dumped);
    else
        to->failed = true;
    free(dumped);
    json_decref(value);
}

/* The shortest text that reads back as the same number, in any locale. */
static void add_score(mc_text *to, double score)
{
    json_t *const value = json_real(score);
    char *const dumped = value ? json_dumps(value, JSON_ENCODE_ANY | mc_json_shortest(value))
                               : NULL;
    if (dumped)
        mc_text_add(to, "%s", dumped);
    else
        to->failed = true;
    free(dumped);
    json_decref(value);
}

static void write_vocabulary(const mc_document *d, const mc_document_token *tokens, size_t count,
                             mc_text *to)
{
    const bool pieces = strcmp(d->model, "Unigram") == 0;
    mc_text_add(to, pieces ? "[" : "{");
    for (size_t i = 0; i < count; i++) {
        /* The indentation of the package `tokenizers`, so that a diff shows changes only. */
        mc_text_add(to, "%s\n      %s", i ? "," : "", pieces ? "[\n        " : "");
        add_string(to, tokens[i].text);
        if (pieces) {
            mc_text_add(to, ",\n        ");
            add_score(to, tokens[i].score);
            mc_text_add(to, "\n      ]");
        } else {
            mc_text_add(to, ": %d", tokens[i].id);
        }
    }
    mc_text_add(to, "%s%s", count ? "\n    " : "", pieces ? "]" : "}");
}

static const char *boolean(bool value)
{
    return value ? "true" : "false";
}

static void write_added(const mc_document_added *tokens, size_t count, mc_text *to)
{
    mc_text_add(to, "[");
    for (size_t i = 0; i < count; i++) {
        const mc_document_added *const t = &tokens[i];
        mc_text_add(to, "%s\n    {\n      \"id\": %d,\n      \"content\": ", i ? "," : "", t->id);
        add_string(to, t->text);
        mc_text_add(to,
                    ",\n      \"single_word\": %s,\n      \"lstrip\": %s,\n      \"rstrip\": %s,\n"
                    "      \"normalized\": %s,\n      \"special\": %s\n    }",
                    boolean(t->single_word), boolean(t->left_strip), boolean(t->right_strip),
                    boolean(t->normalized), boolean(t->special));
    }
    mc_text_add(to, "%s]", count ? "\n  " : "");
}

/*
 * Takes over the parts of a document that was parsed from the new text.
 *
 * Everything is checked on a new document first, so an error leaves the old one unchanged.
 */
static void replace(mc_document *d, mc_document *by)
{
    const mc_document old = *d;
    *d = *by;
    *by = old;
    mc_document_free(by);
}

/*
 * Parses the text with `value` as a member of the root, or of its model.
 *
 * The new text is parsed as a whole, so that it is checked by the same rules as a file.
 */
static mc_status parse_with(const mc_document *d, bool in_model, const char *name,
                            const mc_text *value, mc_document **out, mc_error *error)
{
    mc_span within = mc_splice_root(d->text, d->size);
    char *text = NULL;
    size_t size = 0;
    if (value->failed)
        return mc_fail_memory(error);
    if (in_model && !mc_splice_find(d->text, within, "model", &within))
        return mc_fail(error, MC_FORMAT, "expected an object 'model', found none");
    MC_TRY(mc_splice_set(d->text, d->size, within, name, value->data, &text, &size, error));
    const mc_status status = mc_document_parse(text, size, out, error);
    mc_free(text);
    return status;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static const char *part_of_merge(const json_t *merge, size_t part, char *buffer)
{
    /* A merge is "a b" in older files and ["a", "b"] in newer ones. */
    const char *const text = json_string_value(merge);
    const char *const blank = text ? strchr(text, ' ') : NULL;
    if (!text)
        return json_string_value(json_array_get(merge, part));
    if (!blank || blank - text >= MC_TOKEN_BYTES)
        return NULL;
    if (part == 1)
        return blank + 1;
    memcpy(buffer, text, (size_t)(blank - text));
    buffer[blank - text] = '\0';
    return buffer;
}

static mc_status check_merges(const mc_document *d, mc_error *error)
{
    const json_t *const model = json_object_get(d->root, "model");
    const json_t *const merges = json_object_get(model, "merges");
    const json_t *const vocab = json_object_get(model, "vocab");
    char buffer[MC_TOKEN_BYTES];
    for (size_t i = 0; i < json_array_size(merges); i++)
        for (size_t part = 0; part < 2; part++) {
            const char *const text = part_of_merge(json_array_get(merges, i), part, buffer);
            if (!text || !json_object_get(vocab, text))
                return mc_fail(error, MC_MISMATCH,
                               "merge %zu: expected its tokens in the new vocabulary, found no "
                               "'%s'",
                               i, text ? text : "token");
        }
    return MC_OK;
}

static mc_status check_ids(const mc_document *d, const mc_document_token *tokens, size_t count,
                           mc_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (tokens[i].id < 0 || tokens[i].id >= MC_MOST_TOKENS ||
            (strcmp(d->model, "Unigram") == 0 && (size_t)tokens[i].id != i))
            return mc_fail(error, MC_USAGE, "token '%s': its id %d does not fit a %s vocabulary",
                           tokens[i].text, tokens[i].id, d->model);
    return MC_OK;
}

/*
 * The text was made of the caller's tokens: what the parser rejects is the caller's error, not a
 * malformed file.
 */
static mc_status as_usage(mc_status status, mc_error *error)
{
    if (status == MC_FORMAT && error)
        error->code = MC_USAGE;
    return status == MC_FORMAT ? MC_USAGE : status;
}

mc_status mc_document_set_vocabulary(mc_document *document, const mc_document_token *tokens,
                                     size_t count, mc_error *error)
{
    mc_document *made = NULL;
    mc_text vocab = {0};
    MC_TRY(check_ids(document, tokens, count, error));
    write_vocabulary(document, tokens, count, &vocab);
    mc_status status = parse_with(document, true, "vocab", &vocab, &made, error);
    mc_text_free(&vocab);
    MC_TRY(as_usage(status, error));
    /* A JSON object keeps one of two equal names, so the count shows repeated texts. */
    const json_t *const written = json_object_get(json_object_get(made->root, "model"), "vocab");
    if (json_object_size(written) + json_array_size(written) != count)
        status = mc_fail(error, MC_USAGE, "expected %zu different tokens, found %zu", count,
                         json_object_size(written));
    if (status == MC_OK)
        status = check_merges(made, error);
    if (status == MC_OK)
        replace(document, made);
    else
        mc_document_free(made);
    return status;
}

/* Each text once, and with the id that it has in the vocabulary. */
static mc_status check_added(const mc_document *d, mc_error *error)
{
    const json_t *const vocab = json_object_get(json_object_get(d->root, "model"), "vocab");
    json_t *const seen = json_object();
    mc_status status = seen ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; i < d->added_count && status == MC_OK; i++) {
        const mc_document_added *const t = &d->added[i];
        const json_t *const id = json_object_get(vocab, t->text);
        if (json_object_get(seen, t->text))
            status = mc_fail(error, MC_USAGE, "added token '%s' appears twice", t->text);
        else if (id && json_integer_value(id) != t->id)
            status = mc_fail(error, MC_USAGE,
                             "added token '%s': expected its id in the vocabulary, %d, found %d",
                             t->text, (int)json_integer_value(id), t->id);
        else if (json_object_set_new(seen, t->text, json_true()) != 0)
            status = mc_fail_memory(error);
    }
    json_decref(seen);
    return status;
}

mc_status mc_document_set_added(mc_document *document, const mc_document_added *tokens,
                                size_t count, mc_error *error)
{
    mc_document *made = NULL;
    mc_text list = {0};
    for (size_t i = 0; i < count; i++)
        if (tokens[i].id < 0 || tokens[i].id >= MC_MOST_TOKENS)
            return mc_fail(error, MC_USAGE, "added token '%s': its id %d is out of range",
                           tokens[i].text, tokens[i].id);
    write_added(tokens, count, &list);
    mc_status status = parse_with(document, false, "added_tokens", &list, &made, error);
    mc_text_free(&list);
    MC_TRY(as_usage(status, error));
    status = check_added(made, error);
    if (status == MC_OK)
        replace(document, made);
    else
        mc_document_free(made);
    return status;
}
