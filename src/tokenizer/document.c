#include "tokenizer/document.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/text.h"
#include "tokenizer/splice.h"
#include "tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Texts of tokens, with their NULs: pointers to them stay valid while more are added. */
typedef struct chunk {
    struct chunk *next;
    size_t used, size;
    char bytes[];
} chunk;

enum { CHUNK_BYTES = 1 << 16 };

struct mc_document {
    char *text; /* NULL: dropped */
    size_t size;
    const char *model;
    mc_span vocab, merges, list; /* in `text`; empty: there is none. list: of added tokens */
    /* Of an extended document, borrowed: has the tokens that `ids` lacks. Else NULL. */
    const mc_document *base;
    chunk *chunks;
    mc_index ids;    /* of tokens, by text */
    mc_index places; /* in `added`, by text */
    mc_document_token *tokens;
    size_t token_count, token_capacity;
    size_t vocab_count; /* tokens of the vocabulary, without added ones */
    mc_document_added *added;
    size_t added_count, added_capacity;
};

void mc_document_free(mc_document *document)
{
    if (!document)
        return;
    for (chunk *c = document->chunks, *next; c; c = next) {
        next = c->next;
        mc_free(c);
    }
    mc_index_free(&document->ids);
    mc_index_free(&document->places);
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

void mc_document_drop_text(mc_document *document)
{
    mc_free(document->text);
    document->text = NULL;
    document->size = 0;
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

int32_t mc_document_find(const mc_document *document, const char *text)
{
    const size_t id = mc_index_find(&document->ids, text);
    if (id != MC_INDEX_NONE)
        return (int32_t)id;
    return document->base ? mc_document_find(document->base, text) : -1;
}

const mc_document_added *mc_document_find_added(const mc_document *document, const char *text)
{
    const size_t place = mc_index_find(&document->places, text);
    return place == MC_INDEX_NONE ? NULL : &document->added[place];
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The document while it is read. */
typedef struct parser {
    mc_document *d;
    mc_scan scan;
    mc_error *error;
    mc_scan_text type;                     /* of the model */
    bool has_model, has_merges, has_limit; /* limit: max_input_chars_per_word */
} parser;

/* Skips a value, and returns where it is. */
static mc_span skip(mc_scan *s)
{
    mc_scan_peek(s);
    const size_t first = s->at;
    mc_scan_skip(s);
    return (mc_span){first, s->at};
}

static void scan_model(parser *p)
{
    mc_scan *const s = &p->scan;
    /* Of two members with one name the last counts. */
    p->d->vocab = p->d->merges = (mc_span){0, 0};
    p->type = (mc_scan_text){0};
    p->has_merges = p->has_limit = false;
    p->has_model = mc_scan_peek(s) == '{';
    if (!p->has_model) {
        mc_scan_skip(s);
        return;
    }
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
        const mc_scan_text name = mc_scan_name(s);
        if (mc_scan_is(name, "type") && mc_scan_peek(s) == '"') {
            p->type = mc_scan_string(s);
            continue;
        }
        const mc_span value = skip(s);
        if (mc_scan_is(name, "vocab"))
            p->d->vocab = value;
        if (mc_scan_is(name, "merges"))
            p->d->merges = value;
        p->has_merges |= mc_scan_is(name, "merges");
        p->has_limit |= mc_scan_is(name, "max_input_chars_per_word");
    }
}

/* Checks that all of it is JSON, and finds the parts. */
static mc_status scan_parts(parser *p)
{
    mc_scan *const s = &p->scan;
    if (mc_scan_peek(s) != '{') {
        mc_scan_skip(s);
    } else {
        for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
            const mc_scan_text name = mc_scan_name(s);
            if (mc_scan_is(name, "model"))
                scan_model(p);
            else if (mc_scan_is(name, "added_tokens"))
                p->d->list = skip(s);
            else
                mc_scan_skip(s);
        }
    }
    mc_scan_end(s);
    return mc_scan_check(s, p->error);
}

/* Files of old versions do not name the type of the model; its members show it. */
static mc_status find_model(const parser *p)
{
    static const char *const known[] = {"BPE", "WordPiece", "WordLevel", "Unigram"};
    mc_document *const d = p->d;
    if (!p->has_model)
        return mc_fail(p->error, MC_FORMAT, "expected an object 'model', found none");
    if (!p->type.bytes)
        d->model = p->has_merges                                                     ? "BPE"
                   : p->has_limit                                                    ? "WordPiece"
                   : d->vocab.end > d->vocab.first && d->text[d->vocab.first] == '[' ? "Unigram"
                                                                                     : "WordLevel";
    for (size_t i = 0; p->type.bytes && i < sizeof known / sizeof *known; i++)
        if (mc_scan_is(p->type, known[i]))
            d->model = known[i];
    return d->model ? MC_OK
                    : mc_fail(p->error, MC_UNSUPPORTED,
                              "model '%.*s': expected BPE, WordPiece, WordLevel or Unigram",
                              (int)(p->type.size < 64 ? p->type.size : 64), p->type.bytes);
}

/* A copy of a string in the document's memory. */
static mc_status store(parser *p, mc_scan_text string, const char **out)
{
    mc_document *const d = p->d;
    chunk *c = d->chunks;
    if (!c || c->size - c->used <= string.size) {
        const size_t size = string.size < CHUNK_BYTES ? CHUNK_BYTES : string.size + 1;
        c = mc_alloc(sizeof *c + size);
        if (!c)
            return mc_fail_memory(p->error);
        *c = (chunk){.next = d->chunks, .size = size};
        d->chunks = c;
    }
    char *const text = c->bytes + c->used;
    const size_t length = mc_scan_decode(string, text);
    text[length] = '\0';
    c->used += length + 1;
    *out = text;
    return MC_OK;
}

static mc_status add_token(parser *p, mc_document_token token)
{
    mc_document *const d = p->d;
    if (!MC_GROW(d->tokens, d->token_count, d->token_capacity))
        return mc_fail_memory(p->error);
    d->tokens[d->token_count++] = token;
    return mc_index_set(&d->ids, token.text, (size_t)token.id) ? MC_OK : mc_fail_memory(p->error);
}

static mc_status check_id(const parser *p, int64_t id, const char *token)
{
    return id >= 0 ? MC_OK
                   : mc_fail(p->error, MC_FORMAT, "token '%s': expected an id of 0 to %d", token,
                             MC_MOST_TOKENS - 1);
}

/* A value that must be an id; −1 if it is not. */
static int64_t read_id(mc_scan *s)
{
    const char first = mc_scan_peek(s);
    if (first != '-' && (first < '0' || first > '9')) {
        mc_scan_skip(s);
        return -1;
    }
    return mc_scan_integer(mc_scan_number(s), MC_MOST_TOKENS - 1);
}

static mc_status read_table(parser *p)
{
    mc_scan *const s = &p->scan;
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
        mc_document_token token = {0};
        MC_TRY(store(p, mc_scan_name(s), &token.text));
        const int64_t id = read_id(s);
        MC_TRY(check_id(p, id, token.text));
        token.id = (int32_t)id;
        MC_TRY(add_token(p, token));
    }
    return MC_OK;
}

