#include "merge/align.h"

#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"
#include "model/model.h"
#include "model/parts.h"
#include "tensor/source.h"

#include <ctype.h>
#include <string.h>

/* ---- renaming ---------------------------------------------------------------------------------- */

/* What is put before, or taken away from, the names of one model that the others do not have. */
typedef struct prefix {
    char *text; /* "bert."; NULL: names stay */
    bool strip;
} prefix;

/* The aligned form of a name, in new memory; NULL: no memory. */
static char *apply(const prefix *p, const mc_state_dict *reference, const char *name)
{
    const size_t length = p->text ? strlen(p->text) : 0;
    if (length == 0 || mc_state_dict_find(reference, name))
        return mc_strdup(name);
    if (!p->strip)
        return mc_format("%s%s", p->text, name);
    return mc_strdup(strncmp(name, p->text, length) == 0 ? name + length : name);
}

static bool fits(const mc_state_dict *reference, const char *name, const mc_source *source)
{
    const mc_source *const found = mc_state_dict_find(reference, name);
    return found && mc_source_same_shape(found, source);
}

/* ---- encoder prefixes -------------------------------------------------------------------------- */

/* Names of `from` that `reference` lacks, by index. */
typedef struct unmatched {
    const mc_state_dict *from;
    size_t *items;
    size_t count;
} unmatched;

static mc_status find_unmatched(const mc_state_dict *from, const mc_state_dict *reference,
                                unmatched *out, mc_error *error)
{
    out->from = from;
    out->items = mc_alloc(mc_state_dict_count(from) * sizeof *out->items);
    if (!out->items)
        return mc_fail_memory(error);
    for (size_t i = 0; i < mc_state_dict_count(from); i++)
        if (!mc_state_dict_find(reference, mc_state_dict_name(from, i)))
            out->items[out->count++] = i;
    return MC_OK;
}

/* What could be an encoder's prefix: the first part of names, or the first two. */
typedef struct candidates {
    struct {
        const char *name;
        size_t length;
    } items[64];
    size_t count;
} candidates;

static void add_candidate(candidates *c, const char *name, size_t length)
{
    for (size_t i = c->count; i-- > 0;)
        if (c->items[i].length == length && memcmp(c->items[i].name, name, length) == 0)
            return;
    if (c->count == sizeof c->items / sizeof *c->items)
        return;
    c->items[c->count].name = name;
    c->items[c->count++].length = length;
}

/* Block numbers belong to what is inside an encoder: "layers.0." is never a prefix. */
static void collect_candidates(const unmatched *u, candidates *out)
{
    for (size_t i = 0; i < u->count; i++) {
        const char *const name = mc_state_dict_name(u->from, u->items[i]);
        const char *const dot = strchr(name, '.');
        const char *const second = dot ? strchr(dot + 1, '.') : NULL;
        if (!dot || isdigit((unsigned char)dot[1]))
            continue;
        add_candidate(out, name, (size_t)(dot - name) + 1);
        if (second && !isdigit((unsigned char)second[1]))
            add_candidate(out, name, (size_t)(second - name) + 1);
    }
}

/* How many of the long names, without the prefix, are names of the short dict. */
static size_t count_fits(const unmatched *with, const mc_state_dict *without, const char *text,
                         size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < with->count; i++) {
        const char *const name = mc_state_dict_name(with->from, with->items[i]);
        if (strncmp(name, text, length) == 0)
            count += fits(without, name + length, mc_state_dict_source(with->from, with->items[i]));
    }
    return count;
}

/* The best prefix so far; `tied` if another one fits as many names. `usual`: what the model types say. */
typedef struct best {
    const char *usual;
    const char *text;
    size_t length, fits;
    bool strip, tied;
} best;

static bool is_usual(const best *b)
{
    return b->usual && strlen(b->usual) == b->length && memcmp(b->usual, b->text, b->length) == 0;
}

static void consider(const unmatched *with, const unmatched *without, bool strip, best *out)
{
    candidates found = {.count = 0};
    collect_candidates(with, &found);
    for (size_t i = 0; i < found.count; i++) {
        const size_t count = count_fits(with, without->from, found.items[i].name,
                                        found.items[i].length);
        const best one = {out->usual, found.items[i].name, found.items[i].length, count, strip,
                          false};
        if (count > out->fits || (count > 0 && count == out->fits && is_usual(&one)))
            *out = one;
        else if (count > 0 && count == out->fits && !is_usual(out))
            out->tied = true;
    }
}

