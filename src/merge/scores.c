/* Scores of a result, in its model card and its mergecraft.json. */
#include "base/checksum.h"
#include "base/draft.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <mergecraft/merge.h>

#include <math.h>
#include <string.h>

#define CARD_LIMIT (INT64_C(64) << 20)

/* ---- the model card ------------------------------------------------------------------------- */

/* Whether a score has a value: a correlation has none if all predictions are the same. */
static bool is_defined(const mc_score *score)
{
    return isfinite(score->value);
}

/*
 * Adds scores as the Hub reads them from a card's front matter: a list of results, one per metric.
 */
static void add_index(mc_text *text, const char *folder, const mc_score *scores, size_t count)
{
    const char *const slash = strrchr(folder, '/');
    size_t defined = 0;
    for (size_t i = 0; i < count; i++)
        defined += is_defined(&scores[i]);
    if (defined == 0)
        return;
    mc_text_add(text, "model-index:\n- name: \"");
    for (const char *at = slash ? slash + 1 : folder; *at; at++)
        /* A folder's name may hold what ends or breaks a YAML string. */
        mc_text_add(text, "%c", *at == '"' || *at == '\\' || (signed char)*at < ' ' ? '_' : *at);
    mc_text_add(text, "\"\n  results:\n");
    for (size_t i = 0; i < count; i++) {
        if (!is_defined(&scores[i]))
            continue;
        mc_text_add(text, "  - task:\n      type: text-classification\n    dataset:\n");
        if (scores[i].own_data)
            mc_text_add(text, "      name: \"%s, own examples\"\n      type: %s\n", scores[i].task,
                        scores[i].task);
        else
            mc_text_add(text,
                        "      name: \"GLUE %s\"\n      type: nyu-mll/glue\n"
                        "      config: %s\n",
                        scores[i].task, scores[i].task);
        mc_text_add(text, "      split: %s\n    metrics:\n    - type: %s\n      value: %.6g\n",
                    scores[i].split, scores[i].metric, scores[i].value);
    }
}

static void add_table(mc_text *text, const mc_score *scores, size_t count)
{
    mc_text_add(text, "\n## Evaluation\n\n| task | split | examples | metric | value |\n"
                      "|---|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        mc_text_add(text, "| %s | %s | %zu | %s | ", scores[i].task, scores[i].split,
                    scores[i].examples, scores[i].metric);
        if (is_defined(&scores[i]))
            mc_text_add(text, "%.4f", scores[i].value);
        else
            mc_text_add(text, "not defined");
        if (isfinite(scores[i].standard_error))
            mc_text_add(text, " ± %.4f", scores[i].standard_error);
        mc_text_add(text, " |\n");
    }
}

/* The card with the scores: the index before the end of the front matter, the table at the end. */
static mc_status make_card(const char *folder, const char *card, const mc_score *scores,
                           size_t count, mc_text *out, mc_error *error)
{
    const char *const fence = strncmp(card, "---\n", 4) == 0 ? strstr(card + 3, "\n---\n") : NULL;
    if (!fence)
        return mc_fail_at(error, MC_FORMAT, folder, NULL, -1,
                          "README.md: expected the front matter of a model card, found none");
    mc_text_append(out, card, (size_t)(fence + 1 - card));
    add_index(out, folder, scores, count);
    mc_text_add(out, "%s", fence + 1);
    add_table(out, scores, count);
    return out->failed ? mc_fail_memory(error) : MC_OK;
}

/* ---- mergecraft.json ------------------------------------------------------------------------ */

/* JSON has no NaN. */
static json_t *number_json(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

static json_t *scores_json(const mc_score *scores, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const mc_score *const one = &scores[i];
        list = mc_json_append(list,
                              json_pack("{s:o, s:o, s:I, s:o, s:o, s:o}", "task",
                                        mc_json_text(one->task), "split", mc_json_text(one->split),
                                        "examples", (json_int_t)one->examples, "metric",
                                        mc_json_text(one->metric), "value", number_json(one->value),
                                        "standard_error", number_json(one->standard_error)));
    }
    return list;
}