/* A score: false if the value is not a number. */
static bool read_score(mc_scan *s, double *score)
{
    char copy[64];
    const char first = mc_scan_peek(s);
    if (first != '-' && (first < '0' || first > '9')) {
        mc_scan_skip(s);
        return false;
    }
    const mc_scan_text number = mc_scan_number(s);
    if (number.size >= sizeof copy)
        return false;
    memcpy(copy, number.bytes, number.size);
    copy[number.size] = '\0';
    return mc_parse_number(copy, score);
}

/* ["token", −1.5]; false if it is something else. */
static mc_status read_piece(parser *p, mc_document_token *token, bool *ok)
{
    mc_scan *const s = &p->scan;
    size_t items = 0;
    bool has_score = false;
    *ok = mc_scan_peek(s) == '[';
    if (!*ok) {
        mc_scan_skip(s);
        return MC_OK;
    }
    for (bool more = mc_scan_open(s, '['); more; more = mc_scan_next(s, ']'), items++)
        if (items == 0 && mc_scan_peek(s) == '"')
            MC_TRY(store(p, mc_scan_string(s), &token->text));
        else if (items == 1)
            has_score = read_score(s, &token->score);
        else
            mc_scan_skip(s);
    *ok = items == 2 && token->text && has_score;
    return MC_OK;
}

