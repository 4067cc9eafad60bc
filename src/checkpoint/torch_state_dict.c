#include "checkpoint/torch_state_dict.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "checkpoint/torch_globals.h"

#include <string.h>

/*
 * All names together are limited: each repeats those of the dicts around it, and a pickle can put
 * one dict into many others.
 */
enum {
    NAMES_LIMIT = 64 << 20,
    NESTING_LIMIT = 4, /* keys before the state dict */
    DEPTH_LIMIT = 16,  /* dicts inside the state dict */
    SHOWN = 8,         /* entries in a note or an error */
    KEY_SHOWN = 100,   /* bytes of a key in one */
};

/*
 * The state of a walk, in mc_pickle_value.mark. Dicts may contain themselves.
 *
 *     UNSEEN ──holds_tensors──▶ WITHOUT_TENSORS ──a tensor is found──▶ WITH_TENSORS
 *                                                                         │
 *                                                     ADDED ◀──add_items──┘
 */
enum { UNSEEN, WITHOUT_TENSORS, WITH_TENSORS, ADDED };

/* ---- descriptions ---- */

static void add_object(mc_text *text, const mc_global *class)
{
    if (class->meaning == MC_TORCH_NUMPY_ARRAY)
        mc_text_add(text, "a NumPy array");
    else
        mc_text_add(text, "an object made by %s", class->name);
}

static void add_kind(mc_text *text, const mc_pickle_value *value)
{
    static const char *const kinds[] = {
        [MC_PICKLE_NONE] = "None",
        [MC_PICKLE_BOOL] = "a flag",
        [MC_PICKLE_INT] = "a number",
        [MC_PICKLE_BIG] = "a number",
        [MC_PICKLE_FLOAT] = "a number",
        [MC_PICKLE_TEXT] = "text",
        [MC_PICKLE_BYTES] = "bytes",
        [MC_PICKLE_TUPLE] = "a tuple",
        [MC_PICKLE_LIST] = "a list",
        [MC_PICKLE_DICT] = "a dict",
        [MC_PICKLE_GLOBAL] = "a class",
        [MC_PICKLE_CALL] = "an object",
        [MC_PICKLE_PERSISTENT] = "a storage",
    };
    mc_torch_call call;
    if (mc_torch_find_call(value, &call))
        mc_text_add(text, "a tensor");
    else if (value->kind == MC_PICKLE_CALL)
        add_object(text, value->items[0]->global);
    else
        mc_text_add(text, "%s", kinds[value->kind]);
}

static void add_key(mc_text *text, const char *prefix, const mc_pickle_value *key)
{
    if (key->kind == MC_PICKLE_TEXT)
        mc_text_add(text, "'%.*s%.*s'", KEY_SHOWN, prefix,
                    (int)(key->size < KEY_SHOWN ? key->size : KEY_SHOWN), key->bytes);
    else if (key->kind == MC_PICKLE_INT)
        mc_text_add(text, "%lld", (long long)key->integer);
    else
        add_kind(text, key);
}

/* Entries of which some are listed: "'epoch' (a number), 'optimizer' (a dict) and 3 more". */
typedef struct listing {
    mc_text text;
    size_t count;
} listing;

static void list_entry(listing *list, const char *prefix, const mc_pickle_value *key,
                       const mc_pickle_value *value)
{
    if (list->count++ >= SHOWN)
        return;
    mc_text_add(&list->text, "%s", list->count > 1 ? ", " : "");
    add_key(&list->text, prefix, key);
    mc_text_add(&list->text, " (");
    add_kind(&list->text, value);
    mc_text_add(&list->text, ")");
}

static void finish_list(listing *list)
{
    if (list->count > SHOWN)
        mc_text_add(&list->text, " and %zu more", list->count - SHOWN);
}

