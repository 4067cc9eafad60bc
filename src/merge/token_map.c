#include "merge/token_map.h"

#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/team.h"
#include "merge/report.h"
#include "model/model.h"
#include "model/parts.h"
#include "tensor/gather.h"
#include "tokenizer/union.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void mc_token_map_free(mc_token_map *v)
{
    if (!v)
        return;
    for (size_t i = 0; v->documents && v->shared && i < v->choice.count; i++)
        if (v->shared[i] == i)
            mc_document_free(v->documents[i]);
    mc_free(v->keys);
    mc_free(v->documents);
    mc_free(v->shared);
    mc_free(v->own);
    mc_free(v->rows);
    mc_free(v->rules);
    mc_union_free(v->united);
    mc_free(v);
}

/*
 * vocab_size of a configuration, or of its text model: the rows of the embedding, which may be more
 * than there are tokens. 0: it has none.
 */
static size_t rows_of(const mc_model *model)
{
    const json_t *const inner = json_object_get(model->config, "text_config");
    const json_t *value = json_object_get(inner, "vocab_size");
    if (!json_is_integer(value))
        value = json_object_get(model->config, "vocab_size");
    const json_int_t rows = json_is_integer(value) ? json_integer_value(value) : 0;
    return rows > 0 ? (size_t)rows : 0;
}

/* ---- reading the tokenizers ------------------------------------------------------------------ */

static mc_status note(const mc_token_map *v, mc_report *report, mc_error *error, const char *format,
                      ...) MC_PRINTF(4, 5);

/* Reports what was guessed or lost, or fails under strict. */
static mc_status note(const mc_token_map *v, mc_report *report, mc_error *error, const char *format,
                      ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *const text = mc_format_list(format, arguments);
    va_end(arguments);
    mc_status status = text ? MC_OK : mc_fail_memory(error);
    if (text)
        status = v->choice.strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", text)
                                  : mc_report_add(report, error, "%s", text);
    mc_free(text);
    return status;
}

/*
 * Handles a model whose files do not list its tokens. An equal SentencePiece model proves that it
 * has the target's; without any tokenizer file it is taken to have them, with a warning.
 */
static mc_status take_for_target(mc_token_map *v, size_t index, mc_report *report, mc_error *error)
{
    const mc_tokenizer_owner *const model = &v->choice.models[index];
    const mc_tokenizer_owner *const target = &v->choice.models[v->choice.target];
    bool same = false, has = false;
    for (size_t i = 0; !same && mc_sentencepiece_files[i]; i++)
        MC_TRY(mc_tokenizer_same_file(model, target, mc_sentencepiece_files[i], &same, error));
    if (!same)
        MC_TRY(mc_tokenizer_has_file(model, mc_sentencepiece_files, &has, error));
    if (has)
        return mc_fail(error, MC_UNSUPPORTED,
                       "'%s' has its vocabulary in a SentencePiece model only, which cannot be "
                       "compared: expected a tokenizer.json beside it",
                       model->name);
    if (!same)
        MC_TRY(note(v, report, error,
                    "'%s' has no tokenizer files: assuming that its vocabulary is that of '%s'",
                    model->name, target->name));
    v->documents[index] = v->documents[v->choice.target];
    v->shared[index] = v->choice.target;
    return MC_OK;
}

/*
 * No file lists the target's tokens, so nothing can be matched: every model must have an equal
 * SentencePiece model, and nothing may be asked of single tokens.
 */
static mc_status check_unlisted(const mc_token_map *v, mc_error *error)
{
    const mc_tokenizer_owner *const target = &v->choice.models[v->choice.target];
    for (size_t i = 0; i < v->choice.count; i++) {
        bool same = i == v->choice.target;
        for (size_t k = 0; !same && mc_sentencepiece_files[k]; k++)
            MC_TRY(mc_tokenizer_same_file(&v->choice.models[i], target, mc_sentencepiece_files[k],
                                          &same, error));
        if (!same || v->choice.rule_count > 0 || v->choice.pad_to_multiple_of > 1)
            return mc_fail(error, MC_UNSUPPORTED,
                           "expected a tokenizer.json, vocab.txt or vocab.json of '%s', found none",
                           target->name);
    }
    return MC_OK;
}