static mc_status read_pieces(parser *p)
{
    mc_scan *const s = &p->scan;
    size_t i = 0;
    for (bool more = mc_scan_open(s, '['); more; more = mc_scan_next(s, ']'), i++) {
        /* An id of Unigram is the place in the list. */
        mc_document_token token = {.id = (int32_t)i};
        bool ok;
        if (i >= MC_MOST_TOKENS)
            return mc_fail(p->error, MC_FORMAT, "expected fewer than %d tokens, found more",
                           MC_MOST_TOKENS);
        MC_TRY(read_piece(p, &token, &ok));
        if (!ok)
            return mc_fail(p->error, MC_FORMAT, "vocab, entry %zu: expected a token and a score",
                           i);
        MC_TRY(add_token(p, token));
    }
    return MC_OK;
}

static mc_status read_vocabulary(parser *p)
{
    mc_document *const d = p->d;
    const bool pieces = strcmp(d->model, "Unigram") == 0;
    if (d->vocab.end == d->vocab.first || d->text[d->vocab.first] != (pieces ? '[' : '{'))
        return mc_fail(p->error, MC_FORMAT, "expected a vocabulary in model '%s', found none",
                       d->model);
    p->scan = mc_scan_begin(d->text, d->vocab.first, d->vocab.end);
    MC_TRY(pieces ? read_pieces(p) : read_table(p));
    d->vocab_count = d->token_count;
    return MC_OK;
}

/* An attribute: null and missing ones are false. */
static void read_flag(mc_scan *s, mc_scan_text name, mc_document_added *token)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"special", &token->special},
                 {"normalized", &token->normalized},
                 {"lstrip", &token->left_strip},
                 {"rstrip", &token->right_strip},
                 {"single_word", &token->single_word}};
    const bool value = mc_scan_peek(s) == 't';
    mc_scan_skip(s);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (mc_scan_is(name, flags[i].name))
            *flags[i].flag = value;
}

static mc_status read_added_token(parser *p, mc_document_added *token)
{
    mc_scan *const s = &p->scan;
    int64_t id = -1;
    if (mc_scan_peek(s) != '{')
        return mc_fail(p->error, MC_FORMAT, "added_tokens: expected a 'content'");
    for (bool more = mc_scan_open(s, '{'); more; more = mc_scan_next(s, '}')) {
        const mc_scan_text name = mc_scan_name(s);
        if (mc_scan_is(name, "content") && mc_scan_peek(s) == '"')
            MC_TRY(store(p, mc_scan_string(s), &token->text));
        else if (mc_scan_is(name, "id"))
            id = read_id(s);
        else
            read_flag(s, name, token);
    }
    if (!token->text)
        return mc_fail(p->error, MC_FORMAT, "added_tokens: expected a 'content'");
    MC_TRY(check_id(p, id, token->text));
    token->id = (int32_t)id;
    return MC_OK;
}

/* An added token counts once, also if the vocabulary has it. */
static mc_status count_added(parser *p, mc_document_added *token)
{
    const int32_t known = mc_document_find(p->d, token->text);
    token->in_vocabulary = known >= 0;
    if (known < 0)
        return add_token(p, (mc_document_token){.text = token->text, .id = token->id});
    /* The package `tokenizers` would use the former, and the model may be trained with either. */
    return known == token->id
               ? MC_OK
               : mc_fail(p->error, MC_FORMAT, "added token '%s': expected one id, found %d and %d",
                         token->text, known, token->id);
}

