#include "merge/card.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model/model.h"

#include <mergecraft/version.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*
 * The last part of a path: the rest would publish the layout of the user's disk. `end` points
 * behind the path.
 */
static const char *last_part(const char *path, const char *end)
{
    const char *at = end;
    while (at > path && at[-1] != '/')
        at--;
    return at;
}

/*
 * A model's name on the Hub, else the last part of its path; of BASE+ADAPTER the same for each
 * part. In new memory, in UTF-8 whatever the path is in; NULL: no memory.
 */
static char *public_name(const mc_model *model)
{
    mc_text name = {0};
    const char *at = mc_model_name(model);
    for (bool first = true; at; first = false) {
        const char *const plus = mc_model_has_adapters(model) ? strchr(at, '+') : NULL;
        const char *const end = plus ? plus : at + strlen(at);
        if (first && mc_model_repository(model)) {
            mc_text_add(&name, "%s", mc_model_repository(model));
        } else {
            const char *const part = last_part(at, end);
            mc_text_append(&name, part, (size_t)(end - part));
        }
        mc_text_add(&name, "%s", plus ? "+" : "");
        at = plus ? plus + 1 : NULL;
    }
    char *const text = name.failed ? NULL : mc_alloc(3 * name.length + 1);
    if (text)
        text[mc_utf8_repair(name.data, name.length, text)] = '\0';
    mc_text_free(&name);
    return text;
}

/* ---- Markdown and YAML ----------------------------------------------------------------------- */

/* As code in a cell of a table: fenced by more backticks than it has in a row; "|" ends a cell. */
static void add_code(mc_text *card, const char *text)
{
    size_t longest = 0;
    for (const char *at = text; *at; at++) {
        const size_t run = strspn(at, "`");
        longest = run > longest ? run : longest;
    }
    const char *const pad = longest ? " " : "";
    for (size_t i = 0; i <= longest; i++)
        mc_text_add(card, "`");
    mc_text_add(card, "%s", pad);
    for (const char *at = text; *at; at++) {
        const bool control = (unsigned char)*at < 0x20;
        mc_text_add(card, "%s%c", *at == '|' ? "\\" : "", control ? ' ' : *at);
    }
    mc_text_add(card, "%s", pad);
    for (size_t i = 0; i <= longest; i++)
        mc_text_add(card, "`");
}

/* Characters that YAML takes as they are in a quoted scalar; line separators would be folded. */
static bool is_printable(uint32_t code)
{
    return code >= 0x20 && code != '"' && code != '\\' && (code < 0x7f || code > 0x9f) &&
           code != 0x2028 && code != 0x2029 && code != 0xfeff && code != 0xfffe && code != 0xffff;
}

/* A double-quoted YAML scalar of UTF-8. */
static void add_quoted(mc_text *text, const char *value)
{
    mc_text_add(text, "\"");
    for (size_t length; *value; value += length) {
        const uint32_t code = mc_utf8_next(value, &length);
        if (is_printable(code))
            mc_text_append(text, value, length);
        else
            mc_text_add(text, "\\u%04x", (unsigned)code);
    }
    mc_text_add(text, "\"");
}

/* ---- the parts of the card ------------------------------------------------------------------- */

static void add_model(mc_text *card, const mc_model *model, const char *role)
{
    char *const name = public_name(model);
    card->failed = card->failed || !name;
    mc_text_add(card, "| ");
    add_code(card, name ? name : "");
    mc_text_add(card, " | %s", role);
    if (mc_model_commit(model))
        mc_text_add(card, ", commit %s", mc_model_commit(model));
    mc_text_add(card, " |\n");
    mc_free(name);
}

/* A key with one value, or a list of several; nothing without values. */
static void add_key(mc_text *card, const char *key, const mc_card_values *values)
{
    if (values->count == 1) {
        mc_text_add(card, "%s: ", key);
        add_quoted(card, values->items[0]);
        mc_text_add(card, "\n");
    } else if (values->count > 1) {
        mc_text_add(card, "%s:\n", key);
        for (size_t i = 0; i < values->count; i++) {
            mc_text_add(card, "- ");
            add_quoted(card, values->items[i]);
            mc_text_add(card, "\n");
        }
    }
}

static void gather(mc_text *card, mc_card_values *to, const mc_card_values *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (mc_card_values_add(to, from->items[i], strlen(from->items[i]), NULL) != MC_OK)
            card->failed = true;
}

static void gather_text(mc_text *card, mc_card_values *to, const char *text)
{
    if (text && mc_card_values_add(to, text, strlen(text), NULL) != MC_OK)
        card->failed = true;
}