static mc_status key_of(void *arg, int worker, size_t index, mc_error *error)
{
    mc_token_map *const v = arg;
    mc_document_files files;
    (void)worker;
    MC_TRY(mc_tokenizer_load(&v->choice.models[index], &files, error));
    v->keys[index] = mc_document_files_key(&files);
    v->own[index] = files.tokenizer.text != NULL;
    mc_document_files_free(&files);
    return MC_OK;
}

/*
 * Determines which models have equal files. These share one document: that of the target, else of
 * the first such model. Only the target's text is needed later.
 */
static mc_status compare_files(mc_token_map *v, mc_error *error)
{
    const size_t target = v->choice.target;
    MC_TRY(mc_parallel(v->choice.count, mc_cpu_count(), key_of, v, error));
    for (size_t i = 0; i < v->choice.count; i++) {
        v->shared[i] = 0;
        while (v->keys[v->shared[i]] != v->keys[i])
            v->shared[i]++;
        if (v->keys[i] == v->keys[target])
            v->shared[i] = target;
    }
    return MC_OK;
}

/* The texts of several vocabularies would be most of the memory: only the target's is kept. */
static mc_status read_document(void *arg, int worker, size_t index, mc_error *error)
{
    mc_token_map *const v = arg;
    const mc_tokenizer_owner *const model = &v->choice.models[index];
    mc_document_files files;
    (void)worker;
    if (v->shared[index] != index)
        return MC_OK;
    MC_TRY(mc_tokenizer_load(model, &files, error));
    mc_status status = mc_tokenizer_parse(model, &files, &v->documents[index], &v->own[index],
                                          error);
    mc_document_files_free(&files);
    if (status != MC_OK || !v->documents[index])
        return status;
    if (v->own[index])
        status = mc_in_file(error, model->name,
                            mc_document_check_numbers(v->documents[index], error));
    if (index != v->choice.target)
        mc_document_drop_text(v->documents[index]);
    return status;
}

static mc_status read_all(mc_token_map *v, mc_error *error)
{
    MC_TRY(compare_files(v, error));
    /* Half of the time that a union takes before tensors are read: a thread per vocabulary. */
    const mc_status status = mc_parallel(v->choice.count, mc_cpu_count(), read_document, v, error);
    for (size_t i = 0; i < v->choice.count; i++)
        v->documents[i] = v->documents[v->shared[i]];
    return status;
}

static mc_status read_documents(mc_token_map *v, mc_report *report, mc_error *error)
{
    const size_t count = v->choice.count;
    v->keys = mc_alloc_zero(count, sizeof *v->keys);
    v->documents = mc_alloc_zero(count, sizeof *v->documents);
    v->shared = mc_alloc_zero(count, sizeof *v->shared);
    v->own = mc_alloc_zero(count, sizeof *v->own);
    v->rows = mc_alloc_zero(count, sizeof *v->rows);
    if (!v->keys || !v->documents || !v->shared || !v->own || !v->rows)
        return mc_fail_memory(error);
    MC_TRY(read_all(v, error));
    for (size_t i = 0; i < count; i++)
        v->rows[i] = rows_of(v->choice.models[i].model);
    if (!v->documents[v->choice.target])
        return check_unlisted(v, error);
    for (size_t i = 0; i < count; i++)
        if (!v->documents[i])
            MC_TRY(take_for_target(v, i, report, error));
    return MC_OK;
}

static mc_status unite(mc_token_map *v, mc_error *error)
{
    const mc_token_map_choice *const c = &v->choice;
    mc_union_input *const inputs = mc_alloc(c->count * sizeof *inputs);
    const char **const wanted = mc_alloc((c->rule_count + 1) * sizeof *wanted);
    mc_status status = inputs && wanted ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < c->count; i++)
        inputs[i] = (mc_union_input){v->documents[i], v->rows[i]};
    for (size_t i = 0; status == MC_OK && i < c->rule_count; i++)
        wanted[i] = c->rules[i].token;
    const mc_union_options options = {
        .base = c->target, .base_only = !c->unite, .wanted = wanted, .wanted_count = c->rule_count};
    if (status == MC_OK)
        status = mc_union_new(inputs, c->count, &options, &v->united, error);
    if (status == MC_OK && v->united->made && v->own[c->target])
        status = mc_document_check_numbers(v->united->made, error);
    mc_free(inputs);
    mc_free(wanted);
    return mc_in_file(error, c->models[c->target].name, status);
}