static mc_status read_added(parser *p)
{
    mc_document *const d = p->d;
    if (d->list.end == d->list.first)
        return MC_OK;
    if (d->text[d->list.first] != '[')
        return mc_fail(p->error, MC_FORMAT, "added_tokens: expected a list");
    mc_scan *const s = &p->scan;
    *s = mc_scan_begin(d->text, d->list.first, d->list.end);
    for (bool more = mc_scan_open(s, '['); more; more = mc_scan_next(s, ']')) {
        if (!MC_GROW(d->added, d->added_count, d->added_capacity))
            return mc_fail_memory(p->error);
        mc_document_added *const token = &d->added[d->added_count++];
        *token = (mc_document_added){0};
        MC_TRY(read_added_token(p, token));
        MC_TRY(count_added(p, token));
        if (!mc_document_find_added(d, token->text) &&
            !mc_index_set(&d->places, token->text, d->added_count - 1))
            return mc_fail_memory(p->error);
    }
    return MC_OK;
}

static int by_id(const void *left, const void *right)
{
    const mc_document_token *const a = left, *const b = right;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return strcmp(a->text, b->text);
}

static bool is_ascending(const mc_document *d)
{
    for (size_t i = 1; i < d->token_count; i++)
        if (d->tokens[i].id <= d->tokens[i - 1].id)
            return false;
    return true;
}

/*
 * Sorts by id. Of a name that the vocabulary repeats the last id counts, as for JSON parsers, so
 * the earlier ones are dropped.
 */
static mc_status order_tokens(mc_document *d, mc_error *error)
{
    size_t kept = 0;
    /* Most files are in order, and have no token twice. */
    if (is_ascending(d) && d->ids.count == d->token_count)
        return MC_OK;
    qsort(d->tokens, d->token_count, sizeof *d->tokens, by_id);
    for (size_t i = 0; i < d->token_count; i++) {
        const mc_document_token *const token = &d->tokens[i];
        const mc_document_token *const last = kept > 0 ? &d->tokens[kept - 1] : NULL;
        if (mc_document_find(d, token->text) != token->id)
            continue;
        if (!last || last->id != token->id)
            d->tokens[kept++] = *token;
        else if (strcmp(last->text, token->text) != 0)
            return mc_fail(error, MC_FORMAT, "id %d belongs to two tokens, '%s' and '%s'",
                           token->id, last->text, token->text);
    }
    /* Only the vocabulary can repeat a token. */
    d->vocab_count -= d->token_count - kept;
    d->token_count = kept;
    return MC_OK;
}

static mc_status read_all(mc_document *d, mc_error *error)
{
    parser p = {.d = d, .scan = mc_scan_begin(d->text, 0, d->size), .error = error};
    MC_TRY(scan_parts(&p));
    MC_TRY(find_model(&p));
    MC_TRY(read_vocabulary(&p));
    MC_TRY(read_added(&p));
    return order_tokens(d, error);
}

mc_status mc_document_take(char *text, size_t size, mc_document **out, mc_error *error)
{
    mc_document *const d = mc_alloc_zero(1, sizeof *d);
    if (!d) {
        mc_free(text);
        return mc_fail_memory(error);
    }
    d->text = text;
    d->size = size;
    const mc_status status = read_all(d, error);
    if (status == MC_OK)
        *out = d;
    else
        mc_document_free(d);
    return status;
}

