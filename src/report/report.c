#include <mergecraft/report.h>

#include "base/json.h"
#include "base/memory.h"
#include "report/heat.h"
#include "report/html.h"
#include "report/merge_part.h"
#include "report/scores.h"
#include "report/search_part.h"
#include "report/style.h"
#include "report/trials.h"

#include <mergecraft/version.h>

#include <math.h>
#include <string.h>

#define RECORD_LIMIT (INT64_C(64) << 20)

/* What is known; record and trials may both be there, or one of them. */
typedef struct subject {
    const mc_html_report_input *input;
    json_t *record; /* mergecraft.json; NULL: none */
    mc_trials read;
    const mc_trials *trials; /* NULL: none */
} subject;

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- reading --------------------------------------------------------------------------------- */

static mc_status read_record(const char *folder, json_t **out, mc_error *error)
{
    char *const path = mc_format("%s/mergecraft.json", folder);
    if (!path)
        return mc_fail_memory(error);
    mc_status status = mc_in_file(error, path, mc_json_load(path, RECORD_LIMIT, out, error));
    if (status == MC_OK && !json_is_array(json_object_get(*out, "models")))
        status = mc_fail_at(error, MC_FORMAT, path, NULL, -1,
                            "expected a record of a merge, found no list of models");
    mc_free(path);
    return status;
}

static mc_status read_subject(const mc_html_report_input *input, subject *s, mc_error *error)
{
    *s = (subject){.input = input};
    if (!input->folder && !input->journal)
        return mc_fail(error, MC_USAGE, "expected a folder or a journal, found neither");
    if (input->folder)
        MC_TRY(read_record(input->folder, &s->record, error));
    if (input->journal) {
        MC_TRY(mc_trials_read(input->journal, &s->read, error));
        s->trials = &s->read;
    }
    return MC_OK;
}

/* ---- the head -------------------------------------------------------------------------------- */

/* The last part of the folder's path, or else what was searched. */
static void add_title(mc_text *page, const subject *s)
{
    if (s->input->folder) {
        char *const place = mc_without_slashes(s->input->folder);
        const char *const slash = place ? strrchr(place, '/') : NULL;
        page->failed = page->failed || !place;
        if (place)
            mc_html_text(page, slash && slash[1] ? slash + 1 : place);
        mc_free(place);
        return;
    }
    const char *const method = text_of(s->trials->header, "method");
    mc_text_add(page, "Search of ");
    mc_html_text(page, method ? method : "a recipe");
}

static void add_lead(mc_text *page, const subject *s)
{
    const json_t *const from = s->record ? s->record : s->trials->header;
    const char *const method = text_of(from, "method");
    const size_t models = json_array_size(json_object_get(from, "models"));
    const json_t *const base = json_object_get(from, "base");
    const char *const name = json_is_object(base) ? text_of(base, "name") : json_string_value(base);
    mc_text_add(page, "<p class=\"lead\">");
    mc_html_name(page, method ? method : "Recipe");
    mc_text_add(page, " of %zu model%s", models, models == 1 ? "" : "s");
    if (name) {
        mc_text_add(page, ", base ");
        mc_html_name(page, name);
    }
    mc_text_add(page, "</p>\n");
}

static void begin_tile(mc_text *page, const char *title)
{
    mc_text_add(page, "<div><dt>%s</dt><dd>", title);
}

static void add_count_tile(mc_text *page, const char *title, int64_t count)
{
    begin_tile(page, title);
    mc_html_count(page, count);
    mc_text_add(page, "</dd></div>\n");
}

static void add_score_tile(mc_text *page, const char *title, double score, double standard_error)
{
    begin_tile(page, title);
    mc_html_fixed(page, score, 4);
    if (isfinite(standard_error)) {
        mc_text_add(page, " <small>± ");
        mc_html_fixed(page, standard_error, 4);
        mc_text_add(page, "</small>");
    }
    mc_text_add(page, "</dd></div>\n");
}

static void add_search_tiles(mc_text *page, const mc_trials *t)
{
    const json_t *const held = json_object_get(t->result, "held_out");
    if (t->best < t->count) {
        const mc_trial *const best = &t->items[t->best];
        add_score_tile(page, "best score", best->score, best->standard_error);
        if (json_array_size(held) == 1) {
            const json_t *const score = json_array_get(held, 0);
            add_score_tile(page, "on held-out examples", mc_member_number(score, "value"),
                           mc_member_number(score, "standard_error"));
        }
        add_count_tile(page, "best trial", best->number);
    }
    add_count_tile(page, t->result ? "trials" : "trials so far", (int64_t)t->count);
}