/* ---- rules of tokens ------------------------------------------------------------------------- */

static bool anyone_has(const mc_token_map *v, int32_t row)
{
    for (size_t i = 0; i < v->choice.count; i++)
        if (v->united->ids[i][row] >= 0)
            return true;
    return false;
}

static mc_status row_of_model(const mc_token_map *v, const mc_token_rule *rule, int32_t row,
                              int32_t *from, mc_error *error)
{
    const char *const name = v->choice.models[rule->model].name;
    const size_t rows = v->rows[rule->model];
    if (rule->kind == MC_TOKEN_ROW) {
        if (rule->row < 0 || rule->row >= INT32_MAX || (rows && (size_t)rule->row >= rows))
            return mc_fail(error, MC_MISMATCH,
                           "token '%s': expected a row below %zu of '%s', found %" PRId64,
                           rule->token, rows, name, rule->row);
        *from = (int32_t)rule->row;
        return MC_OK;
    }
    const char *const text = rule->kind == MC_TOKEN_SAME ? rule->token : rule->other;
    *from = rule->kind == MC_TOKEN_SAME ? v->united->ids[rule->model][row]
                                        : mc_document_find(v->documents[rule->model], text);
    if (*from < 0 || (rows && (size_t)*from >= rows))
        return mc_fail(error, MC_MISMATCH,
                       "token '%s': expected its row in '%s', which has no token '%s'%s",
                       rule->token, name, text, *from < 0 ? "" : " with a row");
    return MC_OK;
}

static mc_status make_rule(const mc_token_map *v, const mc_token_rule *rule, mc_gather_rule *out,
                           mc_error *error)
{
    *out = (mc_gather_rule){.row = mc_document_find(v->united->document, rule->token),
                            .force = rule->force};
    switch (rule->kind) {
    case MC_TOKEN_DEFAULT:
        if (!anyone_has(v, out->row))
            return mc_fail(error, MC_MISMATCH,
                           "token '%s': no model has it; name where its row comes from",
                           rule->token);
        out->input = MC_GATHER_STAND_IN;
        return MC_OK;
    case MC_TOKEN_ZERO:
        out->input = MC_GATHER_ZERO;
        return MC_OK;
    default:
        out->input = (int32_t)rule->model;
        return row_of_model(v, rule, out->row, &out->from, error);
    }
}

