#include "merge/vocabulary_check.h"

#include "base/memory.h"
#include "base/text.h"
#include "merge/agreement.h"
#include "merge/report.h"
#include "model/model.h"
#include "model/parts.h"
#include "tensor/source.h"

#include <string.h>

/* How many tokens an error names. */
enum { SHOWN = 3 };

/* ---- two vocabularies ------------------------------------------------------------------------ */

/* What differs between a model's vocabulary and the reference's. */
typedef struct difference {
    const char *name, *reference;
    size_t only, only_reference, moved;
    const mc_document_token *first_only[SHOWN], *first_only_reference[SHOWN], *first_moved;
    int32_t moved_from; /* id of first_moved in the reference */
    mc_text text;       /* all this in words */
} difference;

/* Whether both list the same tokens with the same ids: the usual case, found without a search. */
static bool is_same(const mc_document *a, const mc_document *b)
{
    size_t count, other;
    const mc_document_token *const mine = mc_document_tokens(a, &count);
    const mc_document_token *const theirs = mc_document_tokens(b, &other);
    bool same = count == other;
    for (size_t i = 0; same && i < count; i++)
        same = mine[i].id == theirs[i].id && strcmp(mine[i].text, theirs[i].text) == 0;
    return same;
}

static void note_only(const mc_document_token **first, size_t *count,
                      const mc_document_token *token)
{
    if (*count < SHOWN)
        first[*count] = token;
    ++*count;
}

static void compare(const mc_document *a, const mc_document *b, difference *out)
{
    size_t a_count, b_count;
    const mc_document_token *const mine = mc_document_tokens(a, &a_count);
    const mc_document_token *const theirs = mc_document_tokens(b, &b_count);
    if (is_same(a, b))
        return;
    for (size_t i = 0; i < a_count; i++) {
        const int32_t id = mc_document_find(b, mine[i].text);
        if (id < 0) {
            note_only(out->first_only, &out->only, &mine[i]);
        } else if (id != mine[i].id && out->moved++ == 0) {
            out->first_moved = &mine[i];
            out->moved_from = id;
        }
    }
    for (size_t i = 0; i < b_count; i++)
        if (mc_document_find(a, theirs[i].text) < 0)
            note_only(out->first_only_reference, &out->only_reference, &theirs[i]);
}

static void add_only(mc_text *text, const char *name, const mc_document_token *const *first,
                     size_t count)
{
    if (count == 0)
        return;
    mc_text_add(text, "%s%zu token%s only in '%s': ", text->length ? "; " : "", count,
                count == 1 ? " is" : "s are", name);
    for (size_t i = 0; i < count && i < SHOWN; i++)
        mc_text_add(text, "%s'%s'", i ? ", " : "", first[i]->text);
    if (count > SHOWN)
        mc_text_add(text, " and %zu more", count - SHOWN);
}

/* "3 tokens are only in 'chat': …; 1 token has another id: '<x>' is 5 in 'chat', 7 in 'base'". */
static void describe(mc_text *text, const difference *d)
{
    add_only(text, d->name, d->first_only, d->only);
    add_only(text, d->reference, d->first_only_reference, d->only_reference);
    if (d->moved > 0)
        mc_text_add(text, "%s%zu token%s: '%s' is %d in '%s', %d in '%s'", text->length ? "; " : "",
                    d->moved, d->moved == 1 ? " has another id" : "s have other ids",
                    d->first_moved->text, d->first_moved->id, d->name, d->moved_from, d->reference);
}

/* ---- where it matters ------------------------------------------------------------------------ */

/*
 * Rows with one number must mean one token in all vocabulary tensors of the result: in those that
 * are merged, in those that are copied of different models, as in a stack of blocks, and in the
 * tokenizer, which is the donor's.
 */
typedef struct usage {
    bool *used; /* per model: rows of it are in the result, or its tokenizer */
    size_t used_count;
    bool sizes_differ;
    /* Of the first vocabulary tensor, in the donor if that has it: */
    const char *name;
    size_t model;
    int64_t rows;
    const mc_output *other; /* a copy from another model, with another number of rows */
    int64_t other_rows;
} usage;

static void use(usage *u, size_t model)
{
    u->used_count += !u->used[model];
    u->used[model] = true;
}

/*
 * Compares the rows of a tensor that is copied from one model with those of the first tensor, if
 * both have the same number of rows in that model: encoder and decoder may have vocabularies of
 * their own.
 */
static void note_copy(const mc_output *row, int axis, const mc_tokenizer_owner *models, usage *u)
{
    const mc_input *const input = &row->inputs[0];
    if (!u->name)
        return;
    const mc_source *const first = mc_state_dict_find(
        mc_model_state_dict(models[input->model].model), u->name);
    const int64_t rows = input->source->shape[axis];
    if (u->other || input->model == u->model || rows == u->rows)
        return;
    if (!first || axis >= first->rank || first->shape[axis] != rows)
        return;
    u->other = row;
    u->other_rows = rows;
    u->sizes_differ = true;
}