static void add_merge_tiles(mc_text *page, const json_t *record)
{
    const json_t *const scores = json_object_get(record, "scores");
    if (json_array_size(scores) > 0) {
        const json_t *const score = json_array_get(scores, 0);
        add_score_tile(page, "score of the merge", mc_member_number(score, "value"),
                       mc_member_number(score, "standard_error"));
    }
    add_count_tile(page, "models", (int64_t)json_array_size(json_object_get(record, "models")));
    add_count_tile(page, "tensors", json_integer_value(json_object_get(record, "tensors")));
    add_count_tile(page, "warnings", (int64_t)json_array_size(json_object_get(record, "report")));
}

static bool has_scores(const subject *s)
{
    if (json_array_size(json_object_get(s->record, "scores")) > 0)
        return true;
    for (size_t i = 0; s->trials && i < json_array_size(s->trials->lines); i++) {
        const json_t *const line = json_array_get(s->trials->lines, i);
        if (json_array_size(json_object_get(line, "scores")) > 0)
            return true;
    }
    return false;
}

static void add_link(mc_text *page, const char *id, const char *text, bool present)
{
    if (present)
        mc_text_add(page, "<a href=\"#%s\">%s</a>", id, text);
}

static void add_head(mc_text *page, const subject *s)
{
    const mc_html_report_input *const input = s->input;
    mc_text_add(page, "%s", mc_report_head);
    add_title(page, s);
    mc_text_add(page, "%s<header><p class=\"kicker\">mergecraft report</p>\n<h1><bdi>",
                mc_report_style);
    add_title(page, s);
    mc_text_add(page, "</bdi></h1>\n");
    add_lead(page, s);
    mc_text_add(page, "<dl class=\"tiles\">\n");
    if (s->trials)
        add_search_tiles(page, s->trials);
    if (s->record)
        add_merge_tiles(page, s->record);
    mc_text_add(page, "</dl>\n<nav aria-label=\"Sections\">");
    add_link(page, "scores", "Scores", has_scores(s));
    add_link(page, "search", "Search", s->trials != NULL);
    add_link(page, "blocks", "Blocks and roles", input->comparison || input->note);
    add_link(page, "remarks", "What was merged", s->record != NULL);
    add_link(page, "recipe", "Recipe", s->record != NULL);
    add_link(page, "space", "What was searched", s->trials != NULL);
    add_link(page, "files", "Files", json_array_size(json_object_get(s->record, "files")) > 0);
    mc_text_add(page, "</nav></header>\n<main id=\"main\">\n");
}

/* ---- the page -------------------------------------------------------------------------------- */

static void add_missing_comparison(mc_text *page, const char *note)
{
    mc_text_add(page, "<section id=\"blocks\"><h2>Blocks and roles</h2>\n<p>The models were not "
                      "compared: ");
    mc_html_name(page, note);
    mc_text_add(page, "</p></section>\n");
}

static mc_status add_sections(mc_text *page, const subject *s, mc_error *error)
{
    MC_TRY(mc_scores_section(page, s->record, s->trials, error));
    if (s->trials)
        MC_TRY(mc_search_section(page, s->trials, error));
    if (s->input->comparison)
        MC_TRY(mc_heat_section(page, s->input->comparison, error));
    else if (s->input->note)
        add_missing_comparison(page, s->input->note);
    if (s->record) {
        mc_remarks_section(page, s->record);
        mc_recipe_section(page, s->record);
    }
    if (s->trials)
        mc_search_recipe_section(page, s->trials->header);
    if (s->record)
        mc_files_section(page, s->record);
    return MC_OK;
}

static void add_foot(mc_text *page, const subject *s)
{
    const json_t *const from = s->record ? s->record : s->trials->header;
    const char *const version = text_of(from, "mergecraft");
    mc_text_add(page, "</main>\n<footer><p>%s by mergecraft ", s->record ? "Merged" : "Searched");
    mc_html_name(page, version ? version : "of an unknown version");
    mc_text_add(page, ", reported by mergecraft %s.</p></footer>\n%s</body>\n</html>\n",
                mc_version(), s->trials ? mc_report_script : "");
}

mc_status mc_html_report(const mc_html_report_input *input, char **html, mc_error *error)
{
    subject s;
    mc_text page = {0};
    mc_status status = read_subject(input, &s, error);
    if (status == MC_OK) {
        add_head(&page, &s);
        status = add_sections(&page, &s, error);
    }
    if (status == MC_OK) {
        add_foot(&page, &s);
        status = page.failed ? mc_fail_memory(error) : MC_OK;
    }
    mc_trials_free(&s.read);
    json_decref(s.record);
    if (status == MC_OK)
        *html = page.data;
    else
        mc_text_free(&page);
    return status;
}

void mc_html_report_free(char *html)
{
    mc_free(html);
}
