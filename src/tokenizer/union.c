#include "tokenizer/union.h"

#include "base/cpu.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/team.h"

#include <string.h>

void mc_union_free(mc_union *united)
{
    if (!united)
        return;
    for (size_t i = 0; united->ids && i < united->input_count; i++)
        mc_free(united->ids[i]);
    mc_free(united->ids);
    mc_document_free(united->made);
    mc_free(united);
}

/* The union while it is built: the base, and what is appended to it. */
typedef struct builder {
    const mc_union_input *inputs;
    size_t count;
    const mc_document *base;
    const mc_union_options *options;
    int32_t **found;           /* per input and token: its id in the union; −1. Not of the base */
    mc_index ids;              /* of tokens that the base lacks */
    mc_index places;           /* of all added tokens, in `tokens` */
    mc_document_added *tokens; /* the base's added tokens, and new ones */
    size_t token_count, token_capacity;
    size_t base_added; /* different added tokens of the base */
    int32_t next;
    mc_union *out;
} builder;

static int32_t find(const builder *b, const char *text)
{
    const int32_t id = mc_document_find(b->base, text);
    const size_t added = id < 0 ? mc_index_find(&b->ids, text) : MC_INDEX_NONE;
    return added == MC_INDEX_NONE ? id : (int32_t)added;
}

/* A tokenizer may have tokens for which the model has no row of its embedding. */
static bool has_row(const mc_union_input *input, int32_t id)
{
    return input->rows == 0 || (size_t)id < input->rows;
}

/* Keeps a token's text and attributes for the list of added tokens. */
static mc_status keep(builder *b, const mc_document_added *token, mc_error *error)
{
    if (!MC_GROW(b->tokens, b->token_count, b->token_capacity) ||
        !mc_index_set(&b->places, token->text, b->token_count))
        return mc_fail_memory(error);
    b->tokens[b->token_count++] = *token;
    return MC_OK;
}

static mc_status add_base(builder *b, const mc_union_input *base, mc_error *error)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(base->document, &count);
    for (size_t i = 0; i < count; i++)
        if (!has_row(base, tokens[i].id))
            return mc_fail(error, MC_MISMATCH,
                           "token '%s' of the base: expected an id below vocab_size (%zu), "
                           "found %d",
                           tokens[i].text, base->rows, tokens[i].id);
    /* Tokens are in the order of ids, so the last one has the largest. */
    b->next = count > 0 ? tokens[count - 1].id + 1 : 0;
    const mc_document_added *const added = mc_document_added_tokens(base->document, &count);
    for (size_t i = 0; i < count; i++)
        /* A file may list a token twice; of its attributes the first count. */
        if (mc_index_find(&b->places, added[i].text) == MC_INDEX_NONE)
            MC_TRY(keep(b, &added[i], error));
    b->base_added = b->token_count;
    return MC_OK;
}

/* Finds the tokens of an input in the base. Half of the time of a union, so on all threads. */
static mc_status match(void *arg, int worker, size_t index, mc_error *error)
{
    const builder *const b = arg;
    const mc_document *const document = b->inputs[index].document;
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(document, &count);
    (void)worker;
    if (document == b->base)
        return MC_OK;
    int32_t *const found = b->found[index] = mc_alloc(count * sizeof *found);
    if (!found)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        found[i] = mc_document_find(b->base, tokens[i].text);
    return MC_OK;
}

/* An added token of the union: with the id of its text, or with the next one. */
static mc_status append(builder *b, mc_document_added token, mc_error *error)
{
    token.id = find(b, token.text);
    if (token.id < 0) {
        token.id = b->next++;
        if (!mc_index_set(&b->ids, token.text, (size_t)token.id))
            return mc_fail_memory(error);
    }
    return keep(b, &token, error);
}

/* A text that only the model's vocabulary has is looked for in the raw text, as an added token. */
static mc_status add_ordinary(builder *b, size_t index, mc_error *error)
{
    const mc_union_input *const input = &b->inputs[index];
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(input->document, &count);
    for (size_t i = 0; i < count; i++) {
        if (!has_row(input, tokens[i].id)) {
            b->out->skipped++;
            continue;
        }
        if (!b->found[index] || b->found[index][i] >= 0 || find(b, tokens[i].text) >= 0 ||
            mc_document_find_added(input->document, tokens[i].text))
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
        const size_t known = mc_index_find(&b->places, added[i].text);
        if (known == MC_INDEX_NONE)
            MC_TRY(append(b, added[i], error));
        else
            b->out->conflicting += !same_attributes(&b->tokens[known], &added[i]);
    }
    return MC_OK;
}

static mc_status add_wanted(builder *b, const char *text, mc_error *error)
{
    mc_document_added token = {.text = text, .normalized = true};
    if (find(b, text) >= 0)
        return MC_OK;
    /* From the last input on, so that the attributes of the first one stay. */
    for (size_t i = b->count; i-- > 0;) {
        const mc_document_added *const added = mc_document_find_added(b->inputs[i].document, text);
        if (added)
            token = *added;
    }
    return append(b, token, error);
}

/* The id in the union of an input's token number `i`. */
static int32_t id_of(const builder *b, size_t index, const mc_document_token *token, size_t i)
{
    if (!b->found[index])
        return token->id;
    return b->found[index][i] >= 0 ? b->found[index][i] : find(b, token->text);
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
        const int32_t id = id_of(b, index, &tokens[i], i);
        if (id >= 0 && has_row(input, tokens[i].id))
            ids[id] = tokens[i].id;
    }
    return MC_OK;
}

static mc_status finish(builder *b, mc_error *error)
{
    mc_union *const out = b->out;
    /* Without new tokens the document stays byte for byte. */
    if (b->token_count > b->base_added)
        MC_TRY(mc_document_extend(b->base, b->tokens, b->token_count, &out->made, error));
    out->document = out->made ? out->made : b->base;
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
    const size_t base = b->options->base;
    MC_TRY(mc_parallel(b->count, mc_cpu_count(), match, b, error));
    MC_TRY(add_base(b, &b->inputs[base], error));
    for (size_t i = 0; all && i < b->count; i++)
        if (i != base)
            MC_TRY(add_ordinary(b, i, error));
    for (size_t i = 0; all && i < b->count; i++)
        if (i != base)
            MC_TRY(add_added(b, &b->inputs[i], error));
    for (size_t i = 0; i < b->options->wanted_count; i++)
        MC_TRY(add_wanted(b, b->options->wanted[i], error));
    return finish(b, error);
}

mc_status mc_union_new(const mc_union_input *inputs, size_t count, const mc_union_options *options,
                       mc_union **out, mc_error *error)
{
    builder b = {.inputs = inputs, .count = count, .options = options};
    if (options->base >= count)
        return mc_fail(error, MC_USAGE, "union of %zu tokenizers: found no base %zu", count,
                       options->base);
    b.base = inputs[options->base].document;
    b.out = mc_alloc_zero(1, sizeof *b.out);
    b.found = mc_alloc_zero(count, sizeof *b.found);
    const mc_status status = b.out && b.found ? build(&b, error) : mc_fail_memory(error);
    for (size_t i = 0; b.found && i < count; i++)
        mc_free(b.found[i]);
    mc_free(b.found);
    mc_index_free(&b.ids);
    mc_index_free(&b.places);
    mc_free(b.tokens);
    if (status == MC_OK)
        *out = b.out;
    else
        mc_union_free(b.out);
    return status;
}