static const char *file_name(const mc_torch_file *file)
{
    const char *const path = mc_file_path(file->file), *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- finding the state dict ---- */

static bool is_tensor(const mc_pickle_value *value)
{
    mc_torch_call call;
    return mc_torch_find_call(value, &call);
}

/*
 * Whether a dict has tensors under names, in it or in dicts in it. Keys that are numbers do not
 * count: optimisers number their tensors.
 */
static bool holds_tensors(mc_pickle_value *dict, int depth)
{
    if (dict->kind != MC_PICKLE_DICT || depth == 0)
        return false;
    if (dict->mark != UNSEEN)
        return dict->mark != WITHOUT_TENSORS;
    /* Set before the walk goes deeper: a dict that contains itself then ends it. */
    dict->mark = WITHOUT_TENSORS;
    for (size_t i = 0; i < dict->count && dict->mark == WITHOUT_TENSORS; i += 2)
        if (dict->items[i]->kind == MC_PICKLE_TEXT &&
            (is_tensor(dict->items[i + 1]) || holds_tensors(dict->items[i + 1], depth - 1)))
            dict->mark = WITH_TENSORS;
    return dict->mark == WITH_TENSORS;
}

static bool has_own_tensors(const mc_pickle_value *dict)
{
    for (size_t i = 0; i < dict->count; i += 2)
        if (dict->items[i]->kind == MC_PICKLE_TEXT && is_tensor(dict->items[i + 1]))
            return true;
    return false;
}

/*
 * The index of the entry with the state dict under a usual key; the count of items if there is
 * none. Keys in order of preference; of a key that repeats the last one.
 */
static size_t usual_entry(const mc_pickle_value *dict)
{
    static const char *const keys[] = {"state_dict", "model_state_dict", "model", "module",
                                       "params_ema"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (size_t i = dict->count; i >= 2; i -= 2)
            if (mc_pickle_is_text(dict->items[i - 2], keys[k]) &&
                holds_tensors(dict->items[i - 1], DEPTH_LIMIT))
                return i - 2;
    return dict->count;
}

static mc_status only_entry(const mc_pickle_value *dict, size_t *out, mc_error *error)
{
    listing found = {0}, all = {0};
    *out = dict->count;
    for (size_t i = 0; i < dict->count; i += 2) {
        const bool candidate = dict->items[i]->kind == MC_PICKLE_TEXT &&
                               holds_tensors(dict->items[i + 1], DEPTH_LIMIT);
        if (candidate)
            *out = i;
        if (candidate)
            list_entry(&found, "", dict->items[i], dict->items[i + 1]);
        list_entry(&all, "", dict->items[i], dict->items[i + 1]);
    }
    finish_list(&found);
    finish_list(&all);
    mc_status status = found.text.failed || all.text.failed ? mc_fail_memory(error) : MC_OK;
    if (status == MC_OK && found.count == 0)
        status = mc_fail(error, MC_UNSUPPORTED,
                         "expected a state dict (a dict of tensors), found a dict without tensors%s"
                         "%s: save the state_dict() of the model",
                         all.count ? ": " : "", all.count ? all.text.data : "");
    else if (status == MC_OK && found.count > 1)
        status = mc_fail(error, MC_UNSUPPORTED,
                         "expected one state dict, found several: %s: save the one to be merged as "
                         "a file of its own",
                         found.text.data);
    mc_text_free(&found.text);
    mc_text_free(&all.text);
    return status;
}

/* Names the other entries with tensors beside the one that is read. */
static mc_status note_siblings(const mc_torch_file *file, const mc_pickle_value *dict, size_t read,
                               mc_notes *notes, mc_error *error)
{
    listing others = {0};
    mc_text key = {0};
    for (size_t i = 0; i < dict->count; i += 2)
        if (i != read && dict->items[i]->kind == MC_PICKLE_TEXT &&
            (is_tensor(dict->items[i + 1]) || holds_tensors(dict->items[i + 1], DEPTH_LIMIT)))
            list_entry(&others, "", dict->items[i], dict->items[i + 1]);
    finish_list(&others);
    add_key(&key, "", dict->items[read]);
    mc_status status = others.text.failed || key.failed ? mc_fail_memory(error) : MC_OK;
    if (status == MC_OK && others.count > 0)
        status = mc_notes_add(notes, error, "%s: reads the tensors under %s and ignores %s",
                              file_name(file), key.data, others.text.data);
    mc_text_free(&others.text);
    mc_text_free(&key);
    return status;
}

static mc_status find_state_dict(const mc_torch_file *file, mc_pickle_value **root, mc_notes *notes,
                                 mc_error *error)
{
    /* Training checkpoints nest: {'model': {'state_dict': …}}. */
    for (int depth = 0; depth < NESTING_LIMIT; depth++) {
        const mc_pickle_value *const dict = *root;
        size_t at = usual_entry(dict);
        /*
         * A usual key counts more than own tensors: the root may hold a few tensors beside the
         * model.
         */
        if (at == dict->count && has_own_tensors(dict))
            return MC_OK;
        if (at == dict->count)
            MC_TRY(only_entry(dict, &at, error));
        MC_TRY(note_siblings(file, dict, at, notes, error));
        *root = dict->items[at + 1];
    }
    return MC_OK;
}

/* ---- reading it ---- */

typedef struct walk {
    const mc_torch_file *file;
    mc_state_dict *dict;
    mc_notes *notes;
    size_t name_bytes; /* of all names so far */
    listing skipped, flattened;
    mc_error *error;
} walk;

static mc_status check_name(const mc_pickle_value *key, mc_error *error)
{
    const size_t valid = mc_utf8_valid(key->bytes, key->size);
    if (valid < key->size || memchr(key->bytes, '\0', key->size))
        return mc_fail(error, MC_FORMAT,
                       "expected UTF-8 without NUL as the name of a tensor, found '%.*s'",
                       (int)(valid < KEY_SHOWN ? valid : KEY_SHOWN), key->bytes);
    return MC_OK;
}

static mc_status add_tensor(const walk *w, const char *name, const mc_torch_call *call)
{
    mc_source *source = NULL;
    MC_TRY(mc_torch_tensor(w->file, call, &source, w->error));
    const mc_status status = mc_state_dict_set(w->dict, name, source, w->error);
    mc_source_unref(source);
    return status;
}

static mc_status add_items(walk *w, mc_pickle_value *dict, const char *prefix, int depth);

/*
 * Adds one item of a state dict. `depth` is how many levels of dicts may still follow: it bounds
 * the recursion.
 */
static mc_status add_item(walk *w, const mc_pickle_value *key, mc_pickle_value *value,
                          const char *prefix, int depth)
{
    mc_torch_call call;
    const bool tensor = mc_torch_find_call(value, &call);
    const bool nested = !tensor && depth > 0 && value->mark != ADDED && holds_tensors(value, depth);
    if (key->kind != MC_PICKLE_TEXT || (!tensor && !nested)) {
        list_entry(&w->skipped, prefix, key, value);
        return MC_OK;
    }
    /* Counted before the name is made, since the name is what takes memory. */
    w->name_bytes += strlen(prefix) + key->size;
    if (w->name_bytes > NAMES_LIMIT)
        return mc_fail(w->error, MC_FORMAT, "expected at most %d bytes in the names of all tensors",
                       NAMES_LIMIT);
    MC_TRY(check_name(key, w->error));
    char *const name = mc_format("%s%.*s%s", prefix, (int)key->size, key->bytes, tensor ? "" : ".");
    if (!name)
        return mc_fail_memory(w->error);
    if (nested && depth == DEPTH_LIMIT)
        list_entry(&w->flattened, prefix, key, value);
    const mc_status status = tensor ? mc_in_tensor(w->error, name, add_tensor(w, name, &call))
                                    : add_items(w, value, name, depth - 1);
    mc_free(name);
    return status;
}

static mc_status add_items(walk *w, mc_pickle_value *dict, const char *prefix, int depth)
{
    /*
     * Each dict once: a pickle can put a few dicts into each other so that a walk of all paths
     * never ends.
     */
    dict->mark = ADDED;
    for (size_t i = 0; i < dict->count; i += 2)
        MC_TRY(add_item(w, dict->items[i], dict->items[i + 1], prefix, depth));
    return MC_OK;
}

static mc_status note_list(walk *w, listing *list, const char *what)
{
    finish_list(list);
    if (list->text.failed)
        return mc_fail_memory(w->error);
    return list->count > 0 ? mc_notes_add(w->notes, w->error, "%s: %s: %s", file_name(w->file),
                                          what, list->text.data)
                           : MC_OK;
}

static mc_status read_all(walk *w, mc_pickle_value *dict)
{
    MC_TRY(add_items(w, dict, "", DEPTH_LIMIT));
    MC_TRY(note_list(w, &w->flattened,
                     "dicts in the state dict are read as tensors with dotted "
                     "names"));
    return note_list(w, &w->skipped, "entries of the state dict that are not tensors are ignored");
}

mc_status mc_torch_read_state_dict(const mc_torch_file *file, mc_pickle_value *root,
                                   mc_state_dict *dict, mc_notes *notes, mc_error *error)
{
    walk w = {.file = file, .dict = dict, .notes = notes, .error = error};
    if (root->kind != MC_PICKLE_DICT) {
        mc_text kind = {0};
        add_kind(&kind, root);
        const mc_status status = kind.failed
                                     ? mc_fail_memory(error)
                                     : mc_fail(error, MC_UNSUPPORTED,
                                               "expected a state dict (a dict of tensors), "
                                               "found %s: save the state_dict() of the "
                                               "model",
                                               is_tensor(root) ? "a single tensor" : kind.data);
        mc_text_free(&kind);
        return status;
    }
    MC_TRY(find_state_dict(file, &root, notes, error));
    const mc_status status = read_all(&w, root);
    mc_text_free(&w.skipped.text);
    mc_text_free(&w.flattened.text);
    return status;
}
