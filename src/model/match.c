#include "model/match.h"

#include "base/hash.h"
#include "base/memory.h"
#include "checkpoint/renames.h"
#include "tensor/source.h"

#include <ctype.h>
#include <string.h>

/*
 * The names of a side that have no partner yet. Each stage matches some and leaves the rest to the
 * next:
 *
 *     equal names ─▶ old and new names ─▶ one prefix ─▶ no partner
 */
typedef struct open_names {
    const mc_match_side *side;
    size_t *items;     /* indices in the side */
    char **canonical;  /* per item */
    mc_index names;    /* name → position in items */
    mc_index meanings; /* canonical name → position in items */
    size_t count;
} open_names;

static void close_names(open_names *open)
{
    for (size_t i = 0; open->canonical && i < open->count; i++)
        mc_free(open->canonical[i]);
    mc_free(open->items);
    mc_free(open->canonical);
    mc_index_free(&open->names);
    mc_index_free(&open->meanings);
}

static bool fits(const mc_match_side *a, size_t i, const mc_match_side *b, size_t j)
{
    return !a->sources || !b->sources || mc_source_same_shape(a->sources[i], b->sources[j]);
}

/* ---- equal names ---- */

/* Lists the names of `side` that `other` lacks. */
static mc_status list_open(const mc_match_side *side, const mc_index *other, open_names *out,
                           mc_error *error)
{
    out->side = side;
    out->items = mc_alloc(side->count * sizeof *out->items);
    if (!out->items)
        return mc_fail_memory(error);
    for (size_t i = 0; i < side->count; i++)
        if (mc_index_find(other, side->names[i]) == MC_INDEX_NONE)
            out->items[out->count++] = i;
    return MC_OK;
}

static mc_status index_names(const mc_match_side *side, mc_index *out, mc_error *error)
{
    for (size_t i = 0; i < side->count; i++)
        if (!mc_index_set(out, side->names[i], i))
            return mc_fail_memory(error);
    return MC_OK;
}

/* ---- old and new names ---- */

/* Instead of a position: several names have the meaning, so it identifies none of them. */
#define TWICE (SIZE_MAX - 1)

/* The position of the only name of that meaning, or NONE. */
static size_t find_meaning(const open_names *open, const char *meaning)
{
    const size_t at = mc_index_find(&open->meanings, meaning);
    return at == TWICE ? MC_MATCH_NONE : at;
}

static mc_status index_open(open_names *open, mc_error *error)
{
    for (size_t i = 0; i < open->count; i++) {
        const char *const meaning = open->canonical[i];
        const bool twice = mc_index_find(&open->meanings, meaning) != MC_INDEX_NONE;
        if (!mc_index_set(&open->meanings, meaning, twice ? TWICE : i) ||
            !mc_index_set(&open->names, open->side->names[open->items[i]], i))
            return mc_fail_memory(error);
    }
    return MC_OK;
}

static mc_status add_meanings(open_names *open, mc_error *error)
{
    open->canonical = mc_alloc_zero(open->count, sizeof *open->canonical);
    if (!open->canonical)
        return mc_fail_memory(error);
    for (size_t i = 0; i < open->count; i++)
        if (!(open->canonical[i] = mc_canonical_name(open->side->names[open->items[i]])))
            return mc_fail_memory(error);
    return index_open(open, error);
}

/* Removes the names that are matched. Positions change, so the indices are made anew. */
static mc_status keep_open(open_names *open, const bool *matched, mc_error *error)
{
    size_t kept = 0;
    for (size_t i = 0; i < open->count; i++) {
        if (matched[i]) {
            mc_free(open->canonical[i]);
            continue;
        }
        open->items[kept] = open->items[i];
        open->canonical[kept++] = open->canonical[i];
    }
    open->count = kept;
    mc_index_free(&open->names);
    mc_index_free(&open->meanings);
    return index_open(open, error);
}

/* Matches names of equal meaning, and marks the positions of both. */
static void pair_meanings(const open_names *mine, const open_names *theirs, bool *my_marks,
                          bool *their_marks, mc_match *out)
{
    for (size_t i = 0; i < mine->count; i++) {
        const size_t item = mine->items[i];
        const size_t at = find_meaning(theirs, mine->canonical[i]);
        /* Both names must be the only ones of their meaning. */
        if (at == MC_MATCH_NONE || find_meaning(mine, mine->canonical[i]) != i ||
            !fits(mine->side, item, theirs->side, theirs->items[at]))
            continue;
        out->partners[item] = theirs->items[at];
        my_marks[i] = their_marks[at] = true;
        out->renamed++;
    }
}

