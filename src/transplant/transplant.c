#include <mergecraft/transplant.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "linalg/linalg.h"
#include "merge/plan.h"
#include "merge/report.h"
#include "merge/token_map_outfit.h"
#include "model/model.h"
#include "model/parts.h"
#include "tensor/gather.h"
#include "tokenizer/tokenizer.h"
#include "transplant/approximate.h"
#include "transplant/token_match.h"

#include <inttypes.h>
#include <string.h>

enum { NEIGHBOURS = 64 };

static const char *const methods[] = {"omp", "common", "subword", "mean", "zero"};

/* The transplant while it is planned. */
typedef struct surgeon {
    const mc_transplant_input *input;
    mc_approximation_method method;
    size_t neighbours;
    int threads;
    mc_vocabulary_side model, donor;
    mc_token_match match;
    mc_tokenizer *tokenizer; /* the model's, of subword; else NULL */
    mc_plan_rows rows;
    mc_error *error;
} surgeon;

/* ---- the input ------------------------------------------------------------------------------- */

static mc_status find_method(surgeon *s)
{
    const char *const name = s->input->method ? s->input->method : methods[0];
    const int64_t neighbours = s->input->neighbours;
    size_t i = 0;
    while (i < sizeof methods / sizeof *methods && strcmp(methods[i], name) != 0)
        i++;
    if (i == sizeof methods / sizeof *methods)
        return mc_fail(s->error, MC_USAGE,
                       "expected omp, common, subword, mean or zero as method, found '%s'", name);
    if (neighbours < 0 || neighbours > INT32_MAX)
        return mc_fail(s->error, MC_USAGE, "expected a number of neighbours from 1, found %" PRId64,
                       neighbours);
    s->method = (mc_approximation_method)i;
    s->neighbours = neighbours > 0 ? (size_t)neighbours : NEIGHBOURS;
    s->threads = s->input->threads > 0 ? s->input->threads : mc_cpu_count();
    return MC_OK;
}

static bool uses_common(const surgeon *s)
{
    return s->method == MC_APPROXIMATE_OMP || s->method == MC_APPROXIMATE_COMMON;
}

static mc_status read_vocabularies(surgeon *s)
{
    const mc_tokenizer_owner model = {s->input->model, NULL, mc_model_name(s->input->model)};
    const mc_tokenizer_owner donor = {s->input->donor, NULL, mc_model_name(s->input->donor)};
    MC_TRY(mc_vocabulary_side_read(&model, &s->model, s->error));
    MC_TRY(mc_vocabulary_side_read(&donor, &s->donor, s->error));
    MC_TRY(mc_token_match_new(&s->model, &s->donor, &s->match, s->error));
    if (s->match.common == 0 && uses_common(s))
        return mc_fail(s->error, MC_MISMATCH, "'%s' and '%s' have no common tokens", model.name,
                       donor.name);
    /* Now, and not when rows are computed: the run may be hours later. */
    if (uses_common(s))
        return mc_linalg_check(s->error);
    return s->method == MC_APPROXIMATE_SUBWORD
               ? mc_tokenizer_open(mc_model_folder(s->input->model), &s->tokenizer, s->error)
               : MC_OK;
}

/* ---- the tokens of a tensor ------------------------------------------------------------------ */

/* Tables for one tensor: which rows are copied, and which are approximated from what. */
typedef struct tables {
    int32_t *copied;       /* [rows]: the model's row; −1 */
    int32_t *approximated; /* [rows]: the row of the approximation; −1 */
    int32_t *missing;      /* [count]: rows of the donor */
    size_t count;
    int32_t *model_rows, *donor_rows; /* [common] */
    size_t common;
    size_t without; /* tokens without a row in the donor, where one is needed */
    const char *first_without;
    size_t empty; /* of subword: tokens without pieces */
    const char *first_empty;
    size_t *offsets; /* of subword: [count + 1] */
    int32_t *pieces;
    size_t piece_count, piece_capacity;
} tables;

static void free_tables(tables *t)
{
    mc_free(t->copied);
    mc_free(t->approximated);
    mc_free(t->missing);
    mc_free(t->model_rows);
    mc_free(t->donor_rows);
    mc_free(t->offsets);
    mc_free(t->pieces);
}

