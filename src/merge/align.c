#include "merge/align.h"

#include "base/memory.h"
#include "checkpoint/tied.h"
#include "merge/experts.h"
#include "merge/report.h"
#include "model/match.h"
#include "model/model.h"
#include "model/parts.h"
#include "tensor/source.h"

#include <string.h>

/*
 * Aligned names: those of the last model's files, then what other models add. Indices run from 0 to
 * count − 1: below `tuned` are names of the merged models, from there on names that only the base
 * or side inputs have.
 */
typedef struct pool {
    const char **names; /* borrowed from the dicts */
    mc_source **sources;
    size_t count;
    size_t tuned; /* how many of them the models have that are merged */
    mc_index index;
} pool;

typedef struct aligner {
    mc_alignment *out;
    size_t tuned_count;
    pool pool;
    mc_match *matches; /* per model */
    mc_report *report;
    mc_error *error;
} aligner;

static mc_status new_pool(aligner *a)
{
    size_t all = 0;
    for (size_t i = 0; i < a->out->count; i++)
        all += mc_state_dict_count(a->out->dicts[i]) + a->out->models[i]->checkpoint.alias_count;
    a->pool.names = mc_alloc(all * sizeof *a->pool.names);
    a->pool.sources = mc_alloc(all * sizeof *a->pool.sources);
    return a->pool.names && a->pool.sources ? MC_OK : mc_fail_memory(a->error);
}

static void free_pool(pool *p)
{
    mc_free(p->names);
    mc_free(p->sources);
    mc_index_free(&p->index);
}

/* Adds the names of a model's aligned dict that are new. */
static mc_status add_to_pool(aligner *a, size_t model)
{
    pool *const p = &a->pool;
    const mc_state_dict *const dict = a->out->dicts[model];
    for (size_t i = 0; i < mc_state_dict_count(dict); i++) {
        const char *const name = mc_state_dict_name(dict, i);
        if (mc_index_find(&p->index, name) != MC_INDEX_NONE)
            continue;
        if (!mc_index_set(&p->index, name, p->count))
            return mc_fail_memory(a->error);
        p->names[p->count] = name;
        p->sources[p->count++] = mc_state_dict_source(dict, i);
    }
    return MC_OK;
}

/* ---- one model's own dict -------------------------------------------------------------------- */

/* Adds a tensor under an aligned name; its origin is tensor `origin` of the model's own dict. */
static mc_status add_aligned(mc_alignment *out, size_t model, const char *name, mc_source *source,
                             size_t origin, mc_error *error)
{
    mc_state_dict *const own = out->own[model];
    /* The dict replaces a name that it has already: then the first origin stays. */
    const size_t before = mc_state_dict_count(own);
    MC_TRY(mc_state_dict_set(own, name, source, error));
    if (mc_state_dict_count(own) == before)
        return MC_OK;
    const char *const kept = mc_state_dict_name(own, before);
    return mc_index_set(&out->origins[model], kept, origin) ? MC_OK : mc_fail_memory(error);
}

/*
 * The aligned form of the name of a tensor without a partner, in new memory. It stays what it is if
 * the aligned one belongs to another tensor of the model.
 */
static char *name_alone(const aligner *a, size_t model, const bool *used, const char *name)
{
    char *const aligned = mc_match_apply(&a->matches[model], name);
    const size_t at = aligned ? mc_index_find(&a->pool.index, aligned) : MC_INDEX_NONE;
    const bool taken = aligned && strcmp(aligned, name) != 0 &&
                       ((at != MC_INDEX_NONE && used[at]) ||
                        mc_state_dict_find(mc_model_state_dict(a->out->models[model]), aligned));
    if (!taken)
        return aligned;
    mc_free(aligned);
    return mc_strdup(name);
}