static int by_row(const void *a, const void *b)
{
    const mc_gather_rule *const x = a, *const y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

/*
 * Sorts the rules by row, as a gathered source expects them; two rules of one row contradict each
 * other.
 */
static mc_status make_rules(mc_token_map *v, mc_error *error)
{
    const mc_token_map_choice *const c = &v->choice;
    v->rules = mc_alloc((c->rule_count + 1) * sizeof *v->rules);
    if (!v->rules)
        return mc_fail_memory(error);
    for (size_t i = 0; i < c->rule_count; i++) {
        if (!*c->rules[i].token)
            return mc_fail(error, MC_USAGE, "expected a token, found ''");
        MC_TRY(make_rule(v, &c->rules[i], &v->rules[i], error));
    }
    if (c->rule_count > 1)
        qsort(v->rules, c->rule_count, sizeof *v->rules, by_row);
    for (size_t i = 1; i < c->rule_count; i++)
        if (v->rules[i].row == v->rules[i - 1].row)
            return mc_fail(error, MC_USAGE, "two sources for one token, with id %d",
                           v->rules[i].row);
    return MC_OK;
}

/* ---- all together ---------------------------------------------------------------------------- */

static size_t padded(size_t rows, int64_t multiple)
{
    const size_t m = multiple > 1 ? (size_t)multiple : 1;
    return (rows + m - 1) / m * m;
}

/* Whether a rule names where a row comes from. */
static bool is_given(const mc_token_map *v, size_t row)
{
    const mc_gather_rule key = {.row = (int32_t)row};
    const mc_gather_rule *const rule = bsearch(&key, v->rules, v->choice.rule_count, sizeof key,
                                               by_row);
    return rule && rule->input != MC_GATHER_STAND_IN;
}

/* Tokens of the result that not every model has a row for, nor a rule. */
static size_t count_incomplete(const mc_token_map *v)
{
    size_t count = 0, tokens;
    const mc_document_token *const all = mc_document_tokens(v->united->document, &tokens);
    for (size_t t = 0; t < tokens; t++) {
        bool misses = false;
        for (size_t i = 0; !misses && i < v->choice.count; i++)
            misses = v->united->ids[i][all[t].id] < 0;
        count += misses && !is_given(v, (size_t)all[t].id);
    }
    return count;
}

/* Tokens of the result that only a target outside the merge has, and that have no rule. */
static size_t count_zeros(const mc_token_map *v)
{
    size_t count = 0;
    for (size_t r = 0; v->choice.outside && r < v->united->count; r++) {
        bool found = v->united->ids[v->choice.target][r] < 0 || is_given(v, r);
        for (size_t i = 0; !found && i < v->choice.count; i++)
            found = i != v->choice.target && v->united->ids[i][r] >= 0;
        count += !found;
    }
    return count;
}

static mc_status report_union(const mc_token_map *v, mc_report *report, mc_error *error)
{
    const mc_union *const u = v->united;
    const char *const target = v->choice.models[v->choice.target].name;
    const size_t zeros = count_zeros(v), incomplete = count_incomplete(v) - zeros;
    if (v->added > 0)
        MC_TRY(mc_report_add(report, error,
                             "vocabulary: %zu token%s added to those of '%s'; %zu rows", v->added,
                             v->added == 1 ? "" : "s", target, v->padded));
    if (incomplete > 0)
        MC_TRY(
            mc_report_add(report, error,
                          "vocabulary: %zu token%s not in every model: models without one use the "
                          "base's row, or the mean of the models that have it",
                          incomplete, incomplete == 1 ? " is" : "s are"));
    if (zeros > 0)
        MC_TRY(note(v, report, error,
                    "vocabulary: %zu token%s of '%s' %s in no model of the merge: their rows are "
                    "zeros",
                    zeros, zeros == 1 ? "" : "s", target, zeros == 1 ? "is" : "are"));
    if (u->skipped > 0)
        MC_TRY(note(v, report, error, "vocabulary: %zu token%s left out: %s beyond the rows of %s",
                    u->skipped, u->skipped == 1 ? "" : "s",
                    u->skipped == 1 ? "its id is" : "their ids are",
                    u->skipped == 1 ? "its model" : "their models"));
    if (u->conflicting > 0)
        MC_TRY(note(v, report, error,
                    "vocabulary: %zu added token%s different attributes in other models: those of "
                    "the first model are used",
                    u->conflicting, u->conflicting == 1 ? " has" : "s have"));
    return MC_OK;
}

/* Reports dropped tokens: without a union the result has the target's tokens only. */
static mc_status report_dropped(const mc_token_map *v, mc_report *report, mc_error *error)
{
    for (size_t i = 0; !v->choice.unite && i < v->choice.count; i++) {
        size_t count, kept = 0;
        mc_document_tokens(v->documents[i], &count);
        for (size_t r = 0; r < v->united->count; r++)
            kept += v->united->ids[i][r] >= 0;
        if (kept < count)
            MC_TRY(mc_report_add(
                report, error, "vocabulary: %zu token%s of '%s' left out: not in that of '%s'",
                count - kept, count - kept == 1 ? "" : "s", v->choice.models[i].name,
                v->choice.models[v->choice.target].name));
    }
    return MC_OK;
}

static mc_status fill(mc_token_map *v, mc_report *report, mc_error *error)
{
    size_t before, after;
    MC_TRY(read_documents(v, report, error));
    if (!v->documents[v->choice.target])
        return MC_OK;
    MC_TRY(unite(v, error));
    MC_TRY(make_rules(v, error));
    mc_document_tokens(v->documents[v->choice.target], &before);
    mc_document_tokens(v->united->document, &after);
    v->added = after - before;
    v->padded = padded(v->united->count, v->choice.pad_to_multiple_of);
    MC_TRY(report_union(v, report, error));
    return report_dropped(v, report, error);
}

mc_status mc_token_map_new(const mc_token_map_choice *choice, mc_token_map **out, mc_report *report,
                           mc_error *error)
{
    mc_token_map *const v = mc_alloc_zero(1, sizeof *v);
    if (!v)
        return mc_fail_memory(error);
    v->choice = *choice;
    const mc_status status = fill(v, report, error);
    if (status == MC_OK)
        *out = v;
    else
        mc_token_map_free(v);
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static const char *text_of(const mc_token_map *v, int32_t row)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(v->united->document, &count);
    for (size_t i = 0; i < count; i++)
        if (tokens[i].id == row)
            return tokens[i].text;
    return "";
}

/* The tensors of one name, of those models that have it. */
typedef struct column {
    const char *name;
    int axis;
    mc_source **sources;
    const size_t *models; /* ascending or not; each at most once */
    size_t count;
} column;

/* An id beyond the tensor's rows would gather a row that does not exist. */
static mc_status check_ids(const mc_token_map *v, const column *c, mc_error *error)
{
    for (size_t i = 0; i < c->count; i++) {
        const int64_t rows = c->sources[i]->shape[c->axis];
        const int32_t *const ids = v->united->ids[c->models[i]];
        for (size_t r = 0; r < v->united->count; r++)
            if (ids[r] >= rows)
                return mc_fail_at(
                    error, MC_MISMATCH, NULL, c->name, -1,
                    "token '%s' of '%s': expected an id below the %" PRId64 " rows, found %d",
                    text_of(v, (int32_t)r), v->choice.models[c->models[i]].name, rows, ids[r]);
    }
    return MC_OK;
}

/*
 * Translates the rules: they name models, while the gathered source counts inputs of this column.
 */
static mc_status place_rules(const mc_token_map *v, const column *c, mc_gather_rule *rules,
                             mc_error *error)
{
    for (size_t i = 0; i < v->choice.rule_count; i++) {
        rules[i] = v->rules[i];
        if (rules[i].input < 0)
            continue;
        size_t place = 0;
        while (place < c->count && c->models[place] != (size_t)v->rules[i].input)
            place++;
        if (place == c->count)
            return mc_fail_at(error, MC_MISMATCH, NULL, c->name, -1,
                              "token '%s': expected its row in '%s', which has no such tensor",
                              text_of(v, rules[i].row), v->choice.models[v->rules[i].input].name);
        if (rules[i].from >= c->sources[place]->shape[c->axis])
            return mc_fail_at(error, MC_MISMATCH, NULL, c->name, -1,
                              "token '%s': expected row %d of '%s', which has %" PRId64 " rows",
                              text_of(v, rules[i].row), rules[i].from,
                              v->choice.models[v->rules[i].input].name,
                              c->sources[place]->shape[c->axis]);
        rules[i].input = (int32_t)place;
    }
    return MC_OK;
}

/*
 * Whether every model has every row in its place already. Then the tensors stay as they are, which
 * saves a copy per row and lets bytes pass through.
 */
static bool is_identity(const mc_token_map *v, const column *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const int32_t *const ids = v->united->ids[c->models[i]];
        if (c->sources[i]->shape[c->axis] != (int64_t)v->padded || v->padded != v->united->count)
            return false;
        for (size_t r = 0; r < v->united->count; r++)
            if (ids[r] != (int32_t)r)
                return false;
    }
    return v->choice.rule_count == 0;
}