static void note_token(const surgeon *s, tables *t, size_t row, int64_t model_rows,
                       int64_t donor_rows)
{
    const int32_t from = s->match.from[row];
    const bool in_donor = (int64_t)row < donor_rows;
    if (from >= 0 && from < model_rows) {
        t->copied[row] = from;
        if (in_donor) {
            t->model_rows[t->common] = from;
            t->donor_rows[t->common++] = (int32_t)row;
        }
    } else if (in_donor || !uses_common(s)) {
        t->missing[t->count] = (int32_t)row;
        t->approximated[row] = (int32_t)t->count++;
    } else if (t->without++ == 0) {
        t->first_without = s->match.texts[row];
    }
}

static mc_status make_tables(const surgeon *s, int64_t model_rows, int64_t donor_rows, tables *t)
{
    const size_t rows = s->match.rows;
    int32_t **const all[] = {&t->copied, &t->approximated, &t->missing, &t->model_rows,
                             &t->donor_rows};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!(*all[i] = mc_alloc(rows * sizeof **all[i])))
            return mc_fail_memory(s->error);
    for (size_t r = 0; r < rows; r++) {
        t->copied[r] = t->approximated[r] = -1;
        if (s->match.texts[r])
            note_token(s, t, r, model_rows, donor_rows);
    }
    return MC_OK;
}

/* How many tokens of the model's template come before its text. */
static size_t leading_tokens(const mc_template *template)
{
    size_t count = 0;
    while (count < template->count && template->parts[count].kind == MC_PART_TOKEN)
        count++;
    return count;
}

static mc_status add_pieces(const surgeon *s, tables *t, size_t item, int64_t model_rows,
                            mc_encoding *encoding)
{
    const mc_template *const template = &s->tokenizer->single;
    size_t size;
    const char *const token = s->match.texts[t->missing[item]];
    char *const text = mc_token_plain_text(&s->donor, token, &size);
    if (!text)
        return mc_fail_memory(s->error);
    /* A mark was replaced by a blank where it is one; that of byte-level BPE is a byte. */
    const mc_status status = mc_tokenizer_encode(s->tokenizer, text, size, NULL, 0, 0, encoding,
                                                 s->error);
    mc_free(text);
    MC_TRY(status);
    const size_t first = leading_tokens(template), all = encoding->count - template->tokens;
    for (size_t i = first; i < first + all; i++) {
        if (encoding->ids[i] >= model_rows)
            continue;
        if (!MC_GROW(t->pieces, t->piece_count, t->piece_capacity))
            return mc_fail_memory(s->error);
        t->pieces[t->piece_count++] = encoding->ids[i];
    }
    t->offsets[item + 1] = t->piece_count;
    if (t->piece_count == t->offsets[item] && t->empty++ == 0)
        t->first_empty = token;
    return MC_OK;
}

static mc_status make_pieces(const surgeon *s, int64_t model_rows, tables *t)
{
    mc_encoding encoding = {0};
    mc_status status = MC_OK;
    if (!s->tokenizer)
        return MC_OK;
    t->offsets = mc_alloc_zero(t->count + 1, sizeof *t->offsets);
    if (!t->offsets)
        return mc_fail_memory(s->error);
    for (size_t i = 0; status == MC_OK && i < t->count; i++)
        status = add_pieces(s, t, i, model_rows, &encoding);
    mc_encoding_free(&encoding);
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* What is lost or guessed: an error under strict. */
static mc_status note(const surgeon *s, const char *name, const char *format, ...) MC_PRINTF(3, 4);

static mc_status note(const surgeon *s, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *const text = mc_format_list(format, arguments);
    va_end(arguments);
    const mc_status status = !text ? mc_fail_memory(s->error)
                             : s->input->strict
                                 ? mc_fail(s->error, MC_MISMATCH, "%s (strict)", text)
                                 : mc_report_add(s->rows.report, s->error, "%s: %s", name, text);
    mc_free(text);
    return status;
}

static bool is_matrix(mc_part part, const mc_source *source)
{
    return source->rank == 2 && !part.bias && part.vocabulary_axis == 0;
}

/*
 * The donor's tensor of the same kind: of the same name, else of the same role. A head that the
 * donor lacks is tied to its input embedding.
 */
static mc_source *find_partner(const surgeon *s, const char *name, mc_part part)
{
    const mc_state_dict *const dict = mc_model_state_dict(s->input->donor);
    const char *const type = mc_model_type(s->input->donor);
    const mc_part_role wanted[] = {part.role, MC_PART_INPUT_EMBEDDING};
    mc_source *const same = mc_state_dict_find(dict, name);
    if (same && is_matrix(mc_part_of(type, name), same))
        return same;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
            const mc_part other = mc_part_of(type, mc_state_dict_name(dict, i));
            mc_source *const source = mc_state_dict_source(dict, i);
            if (other.role == wanted[k] && is_matrix(other, source))
                return source;
        }
    return NULL;
}

