/* Texts → tokens → packed batches → logits → scores. */
#include "base/memory.h"
#include "base/system.h"
#include "pipeline/pipeline.h"
#include "pipeline/scores.h"

#include <stdlib.h>
#include <string.h>

/*
 * Texts that are tokenized and sorted by length at a time: bounds memory, and is enough to sort
 * well.
 */
enum { WINDOW = 4096 };

static size_t size_of(const char *text, size_t size)
{
    return text && size == 0 ? strlen(text) : size;
}

static size_t bytes_of(const mc_text_input *text)
{
    return size_of(text->text, text->size) + size_of(text->pair, text->pair_size);
}

mc_status mc_pipeline_tokenize(const mc_pipeline *pipeline, const mc_text_input *text,
                               mc_encoding *out, mc_error *error)
{
    return mc_tokenizer_encode(pipeline->tokenizer, text->text, size_of(text->text, text->size),
                               text->pair, size_of(text->pair, text->pair_size),
                               pipeline->max_length, out, error);
}

/* ---- progress -------------------------------------------------------------------------------- */

enum { CALLS_PER_SECOND = 10 };

/* Counts tokens, not texts: texts differ in length, and time grows with their tokens. */
typedef struct meter {
    const mc_pipeline_run *run;
    size_t tokens_read, bytes_read, bytes_total; /* of tokenized texts; of all texts */
    size_t done;                                 /* tokens of complete batches */
    double last;                                 /* when run->progress was called */
} meter;

/* Tokens of all texts; the rest is estimated to have as many tokens per byte. */
static size_t total_tokens(const meter *m)
{
    if (m->bytes_read == 0 || m->bytes_read >= m->bytes_total)
        return m->tokens_read;
    return (size_t)((double)m->tokens_read / (double)m->bytes_read * (double)m->bytes_total);
}

static void report(meter *m, size_t done)
{
    const size_t total = total_tokens(m);
    m->last = mc_seconds();
    /* The total is an estimate until all texts are tokenized, and may fall below what is done. */
    m->run->progress(done < total ? done : total, total, m->run->user);
}

/* For mc_watch, which calls it after each operation: more often than a display needs. */
static void on_tokens(double tokens, void *user)
{
    meter *const m = user;
    if ((mc_seconds() - m->last) * CALLS_PER_SECOND >= 1)
        report(m, m->done + (size_t)tokens);
}

/* ---- a window of texts ----------------------------------------------------------------------- */

typedef struct sequence {
    size_t text, first, count; /* index of the text; its tokens in the window */
} sequence;

/* The tokens of up to WINDOW texts, and room for a batch of them. */
typedef struct window {
    mc_encoding encoding;
    int32_t *ids, *batch_ids;
    uint8_t *types, *batch_types;
    size_t used, capacity, batch_capacity;
    sequence *sequences; /* longest first */
    size_t count;
    size_t *starts;
    float *logits;
    mc_scratch *scratch;
} window;

static void free_window(window *w)
{
    mc_encoding_free(&w->encoding);
    mc_free(w->ids);
    mc_free(w->types);
    mc_free(w->batch_ids);
    mc_free(w->batch_types);
    mc_free(w->sequences);
    mc_free(w->starts);
    mc_free(w->logits);
    mc_scratch_free(w->scratch);
}

static mc_status new_window(window *w, size_t texts, size_t labels, mc_error *error)
{
    const size_t most = texts < WINDOW ? texts : WINDOW;
    w->sequences = mc_alloc(most * sizeof *w->sequences);
    w->starts = mc_alloc((most + 1) * sizeof *w->starts);
    w->logits = mc_alloc_zero(most, labels * sizeof *w->logits);
    if (!w->sequences || !w->starts || !w->logits)
        return mc_fail_memory(error);
    return mc_scratch_new(&w->scratch, error);
}

/* Makes room for `count` ids and types, keeping their contents. */
static mc_status reserve(int32_t **ids, uint8_t **types, size_t *capacity, size_t count,
                         mc_error *error)
{
    if (count <= *capacity)
        return MC_OK;
    const size_t larger = count > 2 * *capacity ? count : 2 * *capacity;
    int32_t *const more_ids = mc_realloc(*ids, larger * sizeof **ids);
    if (!more_ids)
        return mc_fail_memory(error);
    *ids = more_ids;
    uint8_t *const more_types = mc_realloc(*types, larger * sizeof **types);
    if (!more_types)
        return mc_fail_memory(error);
    *types = more_types;
    *capacity = larger;
    return MC_OK;
}

static mc_status add_text(const mc_pipeline *pipeline, const mc_text_input *text, size_t index,
                          window *w, size_t *truncated, mc_error *error)
{
    mc_encoding *const encoding = &w->encoding;
    MC_TRY(mc_pipeline_tokenize(pipeline, text, encoding, error));
    *truncated += encoding->truncated;
    MC_TRY(reserve(&w->ids, &w->types, &w->capacity, w->used + encoding->count, error));
    memcpy(w->ids + w->used, encoding->ids, encoding->count * sizeof *w->ids);
    memcpy(w->types + w->used, encoding->types, encoding->count);
    w->sequences[w->count++] = (sequence){index, w->used, encoding->count};
    w->used += encoding->count;
    return MC_OK;
}

static int longest_first(const void *left, const void *right)
{
    const sequence *const a = left, *const b = right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    /* qsort is not stable. The same order in every run gives the same batches. */
    return a->text > b->text ? 1 : -1;
}