static mc_status match_renamed(open_names *mine, open_names *theirs, mc_match *out, mc_error *error)
{
    bool *const my_marks = mc_alloc_zero(mine->count, sizeof *my_marks);
    bool *const their_marks = mc_alloc_zero(theirs->count, sizeof *their_marks);
    mc_status status = my_marks && their_marks ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK)
        pair_meanings(mine, theirs, my_marks, their_marks, out);
    if (status == MC_OK && out->renamed > 0)
        status = keep_open(mine, my_marks, error);
    if (status == MC_OK && out->renamed > 0)
        status = keep_open(theirs, their_marks, error);
    mc_free(my_marks);
    mc_free(their_marks);
    return status;
}

/* ---- prefixes ---- */

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
    /* From the end: names with the same beginning mostly follow each other. */
    for (size_t i = c->count; i-- > 0;)
        if (c->items[i].length == length && memcmp(c->items[i].name, name, length) == 0)
            return;
    /* The rest is not considered. */
    if (c->count == sizeof c->items / sizeof *c->items)
        return;
    c->items[c->count].name = name;
    c->items[c->count++].length = length;
}

/* Block numbers belong to the inside of an encoder: "layers.0." is never a prefix. */
static void collect_candidates(const open_names *open, candidates *out)
{
    for (size_t i = 0; i < open->count; i++) {
        const char *const name = open->side->names[open->items[i]];
        const char *const dot = strchr(name, '.');
        const char *const second = dot ? strchr(dot + 1, '.') : NULL;
        if (!dot || isdigit((unsigned char)dot[1]))
            continue;
        add_candidate(out, name, (size_t)(dot - name) + 1);
        if (second && !isdigit((unsigned char)second[1]))
            add_candidate(out, name, (size_t)(second - name) + 1);
    }
}

/* The position of the open name that is equal to `name`, or has the same meaning; NONE. */
static mc_status find_open(const open_names *open, const char *name, bool *renamed, size_t *out,
                           mc_error *error)
{
    *renamed = false;
    *out = mc_index_find(&open->names, name);
    if (*out != MC_INDEX_NONE)
        return MC_OK;
    char *const meaning = mc_canonical_name(name);
    if (!meaning)
        return mc_fail_memory(error);
    *out = find_meaning(open, meaning);
    *renamed = true;
    mc_free(meaning);
    return MC_OK;
}

/* The best prefix so far. `tied`: another one fits as many names. */
typedef struct best {
    const char *usual; /* the usual prefix of the model type; may be NULL */
    const char *text;
    size_t length, fits;
    bool strip, tied;
} best;

static bool is_usual(const best *b)
{
    return b->usual && strlen(b->usual) == b->length && memcmp(b->usual, b->text, b->length) == 0;
}

/* Counts the long names that are, without the prefix, names of the other side. */
static mc_status count_fits(const open_names *with, const open_names *without, best *one,
                            mc_error *error)
{
    for (size_t i = 0; i < with->count; i++) {
        const char *const name = with->side->names[with->items[i]];
        bool renamed;
        size_t at = MC_MATCH_NONE;
        if (strncmp(name, one->text, one->length) != 0)
            continue;
        MC_TRY(find_open(without, name + one->length, &renamed, &at, error));
        one->fits += at != MC_MATCH_NONE &&
                     fits(with->side, with->items[i], without->side, without->items[at]);
    }
    return MC_OK;
}

static mc_status consider(const open_names *with, const open_names *without, bool strip, best *out,
                          mc_error *error)
{
    candidates found = {.count = 0};
    collect_candidates(with, &found);
    for (size_t i = 0; i < found.count; i++) {
        best one = {.usual = out->usual,
                    .text = found.items[i].name,
                    .length = found.items[i].length,
                    .strip = strip};
        MC_TRY(count_fits(with, without, &one, error));
        if (one.fits > out->fits || (one.fits > 0 && one.fits == out->fits && is_usual(&one)))
            *out = one;
        else if (one.fits > 0 && one.fits == out->fits && !is_usual(out))
            out->tied = true;
    }
    return MC_OK;
}

/* Matches the names that are equal except for the prefix. */
static mc_status match_prefixed(const open_names *mine, const open_names *theirs, bool *taken,
                                mc_match *out, mc_error *error)
{
    for (size_t i = 0; i < mine->count; i++) {
        const size_t item = mine->items[i];
        bool renamed;
        size_t at = MC_MATCH_NONE;
        char *const name = mc_match_apply(out, mine->side->names[item]);
        if (!name)
            return mc_fail_memory(error);
        const mc_status status = find_open(theirs, name, &renamed, &at, error);
        mc_free(name);
        MC_TRY(status);
        if (at == MC_MATCH_NONE || taken[at] ||
            !fits(mine->side, item, theirs->side, theirs->items[at]))
            continue;
        out->partners[item] = theirs->items[at];
        taken[at] = true;
        out->renamed += renamed;
    }
    return MC_OK;
}

