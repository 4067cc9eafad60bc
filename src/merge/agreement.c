#include "merge/agreement.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"
#include "model/model.h"

#include <stdio.h>
#include <string.h>

/* Reports the text, or fails with it under strict. */
static mc_status report_text(const mc_text *text, bool strict, mc_report *report, mc_error *error)
{
    if (text->failed)
        return mc_fail_memory(error);
    return strict ? mc_fail(error, MC_MISMATCH, "%s (strict)", text->data)
                  : mc_report_add(report, error, "%s", text->data);
}

/* ---- labels ---------------------------------------------------------------------------------- */

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
    const mc_status status = report_text(&text, strict, report, error);
    mc_text_free(&text);
    return status;
}

mc_status mc_agree_on_labels(const mc_model *const *models, size_t count, bool strict,
                             mc_report *report, mc_error *error)
{
    const mc_model *const last = models[count - 1];
    for (size_t i = 0; i + 1 < count; i++)
        if (mc_model_label_count(models[i]) > 0 && mc_model_label_count(last) > 0 &&
            !same_labels(models[i], last))
            MC_TRY(report_labels(models[i], last, strict, report, error));
    return MC_OK;
}

/* ---- configurations -------------------------------------------------------------------------- */

/*
 * Keys of config.json that do not change what a model computes from token ids. All others are
 * compared: an unknown key is worth a warning too many rather than one too few.
 */
static const char *const other_keys[] = {
    "_name_or_path",
    "name_or_path",
    "model_name",
    "architectures",
    "auto_map",
    "license",
    "tags",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "quantization_config",
    "unsloth_version",
    /* shapes and labels, which are compared elsewhere; embeddings that alignment unties */
    "id2label",
    "label2id",
    "num_labels",
    "_num_labels",
    "vocab_size",
    "tie_word_embeddings",
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "model_max_length",
    "max_seq_len",
    /* what it is for, and how it is loaded */
    "problem_type",
    "finetuning_task",
    "task_specific_params",
    "tokenizer_class",
    "processor_class",
    "prefix",
    "use_cache",
    "return_dict",
    "use_return_dict",
    "torchscript",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "return_dict_in_generate",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "use_flash_attn",
    "gradient_checkpointing",
    "use_bfloat16",
    "tf_legacy_loss",
    "keys_to_ignore_at_inference",
    "chunk_size_feed_forward",
    "pretraining_tp",
    /* generation, which generation_config.json describes */
    "max_length",
    "min_length",
    "do_sample",
    "num_beams",
    "num_beam_groups",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "diversity_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "early_stopping",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
    "num_return_sequences",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "is_assistant",
    "prefix_allowed_tokens_fn",
    /* training */
    "output_router_logits",
    "apply_spec_augment",
    "seed",
    "fuse_cross_entropy",
};

/* Keys that contain one of these do not change it either: training, generation, initialisation. */
static const char *const other_parts[] = {
    "dropout",     "drop_rate",     "drop_prob", "drop_path", "pdrop",        "layerdrop",
    "initializer", "init_",         "_loss",     "loss_",     "token_id",     "ctc_",
    "mask_time_",  "mask_feature_", "forced_",   "aux_loss",  "jitter_noise",
};

/*
 * Keys whose null stands for a value that follows from other keys, so null and a number may agree.
 */
static const char *const derived_keys[] = {"head_dim", "num_key_value_heads", "n_inner"};

/*
 * Keys that change what is computed and have the same default in every class that has them. In a
 * file without the key, from save_pretrained or an earlier version, that default applies.
 */
static const struct {
    const char *key, *value; /* as JSON */
} defaults[] = {
    {"is_decoder", "false"},
    {"is_encoder_decoder", "false"},
    {"add_cross_attention", "false"},
    {"tie_encoder_decoder", "false"},
    {"use_sliding_window", "false"},
    {"position_embedding_type", "\"absolute\""},
    {"scale_attn_weights", "true"},
    {"scale_attn_by_inverse_layer_idx", "false"},
    {"reorder_and_upcast_attn", "false"},
    {"relative_attention", "false"},
    {"embedding_multiplier", "1"},
    {"residual_multiplier", "1"},
    {"logits_scaling", "1"},
};