static mc_status gather(const mc_token_map *v, const column *c, mc_source **out, mc_error *error)
{
    mc_gather_input *const inputs = mc_alloc(c->count * sizeof *inputs);
    mc_gather_rule *const rules = mc_alloc((v->choice.rule_count + 1) * sizeof *rules);
    mc_gather made = {.axis = c->axis,
                      .inputs = inputs,
                      .input_count = c->count,
                      .base = c->count,
                      .rows = v->united->count,
                      .padded = v->padded,
                      .rules = rules,
                      .rule_count = v->choice.rule_count,
                      .mean = MC_F32};
    mc_status status = inputs && rules ? check_ids(v, c, error) : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < c->count; i++) {
        inputs[i] = (mc_gather_input){c->sources[i], v->united->ids[c->models[i]]};
        made.mean = mc_dtype_widest(made.mean, c->sources[i]->dtype);
        if (c->models[i] == v->choice.base)
            made.base = i;
    }
    if (status == MC_OK)
        status = place_rules(v, c, rules, error);
    if (status == MC_OK)
        status = mc_gather_new(&made, out, error);
    mc_free(inputs);
    mc_free(rules);
    return mc_in_tensor(error, c->name, status);
}

/* Returns new references to the column's tensors, with the rows of the result. */
static mc_status convert(const mc_token_map *v, const column *c, mc_source **out, mc_error *error)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->axis >= c->sources[i]->rank)
            return mc_fail_at(error, MC_MISMATCH, NULL, c->name, -1,
                              "expected a vocabulary axis %d, found %d dimensions", c->axis,
                              c->sources[i]->rank);
    if (!is_identity(v, c))
        return gather(v, c, out, error);
    for (size_t i = 0; i < c->count; i++)
        out[i] = mc_source_ref(c->sources[i]);
    return MC_OK;
}

