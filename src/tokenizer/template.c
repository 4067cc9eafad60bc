#include "tokenizer/template.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

mc_status mc_template_add(mc_template *template, mc_part_kind kind, int32_t id, uint8_t type,
                          mc_error *error)
{
    if (template->count == MC_TEMPLATE_PARTS)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a post_processor that adds at most %d tokens, found more",
                       MC_TEMPLATE_PARTS - 2);
    template->parts[template->count++] = (mc_template_part){.kind = kind, .id = id, .type = type};
    template->tokens += kind == MC_PART_TOKEN;
    return MC_OK;
}

/* Shortens two lengths to `most` in total: the longer one down to the shorter, then both. */
static void cut(size_t *first, size_t *second, size_t most)
{
    if (*first + *second <= most)
        return;
    size_t *const shorter = *first <= *second ? first : second;
    size_t *const longer = *first <= *second ? second : first;
    /*
     * "longest_first" of the package `tokenizers`. Of an odd number, the longer text keeps one
     * token more.
     */
    if (*shorter < most - *shorter && *shorter <= most) {
        *longer = most - *shorter;
    } else {
        *shorter = most / 2;
        *longer = most - *shorter;
    }
}

static bool reserve(mc_encoding *out, size_t count)
{
    if (count <= out->capacity)
        return true;
    /* An encoding is reused for many texts: it grows by half, so that it seldom grows. */
    const size_t capacity = count + count / 2 + 64;
    int32_t *const ids = mc_realloc(out->ids, capacity * sizeof *ids);
    if (!ids)
        return false;
    out->ids = ids;
    uint8_t *const types = mc_realloc(out->types, capacity);
    if (!types)
        return false;
    out->types = types;
    out->capacity = capacity;
    return true;
}

static void add(mc_encoding *out, const int32_t *ids, size_t count, uint8_t type)
{
    if (count) {
        memcpy(out->ids + out->count, ids, count * sizeof *ids);
        memset(out->types + out->count, type, count);
    }
    out->count += count;
}

mc_status mc_template_apply(const mc_tokenizer *tokenizer, const mc_ids *text, const mc_ids *pair,
                            size_t max_length, mc_encoding *out, mc_error *error)
{
    static const mc_ids nothing = {0};
    const mc_template *const template = pair ? &tokenizer->pair : &tokenizer->single;
    const mc_ids *const sides[2] = {text, pair ? pair : &nothing};
    size_t kept[2] = {sides[0]->count, sides[1]->count};
    if (max_length && max_length < template->tokens)
        return mc_fail(error, MC_USAGE,
                       "expected a length of at least %zu, for special tokens alone, found %zu",
                       template->tokens, max_length);
    if (max_length)
        cut(&kept[0], &kept[1], max_length - template->tokens);
    out->truncated = kept[0] < sides[0]->count || kept[1] < sides[1]->count;
    if (!reserve(out, template->tokens + kept[0] + kept[1]))
        return mc_fail_memory(error);
    for (size_t i = 0; i < template->count; i++) {
        const mc_template_part *const part = &template->parts[i];
        const int side = part->kind == MC_PART_PAIR;
        /* Truncation on the left keeps the end of a text. */
        const size_t skipped = tokenizer->cut_left ? sides[side]->count - kept[side] : 0;
        if (part->kind == MC_PART_TOKEN)
            add(out, &part->id, 1, part->type);
        else if (kept[side])
            add(out, sides[side]->items + skipped, kept[side], part->type);
    }
    return MC_OK;
}