static mc_status report_prefix(const prefix *p, const char *label, mc_report *report,
                               mc_error *error)
{
    return mc_report_add(report, error, "%s: tensors are matched with%s '%s' before their names",
                         label, p->strip ? "out" : "", p->text);
}

/*
 * A prefix must fit a quarter of the names that would otherwise find nothing: a bare encoder fits
 * with nearly all of them, and a few equal endings in unrelated models with hardly any. Of two that
 * fit equally well the model type's usual one is taken. Otherwise (an encoder and a decoder of the
 * same shapes) it would be a guess: neither is.
 */
static mc_status choose_prefix(const unmatched *mine, const unmatched *theirs, const char *usual,
                               const char *label, prefix *out, mc_report *report, mc_error *error)
{
    best found = {.usual = usual};
    consider(theirs, mine, false, &found);
    consider(mine, theirs, true, &found);
    const size_t fewer = mine->count < theirs->count ? mine->count : theirs->count;
    if (found.fits == 0 || found.fits * 4 < fewer)
        return MC_OK;
    if (found.tied)
        return mc_report_add(report, error,
                             "%s: tensors fit several prefixes, '%.*s' among them, equally well: "
                             "none is used",
                             label, (int)found.length, found.text);
    out->strip = found.strip;
    out->text = mc_strndup(found.text, found.length);
    return out->text ? report_prefix(out, label, report, error) : mc_fail_memory(error);
}

static mc_status find_prefix(const mc_state_dict *dict, const mc_state_dict *reference,
                             const char *usual, const char *label, prefix *out, mc_report *report,
                             mc_error *error)
{
    unmatched mine = {0}, theirs = {0};
    mc_status status = find_unmatched(dict, reference, &mine, error);
    if (status == MC_OK)
        status = find_unmatched(reference, dict, &theirs, error);
    if (status == MC_OK && mine.count > 0 && theirs.count > 0)
        status = choose_prefix(&mine, &theirs, usual, label, out, report, error);
    mc_free(mine.items);
    mc_free(theirs.items);
    return status;
}

/* ---- aligned dicts ----------------------------------------------------------------------------- */

/* Adds a tensor of the model's own dict, at index `origin`, under an aligned name. */
static mc_status add_aligned(mc_alignment *a, size_t model, const char *name, size_t origin,
                             mc_error *error)
{
    mc_state_dict *const own = a->own[model];
    const mc_state_dict *const from = mc_model_state_dict(a->models[model]);
    MC_TRY(mc_state_dict_set(own, name, mc_state_dict_source(from, origin), error));
    const char *const kept = mc_state_dict_name(own, mc_state_dict_count(own) - 1);
    return mc_index_set(&a->origins[model], kept, origin) ? MC_OK : mc_fail_memory(error);
}

/* Replaces the model's dict by one of aligned names. A name that is taken already stays what it was. */
static mc_status make_own(mc_alignment *a, size_t model, const prefix *p,
                          const mc_state_dict *reference, mc_error *error)
{
    const mc_state_dict *const from = mc_model_state_dict(a->models[model]);
    MC_TRY(mc_state_dict_new(&a->own[model], error));
    for (size_t i = 0; i < mc_state_dict_count(from); i++) {
        const char *const name = mc_state_dict_name(from, i);
        char *const aligned = apply(p, reference, name);
        if (!aligned)
            return mc_fail_memory(error);
        const bool taken = strcmp(aligned, name) != 0 && mc_state_dict_find(from, aligned);
        const mc_status status = add_aligned(a, model, taken ? name : aligned, i, error);
        mc_free(aligned);
        MC_TRY(status);
    }
    a->dicts[model] = a->own[model];
    return MC_OK;
}

static bool in_any(const mc_alignment *a, size_t tuned_count, const char *name)
{
    for (size_t i = 0; i < tuned_count; i++)
        if (mc_state_dict_find(a->dicts[i], name))
            return true;
    return false;
}

static size_t index_of(const mc_state_dict *dict, const char *name)
{
    size_t i = 0;
    while (i < mc_state_dict_count(dict) && strcmp(mc_state_dict_name(dict, i), name) != 0)
        i++;
    return i;
}

