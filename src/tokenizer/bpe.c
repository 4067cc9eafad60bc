#include "tokenizer/bpe.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/byte_level.h"

#include <string.h>

/* A token of a word while merges are applied; a doubly linked list. */
struct mc_bpe_symbol {
    int32_t id;            /* MC_NO_TOKEN: merged into the one before */
    int32_t before, after; /* indices; −1: none */
};

/*
 * A merge of a symbol and its successor. Candidates stay in the heap when a symbol changes;
 * is_current drops them when they are popped, which is cheaper than removing them.
 */
struct mc_bpe_candidate {
    uint64_t order; /* rank << 32 | symbol: the smallest first */
    int32_t merged;
};

/* The cache of words: direct-mapped, so a word replaces the one in its slot. */
enum { CACHED_WORDS = 16384, CACHED_BYTES = 26, CACHED_IDS = 8 };
struct mc_bpe_cached {
    uint8_t size, count; /* size 0: free */
    char word[CACHED_BYTES];
    int32_t ids[CACHED_IDS];
};

/* Probes before a list is rejected: far more than one needs that was not made to collide. */
#define MOST_PROBES 512

/* ---- the merges ------------------------------------------------------------------------------ */

uint32_t mc_bpe_character(unsigned char byte)
{
    /*
     * GPT-2's mapping: printable Latin-1 bytes stand for themselves, the others for U+0100 on in
     * their order. So no token of a vocabulary file has a blank or a control character.
     */
    if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return byte;
    if (byte <= ' ')
        return 0x100U + byte;
    return byte == 0xad ? 0x143U : 0x121U + (byte - 0x7fU);
}

mc_status mc_bpe_reserve(mc_bpe *bpe, size_t count, mc_error *error)
{
    size_t capacity = 16;
    while (capacity < count * 2)
        /* At most half full: probes stay short. */
        capacity *= 2;
    bpe->merges = mc_alloc(capacity * sizeof *bpe->merges);
    if (!bpe->merges)
        return mc_fail_memory(error);
    for (size_t i = 0; i < capacity; i++)
        bpe->merges[i].left = MC_NO_TOKEN;
    bpe->capacity = capacity;
    return MC_OK;
}

void mc_bpe_free(mc_bpe *bpe)
{
    mc_free(bpe->merges);
    *bpe = (mc_bpe){0};
}

/* Returns the slot of a pair, or the free slot for it; NULL if there is none within MOST_PROBES. */
static mc_bpe_merge *merge_of(const mc_bpe *bpe, int32_t left, int32_t right)
{
    /* Fibonacci hashing: the upper half of the product depends on all bits of both ids. */
    const uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) *
                          UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < MOST_PROBES; i++) {
        mc_bpe_merge *const slot = &bpe->merges[((hash >> 32) + i) & (bpe->capacity - 1)];
        if (slot->left == MC_NO_TOKEN || (slot->left == left && slot->right == right))
            return slot;
    }
    return NULL;
}

mc_status mc_bpe_add(mc_bpe *bpe, mc_bpe_merge merge, mc_error *error)
{
    mc_bpe_merge *const slot = merge_of(bpe, merge.left, merge.right);
    /* A table with long chains would make every lookup slow: a vocabulary may come from anybody. */
    if (!slot)
        return mc_fail(error, MC_FORMAT, "too many of its merges have colliding hashes");
    *slot = merge;
    return MC_OK;
}

/* ---- the heap -------------------------------------------------------------------------------- */

