#include "tokenizer/union.h"

#include "base/memory.h"
#include "tokenizer/vocabulary.h"

#include <string.h>

void mc_union_free(mc_union *united)
{
    if (!united)
        return;
    for (size_t i = 0; united->ids && i < united->input_count; i++)
        mc_free(united->ids[i]);
    mc_free(united->ids);
    mc_document_free(united->document);
    mc_free(united);
}

/* The union while it is built: its ids by text, and its added tokens. */
typedef struct builder {
    const mc_union_input *inputs;
    size_t count, base;
    const mc_union_options *options;
    mc_vocabulary ids;   /* of all tokens */
    mc_vocabulary added; /* index in `tokens` of added ones */
    mc_document_added *tokens;
    size_t token_count;
    int32_t next;
    mc_union *out;
} builder;

static int32_t find(const mc_vocabulary *vocabulary, const char *text)
{
    return mc_vocabulary_find(vocabulary, text, strlen(text));
}

/* A tokenizer may have tokens for which the model has no row of its embedding. */
static bool has_row(const mc_union_input *input, int32_t id)
{
    return input->rows == 0 || (size_t)id < input->rows;
}

static mc_status reserve(builder *b, mc_error *error)
{
    size_t all = 0, added = 0;
    for (size_t i = 0; i < b->count; i++) {
        size_t count;
        mc_document_tokens(b->inputs[i].document, &count);
        all += count;
        mc_document_added_tokens(b->inputs[i].document, &count);
        added += count;
    }
    /* mc_vocabulary_reserve takes the final number, so the texts are counted first. */
    all += b->options->wanted_count;
    b->tokens = mc_alloc((all + added) * sizeof *b->tokens);
    if (!b->tokens)
        return mc_fail_memory(error);
    MC_TRY(mc_vocabulary_reserve(&b->ids, all, error));
    return mc_vocabulary_reserve(&b->added, all + added, error);
}

static mc_status add_base(builder *b, mc_error *error)
{
    const mc_union_input *const base = &b->inputs[b->base];
    size_t count;
    int32_t old;
    const mc_document_token *const tokens = mc_document_tokens(base->document, &count);
    for (size_t i = 0; i < count; i++) {
        if (!has_row(base, tokens[i].id))
            return mc_fail(error, MC_MISMATCH,
                           "token '%s' of the base: expected an id below vocab_size (%zu), "
                           "found %d",
                           tokens[i].text, base->rows, tokens[i].id);
        MC_TRY(mc_vocabulary_add(&b->ids, tokens[i].text, strlen(tokens[i].text), tokens[i].id,
                                 &old, error));
        /* Tokens are in the order of ids, so the last one has the largest. */
        b->next = tokens[i].id + 1;
    }
    const mc_document_added *const added = mc_document_added_tokens(base->document, &count);
    for (size_t i = 0; i < count; i++) {
        MC_TRY(mc_vocabulary_add(&b->added, added[i].text, strlen(added[i].text),
                                 (int32_t)b->token_count, &old, error));
        b->tokens[b->token_count++] = added[i];
    }
    return MC_OK;
}

/* An added token of the union: with the id of its text, or with the next one. */
static mc_status append(builder *b, mc_document_added token, mc_error *error)
{
    const size_t size = strlen(token.text);
    int32_t old;
    token.id = find(&b->ids, token.text);
    if (token.id == MC_NO_TOKEN) {
        token.id = b->next++;
        MC_TRY(mc_vocabulary_add(&b->ids, token.text, size, token.id, &old, error));
    }
    MC_TRY(mc_vocabulary_add(&b->added, token.text, size, (int32_t)b->token_count, &old, error));
    b->tokens[b->token_count++] = token;
    return MC_OK;
}

static const mc_document_added *find_added(const mc_document *document, const char *text)
{
    size_t count;
    const mc_document_added *const added = mc_document_added_tokens(document, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(added[i].text, text) == 0)
            return &added[i];
    return NULL;
}

/* A text that only the model's vocabulary has is looked for in the raw text, as an added token. */
static mc_status add_ordinary(builder *b, const mc_union_input *input, mc_error *error)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(input->document, &count);
    for (size_t i = 0; i < count; i++) {
        if (!has_row(input, tokens[i].id)) {
            b->out->skipped++;
            continue;
        }
        if (find(&b->ids, tokens[i].text) != MC_NO_TOKEN ||
            find_added(input->document, tokens[i].text))
            continue;
        MC_TRY(append(b, (mc_document_added){.text = tokens[i].text, .normalized = true}, error));
    }
    return MC_OK;
}