static mc_status rename_all(aligner *a, size_t model, const bool *used)
{
    const mc_state_dict *const from = mc_model_state_dict(a->out->models[model]);
    const size_t *const partners = a->matches[model].partners;
    for (size_t i = 0; i < mc_state_dict_count(from); i++) {
        const bool alone = partners[i] == MC_MATCH_NONE;
        char *const name = alone ? name_alone(a, model, used, mc_state_dict_name(from, i))
                                 : mc_strdup(a->pool.names[partners[i]]);
        if (!name)
            return mc_fail_memory(a->error);
        const mc_status status = add_aligned(a->out, model, name, mc_state_dict_source(from, i), i,
                                             a->error);
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

/* Replaces the model's dict by one of aligned names. */
static mc_status make_own(aligner *a, size_t model)
{
    const mc_state_dict *const from = mc_model_state_dict(a->out->models[model]);
    const size_t *const partners = a->matches[model].partners;
    bool *const used = mc_alloc_zero(a->pool.count, sizeof *used);
    if (!used)
        return mc_fail_memory(a->error);
    for (size_t i = 0; i < mc_state_dict_count(from); i++)
        if (partners[i] != MC_MATCH_NONE)
            used[partners[i]] = true;
    mc_status status = mc_state_dict_new(&a->out->own[model], a->error);
    if (status == MC_OK)
        status = rename_all(a, model, used);
    mc_free(used);
    a->out->dicts[model] = a->out->own[model];
    return status;
}

static mc_status report_match(const aligner *a, size_t model)
{
    const mc_match *const match = &a->matches[model];
    const char *const label = a->out->labels[model];
    if (match->prefix)
        MC_TRY(mc_report_add(a->report, a->error,
                             "%s: tensors are matched with%s '%s' before their names", label,
                             match->strip ? "out" : "", match->prefix));
    if (match->ambiguous)
        MC_TRY(mc_report_add(a->report, a->error,
                             "%s: tensors fit several prefixes, '%s' among them, equally well: "
                             "none is used",
                             label, match->ambiguous));
    if (match->renamed == 0)
        return MC_OK;
    return mc_report_add(a->report, a->error,
                         "%s: %zu tensor%s matched by the name that another version of a library "
                         "gives %s",
                         label, match->renamed, match->renamed == 1 ? " is" : "s are",
                         match->renamed == 1 ? "it" : "them");
}

/* Whether a tensor of the model gets another name. */
static bool is_changed(const aligner *a, size_t model)
{
    return a->matches[model].prefix || a->matches[model].renamed > 0;
}

/* The names and sources of a dict as arrays, in new memory. */
static mc_status list_dict(const mc_state_dict *dict, const char ***names, mc_source ***sources,
                           mc_error *error)
{
    const size_t count = mc_state_dict_count(dict);
    *names = mc_alloc(count * sizeof **names);
    *sources = mc_alloc(count * sizeof **sources);
    if (!*names || !*sources)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        (*names)[i] = mc_state_dict_name(dict, i);
        (*sources)[i] = mc_state_dict_source(dict, i);
    }
    return MC_OK;
}

static mc_status match_names(aligner *a, size_t model)
{
    const mc_state_dict *const from = mc_model_state_dict(a->out->models[model]);
    const mc_model *const last = a->out->models[a->tuned_count - 1];
    const char **names = NULL;
    mc_source **sources = NULL;
    mc_status status = list_dict(from, &names, &sources, a->error);
    const mc_match_side mine = {names, sources, mc_state_dict_count(from)};
    const mc_match_side theirs = {a->pool.names, a->pool.sources, a->pool.count};
    if (status == MC_OK)
        status = mc_match_new(&mine, &theirs, mc_encoder_prefix(mc_model_type(last)),
                              &a->matches[model], a->error);
    mc_free(names);
    mc_free(sources);
    return status;
}

/* ---- experts --------------------------------------------------------------------------------- */

/* Makes the model's dict again, with experts as the aligned names have them. */
static mc_status replace_experts(aligner *a, size_t model, const mc_experts *experts)
{
    mc_alignment *const out = a->out;
    mc_state_dict *const old = out->own[model];
    mc_index old_origins = out->origins[model];
    out->own[model] = NULL;
    out->origins[model] = (mc_index){0};
    mc_status status = mc_state_dict_new(&out->own[model], a->error);
    for (size_t i = 0; status == MC_OK && i < mc_state_dict_count(old); i++) {
        const char *const name = mc_state_dict_name(old, i);
        if (!experts->used[i])
            status = add_aligned(out, model, name, mc_state_dict_source(old, i),
                                 mc_index_find(&old_origins, name), a->error);
    }
    for (size_t i = 0; status == MC_OK && i < experts->count; i++) {
        const char *const first = mc_state_dict_name(old, experts->made[i].origin);
        status = add_aligned(out, model, experts->made[i].name, experts->made[i].source,
                             mc_index_find(&old_origins, first), a->error);
    }
    mc_state_dict_free(old);
    mc_index_free(&old_origins);
    out->dicts[model] = out->own[model];
    return status;
}

static mc_status align_experts(aligner *a, size_t model)
{
    const mc_match_side wanted = {a->pool.names, a->pool.sources, a->pool.count};
    mc_experts experts = {0};
    mc_status status = mc_experts_make(a->out->dicts[model], &wanted, &experts, a->error);
    if (status == MC_OK && experts.count > 0 && !a->out->own[model])
        status = make_own(a, model);
    if (status == MC_OK && experts.count > 0)
        status = replace_experts(a, model, &experts);
    if (status == MC_OK && experts.count > 0)
        status = mc_report_add(
            a->report, a->error, "%s: %zu tensor%s of experts %s made of tensors that hold %s",
            a->out->labels[model], experts.count, experts.count == 1 ? "" : "s",
            experts.count == 1 ? "is" : "are",
            experts.made[0].source->rank == 3 ? "one expert each" : "all experts");
    mc_experts_free(&experts);
    return status;
}

static bool has_experts(const aligner *a, size_t model)
{
    const mc_state_dict *const dict = a->out->dicts[model];
    for (size_t i = 0; a->pool.count > 0 && i < mc_state_dict_count(dict); i++)
        if (mc_index_find(&a->pool.index, mc_state_dict_name(dict, i)) == MC_INDEX_NONE &&
            strstr(mc_state_dict_name(dict, i), "experts"))
            return true;
    return false;
}

/* ---- tied tensors ---------------------------------------------------------------------------- */

static size_t index_of(const mc_state_dict *dict, const char *name)
{
    size_t i = 0;
    while (i < mc_state_dict_count(dict) && strcmp(mc_state_dict_name(dict, i), name) != 0)
        i++;
    return i;
}

/* Adds a tensor that shares the values of tensor `origin` of the model's own dict. */
static mc_status add_tied(aligner *a, size_t model, const char *name, size_t origin)
{
    const mc_state_dict *const from = mc_model_state_dict(a->out->models[model]);
    if (!a->out->own[model])
        MC_TRY(make_own(a, model));
    a->out->untied[model] = true;
    return add_aligned(a->out, model, name, mc_state_dict_source(from, origin), origin, a->error);
}

/*
 * Adds tensors that the file stores once under several names, where other models have them apart.
 */
static mc_status add_aliases(aligner *a, size_t model)
{
    const mc_checkpoint *const checkpoint = &a->out->models[model]->checkpoint;
    for (size_t i = 0; i < checkpoint->alias_count; i++) {
        char *const name = mc_match_apply(&a->matches[model], checkpoint->aliases[i]);
        if (!name)
            return mc_fail_memory(a->error);
        const size_t at = mc_index_find(&a->pool.index, name);
        mc_status status = MC_OK;
        if (at < a->pool.tuned && !mc_state_dict_find(a->out->dicts[model], name))
            status = add_tied(a, model, a->pool.names[at],
                              index_of(checkpoint->dict, checkpoint->tied_to[i]));
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

/*
 * Whether a model predicts tokens, judged by the class in its configuration: "BertForMaskedLM"
 * does, "BertModel" and "BertForSequenceClassification" do not. Without a class it may.
 */
static bool has_output_head(const mc_model *model)
{
    static const char *const without[] = {"Classification",         "QuestionAnswering",
                                          "MultipleChoice",         "Detection",
                                          "NextSentencePrediction", "Embedding"};
    static const char *const with[] = {"LMHead", "MTModel"};
    const char *const class = mc_model_architecture(model);
    if (!class)
        return true;
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (strstr(class, without[i]))
            return false;
    for (size_t i = 0; i < sizeof with / sizeof *with; i++)
        if (strstr(class, with[i]))
            return true;
    const char *const end = class + strlen(class) - strlen("Model");
    return strlen(class) < strlen("Model") || strcmp(end, "Model") != 0;
}

/* Whether shapes are equal except for the number of tokens: vocabularies are matched later. */
static bool same_columns(const mc_source *embedding, const mc_source *head)
{
    bool same = embedding->rank == head->rank;
    for (int i = head->rank > 1; same && i < head->rank; i++)
        same = embedding->shape[i] == head->shape[i];
    return same;
}

/* Adds an output head that the file omits because the configuration ties it to the embeddings. */
static mc_status add_output_head(aligner *a, size_t model, size_t at, mc_names *added)
{
    const mc_model *const from = a->out->models[model];
    const mc_part part = mc_part_of(mc_model_type(from), a->pool.names[at]);
    if (part.role != MC_PART_OUTPUT_HEAD || part.bias)
        return MC_OK;
    const char *const partner = mc_tied_partner(mc_model_type(from), mc_model_state_dict(from),
                                                a->pool.names[at]);
    const size_t origin = partner ? index_of(mc_model_state_dict(from), partner) : 0;
    if (!partner ||
        !same_columns(mc_state_dict_source(mc_model_state_dict(from), origin), a->pool.sources[at]))
        return MC_OK;
    MC_TRY(add_tied(a, model, a->pool.names[at], origin));
    return mc_names_add(added, a->pool.names[at], a->error);
}

static mc_status add_output_heads(aligner *a, size_t model)
{
    const mc_model *const from = a->out->models[model];
    mc_names added = {0};
    mc_status status = MC_OK;
    if (!from->config || mc_tied_is_off(from->config) || !has_output_head(from))
        return MC_OK;
    for (size_t i = 0; status == MC_OK && i < a->pool.tuned; i++)
        if (!mc_state_dict_find(a->out->dicts[model], a->pool.names[i]))
            status = add_output_head(a, model, i, &added);
    for (size_t i = 0; status == MC_OK && i < added.count; i++)
        status = mc_report_add(a->report, a->error,
                               "%s: '%s' is tied to the input embeddings, but not in other models",
                               a->out->labels[model], added.names[i]);
    mc_names_free(&added);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

static mc_status align_model(aligner *a, size_t model)
{
    MC_TRY(match_names(a, model));
    MC_TRY(report_match(a, model));
    if (is_changed(a, model))
        MC_TRY(make_own(a, model));
    if (has_experts(a, model))
        MC_TRY(align_experts(a, model));
    return add_to_pool(a, model);
}

/*
 * The order in which models are aligned: the last model first, as its names are those of the
 * result, then the others backwards; base and side inputs after all models.
 */
static size_t nth(const aligner *a, size_t step)
{
    return step < a->tuned_count ? a->tuned_count - 1 - step : step;
}

static mc_status align_all(aligner *a)
{
    MC_TRY(new_pool(a));
    for (size_t step = 0; step < a->out->count; step++) {
        MC_TRY(align_model(a, nth(a, step)));
        /* From here on, names come from base and side inputs only. */
        if (step + 1 == a->tuned_count)
            a->pool.tuned = a->pool.count;
    }
    /* Ties need the whole pool: a head is added only where another model has it. */
    for (size_t i = 0; i < a->out->count; i++) {
        MC_TRY(add_aliases(a, i));
        MC_TRY(add_output_heads(a, i));
    }
    return MC_OK;
}

static mc_status new_alignment(const mc_model *const *models, size_t count, mc_alignment *out,
                               mc_error *error)
{
    out->count = count;
    out->models = models;
    out->dicts = mc_alloc_zero(count, sizeof *out->dicts);
    out->labels = mc_alloc_zero(count, sizeof *out->labels);
    out->untied = mc_alloc_zero(count, sizeof *out->untied);
    out->own = mc_alloc_zero(count, sizeof *out->own);
    out->origins = mc_alloc_zero(count, sizeof *out->origins);
    if (!out->dicts || !out->labels || !out->untied || !out->own || !out->origins)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        out->dicts[i] = mc_model_state_dict(models[i]);
        out->labels[i] = mc_model_name(models[i]);
    }
    return MC_OK;
}

mc_status mc_align(const mc_model *const *models, size_t tuned_count, size_t count,
                   mc_alignment *out, mc_report *report, mc_error *error)
{
    aligner a = {.out = out, .tuned_count = tuned_count, .report = report, .error = error};
    MC_TRY(new_alignment(models, count, out, error));
    a.matches = mc_alloc_zero(count, sizeof *a.matches);
    const mc_status status = a.matches ? align_all(&a) : mc_fail_memory(error);
    for (size_t i = 0; a.matches && i < count; i++)
        mc_match_free(&a.matches[i]);
    mc_free(a.matches);
    free_pool(&a.pool);
    return status;
}

void mc_alignment_free(mc_alignment *alignment)
{
    for (size_t i = 0; alignment->own && i < alignment->count; i++)
        mc_state_dict_free(alignment->own[i]);
    for (size_t i = 0; alignment->origins && i < alignment->count; i++)
        mc_index_free(&alignment->origins[i]);
    mc_free(alignment->dicts);
    mc_free(alignment->labels);
    mc_free(alignment->untied);
    mc_free(alignment->own);
    mc_free(alignment->origins);
    *alignment = (mc_alignment){0};
}

const char *mc_alignment_origin(const void *alignment, size_t model, const char *name)
{
    const mc_alignment *const a = alignment;
    const size_t at = mc_index_find(&a->origins[model], name);
    return at == MC_INDEX_NONE ? name
                               : mc_state_dict_name(mc_model_state_dict(a->models[model]), at);
}

mc_status mc_alignment_replace(mc_alignment *a, size_t model, const char *name, mc_source *source,
                               mc_error *error)
{
    if (!a->own[model]) /* names without an origin are the model's own */
        MC_TRY(mc_state_dict_copy(a->dicts[model], &a->own[model], error));
    a->dicts[model] = a->own[model];
    return mc_state_dict_set(a->own[model], name, source, error);
}