/* A binary heap: the children of entry i are 2 i + 1 and 2 i + 2. */
static void push(mc_bpe_scratch *scratch, mc_bpe_candidate candidate, mc_ids *ids)
{
    if (!MC_GROW(scratch->heap, scratch->heap_count, scratch->heap_capacity)) {
        ids->failed = true;
        return;
    }
    mc_bpe_candidate *const heap = scratch->heap;
    size_t at = scratch->heap_count++;
    for (; at && heap[(at - 1) / 2].order > candidate.order; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = candidate;
}

static mc_bpe_candidate pop(mc_bpe_scratch *scratch)
{
    mc_bpe_candidate *const heap = scratch->heap;
    const mc_bpe_candidate top = heap[0];
    const size_t count = --scratch->heap_count;
    const mc_bpe_candidate moved = heap[count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < count && heap[child + 1].order < heap[child].order)
            child++;
        if (child >= count || heap[child].order >= moved.order)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
    return top;
}

/* ---- a word ---------------------------------------------------------------------------------- */

/* Queues the merge of symbol `at` and its successor, if there is one. */
static void consider(const mc_bpe *bpe, mc_bpe_scratch *scratch, int32_t at, mc_ids *ids)
{
    const mc_bpe_symbol *const symbols = scratch->symbols;
    if (at < 0 || symbols[at].after < 0)
        return;
    const mc_bpe_merge *const merge = merge_of(bpe, symbols[at].id, symbols[symbols[at].after].id);
    if (merge && merge->left != MC_NO_TOKEN)
        push(scratch, (mc_bpe_candidate){(uint64_t)merge->rank << 32 | (uint32_t)at, merge->merged},
             ids);
}

/* Returns whether the two symbols of a candidate are unchanged since it was queued. */
static bool is_current(const mc_bpe *bpe, const mc_bpe_symbol *symbols, mc_bpe_candidate candidate)
{
    const mc_bpe_symbol *const symbol = &symbols[(uint32_t)candidate.order];
    if (symbol->id == MC_NO_TOKEN || symbol->after < 0)
        return false;
    const mc_bpe_merge *const merge = merge_of(bpe, symbol->id, symbols[symbol->after].id);
    /* One of the two may be another token by now, whose merge was queued as well. */
    return merge && merge->left != MC_NO_TOKEN && merge->merged == candidate.merged;
}

/*
 * The merge of the lowest rank first, of equal ranks the leftmost. With a heap this takes n log n
 * steps; searching the word again after each merge takes n², which one long word without blanks
 * makes slow.
 *
 * An example, with the merges "l o", "lo w" and "e r" of ranks 0, 1 and 2:
 *
 *   l  o  w  e  r      candidates: lo (0), er (2)
 *   lo .  w  e  r      popped lo (0); queued low (1)
 *   low.  .  e  r      popped low (1)
 *   low.  .  er .      popped er (2)        a dot is a symbol that was merged into the one before
 */
static void apply_merges(const mc_bpe *bpe, mc_bpe_scratch *scratch, size_t count, mc_ids *ids)
{
    mc_bpe_symbol *const symbols = scratch->symbols;
    scratch->heap_count = 0;
    for (size_t i = 0; i + 1 < count; i++)
        consider(bpe, scratch, (int32_t)i, ids);
    while (scratch->heap_count) {
        const mc_bpe_candidate candidate = pop(scratch);
        if (!is_current(bpe, symbols, candidate))
            continue;
        const int32_t at = (int32_t)(uint32_t)candidate.order, gone = symbols[at].after;
        symbols[at].id = candidate.merged;
        symbols[at].after = symbols[gone].after;
        symbols[gone].id = MC_NO_TOKEN;
        if (symbols[at].after >= 0)
            symbols[symbols[at].after].before = at;
        /* The new token has two new neighbours: it may merge with either. */
        consider(bpe, scratch, symbols[at].before, ids);
        consider(bpe, scratch, at, ids);
    }
}

static bool reserve_symbols(mc_bpe_scratch *scratch, size_t count)
{
    if (count <= scratch->symbol_capacity)
        return true;
    mc_bpe_symbol *const symbols = mc_realloc(scratch->symbols, 2 * count * sizeof *symbols);
    if (!symbols)
        return false;
    scratch->symbols = symbols;
    scratch->symbol_capacity = 2 * count;
    return true;
}

/*
 * Splits a word into symbols of one byte each; the model decides what becomes of unknown ones.
 * Returns their number.
 */
static size_t spell(const mc_bpe *bpe, const char *word, size_t size, mc_bpe_symbol *symbols)
{
    size_t count = 0;
    bool in_unknown = false;
    for (size_t i = 0; i < size; i++) {
        int32_t id = bpe->bytes[(unsigned char)word[i]];
        const bool is_unknown = id == MC_NO_TOKEN;
        if (is_unknown && !(in_unknown && bpe->fuse_unknown))
            id = bpe->unknown;
        in_unknown = is_unknown;
        if (id == MC_NO_TOKEN)
            continue;
        symbols[count] = (mc_bpe_symbol){id, (int32_t)count - 1, (int32_t)count + 1};
        count++;
    }
    if (count)
        symbols[count - 1].after = -1;
    return count;
}

static void merge_word(const mc_bpe *bpe, const char *word, size_t size, mc_bpe_scratch *scratch,
                       mc_ids *ids)
{
    /* Symbols are numbered by int32_t, and the low half of a candidate's order holds the number. */
    if (size > INT32_MAX / 4 || !reserve_symbols(scratch, size)) {
        ids->failed = true;
        return;
    }
    const size_t count = spell(bpe, word, size, scratch->symbols);
    apply_merges(bpe, scratch, count, ids);
    for (int32_t i = count ? 0 : -1; i >= 0; i = scratch->symbols[i].after)
        mc_ids_add(ids, scratch->symbols[i].id);
}

/*
 * Returns the token whose text is the whole word, in the vocabulary's spelling; MC_NO_TOKEN if none
 * is.
 */
static int32_t find_word(const mc_tokenizer *tokenizer, const char *word, size_t size,
                         mc_bpe_scratch *scratch, mc_ids *ids)
{
    if (size > MC_TOKEN_BYTES)
        return MC_NO_TOKEN;
    /* A byte is spelled with one or two bytes. */
    if (!mc_buffer_reserve(&scratch->spelling, 2 * MC_TOKEN_BYTES)) {
        ids->failed = true;
        return MC_NO_TOKEN;
    }
    char *end = scratch->spelling.bytes;
    for (size_t i = 0; i < size; i++)
        end = mc_utf8_put(end, mc_bpe_character((unsigned char)word[i]));
    return mc_vocabulary_find(&tokenizer->vocabulary, scratch->spelling.bytes,
                              (size_t)(end - scratch->spelling.bytes));
}

static void encode_word(const mc_tokenizer *tokenizer, const char *word, size_t size,
                        mc_bpe_scratch *scratch, mc_ids *ids)
{
    const int32_t whole = tokenizer->bpe.whole_words
                              ? find_word(tokenizer, word, size, scratch, ids)
                              : MC_NO_TOKEN;
    if (whole == MC_NO_TOKEN)
        merge_word(&tokenizer->bpe, word, size, scratch, ids);
    else
        mc_ids_add(ids, whole);
}

/* ---- the cache ------------------------------------------------------------------------------- */

/* Empties the cache if it belongs to another tokenizer. */
static bool prepare_cache(mc_bpe_scratch *scratch, uint64_t serial)
{
    if (scratch->cache && scratch->serial == serial)
        return true;
    if (!scratch->cache)
        scratch->cache = mc_alloc(CACHED_WORDS * sizeof *scratch->cache);
    if (!scratch->cache)
        return false;
    for (size_t i = 0; i < CACHED_WORDS; i++)
        scratch->cache[i].size = 0;
    scratch->serial = serial;
    return true;
}

static mc_bpe_cached *cached(const mc_bpe_scratch *scratch, const char *word, size_t size)
{
    /* FNV-1a. */
    uint64_t hash = size;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)word[i]) * UINT64_C(0x100000001b3);
    return &scratch->cache[(hash ^ hash >> 32) % CACHED_WORDS];
}