/* The task of a model's head on the Hub; NULL: not known. */
static const char *task_of(const char *architecture)
{
    static const char *const tasks[][2] = {
        {"ForSequenceClassification", "text-classification"},
        {"ForTokenClassification", "token-classification"},
        {"ForQuestionAnswering", "question-answering"},
        {"ForMaskedLM", "fill-mask"},
        {"ForCausalLM", "text-generation"},
        {"LMHeadModel", "text-generation"},
        {"ForImageClassification", "image-classification"},
        {"ForAudioClassification", "audio-classification"},
        {"ForCTC", "automatic-speech-recognition"},
        {"ForObjectDetection", "object-detection"},
    };
    for (size_t i = 0; architecture && i < sizeof tasks / sizeof *tasks; i++)
        if (mc_ends_with(architecture, tasks[i][0]))
            return tasks[i][1];
    return NULL;
}

static const char *library_of(const mc_plan *plan)
{
    return mc_outfit_find(&plan->outfit, "modules.json") ? "sentence-transformers"
           : plan->outfit.config                         ? "transformers"
                                                         : NULL;
}

/*
 * Models with different licences: "other", as the front matter has no key for several. The user has
 * to decide what applies.
 */
static void add_licence(mc_text *card, const mc_card_values *licences, const mc_card_values *names)
{
    if (licences->count > 1)
        mc_text_add(card, "license: other\n");
    else
        add_key(card, "license", licences);
    if (licences->count == 1 && names->count == 1)
        add_key(card, "license_name", names);
}

/*
 * Whether a local name reads as a name on the Hub, where it would link to somebody else's model.
 */
static bool could_be_on_hub(const char *name)
{
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("-_.+", *name))
            return false;
    return true;
}

/* A local name that cannot be taken for one of the Hub is the only trace of the source. */
static void gather_local_name(mc_text *card, mc_card_values *to, const mc_model *model)
{
    char *const name = public_name(model);
    card->failed = card->failed || !name;
    if (name && !could_be_on_hub(name))
        gather_text(card, to, name);
    mc_free(name);
}

/*
 * Tags of the models, except those of training tools, which did not make the merge. Metrics are
 * omitted, too: they were measured on the models.
 */
static void gather_tags(mc_text *card, mc_card_values *to, const mc_card_values *from)
{
    static const char *const origins[] = {"generated_from_trainer",
                                          "generated_from_keras_callback",
                                          "autotrain",
                                          "mergekit",
                                          "trl",
                                          "unsloth"};
    for (size_t i = 0; i < from->count; i++) {
        bool origin = false;
        for (size_t k = 0; k < sizeof origins / sizeof *origins; k++)
            origin |= strcmp(from->items[i], origins[k]) == 0;
        if (!origin)
            gather_text(card, to, from->items[i]);
    }
}

/*
 * Base models are named by their Hub names; a local model passes on what its own card names. The
 * task is the one that all cards agree on, or else that of the result's head.
 */
static void add_front_matter(mc_text *card, const mc_plan *plan)
{
    mc_card_metadata all = {0};
    gather_text(card, &all.tags, "merge");
    gather_text(card, &all.tags, "mergecraft");
    for (size_t i = 0; i < plan->model_count + (plan->base != NULL); i++) {
        const mc_card_metadata *const own = &plan->cards[i];
        gather(card, &all.license, &own->license);
        gather(card, &all.license_name, &own->license_name);
        gather(card, &all.language, &own->language);
        gather(card, &all.datasets, &own->datasets);
        gather_tags(card, &all.tags, &own->tags);
        gather(card, &all.pipeline_tag, &own->pipeline_tag);
        if (mc_model_repository(plan->models[i]))
            gather_text(card, &all.base_model, mc_model_repository(plan->models[i]));
        else if (own->base_model.count > 0)
            gather(card, &all.base_model, &own->base_model);
        else
            gather_local_name(card, &all.base_model, plan->models[i]);
    }
    const char *const task = task_of(mc_model_architecture(mc_plan_donor(plan)));
    const char *const library = library_of(plan);
    mc_text_add(card, "---\n");
    add_key(card, "base_model", &all.base_model);
    add_licence(card, &all.license, &all.license_name);
    add_key(card, "language", &all.language);
    add_key(card, "datasets", &all.datasets);
    if (library)
        mc_text_add(card, "library_name: %s\n", library);
    if (task && all.pipeline_tag.count != 1)
        mc_text_add(card, "pipeline_tag: %s\n", task);
    else if (all.pipeline_tag.count == 1)
        add_key(card, "pipeline_tag", &all.pipeline_tag);
    add_key(card, "tags", &all.tags);
    mc_text_add(card, "---\n");
    mc_card_metadata_free(&all);
}