static mc_status gather(const surgeon *s, int axis, mc_source *model, mc_source *rows,
                        const tables *t, mc_source **out)
{
    mc_source *made[2] = {0};
    const mc_gather_input inputs[] = {{model, t->copied}, {rows, t->approximated}};
    const mc_gather gather = {.axis = axis,
                              .inputs = inputs,
                              .input_count = rows ? 2 : 1,
                              .base = rows ? 2 : 1,
                              .rows = s->match.rows,
                              .padded = s->match.rows,
                              .mean = model->dtype};
    MC_TRY(mc_gather_new(&gather, made, s->error));
    *out = made[0];
    mc_source_unref(made[1]);
    return MC_OK;
}

static mc_status check_common(const surgeon *s, const tables *t)
{
    if (!uses_common(s) || t->count == 0 || t->common >= s->neighbours)
        return MC_OK;
    return mc_fail(s->error, MC_MISMATCH,
                   "expected at least %zu common tokens with rows, as many as neighbours, found "
                   "%zu",
                   s->neighbours, t->common);
}

static mc_status report_matrix(const surgeon *s, const char *name, const tables *t)
{
    const size_t copied = s->match.common + s->match.lacks - t->count - t->without;
    MC_TRY(mc_report_add(s->rows.report, s->error, "%s: %zu row%s copied, %zu approximated (%s)",
                         name, copied, copied == 1 ? "" : "s", t->count, methods[s->method]));
    if (t->without > 0)
        return note(s, name, "%zu token%s without a row in '%s', such as '%s': zeros", t->without,
                    t->without == 1 ? "" : "s", mc_model_name(s->input->donor), t->first_without);
    if (t->empty > 0)
        return note(s, name, "%zu token%s in whose text '%s' finds no token, such as '%s': zeros",
                    t->empty, t->empty == 1 ? "" : "s", mc_model_name(s->input->model),
                    t->first_empty);
    return MC_OK;
}

/* An embedding or a head. */
static mc_status make_matrix(const surgeon *s, const char *name, mc_source *source,
                             mc_source *partner, tables *t, mc_source **out)
{
    mc_source *rows = NULL;
    MC_TRY(make_tables(s, source->shape[0], partner ? partner->shape[0] : 0, t));
    MC_TRY(check_common(s, t));
    MC_TRY(make_pieces(s, source->shape[0], t));
    MC_TRY(report_matrix(s, name, t));
    const mc_approximation a = {.method = s->method,
                                .model = source,
                                .donor = partner,
                                .count = t->count,
                                .missing = t->missing,
                                .common = t->common,
                                .model_rows = t->model_rows,
                                .donor_rows = t->donor_rows,
                                .terms = s->neighbours,
                                .offsets = t->offsets,
                                .pieces = t->pieces,
                                .threads = s->threads};
    if (t->count > 0)
        MC_TRY(mc_approximate(&a, &rows, s->error));
    const mc_status status = gather(s, 0, source, rows, t, out);
    mc_source_unref(rows);
    return status;
}

/* A bias, or a matrix that has no partner in kind: rows of new tokens are zeros. */
static mc_status make_auxiliary(const surgeon *s, const char *name, int axis, mc_source *source,
                                tables *t, mc_source **out)
{
    MC_TRY(make_tables(s, source->shape[axis], INT64_MAX, t));
    if (t->count > 0)
        MC_TRY(note(s, name, "%zu entr%s of new tokens %s 0", t->count, t->count == 1 ? "y" : "ies",
                    t->count == 1 ? "is" : "are"));
    return gather(s, axis, source, NULL, t, out);
}