/* ---- batches --------------------------------------------------------------------------------- */

/*
 * The number of sequences that make a batch from `first` on. At least one: a sequence longer than a
 * batch is a batch of its own.
 */
static size_t batch_size(const window *w, size_t first, size_t batch_tokens)
{
    size_t count = 0, tokens = 0;
    while (first + count < w->count &&
           (count == 0 || tokens + w->sequences[first + count].count <= batch_tokens))
        tokens += w->sequences[first + count++].count;
    return count;
}

static mc_status pack(window *w, size_t first, size_t count, mc_error *error)
{
    size_t tokens = 0;
    for (size_t i = 0; i < count; i++) {
        w->starts[i] = tokens;
        tokens += w->sequences[first + i].count;
    }
    w->starts[count] = tokens;
    MC_TRY(reserve(&w->batch_ids, &w->batch_types, &w->batch_capacity, tokens, error));
    for (size_t i = 0; i < count; i++) {
        const sequence *const from = &w->sequences[first + i];
        memcpy(w->batch_ids + w->starts[i], w->ids + from->first, from->count * sizeof *w->ids);
        memcpy(w->batch_types + w->starts[i], w->types + from->first, from->count);
    }
    return MC_OK;
}

static mc_status run_batch(const mc_pipeline *pipeline, window *w, size_t first, size_t count,
                           meter *m, float *out, mc_error *error)
{
    const mc_watch watch = {
        .cancel = m->run->cancel, .progress = m->run->progress ? on_tokens : NULL, .user = m};
    const size_t labels = pipeline->label_count;
    MC_TRY(pack(w, first, count, error));
    const mc_batch batch = {
        .ids = w->batch_ids, .types = w->batch_types, .starts = w->starts, .count = count};
    MC_TRY(mc_encoder_logits(pipeline->encoder, &batch, pipeline->options.threads, &watch,
                             w->scratch, w->logits, error));
    m->done += w->starts[count];
    for (size_t i = 0; i < count; i++)
        /* Back to the order of the texts. */
        memcpy(out + w->sequences[first + i].text * labels, w->logits + i * labels,
               labels * sizeof *out);
    return MC_OK;
}

static mc_status check_cancel(const mc_pipeline_run *run, mc_error *error)
{
    if (run->cancel && __atomic_load_n(run->cancel, __ATOMIC_RELAXED))
        return mc_fail(error, MC_INTERRUPTED, "interrupted");
    return MC_OK;
}

static mc_status run_window(const mc_pipeline *pipeline, window *w, meter *m, float *out,
                            mc_error *error)
{
    /* Sequences of a batch then have about the same length, and the threads about the same work. */
    qsort(w->sequences, w->count, sizeof *w->sequences, longest_first);
    for (size_t first = 0; first < w->count;) {
        const size_t count = batch_size(w, first, pipeline->options.batch_tokens);
        if (m->run->progress)
            report(m, m->done);
        MC_TRY(run_batch(pipeline, w, first, count, m, out, error));
        first += count;
    }
    return MC_OK;
}

/* Tokenizes the next window of texts. */
static mc_status read_window(const mc_pipeline *pipeline, const mc_text_input *texts, size_t first,
                             size_t count, window *w, meter *m, size_t *truncated, mc_error *error)
{
    w->used = w->count = 0;
    for (size_t i = first; i < count && i < first + WINDOW; i++) {
        /* Tokenizing takes no callback, so it is checked between texts. */
        MC_TRY(check_cancel(m->run, error));
        MC_TRY(add_text(pipeline, &texts[i], i, w, truncated, error));
        m->bytes_read += bytes_of(&texts[i]);
    }
    m->tokens_read += w->used;
    return MC_OK;
}

static mc_status run_all(const mc_pipeline *pipeline, const mc_text_input *texts, size_t count,
                         const mc_pipeline_run *run, window *w, float *out, mc_error *error)
{
    size_t truncated = 0;
    meter m = {.run = run};
    for (size_t i = 0; i < count; i++)
        m.bytes_total += bytes_of(&texts[i]);
    for (size_t first = 0; first < count; first += w->count) {
        MC_TRY(read_window(pipeline, texts, first, count, w, &m, &truncated, error));
        MC_TRY(run_window(pipeline, w, &m, out, error));
    }
    if (run->progress && count > 0)
        report(&m, m.done);
    if (run->truncated)
        *run->truncated = truncated;
    return MC_OK;
}

mc_status mc_pipeline_logits(const mc_pipeline *pipeline, const mc_text_input *texts, size_t count,
                             const mc_pipeline_run *run, float *out, mc_error *error)
{
    const mc_pipeline_run standard = {0};
    window w = {0};
    if (!pipeline->weights)
        return mc_fail(error, MC_USAGE, "expected a pipeline with weights, found none");
    mc_status status = new_window(&w, count, pipeline->label_count, error);
    if (status == MC_OK)
        status = run_all(pipeline, texts, count, run ? run : &standard, &w, out, error);
    free_window(&w);
    return status;
}

mc_status mc_pipeline_classify(const mc_pipeline *pipeline, const mc_text_input *texts,
                               size_t count, const mc_pipeline_run *run, float *out,
                               mc_error *error)
{
    MC_TRY(mc_pipeline_logits(pipeline, texts, count, run, out, error));
    mc_scores(mc_pipeline_scoring(pipeline), out, count, pipeline->label_count);
    return MC_OK;
}