static void add_parameters(mc_text *card, const mc_plan *plan)
{
    json_error_t ignored;
    json_t *const parameters = json_loads(plan->parameters, 0, &ignored);
    card->failed = card->failed || !parameters;
    const char *name;
    json_t *value;
    mc_text_add(card, "\n| parameter | value |\n|---|---|\n");
    json_object_foreach(parameters, name, value)
    {
        char *const text = json_dumps(value, JSON_ENCODE_ANY | mc_json_shortest(value));
        mc_text_add(card, "| %s | %s |\n", name, text ? text : "");
        card->failed = card->failed || !text;
        free(text);
    }
    mc_text_add(card, "| seed | %" PRIu64 " |\n", plan->outputs.seed);
    json_decref(parameters);
}

static void add_warnings(mc_text *card, const mc_report *report)
{
    if (mc_report_count(report) > 0)
        mc_text_add(card, "\n## Warnings\n\n");
    for (size_t i = 0; i < mc_report_count(report); i++) {
        char *const line = mc_strdup(mc_report_line(report, i));
        const size_t length = line ? strlen(line) : 0;
        /* Repairing UTF-8 replaces one bad byte by the three bytes of U+FFFD at most. */
        char *const text = line ? mc_alloc(3 * length + 1) : NULL;
        card->failed = card->failed || !text;
        if (text) {
            text[mc_utf8_repair(line, length, text)] = '\0';
            mc_text_add(card, "- ");
            add_code(card, text);
            mc_text_add(card, "\n");
        }
        mc_free(text);
        mc_free(line);
    }
}

static void add_method(mc_text *card, const mc_plan *plan)
{
    mc_text_add(card, "Merged with mergecraft %s by the method `%s`", mc_version(),
                plan->method->name);
    if (plan->method->help)
        mc_text_add(card, " (%s)", plan->method->help);
    for (size_t i = 0; i < plan->then_count; i++)
        mc_text_add(card, ", then `%s` (%s)", plan->then[i]->name, plan->then[i]->help);
    mc_text_add(card, ".\n");
}

static void add_transplant(mc_text *card, const mc_plan *plan)
{
    mc_text_add(card,
                "The first model with the tokenizer of the second, transplanted with mergecraft "
                "%s:\n\n```json\n%s\n```\n",
                mc_version(), plan->transplant);
}

static void add_decompress(mc_text *card, const mc_plan *plan)
{
    mc_text_add(card,
                "The model of one task, rebuilt from a unified one with mergecraft %s:\n\n"
                "```json\n%s\n```\n",
                mc_version(), plan->decompress);
}

static const char *role_of_models(const mc_plan *plan)
{
    return plan->transplant ? "weights" : plan->decompress ? "unified" : "merged";
}

static void add_card(mc_text *card, const mc_plan *plan, const char *title)
{
    add_front_matter(card, plan);
    mc_text_add(card, "\n# %s\n\n", title);
    if (plan->method)
        add_method(card, plan);
    else if (plan->transplant)
        add_transplant(card, plan);
    else if (plan->decompress)
        add_decompress(card, plan);
    else
        mc_text_add(card, "Merged with mergecraft %s by the recipe below.\n", mc_version());
    mc_text_add(card, "\n| model | |\n|---|---|\n");
    for (size_t i = 0; i < plan->model_count; i++)
        add_model(card, plan->models[i], role_of_models(plan));
    if (plan->transplant)
        add_model(card, plan->models[1], "tokenizer");
    if (plan->base)
        add_model(card, plan->base, "base");
    add_parameters(card, plan);
    if (plan->method && plan->method->paper)
        mc_text_add(card, "\nThe method: %s\n", plan->method->paper);
    if (plan->recipe)
        mc_text_add(card, "\n```yaml\n%s\n```\n", plan->recipe);
    add_warnings(card, plan->report);
    mc_text_add(card, "\n`mergecraft.json` records the inputs and checksums: `mergecraft verify` "
                      "checks this folder");
    mc_text_add(card, plan->decompress ? ".\n"
                                       : ", and\n`mergecraft merge --from mergecraft.json` makes "
                                         "it again.\n");
}

mc_status mc_card_write(const mc_plan *plan, mc_folder *folder, mc_error *error)
{
    mc_text card = {0};
    const char *const slash = strrchr(folder->target, '/');
    add_card(&card, plan, slash ? slash + 1 : folder->target);
    const mc_status status = card.failed ? mc_fail_memory(error)
                                         : mc_folder_write(folder, "README.md", card.data,
                                                           card.length, error);
    mc_text_free(&card);
    return status;
}