static mc_status make_tensor(const surgeon *s, const char *name, mc_source *source, mc_part part,
                             mc_source **out)
{
    tables t = {0};
    const int axis = part.vocabulary_axis;
    mc_source *const partner = uses_common(s) ? find_partner(s, name, part) : NULL;
    mc_status status;
    if (axis >= source->rank)
        status = mc_fail(s->error, MC_MISMATCH,
                         "expected a vocabulary axis %d, found %d dimensions", axis, source->rank);
    else if (!is_matrix(part, source))
        status = make_auxiliary(s, name, axis, source, &t, out);
    else if (uses_common(s) && !partner)
        status = mc_fail(s->error, MC_MISMATCH,
                         "expected an embedding or a head in '%s', found none",
                         mc_model_name(s->input->donor));
    else
        status = make_matrix(s, name, source, partner, &t, out);
    free_tables(&t);
    return mc_in_tensor(s->error, name, status);
}

static mc_status add_row(surgeon *s, const char *name, mc_source *source)
{
    mc_output *row = NULL;
    const mc_part part = mc_part_of(mc_model_type(s->input->model), name);
    mc_source *made = NULL;
    if (part.vocabulary_axis >= 0)
        MC_TRY(make_tensor(s, name, source, part, &made));
    mc_status status = mc_outputs_add(&s->rows.outputs, name, MC_ACTION_COPY, NULL, NULL, &row,
                                      s->error);
    const mc_input input = {.source = made ? made : source, .role = MC_ROLE_MODEL};
    if (status == MC_OK)
        status = mc_output_add_input(row, &input, s->error);
    mc_source_unref(made);
    return status;
}

static mc_status add_rows(surgeon *s)
{
    const mc_state_dict *const dict = mc_model_state_dict(s->input->model);
    const char *const type = mc_model_type(s->input->model);
    bool found = false;
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const name = mc_state_dict_name(dict, i);
        found |= mc_part_of(type, name).vocabulary_axis >= 0;
        MC_TRY(add_row(s, name, mc_state_dict_source(dict, i)));
    }
    if (!found)
        return mc_fail(s->error, MC_UNSUPPORTED,
                       "'%s': expected a tensor with a row per token, found none that is known",
                       mc_model_name(s->input->model));
    return mc_outputs_resolve(&s->rows.outputs, NULL, s->error);
}

/* ---- the plan -------------------------------------------------------------------------------- */

static mc_status dress(surgeon *s)
{
    const mc_tokenizer_owner donor = {s->input->donor, NULL, mc_model_name(s->input->donor)};
    MC_TRY(mc_outfit_from_model(s->input->model, s->input->strict, &s->rows.outfit, s->rows.report,
                                s->error));
    MC_TRY(mc_outfit_take_tokenizer(&s->rows.outfit, &donor, s->rows.report, s->error));
    return mc_outfit_set_vocabulary(&s->rows.outfit, s->match.rows, s->error);
}

static char *describe(const surgeon *s)
{
    json_t *object = mc_json_put(json_object(), "donor",
                                 mc_json_text(mc_model_name(s->input->donor)));
    object = mc_json_put(object, "method", json_string(methods[s->method]));
    object = mc_json_put(object, "neighbours", json_integer((json_int_t)s->neighbours));
    char *const text = object ? mc_json_write(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

static mc_status make(surgeon *s, mc_plan **out)
{
    const mc_model *const models[] = {s->input->model, s->input->donor};
    MC_TRY(find_method(s));
    MC_TRY(mc_report_new(&s->rows.report, s->error));
    MC_TRY(read_vocabularies(s));
    MC_TRY(add_rows(s));
    MC_TRY(dress(s));
    char *const text = describe(s);
    if (!text)
        return mc_fail_memory(s->error);
    s->rows.models = models;
    s->rows.model_count = 1;
    s->rows.all_count = 2;
    s->rows.strict = s->input->strict;
    s->rows.transplant = text;
    const mc_status status = mc_plan_from_rows(&s->rows, out, s->error);
    mc_free(text);
    return status;
}

mc_status mc_transplant_plan(const mc_transplant_input *input, mc_plan **out, mc_error *error)
{
    surgeon s = {.input = input, .error = error};
    const mc_status status = make(&s, out);
    mc_outputs_free(&s.rows.outputs);
    mc_outfit_free(&s.rows.outfit);
    mc_report_free(s.rows.report);
    mc_vocabulary_side_free(&s.model);
    mc_vocabulary_side_free(&s.donor);
    mc_token_match_free(&s.match);
    mc_tokenizer_close(s.tokenizer);
    return status;
}