static void encode_cached(const mc_tokenizer *tokenizer, const char *word, size_t size,
                          mc_bpe_scratch *scratch, mc_ids *ids)
{
    /* Longer words are rare, and would make all entries larger. */
    if (size > CACHED_BYTES) {
        encode_word(tokenizer, word, size, scratch, ids);
        return;
    }
    mc_bpe_cached *const entry = cached(scratch, word, size);
    if (entry->size == size && memcmp(entry->word, word, size) == 0) {
        for (size_t i = 0; i < entry->count; i++)
            mc_ids_add(ids, entry->ids[i]);
        return;
    }
    const size_t before = ids->count;
    encode_word(tokenizer, word, size, scratch, ids);
    const size_t count = ids->count - before;
    /* Incomplete tokens must not be cached. */
    if (ids->failed || count > CACHED_IDS)
        return;
    entry->size = (uint8_t)size;
    entry->count = (uint8_t)count;
    memcpy(entry->word, word, size);
    if (count)
        memcpy(entry->ids, ids->items + before, count * sizeof *entry->ids);
}

void mc_bpe_scratch_free(mc_bpe_scratch *scratch)
{
    mc_free(scratch->text.bytes);
    mc_free(scratch->spelling.bytes);
    mc_free(scratch->symbols);
    mc_free(scratch->heap);
    mc_free(scratch->cache);
    *scratch = (mc_bpe_scratch){0};
}

/* ---- a text ---------------------------------------------------------------------------------- */

/* The text with a blank in front. */
static const char *with_blank(mc_buffer *buffer, const char *text, size_t size)
{
    if (!mc_buffer_reserve(buffer, size + 1))
        return NULL;
    buffer->bytes[0] = ' ';
    memcpy(buffer->bytes + 1, text, size);
    return buffer->bytes;
}

void mc_bpe_encode(const mc_tokenizer *tokenizer, const char *text, size_t size,
                   mc_bpe_scratch *scratch, mc_ids *ids)
{
    const mc_bpe *const bpe = &tokenizer->bpe;
    /* The first word of a text is then the same token as inside of a sentence. */
    if (bpe->prefix_space && text[0] != ' ')
        text = with_blank(&scratch->text, text, size++);
    if (!text || !prepare_cache(scratch, tokenizer->serial)) {
        ids->failed = true;
        return;
    }
    for (size_t at = 0, length; at < size && !ids->failed; at += length) {
        length = bpe->split ? mc_byte_level_word(text + at, size - at) : size;
        encode_cached(tokenizer, text + at, length, scratch, ids);
    }
}