/* A tensor that is tied in this model and stands alone in another: this model has it too. */
static mc_status add_tied(mc_alignment *a, size_t model, size_t tuned_count, const prefix *p,
                          const mc_state_dict *reference, mc_error *error)
{
    const mc_checkpoint *const checkpoint = &a->models[model]->checkpoint;
    for (size_t i = 0; i < checkpoint->alias_count; i++) {
        char *const name = apply(p, reference, checkpoint->aliases[i]);
        mc_status status = name ? MC_OK : mc_fail_memory(error);
        if (status == MC_OK && !mc_state_dict_find(a->dicts[model], name) &&
            in_any(a, tuned_count, name)) {
            if (!a->own[model])
                status = make_own(a, model, p, reference, error);
            if (status == MC_OK)
                status = add_aligned(a, model, name,
                                     index_of(checkpoint->dict, checkpoint->tied_to[i]), error);
        }
        mc_free(name);
        MC_TRY(status);
    }
    return MC_OK;
}

static mc_status align_model(mc_alignment *a, size_t model, size_t tuned_count, prefix *p,
                             mc_report *report, mc_error *error)
{
    const mc_model *const last = a->models[tuned_count - 1];
    const mc_state_dict *const reference = mc_model_state_dict(last);
    if (a->models[model] == last)
        return MC_OK;
    MC_TRY(find_prefix(a->dicts[model], reference, mc_encoder_prefix(mc_model_type(last)),
                       a->labels[model], p, report, error));
    return p->text ? make_own(a, model, p, reference, error) : MC_OK;
}

static mc_status align_all(mc_alignment *a, size_t tuned_count, prefix *prefixes, mc_report *report,
                           mc_error *error)
{
    const mc_state_dict *const reference = mc_model_state_dict(a->models[tuned_count - 1]);
    for (size_t i = 0; i < a->count; i++)
        MC_TRY(align_model(a, i, tuned_count, &prefixes[i], report, error));
    for (size_t i = 0; i < a->count; i++)
        MC_TRY(add_tied(a, i, tuned_count, &prefixes[i], reference, error));
    return MC_OK;
}

static mc_status new_alignment(const mc_model *const *models, size_t count, mc_alignment *out,
                               mc_error *error)
{
    out->count = count;
    out->models = models;
    out->dicts = mc_alloc_zero(count, sizeof *out->dicts);
    out->labels = mc_alloc_zero(count, sizeof *out->labels);
    out->own = mc_alloc_zero(count, sizeof *out->own);
    out->origins = mc_alloc_zero(count, sizeof *out->origins);
    if (!out->dicts || !out->labels || !out->own || !out->origins)
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
    MC_TRY(new_alignment(models, count, out, error));
    prefix *const prefixes = mc_alloc_zero(count, sizeof *prefixes);
    if (!prefixes)
        return mc_fail_memory(error);
    const mc_status status = align_all(out, tuned_count, prefixes, report, error);
    for (size_t i = 0; i < count; i++)
        mc_free(prefixes[i].text);
    mc_free(prefixes);
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

/* ---- labels ------------------------------------------------------------------------------------ */

static bool same_labels(const mc_model *a, const mc_model *b)
{
    if (mc_model_label_count(a) != mc_model_label_count(b))
        return false;
    for (size_t i = 0; i < mc_model_label_count(a); i++)
        if (strcmp(mc_model_label(a, i), mc_model_label(b, i)) != 0)
            return false;
    return true;
}

static void add_labels(mc_text *text, const mc_model *model)
{
    for (size_t i = 0; i < mc_model_label_count(model); i++)
        mc_text_add(text, "%s%s", i ? ", " : "", mc_model_label(model, i));
}

static mc_status report_labels(const mc_model *model, const mc_model *last, bool strict,
                               mc_report *report, mc_error *error)
{
    mc_text text = {0};
    mc_text_add(&text, "%s has the labels [", mc_model_name(model));
    add_labels(&text, model);
    mc_text_add(&text, "], but %s has [", mc_model_name(last));
    add_labels(&text, last);
    mc_text_add(&text, "]: the merge takes those of the last");
    mc_status status = text.failed ? mc_fail_memory(error) : MC_OK;
    if (status == MC_OK)
        status = strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", text.data)
                        : mc_report_add(report, error, "%s", text.data);
    mc_text_free(&text);
    return status;
}

mc_status mc_align_labels(const mc_model *const *models, size_t tuned_count, bool strict,
                          mc_report *report, mc_error *error)
{
    const mc_model *const last = models[tuned_count - 1];
    for (size_t i = 0; i + 1 < tuned_count; i++)
        if (mc_model_label_count(models[i]) > 0 && mc_model_label_count(last) > 0 &&
            !same_labels(models[i], last))
            MC_TRY(report_labels(models[i], last, strict, report, error));
    return MC_OK;
}