static bool same_attributes(const mc_document_added *a, const mc_document_added *b)
{
    return a->special == b->special && a->normalized == b->normalized &&
           a->left_strip == b->left_strip && a->right_strip == b->right_strip &&
           a->single_word == b->single_word;
}

static mc_status add_added(builder *b, const mc_union_input *input, mc_error *error)
{
    size_t count;
    const mc_document_added *const added = mc_document_added_tokens(input->document, &count);
    for (size_t i = 0; i < count; i++) {
        if (!has_row(input, added[i].id))
            continue;
        const int32_t known = find(&b->added, added[i].text);
        if (known == MC_NO_TOKEN)
            MC_TRY(append(b, added[i], error));
        else
            b->out->conflicting += !same_attributes(&b->tokens[known], &added[i]);
    }
    return MC_OK;
}

static mc_status add_wanted(builder *b, const char *text, mc_error *error)
{
    mc_document_added token = {.text = text, .normalized = true};
    if (find(&b->ids, text) != MC_NO_TOKEN)
        return MC_OK;
    /* From the last input on, so that the attributes of the first one stay. */
    for (size_t i = b->count; i-- > 0;) {
        const mc_document_added *const added = find_added(b->inputs[i].document, text);
        if (added)
            token = *added;
    }
    return append(b, token, error);
}

static mc_status map_ids(builder *b, size_t index, mc_error *error)
{
    const mc_union_input *const input = &b->inputs[index];
    int32_t *const ids = b->out->ids[index] = mc_alloc(b->out->count * sizeof *ids);
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(input->document, &count);
    if (!ids)
        return mc_fail_memory(error);
    for (size_t i = 0; i < b->out->count; i++)
        /* −1 stays where the model has no such token; the caller decides what such a row holds. */
        ids[i] = -1;
    for (size_t i = 0; i < count; i++) {
        const int32_t id = find(&b->ids, tokens[i].text);
        if (id != MC_NO_TOKEN && has_row(input, tokens[i].id))
            ids[id] = tokens[i].id;
    }
    return MC_OK;
}

static mc_status finish(builder *b, mc_error *error)
{
    mc_union *const out = b->out;
    const mc_document *const base = b->inputs[b->base].document;
    size_t size, before;
    const char *const text = mc_document_text(base, &size);
    mc_document_added_tokens(base, &before);
    MC_TRY(mc_document_parse(text, size, &out->document, error));
    /* Without new tokens the document stays byte for byte. */
    if (b->token_count > before)
        MC_TRY(mc_document_set_added(out->document, b->tokens, b->token_count, error));
    out->count = (size_t)b->next;
    out->ids = mc_alloc_zero(b->count, sizeof *out->ids);
    if (!out->ids)
        return mc_fail_memory(error);
    out->input_count = b->count;
    for (size_t i = 0; i < b->count; i++)
        MC_TRY(map_ids(b, i, error));
    return MC_OK;
}

static mc_status build(builder *b, mc_error *error)
{
    /*
     * Ordinary tokens of all models before added ones: an added token with the text of an ordinary
     * one gets its id.
     */
    const bool all = !b->options->base_only;
    MC_TRY(reserve(b, error));
    MC_TRY(add_base(b, error));
    for (size_t i = 0; all && i < b->count; i++)
        if (i != b->base)
            MC_TRY(add_ordinary(b, &b->inputs[i], error));
    for (size_t i = 0; all && i < b->count; i++)
        if (i != b->base)
            MC_TRY(add_added(b, &b->inputs[i], error));
    for (size_t i = 0; i < b->options->wanted_count; i++)
        MC_TRY(add_wanted(b, b->options->wanted[i], error));
    return finish(b, error);
}

mc_status mc_union_new(const mc_union_input *inputs, size_t count, const mc_union_options *options,
                       mc_union **out, mc_error *error)
{
    builder b = {.inputs = inputs, .count = count, .base = options->base, .options = options};
    if (b.base >= count)
        return mc_fail(error, MC_USAGE, "union of %zu tokenizers: found no base %zu", count,
                       b.base);
    b.out = mc_alloc_zero(1, sizeof *b.out);
    const mc_status status = b.out ? build(&b, error) : mc_fail_memory(error);
    mc_vocabulary_free(&b.ids);
    mc_vocabulary_free(&b.added);
    mc_free(b.tokens);
    if (status == MC_OK)
        *out = b.out;
    else
        mc_union_free(b.out);
    return status;
}