mc_status mc_document_parse(const char *text, size_t size, mc_document **out, mc_error *error)
{
    char *const copy = mc_alloc(size + 1);
    if (!copy)
        return mc_fail_memory(error);
    memcpy(copy, text, size);
    copy[size] = '\0';
    return mc_document_take(copy, size, out, error);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The shortest text that reads back as the same number, in any locale. */
static void add_score(mc_text *to, double score)
{
    json_t *const value = json_real(score);
    char *const written = value ? mc_json_write(value, JSON_ENCODE_ANY) : NULL;
    if (written)
        mc_text_add(to, "%s", written);
    else
        to->failed = true;
    mc_free(written);
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
        mc_json_add_text(to, tokens[i].text);
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
        mc_json_add_text(to, t->text);
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
    return mc_document_take(text, size, out, error);
}

/* ---- checks ---------------------------------------------------------------------------------- */

/*
 * A merge is "a b" in older files and ["a", "b"] in newer ones: sets the texts of both, in buffers,
 * empty where there is none.
 */
static void read_merge(mc_scan *s, char parts[2][MC_TOKEN_BYTES + 1])
{
    size_t count = 0;
    parts[0][0] = parts[1][0] = '\0';
    if (mc_scan_peek(s) == '[') {
        for (bool more = mc_scan_open(s, '['); more; more = mc_scan_next(s, ']'), count++)
            if (mc_scan_peek(s) != '"') {
                mc_scan_skip(s);
            } else {
                const mc_scan_text part = mc_scan_string(s);
                if (count < 2 && part.size <= MC_TOKEN_BYTES)
                    parts[count][mc_scan_decode(part, parts[count])] = '\0';
            }
    } else if (mc_scan_peek(s) == '"') {
        const mc_scan_text both = mc_scan_string(s);
        const char *const blank = memchr(both.bytes, ' ', both.size);
        const size_t left = blank ? (size_t)(blank - both.bytes) : both.size;
        if (!blank || left > MC_TOKEN_BYTES || both.size - left - 1 > MC_TOKEN_BYTES)
            return;
        const mc_scan_text texts[] = {{both.bytes, left, both.escaped},
                                      {blank + 1, both.size - left - 1, both.escaped}};
        for (size_t i = 0; i < 2; i++)
            parts[i][mc_scan_decode(texts[i], parts[i])] = '\0';
    } else {
        mc_scan_skip(s);
    }
}

static mc_status check_merges(const mc_document *d, mc_error *error)
{
    char parts[2][MC_TOKEN_BYTES + 1];
    mc_scan scan = mc_scan_begin(d->text, d->merges.first, d->merges.end);
    size_t i = 0;
    if (mc_scan_peek(&scan) != '[')
        return MC_OK;
    for (bool more = mc_scan_open(&scan, '['); more; more = mc_scan_next(&scan, ']'), i++) {
        read_merge(&scan, parts);
        for (size_t part = 0; part < 2; part++)
            if (mc_document_find(d, parts[part]) < 0)
                return mc_fail(error, MC_MISMATCH,
                               "merge %zu: expected its tokens in the new vocabulary, found no "
                               "'%s'",
                               i, *parts[part] ? parts[part] : "token");
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
    /* Of two equal names one counts, so the number shows repeated texts. */
    if (made->vocab_count != count)
        status = mc_fail(error, MC_USAGE, "expected %zu different tokens, found %zu", count,
                         made->vocab_count);
    if (status == MC_OK)
        status = check_merges(made, error);
    if (status == MC_OK)
        replace(document, made);
    else
        mc_document_free(made);
    return status;
}

static mc_status check_added(const mc_document_added *tokens, size_t count, mc_error *error)
{
    mc_index seen = {0};
    mc_status status = MC_OK;
    for (size_t i = 0; i < count && status == MC_OK; i++) {
        const char *const text = tokens[i].text;
        if (tokens[i].id < 0 || tokens[i].id >= MC_MOST_TOKENS)
            status = mc_fail(error, MC_USAGE, "added token '%s': its id %d is out of range", text,
                             tokens[i].id);
        else if (mc_index_find(&seen, text) != MC_INDEX_NONE)
            status = mc_fail(error, MC_USAGE, "added token '%s' appears twice", text);
        else if (!mc_index_set(&seen, text, i))
            status = mc_fail_memory(error);
    }
    mc_index_free(&seen);
    return status;
}

mc_status mc_document_set_added(mc_document *document, const mc_document_added *tokens,
                                size_t count, mc_error *error)
{
    mc_document *made = NULL;
    mc_text list = {0};
    MC_TRY(check_added(tokens, count, error));
    write_added(tokens, count, &list);
    const mc_status status = parse_with(document, false, "added_tokens", &list, &made, error);
    mc_text_free(&list);
    if (status == MC_OK)
        replace(document, made);
    return as_usage(status, error);
}

/* ---- more added tokens ----------------------------------------------------------------------- */

/* The document's text with another list of added tokens. */
static mc_status splice_added(const mc_document *d, const mc_text *list, mc_document *out,
                              mc_error *error)
{
    if (list->failed)
        return mc_fail_memory(error);
    if (d->list.end == d->list.first)
        return mc_splice_set(d->text, d->size, mc_splice_root(d->text, d->size), "added_tokens",
                             list->data, &out->text, &out->size, error);
    const size_t length = strlen(list->data), rest = d->size - d->list.end;
    out->size = d->list.first + length + rest;
    out->text = mc_alloc(out->size + 1);
    if (!out->text)
        return mc_fail_memory(error);
    memcpy(out->text, d->text, d->list.first);
    memcpy(out->text + d->list.first, list->data, length);
    memcpy(out->text + d->list.first + length, d->text + d->list.end, rest);
    out->text[out->size] = '\0';
    return MC_OK;
}

/* Adds a token to the lists of an extended document. */
static mc_status extend_by(mc_document *d, const mc_document_added *token, mc_error *error)
{
    const int32_t known = mc_document_find(d, token->text);
    const int32_t last = d->token_count > 0 ? d->tokens[d->token_count - 1].id : -1;
    const mc_document_added *const before = mc_document_find_added(d->base, token->text);
    if (known < 0 ? token->id <= last : known != token->id)
        return mc_fail(error, MC_USAGE, "added token '%s': its id %d is that of another token",
                       token->text, token->id);
    if (!MC_GROW(d->added, d->added_count, d->added_capacity) ||
        !mc_index_set(&d->places, token->text, d->added_count))
        return mc_fail_memory(error);
    d->added[d->added_count] = *token;
    d->added[d->added_count++].in_vocabulary = before ? before->in_vocabulary : known >= 0;
    if (known >= 0)
        return MC_OK;
    if (!MC_GROW(d->tokens, d->token_count, d->token_capacity) ||
        !mc_index_set(&d->ids, token->text, (size_t)token->id))
        return mc_fail_memory(error);
    d->tokens[d->token_count++] = (mc_document_token){.text = token->text, .id = token->id};
    return MC_OK;
}

static mc_status extend(mc_document *d, const mc_document_added *tokens, size_t count,
                        mc_error *error)
{
    const size_t before = d->base->token_count;
    mc_text list = {0};
    d->tokens = mc_alloc((before + count) * sizeof *d->tokens);
    if (!d->tokens)
        return mc_fail_memory(error);
    if (before > 0) /* else NULL, which memcpy does not take */
        memcpy(d->tokens, d->base->tokens, before * sizeof *d->tokens);
    d->token_count = before;
    d->token_capacity = before + count;
    for (size_t i = 0; i < count; i++)
        MC_TRY(extend_by(d, &tokens[i], error));
    write_added(tokens, count, &list);
    const mc_status status = splice_added(d->base, &list, d, error);
    mc_text_free(&list);
    return status;
}

mc_status mc_document_extend(const mc_document *base, const mc_document_added *tokens, size_t count,
                             mc_document **out, mc_error *error)
{
    MC_TRY(check_added(tokens, count, error));
    mc_document *const d = mc_alloc_zero(1, sizeof *d);
    if (!d)
        return mc_fail_memory(error);
    d->base = base;
    d->model = base->model;
    d->vocab_count = base->vocab_count;
    const mc_status status = extend(d, tokens, count, error);
    if (status == MC_OK)
        *out = d;
    else
        mc_document_free(d);
    return status;
}

/* ---- numbers --------------------------------------------------------------------------------- */

mc_status mc_document_check_numbers(const mc_document *document, mc_error *error)
{
    int64_t largest = -1;
    for (size_t i = 0; i < document->added_count; i++) {
        const mc_document_added *const t = &document->added[i];
        const int64_t next = largest < (int64_t)document->vocab_count
                                 ? (int64_t)document->vocab_count
                                 : largest + 1;
        if (!t->in_vocabulary && t->id != next)
            return mc_fail(error, MC_FORMAT,
                           "added token '%s': expected the id %" PRId64
                           ", which the package tokenizers gives it, found %d",
                           t->text, next, t->id);
        largest = t->id > largest ? t->id : largest;
    }
    return MC_OK;
}