/* Keys that follow the number of blocks: a stack of blocks of several models sets them itself. */
static const char *const depth_keys[] = {
    "num_hidden_layers", "n_layer",        "n_layers", "num_layers",  "num_decoder_layers",
    "encoder_layers",    "decoder_layers", "depth",    "layer_types", "max_window_layers",
};

static const char *default_of(const char *key)
{
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (strcmp(key, defaults[i].key) == 0)
            return defaults[i].value;
    return NULL;
}

static bool is_in(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}
#define IS_IN(text_, list_) is_in((text_), (list_), sizeof(list_) / sizeof *(list_))

static bool is_compared(const char *key)
{
    if (IS_IN(key, other_keys) || strncmp(key, "rope_", 5) == 0)
        return false;
    for (size_t i = 0; i < sizeof other_parts / sizeof *other_parts; i++)
        if (strstr(key, other_parts[i]))
            return false;
    return true;
}

static bool same_values(const char *key, const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    if (IS_IN(key, derived_keys) && (json_is_null(a) || json_is_null(b)))
        return true;
    return json_equal(a, b);
}

/* What differs between two configurations, as text; `count` includes those that are not shown. */
typedef struct differences {
    mc_text text;
    size_t count;
    bool stacks; /* depths may differ */
} differences;

enum { SHOWN = 4, VALUE_SHOWN = 60 };

static void add_value(mc_text *text, const json_t *value)
{
    char *const json = mc_json_write(value, JSON_ENCODE_ANY | JSON_COMPACT);
    mc_text_add(text, "%.*s", VALUE_SHOWN, json ? json : "?");
    mc_free(json);
}

static void add_difference(differences *d, const char *inside, const char *key, const json_t *mine,
                           const json_t *theirs)
{
    if (d->count++ >= SHOWN)
        return;
    mc_text_add(&d->text, "%s%s%s ", d->count > 1 ? "; " : "", inside, key);
    add_value(&d->text, mine);
    mc_text_add(&d->text, ", not ");
    add_value(&d->text, theirs);
}

/*
 * The settings of rotary embeddings as one object, a new reference: transformers 5 has
 * rope_parameters, earlier versions rope_theta and rope_scaling. Both forms become the new one, so
 * that a model saved by either version compares equal. Without any of them, the type is "default".
 */
static json_t *rope_of(const json_t *config)
{
    json_t *const modern = json_object_get(config, "rope_parameters");
    json_t *const theta = json_object_get(config, "rope_theta");
    if (json_is_object(modern))
        return json_deep_copy(modern);
    json_t *const scaling = json_object_get(config, "rope_scaling");
    json_t *const rope = json_is_object(scaling) ? json_deep_copy(scaling) : json_object();
    json_t *const type = json_object_get(rope, "type");
    if (type && !json_object_get(rope, "rope_type"))
        json_object_set(rope, "rope_type", type);
    json_object_del(rope, "type");
    if (!json_object_get(rope, "rope_type"))
        json_object_set_new(rope, "rope_type", json_string("default"));
    if (theta)
        json_object_set(rope, "rope_theta", theta);
    return rope;
}

static void compare_ropes(differences *d, const char *inside, const json_t *mine,
                          const json_t *theirs)
{
    json_t *const a = rope_of(mine), *const b = rope_of(theirs);
    const char *key;
    json_t *value;
    json_object_foreach(a, key, value)
    {
        const json_t *const other = json_object_get(b, key);
        if (other && !same_values(key, value, other))
            add_difference(d, inside, key, value, other);
    }
    json_decref(a);
    json_decref(b);
}