/*
 * A prefix must fit a quarter of the names that would otherwise have no partner. A bare encoder
 * fits with nearly all of them; a few equal endings in unrelated models fit with hardly any. Of two
 * that fit equally well the usual one of the model type is taken. If neither is usual (an encoder
 * and a decoder of the same shapes), choosing would be a guess: none is taken.
 */
static mc_status choose_prefix(const open_names *mine, const open_names *theirs, const char *usual,
                               mc_match *out, mc_error *error)
{
    best found = {.usual = usual};
    MC_TRY(consider(theirs, mine, false, &found, error));
    MC_TRY(consider(mine, theirs, true, &found, error));
    const size_t open = mine->count < theirs->count ? mine->count : theirs->count;
    if (found.fits == 0 || found.fits * 4 < open)
        return MC_OK;
    char *const text = mc_strndup(found.text, found.length);
    /* An ambiguous prefix is only reported. */
    *(found.tied ? &out->ambiguous : &out->prefix) = text;
    out->strip = found.strip;
    return text ? MC_OK : mc_fail_memory(error);
}

static mc_status match_open(open_names *mine, open_names *theirs, const char *usual, mc_match *out,
                            mc_error *error)
{
    MC_TRY(add_meanings(mine, error));
    MC_TRY(add_meanings(theirs, error));
    MC_TRY(match_renamed(mine, theirs, out, error));
    MC_TRY(choose_prefix(mine, theirs, usual, out, error));
    if (!out->prefix)
        return MC_OK;
    bool *const taken = mc_alloc_zero(theirs->count, sizeof *taken);
    const mc_status status = taken ? match_prefixed(mine, theirs, taken, out, error)
                                   : mc_fail_memory(error);
    mc_free(taken);
    return status;
}

/* ---- all ---- */

static mc_status match_all(const mc_match_side *mine, const mc_match_side *theirs,
                           const char *usual, mc_index *my_names, mc_index *their_names,
                           mc_match *out, mc_error *error)
{
    open_names mine_open = {0}, theirs_open = {0};
    MC_TRY(index_names(mine, my_names, error));
    MC_TRY(index_names(theirs, their_names, error));
    /*
     * Whatever their shapes: a difference is reported by the caller, not hidden by a missing
     * partner.
     */
    for (size_t i = 0; i < mine->count; i++)
        out->partners[i] = mc_index_find(their_names, mine->names[i]);
    mc_status status = list_open(mine, their_names, &mine_open, error);
    if (status == MC_OK)
        status = list_open(theirs, my_names, &theirs_open, error);
    if (status == MC_OK && mine_open.count > 0 && theirs_open.count > 0)
        status = match_open(&mine_open, &theirs_open, usual, out, error);
    close_names(&mine_open);
    close_names(&theirs_open);
    return status;
}

mc_status mc_match_new(const mc_match_side *mine, const mc_match_side *theirs, const char *usual,
                       mc_match *out, mc_error *error)
{
    mc_index my_names = {0}, their_names = {0};
    out->partners = mc_alloc(mine->count * sizeof *out->partners);
    if (!out->partners)
        return mc_fail_memory(error);
    const mc_status status = match_all(mine, theirs, usual, &my_names, &their_names, out, error);
    mc_index_free(&my_names);
    mc_index_free(&their_names);
    return status;
}

void mc_match_free(mc_match *match)
{
    mc_free(match->partners);
    mc_free(match->prefix);
    mc_free(match->ambiguous);
    *match = (mc_match){0};
}

char *mc_match_apply(const mc_match *match, const char *name)
{
    const size_t length = match->prefix ? strlen(match->prefix) : 0;
    if (!match->prefix)
        return mc_strdup(name);
    if (!match->strip)
        return mc_format("%s%s", match->prefix, name);
    /* Names outside the encoder do not have the prefix. */
    return mc_strdup(strncmp(name, match->prefix, length) == 0 ? name + length : name);
}

mc_status mc_names_match(const char *const *wanted, size_t wanted_count,
                         const char *const *available, size_t available_count, size_t *partners,
                         mc_error *error)
{
    const mc_match_side mine = {.names = wanted, .count = wanted_count};
    const mc_match_side theirs = {.names = available, .count = available_count};
    mc_match match = {0};
    const mc_status status = mc_match_new(&mine, &theirs, NULL, &match, error);
    if (status == MC_OK && wanted_count > 0)
        memcpy(partners, match.partners, wanted_count * sizeof *partners);
    mc_match_free(&match);
    return status;
}