/* The place of the card among the files of a record; the end of the list if it has none. */
static size_t place_of_card(const json_t *files)
{
    size_t i = 0;
    for (; i < json_array_size(files); i++) {
        const char *const name = json_string_value(
            json_object_get(json_array_get(files, i), "name"));
        if (name && strcmp(name, "README.md") == 0)
            break;
    }
    return i;
}

/* Inserts size and checksum of a card, so that `mergecraft verify` checks it. */
static bool insert_card(json_t *files, size_t place, const mc_text *card)
{
    mc_checksum sum;
    char digits[MC_CHECKSUM_TEXT];
    mc_checksum_begin(&sum);
    mc_checksum_add(&sum, card->data, card->length);
    mc_checksum_text(mc_checksum_end(&sum), digits);
    json_t *const file = json_pack("{s:s, s:I, s:s}", "name", "README.md", "bytes",
                                   (json_int_t)card->length, "xxh64", digits);
    return json_array_insert_new(files, place, file) == 0;
}

static mc_status write_record(const char *path, const json_t *record, mc_error *error)
{
    char *const json = mc_json_write(record, JSON_INDENT(2));
    if (!json)
        return mc_fail_memory(error);
    mc_text line = {0};
    mc_text_add(&line, "%s\n", json);
    mc_free(json);
    const mc_status status = line.failed ? mc_fail_memory(error)
                                         : mc_file_replace(path, line.data, line.length, error);
    mc_text_free(&line);
    return status;
}

/*
 * Two files cannot be replaced at once, so that the record does not list the card in between:
 *
 *     record: scores, without the card ─▶ card with the table ─▶ record: scores and the card
 *
 * After a crash at any point, `mergecraft verify` finds no difference, and a card with scores has
 * them in its record.
 */
static mc_status write_both(const char *card_path, const char *record_path, const mc_text *card,
                            json_t *record, mc_error *error)
{
    json_t *const files = json_object_get(record, "files");
    const size_t place = place_of_card(files);
    /* Without an entry, and in a record without files, there is nothing to remove. */
    (void)json_array_remove(files, place);
    MC_TRY(write_record(record_path, record, error));
    MC_TRY(mc_file_replace(card_path, card->data, card->length, error));
    if (!json_is_array(files))
        return MC_OK;
    return insert_card(files, place, card) ? write_record(record_path, record, error)
                                           : mc_fail_memory(error);
}

static mc_status add_scores(const char *folder, const char *card_path, const char *record_path,
                            const mc_score *scores, size_t count, mc_error *error)
{
    char *card = NULL;
    size_t size = 0;
    json_t *record = NULL;
    mc_text text = {0};
    mc_status status = mc_file_load(card_path, CARD_LIMIT, &card, &size, error);
    if (status == MC_OK)
        status = mc_json_load(record_path, CARD_LIMIT, &record, error);
    if (status == MC_OK)
        status = make_card(folder, card, scores, count, &text, error);
    if (status == MC_OK && json_object_set_new(record, "scores", scores_json(scores, count)) != 0)
        status = mc_fail_memory(error);
    if (status == MC_OK)
        status = write_both(card_path, record_path, &text, record, error);
    mc_text_free(&text);
    json_decref(record);
    mc_free(card);
    return status;
}

mc_status mc_add_scores(const char *folder, const mc_score *scores, size_t count, mc_error *error)
{
    char *const place = mc_without_slashes(folder);
    char *const card = place ? mc_format("%s/README.md", place) : NULL;
    char *const record = place ? mc_format("%s/mergecraft.json", place) : NULL;
    const mc_status status = card && record ? add_scores(place, card, record, scores, count, error)
                                            : mc_fail_memory(error);
    mc_free(record);
    mc_free(card);
    mc_free(place);
    return status;
}