/* Keys with a common default that one configuration lacks. */
static void compare_defaults(differences *d, const char *inside, const json_t *mine,
                             const json_t *theirs)
{
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        const char *const key = defaults[i].key;
        const json_t *const a = json_object_get(mine, key), *const b = json_object_get(theirs, key);
        json_t *const value = !a != !b ? json_loads(defaults[i].value, JSON_DECODE_ANY, NULL)
                                       : NULL;
        if (!a != !b && !value)
            d->text.failed = true; /* memory: the texts of defaults are JSON */
        if (value && !same_values(key, a ? a : b, value))
            add_difference(d, inside, key, a ? a : value, b ? b : value);
        json_decref(value);
    }
}

/* Null, false and empty values usually mean the same as a missing key. */
static bool says_nothing(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) ||
           ((json_is_object(value) || json_is_array(value)) && json_object_size(value) == 0 &&
            json_array_size(value) == 0);
}

/* Keys of `mine` that `theirs` lacks, and whose default depends on the class. */
static void find_missing(differences *d, const char *inside, const json_t *mine,
                         const json_t *theirs)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)mine, key, value)
    {
        json_t *const other = json_object_get(theirs, key);
        if (json_is_object(value) && json_is_object(other) && !*inside && is_compared(key)) {
            char *const path = mc_format("%s.", key);
            d->text.failed |= !path;
            if (path)
                find_missing(d, path, value, other);
            mc_free(path);
        } else if (!other && is_compared(key) && !default_of(key) && !IS_IN(key, derived_keys) &&
                   !says_nothing(value) && d->count++ < SHOWN) {
            mc_text_add(&d->text, "%s%s%s ", d->count > 1 ? ", " : "", inside, key);
            add_value(&d->text, value);
        }
    }
}

/*
 * Compares keys that both have, and those with a common default: other missing keys have a default
 * that depends on the class.
 * Objects such as text_config and vision_config are compared too, one level deep, as configurations
 * have it.
 */
static void compare_configs(differences *d, const char *inside, const json_t *mine,
                            const json_t *theirs)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)mine, key, value)
    {
        const json_t *const other = json_object_get(theirs, key);
        if (!other || !is_compared(key) || (d->stacks && IS_IN(key, depth_keys)))
            continue;
        if (json_is_object(value) && json_is_object(other) && !*inside) {
            char *const path = mc_format("%s.", key);
            d->text.failed |= !path;
            if (path)
                compare_configs(d, path, value, other);
            mc_free(path);
        } else if (!same_values(key, value, other)) {
            add_difference(d, inside, key, value, other);
        }
    }
    compare_defaults(d, inside, mine, theirs);
    compare_ropes(d, inside, mine, theirs);
}

static mc_status report_types(const mc_model *model, const mc_model *last, bool strict,
                              mc_report *report, mc_error *error)
{
    mc_text text = {0};
    mc_text_add(&text, "%s has the model type '%s', but %s has '%s': the result has the latter",
                mc_model_name(model), mc_model_type(model), mc_model_name(last),
                mc_model_type(last));
    const mc_status status = report_text(&text, strict, report, error);
    mc_text_free(&text);
    return status;
}

/*
 * A note even under strict: files of different versions of a library often differ in keys with the
 * same meaning.
 */
static mc_status note_missing(const mc_model *with, const mc_model *without, mc_report *report,
                              mc_error *error)
{
    differences d = {0};
    find_missing(&d, "", with->config, without->config);
    char more[32] = "";
    if (d.count > SHOWN)
        snprintf(more, sizeof more, " and %zu more", d.count - SHOWN);
    mc_status status = MC_OK;
    if (d.text.failed)
        status = mc_fail_memory(error);
    else if (d.count > 0)
        status = mc_report_add(report, error,
                               "config.json of %s has keys that %s lacks; their defaults depend on "
                               "the library: %s%s",
                               mc_model_name(with), mc_model_name(without), d.text.data, more);
    mc_text_free(&d.text);
    return status;
}

