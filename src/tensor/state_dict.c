#include <mergecraft/state_dict.h>

#include "base/hash.h"
#include "base/memory.h"
#include "tensor/source.h"

#include <string.h>

typedef struct entry {
    char *name;
    mc_source *source;
} entry;

/*
 * An ordered map. The index gives positions in `entries` by names, which it borrows from there:
 * entries may move, their names stay where they are.
 */
struct mc_state_dict {
    entry *entries;
    size_t count, capacity;
    mc_index index;
};

mc_status mc_state_dict_new(mc_state_dict **out, mc_error *error)
{
    *out = mc_alloc_zero(1, sizeof **out);
    return *out ? MC_OK : mc_fail_memory(error);
}

static void free_entry(entry *one)
{
    mc_free(one->name);
    mc_source_unref(one->source);
}

void mc_state_dict_free(mc_state_dict *dict)
{
    if (!dict)
        return;
    for (size_t i = 0; i < dict->count; i++)
        free_entry(&dict->entries[i]);
    mc_free(dict->entries);
    mc_index_free(&dict->index);
    mc_free(dict);
}

size_t mc_state_dict_count(const mc_state_dict *dict)
{
    return dict->count;
}

const char *mc_state_dict_name(const mc_state_dict *dict, size_t index)
{
    return dict->entries[index].name;
}

mc_source *mc_state_dict_source(const mc_state_dict *dict, size_t index)
{
    return dict->entries[index].source;
}

mc_source *mc_state_dict_find(const mc_state_dict *dict, const char *name)
{
    const size_t at = mc_index_find(&dict->index, name);
    return at == MC_INDEX_NONE ? NULL : dict->entries[at].source;
}

mc_status mc_state_dict_set(mc_state_dict *dict, const char *name, mc_source *source,
                            mc_error *error)
{
    const size_t at = mc_index_find(&dict->index, name);
    if (at != MC_INDEX_NONE) {
        /* Referenced first: the new source may be the old one, or own it. */
        mc_source_ref(source);
        mc_source_unref(dict->entries[at].source);
        dict->entries[at].source = source;
        return MC_OK;
    }
    if (!MC_GROW(dict->entries, dict->count, dict->capacity))
        return mc_fail_memory(error);
    char *const copy = mc_strdup(name);
    if (!copy || !mc_index_set(&dict->index, copy, dict->count)) {
        mc_free(copy);
        return mc_fail_memory(error);
    }
    dict->entries[dict->count++] = (entry){.name = copy, .source = mc_source_ref(source)};
    return MC_OK;
}

/*
 * Keeps the marked entries. The index is made anew before anything changes, so that without memory
 * the dict stays as it was.
 */
static mc_status keep_marked(mc_state_dict *dict, const bool *keep, mc_error *error)
{
    mc_index index = {0};
    size_t kept = 0;
    for (size_t i = 0; i < dict->count; i++) {
        if (keep[i] && !mc_index_set(&index, dict->entries[i].name, kept++)) {
            mc_index_free(&index);
            return mc_fail_memory(error);
        }
    }
    kept = 0;
    for (size_t i = 0; i < dict->count; i++) {
        if (keep[i])
            dict->entries[kept++] = dict->entries[i];
        else
            free_entry(&dict->entries[i]);
    }
    dict->count = kept;
    mc_index_free(&dict->index);
    dict->index = index;
    return MC_OK;
}

mc_status mc_state_dict_remove(mc_state_dict *dict, const char *const *names, size_t count,
                               mc_error *error)
{
    /* Marked first and removed in one pass: moving the entries per name would be quadratic. */
    bool *const keep = mc_alloc(dict->count);
    if (!keep)
        return mc_fail_memory(error);
    memset(keep, true, dict->count);
    for (size_t i = 0; i < count; i++) {
        const size_t at = mc_index_find(&dict->index, names[i]);
        if (at != MC_INDEX_NONE)
            keep[at] = false;
    }
    const mc_status status = keep_marked(dict, keep, error);
    mc_free(keep);
    return status;
}

mc_status mc_state_dict_filter(mc_state_dict *dict, mc_state_dict_predicate keep, void *user,
                               mc_error *error)
{
    bool *const marks = mc_alloc(dict->count);
    if (!marks)
        return mc_fail_memory(error);
    for (size_t i = 0; i < dict->count; i++)
        marks[i] = keep(dict->entries[i].name, dict->entries[i].source, user);
    const mc_status status = keep_marked(dict, marks, error);
    mc_free(marks);
    return status;
}

/* Fills a new dict; build frees it if a step fails. */
typedef mc_status (*fill_step)(mc_state_dict *into, const void *context, mc_error *error);

static mc_status build(fill_step fill, const void *context, mc_state_dict **out, mc_error *error)
{
    mc_state_dict *dict = NULL;
    MC_TRY(mc_state_dict_new(&dict, error));
    const mc_status status = fill(dict, context, error);
    if (status != MC_OK) {
        mc_state_dict_free(dict);
        return status;
    }
    *out = dict;
    return MC_OK;
}

/* Adds an entry whose source was just made, and gives up the maker's reference. */
static mc_status add_made(mc_state_dict *into, const char *name, mc_source *made, mc_error *error)
{
    const mc_status status = mc_state_dict_set(into, name, made, error);
    mc_source_unref(made);
    return status;
}

