#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/normalize.h"
#include "tokenizer/template.h"
#include "tokenizer/wordpiece.h"

/* Memory for encoding, reused from text to text. */
typedef struct mc_encoding_scratch {
    mc_buffer repaired, normalized;
    mc_ids text, pair;
    mc_bpe_scratch bpe;

} mc_encoding_scratch;

/* One text while it is encoded. */
typedef struct passage {
    const mc_tokenizer *tokenizer;
    mc_encoding_scratch *scratch;
    mc_ids *ids;
} passage;

static void add_token(void *user, int32_t id)
{
    mc_ids_add(((const passage *)user)->ids, id);
}

/* Receives normalised text without added tokens. */
static bool add_model_tokens(void *user, const char *text, size_t size)
{
    const passage *const p = user;
    if (p->tokenizer->kind == MC_WORDPIECE)
        mc_wordpiece_encode(p->tokenizer, text, size, p->ids);
    else
        mc_bpe_encode(p->tokenizer, text, size, &p->scratch->bpe, p->ids);
    return !p->ids->failed;
}

/* Receives text between the added tokens that are found before normalisation. */
static bool normalize_piece(void *user, const char *text, size_t size)
{
    const passage *const p = user;
    const mc_added *const added = &p->tokenizer->added;
    const mc_added_walk walk = {add_model_tokens, add_token, user};
    mc_buffer *const buffer = &p->scratch->normalized;
    if (mc_normalizer_changes(&p->tokenizer->normalizer)) {
        if (!mc_normalize(&p->tokenizer->normalizer, text, size, buffer, &size))
            return false;
        text = buffer->bytes;
    }
    return mc_added_find(added, &added->normalized, text, size, &walk);
}

static mc_status tokenize(passage *p, const char *text, size_t size, mc_error *error)
{
    const mc_added *const added = &p->tokenizer->added;
    const mc_added_walk walk = {normalize_piece, add_token, p};
    /*
     * Text and pair have a list of their own: truncation needs both lengths before any id is
     * placed.
     */
    p->ids->count = 0;
    p->ids->failed = false;
    /*
     * What is not UTF-8 becomes U+FFFD, at most three bytes per byte. All later stages rely on
     * valid UTF-8.
     */
    if (mc_utf8_valid(text, size) < size) {
        mc_buffer *const buffer = &p->scratch->repaired;
        if (size > SIZE_MAX / 3 || !mc_buffer_reserve(buffer, size * 3))
            return mc_fail_memory(error);
        size = mc_utf8_repair(text, size, buffer->bytes);
        text = buffer->bytes;
    }
    const bool done = mc_added_find(added, &added->plain, text, size, &walk);
    return done && !p->ids->failed ? MC_OK : mc_fail_memory(error);
}

mc_status mc_tokenizer_encode(const mc_tokenizer *tokenizer, const char *text, size_t size,
                              const char *pair, size_t pair_size, size_t max_length,
                              mc_encoding *out, mc_error *error)
{
    out->count = 0;
    out->truncated = false;
    if (!out->scratch && !(out->scratch = mc_alloc_zero(1, sizeof *out->scratch)))
        return mc_fail_memory(error);
    mc_encoding_scratch *const scratch = out->scratch;
    passage p = {tokenizer, scratch, &scratch->text};
    MC_TRY(tokenize(&p, text, size, error));
    if (pair) {
        p.ids = &scratch->pair;
        MC_TRY(tokenize(&p, pair, pair_size, error));
    }
    return mc_template_apply(tokenizer, &scratch->text, pair ? &scratch->pair : NULL, max_length,
                             out, error);
}

void mc_encoding_free(mc_encoding *encoding)
{
    mc_encoding_scratch *const scratch = encoding->scratch;
    if (scratch) {
        mc_free(scratch->repaired.bytes);
        mc_free(scratch->normalized.bytes);
        mc_free(scratch->text.items);
        mc_free(scratch->pair.items);
        mc_bpe_scratch_free(&scratch->bpe);
        mc_free(scratch);
    }
    mc_free(encoding->ids);
    mc_free(encoding->types);
    *encoding = (mc_encoding){0};
}