static mc_status agree_on_config(const mc_model *model, const mc_model *last, bool stacks,
                                 bool strict, mc_report *report, mc_error *error)
{
    const char *const type = mc_model_type(model), *const last_type = mc_model_type(last);
    differences d = {.stacks = stacks};
    /* With another model type most keys differ: one line says it all. */
    if (type && last_type && strcmp(type, last_type) != 0)
        return report_types(model, last, strict, report, error);
    compare_configs(&d, "", model->config, last->config);
    mc_text text = {0};
    if (d.count > 0)
        mc_text_add(&text, "%s computes differently from %s, whose config.json the result has: %s",
                    mc_model_name(model), mc_model_name(last), d.text.data ? d.text.data : "");
    if (d.count > SHOWN)
        mc_text_add(&text, " and %zu more", d.count - SHOWN);
    text.failed |= d.text.failed;
    const mc_status status = d.count > 0 || text.failed ? report_text(&text, strict, report, error)
                                                        : MC_OK;
    mc_text_free(&text);
    mc_text_free(&d.text);
    MC_TRY(status);
    MC_TRY(note_missing(model, last, report, error));
    return note_missing(last, model, report, error);
}

mc_status mc_agree_on_configs(const mc_model *const *models, size_t count, const mc_model *last,
                              bool stacks, bool strict, mc_report *report, mc_error *error)
{
    for (size_t i = 0; last->config && i < count; i++)
        if (models[i] != last && models[i]->config)
            MC_TRY(agree_on_config(models[i], last, stacks, strict, report, error));
    return MC_OK;
}

/* ---- vocabularies ---------------------------------------------------------------------------- */

#define VOCABULARY_LIMIT (INT64_C(256) << 20)

/* Files that list tokens. Two models are compared by the first of these that both have. */
static const struct {
    const char *name;
    enum { TOKENIZER_JSON, IDS_JSON, LINES, BYTES } form;
} vocabularies[] = {
    {"tokenizer.json", TOKENIZER_JSON},
    {"vocab.json", IDS_JSON},
    {"vocab.txt", LINES},
    {"tokenizer.model", BYTES},
    {"spiece.model", BYTES},
    {"sentencepiece.bpe.model", BYTES},
};

/* A file with tokens. */
typedef struct words {
    char *path, *text;
    size_t size;
    struct stat status;
    json_t *ids; /* token → id */
} words;

static void free_words(words *w)
{
    mc_free(w->path);
    mc_free(w->text);
    json_decref(w->ids);
}

static bool find_words(const mc_model *model, const char *name, words *out)
{
    const char *const folder = mc_model_folder(model);
    out->path = folder ? mc_format("%s/%s", folder, name) : NULL;
    return out->path && mc_system->stat(out->path, &out->status) == 0 &&
           S_ISREG(out->status.st_mode);
}

/* A file that cannot be read does not stop the merge: only this comparison needs it. */
static bool load_words(words *w)
{
    return mc_file_load(w->path, VOCABULARY_LIMIT, &w->text, &w->size, NULL) == MC_OK;
}

static void add_list(json_t *ids, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const entry = json_array_get(list, i);
        const char *const token = json_string_value(json_is_array(entry) ? json_array_get(entry, 0)
                                                                         : entry);
        if (token)
            json_object_set_new(ids, token, json_integer((json_int_t)i));
    }
}

/*
 * Token ids in tokenizer.json: the vocabulary is an object or, in Unigram models, a list in the
 * order of the ids. Added tokens follow; they override entries of the vocabulary.
 */
static json_t *ids_of_tokenizer(const json_t *json)
{
    json_t *const vocabulary = json_object_get(json_object_get(json, "model"), "vocab");
    const json_t *const added = json_object_get(json, "added_tokens");
    json_t *const ids = json_object();
    if (json_is_object(vocabulary))
        json_object_update(ids, vocabulary);
    else
        add_list(ids, vocabulary);
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *const one = json_array_get(added, i);
        const char *const token = json_string_value(json_object_get(one, "content"));
        if (token)
            json_object_set(ids, token, json_object_get(one, "id"));
    }
    return ids;
}