static mc_status fill_copy(mc_state_dict *into, const void *context, mc_error *error)
{
    const mc_state_dict *const from = context;
    for (size_t i = 0; i < from->count; i++)
        MC_TRY(mc_state_dict_set(into, from->entries[i].name, from->entries[i].source, error));
    return MC_OK;
}

mc_status mc_state_dict_copy(const mc_state_dict *dict, mc_state_dict **out, mc_error *error)
{
    return build(fill_copy, dict, out, error);
}

typedef struct subset_context {
    const mc_state_dict *from;
    const char *const *names;
    size_t count;
} subset_context;

static mc_status fill_subset(mc_state_dict *into, const void *context, mc_error *error)
{
    const subset_context *const wanted = context;
    /* The order is that of the list of names, not that of the dict. */
    for (size_t i = 0; i < wanted->count; i++) {
        mc_source *const source = mc_state_dict_find(wanted->from, wanted->names[i]);
        if (!source)
            return mc_fail_at(error, MC_NOT_FOUND, NULL, wanted->names[i], -1,
                              "the state dict has no such tensor");
        MC_TRY(mc_state_dict_set(into, wanted->names[i], source, error));
    }
    return MC_OK;
}

mc_status mc_state_dict_subset(const mc_state_dict *dict, const char *const *names, size_t count,
                               mc_state_dict **out, mc_error *error)
{
    const subset_context context = {dict, names, count};
    return build(fill_subset, &context, out, error);
}

static mc_status fill_zeros(mc_state_dict *into, const void *context, mc_error *error)
{
    const mc_state_dict *const like = context;
    for (size_t i = 0; i < like->count; i++) {
        mc_source *zeros = NULL;
        MC_TRY(mc_source_zeros_like(like->entries[i].source, &zeros, error));
        MC_TRY(add_made(into, like->entries[i].name, zeros, error));
    }
    return MC_OK;
}

mc_status mc_state_dict_zeros_like(const mc_state_dict *dict, mc_state_dict **out, mc_error *error)
{
    return build(fill_zeros, dict, out, error);
}

typedef struct arithmetic_context {
    mc_operator op;
    const mc_state_dict *a, *b;
    double number;
    bool number_first;
} arithmetic_context;

/* One entry of the result; *made stays NULL where the other dict lacks the name. */
static mc_status combine_entry(const arithmetic_context *work, const entry *one, mc_source **made,
                               mc_error *error)
{
    mc_source *const other = work->b ? mc_state_dict_find(work->b, one->name) : NULL;
    if (work->b && !other)
        return MC_OK;
    /* Integer tensors such as counters have no arithmetic: the first dict's are kept. */
    if (mc_dtype_kind_of(one->source->dtype) != MC_KIND_FLOAT) {
        *made = mc_source_ref(one->source);
        return MC_OK;
    }
    const mc_status status = work->b ? mc_source_combine(work->op, one->source, other, made, error)
                                     : mc_source_combine_number(work->op, one->source, work->number,
                                                                work->number_first, made, error);
    return mc_in_tensor(error, one->name, status);
}

static mc_status fill_arithmetic(mc_state_dict *into, const void *context, mc_error *error)
{
    const arithmetic_context *const work = context;
    for (size_t i = 0; i < work->a->count; i++) {
        mc_source *made = NULL;
        MC_TRY(combine_entry(work, &work->a->entries[i], &made, error));
        if (made)
            MC_TRY(add_made(into, work->a->entries[i].name, made, error));
    }
    if (into->count == 0 && work->a->count > 0)
        return mc_fail(error, MC_MISMATCH, "the state dicts have no tensor name in common");
    return MC_OK;
}

/* Counts the names that `a` has and `b` lacks; *first is the first of them. */
static size_t count_missing(const mc_state_dict *a, const mc_state_dict *b, const char **first)
{
    size_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        if (mc_state_dict_find(b, a->entries[i].name))
            continue;
        *first = *first ? *first : a->entries[i].name;
        count++;
    }
    return count;
}

mc_status mc_state_dict_combine(mc_operator op, const mc_state_dict *a, const mc_state_dict *b,
                                size_t *left_out, mc_state_dict **out, mc_error *error)
{
    const arithmetic_context context = {.op = op, .a = a, .b = b};
    const char *first = NULL;
    const size_t missing = count_missing(a, b, &first) + count_missing(b, a, &first);
    if (left_out)
        *left_out = missing;
    /*
     * Names are dropped only for a caller who takes their number. Without any common name, the
     * error of fill_arithmetic is more specific.
     */
    else if (missing > 0 && missing < a->count + b->count)
        return mc_fail_at(error, MC_MISMATCH, NULL, first, -1,
                          "expected the same names in both state dicts, found %zu that only one of "
                          "them has",
                          missing);
    return build(fill_arithmetic, &context, out, error);
}

mc_status mc_state_dict_combine_number(mc_operator op, const mc_state_dict *a, double number,
                                       bool number_first, mc_state_dict **out, mc_error *error)
{
    const arithmetic_context context = {
        .op = op, .a = a, .number = number, .number_first = number_first};
    return build(fill_arithmetic, &context, out, error);
}