static void note_row(const mc_output *row, int axis, const mc_tokenizer_owner *models, size_t count,
                     size_t base, usage *u)
{
    const mc_source *const first = row->inputs[0].source;
    for (size_t i = 0; i < row->input_count; i++) {
        const mc_source *const one = row->inputs[i].source;
        if (row->inputs[i].role == MC_ROLE_SIDE)
            continue;
        const bool is_base = row->inputs[i].role == MC_ROLE_BASE && base < count;
        use(u, is_base ? base : row->inputs[i].model);
        u->sizes_differ |= axis < first->rank && axis < one->rank &&
                           one->shape[axis] != first->shape[axis];
    }
    if (row->input_count == 1 && axis < first->rank)
        note_copy(row, axis, models, u);
}

/* Expects as many rows as the first vocabulary tensor has: in the donor, if that has the tensor. */
static void note_first(const mc_output *row, int axis, const mc_tokenizer_owner *models,
                       size_t donor, usage *u)
{
    const mc_source *const own = mc_state_dict_find(mc_model_state_dict(models[donor].model),
                                                    row->name);
    const mc_source *const one = own ? own : row->inputs[0].source;
    if (u->name || axis >= one->rank)
        return;
    u->name = row->name;
    u->model = own ? donor : row->inputs[0].model;
    u->rows = one->shape[axis];
}

/* Vocabularies with the same tokens may be in tables of different sizes: one of them is padded. */
static mc_status check_sizes(const usage *u, const mc_tokenizer_owner *models, mc_error *error)
{
    if (!u->other)
        return MC_OK;
    return mc_with_hint(error, MC_HINT_TOKENIZER,
                        mc_fail_at(error, MC_MISMATCH, NULL, u->other->name, -1,
                                   "expected %lld rows, as '%s' of '%s' has, found %lld",
                                   (long long)u->rows, u->name, models[u->model].name,
                                   (long long)u->other_rows));
}

static mc_status fail_different(const difference *d, const usage *u, bool strict, mc_report *report,
                                mc_error *error)
{
    /*
     * A token under another id, or another number of rows, makes the merge wrong. A token that only
     * one model has, in tables of equal size, may lie in a row that the others do not use: a
     * warning.
     */
    const bool wrong = u->sizes_differ || d->moved > 0;
    if (d->text.failed)
        return mc_fail_memory(error);
    if (wrong || strict)
        return mc_with_hint(error, MC_HINT_TOKENIZER,
                            mc_fail(error, MC_MISMATCH,
                                    "the vocabularies of '%s' and '%s' differ: %s%s", d->name,
                                    d->reference, d->text.data, wrong ? "" : " (strict)"));
    return mc_report_add(report, error,
                         "the vocabularies of '%s' and '%s' differ, and rows with the same number "
                         "are merged: %s",
                         d->name, d->reference, d->text.data);
}

/* Whether both have a SentencePiece model, and not the same one. */
static mc_status compare_sentencepiece(const mc_tokenizer_owner *a, const mc_tokenizer_owner *b,
                                       bool *differ, mc_error *error)
{
    bool same = false, first, second;
    MC_TRY(mc_tokenizer_has_file(a, mc_sentencepiece_files, &first, error));
    MC_TRY(mc_tokenizer_has_file(b, mc_sentencepiece_files, &second, error));
    for (size_t i = 0; !same && mc_sentencepiece_files[i]; i++)
        MC_TRY(mc_tokenizer_same_file(a, b, mc_sentencepiece_files[i], &same, error));
    *differ = first && second && !same;
    return MC_OK;
}

/* A model whose vocabulary is compared: its files, then the document that is made of them. */
typedef struct side {
    const mc_tokenizer_owner *model;
    mc_document_files files;
    uint64_t key;
    bool parsed;
    mc_status status; /* of parsing, and why it failed */
    mc_error why;
    mc_document *document; /* NULL: no file lists the vocabulary, or not parsed yet */
} side;

static mc_status load_side(const mc_tokenizer_owner *model, side *out, mc_error *error)
{
    *out = (side){.model = model, .why = MC_ERROR_NONE};
    MC_TRY(mc_tokenizer_load(model, &out->files, error));
    out->key = mc_document_files_key(&out->files);
    return MC_OK;
}

static void free_side(side *s)
{
    mc_document_files_free(&s->files);
    mc_document_free(s->document);
}

/* Parsed when a file differs, and once, as it uses up the files: a failure is told each time. */
static mc_status parse_side(side *s, mc_error *error)
{
    bool own;
    if (!s->parsed) {
        s->parsed = true;
        s->status = mc_tokenizer_parse(s->model, &s->files, &s->document, &own, &s->why);
        mc_document_files_free(&s->files);
        if (s->document)
            mc_document_drop_text(s->document);
    }
    if (s->status != MC_OK)
        *error = s->why;
    return s->status;
}

static mc_status compare_sides(side *mine, side *reference, difference *d, mc_error *error)
{
    bool differ = false;
    MC_TRY(parse_side(mine, error));
    MC_TRY(parse_side(reference, error));
    if (mine->document && reference->document) {
        compare(mine->document, reference->document, d);
        describe(&d->text, d);
        return MC_OK;
    }
    MC_TRY(compare_sentencepiece(mine->model, reference->model, &differ, error));
    return differ ? mc_fail(error, MC_UNSUPPORTED, "their SentencePiece models are not the same")
                  : MC_OK;
}