static json_t *ids_of_lines(char *text)
{
    json_t *const ids = json_object();
    json_int_t id = 0;
    for (char *line = text, *end; ids && *line; line = end, id++) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        json_object_set_new_nocheck(ids, line, json_integer(id));
    }
    return ids;
}

static bool parse_words(words *w, int form)
{
    json_t *json = NULL;
    if (form == LINES)
        w->ids = ids_of_lines(w->text);
    if (form == LINES || mc_json_parse(w->text, w->size, &json, NULL) != MC_OK)
        return w->ids != NULL;
    w->ids = form == IDS_JSON ? json_incref(json) : ids_of_tokenizer(json);
    json_decref(json);
    return w->ids != NULL;
}

/* Counts the tokens of `a` that `b` lacks or has under another id; *example is one of them. */
static size_t count_other_ids(const json_t *a, const json_t *b, const char **example)
{
    size_t count = 0;
    const char *token;
    json_t *id;
    json_object_foreach((json_t *)(uintptr_t)a, token, id)
    {
        const json_t *const other = json_object_get(b, token);
        if (other && json_integer_value(other) == json_integer_value(id))
            continue;
        *example = token;
        count++;
    }
    return count;
}

static mc_status compare_words(const mc_model *model, const mc_model *last, words *mine,
                               words *theirs, int form, bool strict, mc_report *report,
                               mc_error *error)
{
    const char *example = "";
    mc_text text = {0};
    if (!load_words(mine) || !load_words(theirs) ||
        (mine->size == theirs->size && memcmp(mine->text, theirs->text, mine->size) == 0))
        return MC_OK;
    size_t count = 0;
    if (form != BYTES && parse_words(mine, form) && parse_words(theirs, form)) {
        count = count_other_ids(theirs->ids, mine->ids, &example);
        count += count_other_ids(mine->ids, theirs->ids, &example);
        if (count == 0)
            return MC_OK;
    }
    mc_text_add(&text, "%s and %s have different vocabularies", mc_model_name(model),
                mc_model_name(last));
    if (count > 0)
        mc_text_add(&text, ": '%.60s' and %zu more tokens have another id or none", example,
                    count - 1);
    mc_text_add(&text, "; the merge has the tokens of the latter");
    const mc_status status = report_text(&text, strict, report, error);
    mc_text_free(&text);
    return status;
}

/* Same device and inode: the Hub's cache has a file once, whatever model it belongs to. */
static bool same_file(const words *a, const words *b)
{
    return a->status.st_dev == b->status.st_dev && a->status.st_ino == b->status.st_ino;
}

static mc_status agree_on_tokens(const mc_model *model, const mc_model *last, bool strict,
                                 mc_report *report, mc_error *error)
{
    for (size_t i = 0; i < sizeof vocabularies / sizeof *vocabularies; i++) {
        words mine = {0}, theirs = {0};
        mc_status status = MC_OK;
        const bool both = find_words(model, vocabularies[i].name, &mine) &&
                          find_words(last, vocabularies[i].name, &theirs);
        if (both && !same_file(&mine, &theirs))
            status = compare_words(model, last, &mine, &theirs, (int)vocabularies[i].form, strict,
                                   report, error);
        free_words(&mine);
        free_words(&theirs);
        if (both || status != MC_OK)
            return status;
    }
    return MC_OK;
}

mc_status mc_agree_on_tokens(const mc_model *const *models, size_t count, const mc_model *last,
                             bool strict, mc_report *report, mc_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (models[i] != last)
            MC_TRY(agree_on_tokens(models[i], last, strict, report, error));
    return MC_OK;
}