static mc_status convert_row(const mc_token_map *v, mc_output *row, int axis, mc_error *error)
{
    const size_t count = row->input_count;
    mc_source **const sources = mc_alloc(count * sizeof *sources);
    mc_source **const made = mc_alloc_zero(count, sizeof *made);
    size_t *const models = mc_alloc(count * sizeof *models);
    mc_status status = sources && made && models ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        sources[i] = row->inputs[i].source;
        models[i] = row->inputs[i].model;
    }
    if (status == MC_OK)
        status = convert(v, &(column){row->name, axis, sources, models, count}, made, error);
    for (size_t i = 0; status == MC_OK && i < count; i++) {
        mc_source_unref(row->inputs[i].source);
        row->inputs[i].source = made[i];
    }
    mc_free(sources);
    mc_free(made);
    mc_free(models);
    return status;
}

mc_status mc_token_map_outputs(const mc_token_map *v, mc_outputs *outputs, mc_error *error)
{
    for (size_t i = 0; v->united && i < outputs->count; i++) {
        const int axis = mc_part_of(NULL, outputs->rows[i].name).vocabulary_axis;
        if (axis >= 0)
            MC_TRY(convert_row(v, &outputs->rows[i], axis, error));
    }
    return MC_OK;
}

static mc_status convert_tensors(const mc_token_map *v, const char *name, int axis,
                                 mc_source *const *sources, mc_source **out, mc_error *error)
{
    const size_t all = v->choice.count;
    mc_source **const some = mc_alloc(all * sizeof *some);
    mc_source **const made = mc_alloc_zero(all, sizeof *made);
    size_t *const models = mc_alloc(all * sizeof *models), count = 0;
    mc_status status = some && made && models ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < all; i++)
        if (sources[i]) {
            some[count] = sources[i];
            models[count++] = i;
        }
    if (status == MC_OK && count > 0)
        status = convert(v, &(column){name, axis, some, models, count}, made, error);
    for (size_t i = 0; status == MC_OK && i < count; i++)
        out[models[i]] = made[i];
    mc_free(some);
    mc_free(made);
    mc_free(models);
    return status;
}

mc_status mc_token_map_tensors(const mc_token_map *v, const char *name, mc_source *const *sources,
                               mc_source **out, mc_error *error)
{
    const int axis = v->united ? mc_part_of(NULL, name).vocabulary_axis : -1;
    for (size_t i = 0; i < v->choice.count; i++)
        out[i] = axis < 0 && sources[i] ? mc_source_ref(sources[i]) : NULL;
    return axis < 0 ? MC_OK : convert_tensors(v, name, axis, sources, out, error);
}