/*
 * Reports vocabularies that cannot be compared. A merge does not need tokenizers, so it is a
 * warning unless strict.
 */
static mc_status not_compared(const difference *d, const mc_error *reason, bool strict,
                              mc_report *report, mc_error *error)
{
    static const char what[] = "the vocabularies of '%s' and '%s' cannot be compared: %s%s";
    char text[2048];
    mc_error_message(reason, text, sizeof text);
    return strict ? mc_fail(error, MC_MISMATCH, what, d->name, d->reference, text, " (strict)")
                  : mc_report_add(report, error, what, d->name, d->reference, text, "");
}

static mc_status compare_models(side *mine, side *reference, const usage *u, bool strict,
                                mc_report *report, mc_error *error)
{
    difference d = {.name = mine->model->name, .reference = reference->model->name};
    mc_error reason = MC_ERROR_NONE;
    mc_status status = compare_sides(mine, reference, &d, &reason);
    if (status == MC_FORMAT || status == MC_UNSUPPORTED)
        status = not_compared(&d, &reason, strict, report, error);
    else if (status != MC_OK && error)
        *error = reason;
    else if (status == MC_OK && (d.only > 0 || d.only_reference > 0 || d.moved > 0))
        status = fail_different(&d, u, strict, report, error);
    mc_text_free(&d.text);
    return status;
}

/* Keys of files that need not be read again: they were compared with the reference. */
typedef struct known_keys {
    uint64_t *keys;
    size_t count;
} known_keys;

static bool is_known(const known_keys *known, uint64_t key)
{
    size_t i = 0;
    while (i < known->count && known->keys[i] != key)
        i++;
    return i < known->count;
}

/* Models with equal files are compared once; the first of them is named. */
static mc_status compare_with(side *reference, const mc_tokenizer_owner *model, const usage *u,
                              bool strict, known_keys *known, mc_report *report, mc_error *error)
{
    side mine;
    mc_status status = load_side(model, &mine, error);
    /* Without such files both keys are equal, though their SentencePiece models may not be. */
    const bool lists = mine.files.tokenizer.text || mine.files.vocab_txt.text ||
                       mine.files.vocab_json.text;
    if (status == MC_OK && !(lists && is_known(known, mine.key)))
        status = compare_models(&mine, reference, u, strict, report, error);
    if (status == MC_OK && lists)
        known->keys[known->count++] = mine.key;
    free_side(&mine);
    return status;
}

static mc_status compare_used(const mc_tokenizer_owner *models, size_t count, const usage *u,
                              bool strict, mc_report *report, mc_error *error)
{
    size_t first = 0;
    if (u->used_count < 2)
        return MC_OK;
    while (!u->used[first])
        first++;
    side reference;
    known_keys known = {.keys = mc_alloc((count + 1) * sizeof *known.keys)};
    mc_status status = load_side(&models[first], &reference, error);
    if (status == MC_OK && !known.keys)
        status = mc_fail_memory(error);
    if (status == MC_OK)
        known.keys[known.count++] = reference.key;
    for (size_t i = first + 1; status == MC_OK && i < count; i++)
        if (u->used[i])
            status = compare_with(&reference, &models[i], u, strict, &known, report, error);
    free_side(&reference);
    mc_free(known.keys);
    return status;
}

/*
 * For models without a tensor known to have a row per token: its name may be unknown to the
 * library. Then rows are merged by number, and all that can be done is to report that tokens
 * differ.
 */
static mc_status agree(const mc_tokenizer_owner *owners, size_t count, size_t last, bool strict,
                       mc_report *report, mc_error *error)
{
    const mc_model **const models = mc_alloc(count * sizeof *models);
    if (!models)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        models[i] = owners[i].model;
    const mc_status status = mc_agree_on_tokens(models, count, models[last], strict, report, error);
    mc_free(models);
    return status;
}

mc_status mc_vocabulary_check(const mc_tokenizer_owner *models, size_t count, size_t base,
                              size_t donor, const mc_outputs *outputs, bool strict,
                              mc_report *report, mc_error *error)
{
    usage u = {.used = mc_alloc_zero(count, sizeof *u.used)};
    bool has_axis = false;
    if (!u.used)
        return mc_fail_memory(error);
    for (size_t i = 0; i < outputs->count; i++) {
        const mc_output *const row = &outputs->rows[i];
        const int axis = mc_part_of(NULL, row->name).vocabulary_axis;
        has_axis |= axis >= 0;
        if (axis >= 0) {
            note_first(row, axis, models, donor, &u);
            note_row(row, axis, models, count, base, &u);
        }
    }
    if (has_axis)
        use(&u, donor);
    mc_status status = has_axis ? compare_used(models, count, &u, strict, report, error)
                                : agree(models, count, (base < count ? base : count) - 1, strict,
                                        report, error);
    if (status == MC_OK)
        status = check_sizes(&u, models, error);
    mc_free(u.used);
    return status;
}
