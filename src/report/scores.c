#include "report/scores.h"

#include "base/memory.h"
#include "report/chart.h"
#include "report/html.h"

#include <math.h>
#include <string.h>

/* One score of one model. */
typedef struct row {
    const char *who, *kind; /* kind: a class in the style sheet */
    const char *task, *metric;
    double value, standard_error;
    int64_t examples;
    bool shown;
} row;

typedef struct rows {
    row *items;
    size_t count, capacity;
} rows;

/* ---- collecting ------------------------------------------------------------------------------ */

static const char *text_of(const json_t *object, const char *name)
{
    const char *const text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static mc_status add_scores(rows *all, const json_t *scores, const char *who, const char *kind,
                            mc_error *error)
{
    for (size_t i = 0; i < json_array_size(scores); i++) {
        const json_t *const score = json_array_get(scores, i);
        if (!MC_GROW(all->items, all->count, all->capacity))
            return mc_fail_memory(error);
        all->items[all->count++] = (row){
            .who = who,
            .kind = kind,
            .task = text_of(score, "task"),
            .metric = text_of(score, "metric"),
            .value = mc_member_number(score, "value"),
            .standard_error = mc_member_number(score, "standard_error"),
            .examples = json_integer_value(json_object_get(score, "examples"))};
    }
    return MC_OK;
}

static mc_status collect(rows *all, const json_t *record, const mc_trials *trials, mc_error *error)
{
    for (size_t i = 0; trials && i < json_array_size(trials->lines); i++) {
        const json_t *const line = json_array_get(trials->lines, i);
        if (strcmp(text_of(line, "type"), "parent") == 0)
            MC_TRY(add_scores(all, json_object_get(line, "scores"), text_of(line, "model"),
                              "parent", error));
    }
    if (trials && trials->best < trials->count)
        MC_TRY(add_scores(all, json_object_get(trials->items[trials->best].line, "scores"),
                          "best trial, on the examples of the search", "trial", error));
    if (trials && trials->result)
        MC_TRY(add_scores(all, json_object_get(trials->result, "held_out"),
                          "best trial, on held-out examples", "held", error));
    return add_scores(all, json_object_get(record, "scores"), "this merge", "merge", error);
}

/* ---- drawing --------------------------------------------------------------------------------- */

static bool same_task(const row *a, const row *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->metric, b->metric) == 0;
}

/* The range of the scores of one task, with their errors. */
static mc_axis axis_of(const rows *all, size_t first)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = first; i < all->count; i++) {
        const row *const r = &all->items[i];
        const double error = isfinite(r->standard_error) ? r->standard_error : 0;
        if (!isfinite(r->value) || !same_task(r, &all->items[first]))
            continue;
        low = fmin(low, r->value - error);
        high = fmax(high, r->value + error);
    }
    mc_axis axis = isfinite(low) && isfinite(high) ? mc_axis_of(low, high, false)
                                                   : mc_axis_of(0, 1, false);
    axis.from = 8;
    axis.to = 252;
    return axis;
}

/* A dot with its standard error as a line. */
static void add_dot(mc_text *page, const row *r, const mc_axis *axis)
{
    const double error = isfinite(r->standard_error) ? r->standard_error : 0;
    mc_text_add(page,
                "<svg class=\"dot %s\" viewBox=\"0 0 260 18\" aria-hidden=\"true\">"
                "<line class=\"grid\" x1=\"0\" x2=\"260\" y1=\"9\" y2=\"9\"/>",
                r->kind);
    if (isfinite(r->value)) {
        mc_text_add(page, "<line class=\"error\" y1=\"9\" y2=\"9\" x1=\"");
        mc_html_coordinate(page, mc_axis_at(axis, r->value - error));
        mc_text_add(page, "\" x2=\"");
        mc_html_coordinate(page, mc_axis_at(axis, r->value + error));
        mc_text_add(page, "\"/><circle cy=\"9\" r=\"5\" cx=\"");
        mc_html_coordinate(page, mc_axis_at(axis, r->value));
        mc_text_add(page, "\"/>");
    }
    mc_text_add(page, "</svg>");
}

static void add_row(mc_text *page, const row *r, const mc_axis *axis)
{
    mc_text_add(page, "<tr class=\"%s\"><th scope=\"row\">", r->kind);
    mc_html_name(page, r->who);
    mc_text_add(page, "</th><td class=\"n\">");
    mc_html_fixed(page, r->value, 4);
    mc_text_add(page, "</td><td class=\"n\">");
    if (isfinite(r->standard_error))
        mc_text_add(page, "± ");
    mc_html_fixed(page, r->standard_error, 4);
    mc_text_add(page, "</td><td class=\"n\">");
    mc_html_count(page, r->examples);
    mc_text_add(page, "</td><td class=\"plot\">");
    add_dot(page, r, axis);
    mc_text_add(page, "</td></tr>\n");
}

/* All scores of the task of row `first`. */
static void add_task(mc_text *page, rows *all, size_t first)
{
    const mc_axis axis = axis_of(all, first);
    mc_text_add(page, "<figure><figcaption><h3>");
    mc_html_name(page, all->items[first].task);
    mc_text_add(page, ", ");
    mc_html_name(page, all->items[first].metric);
    mc_text_add(page, "</h3></figcaption><div class=\"scroll\" role=\"region\" tabindex=\"0\" "
                      "aria-label=\"Scores\"><table class=\"scores\"><thead><tr>"
                      "<th scope=\"col\">model</th><th class=\"n\" scope=\"col\">score</th>"
                      "<th class=\"n\" scope=\"col\">standard error</th>"
                      "<th class=\"n\" scope=\"col\">examples</th>"
                      "<th scope=\"col\" class=\"plot\"><span class=\"ends\"><span>");
    mc_html_number(page, axis.low, 3);
    mc_text_add(page, "</span><span>");
    mc_html_number(page, axis.high, 3);
    mc_text_add(page, "</span></span></th></tr></thead><tbody>\n");
    const row key = all->items[first];
    for (size_t i = first; i < all->count; i++)
        if (same_task(&all->items[i], &key)) {
            add_row(page, &all->items[i], &axis);
            all->items[i].shown = true;
        }
    mc_text_add(page, "</tbody></table></div></figure>\n");
}

mc_status mc_scores_section(mc_text *page, const json_t *record, const mc_trials *trials,
                            mc_error *error)
{
    rows all = {0};
    const mc_status status = collect(&all, record, trials, error);
    if (status == MC_OK && all.count > 0) {
        mc_text_add(page,
                    "<section id=\"scores\"><h2>Scores</h2>\n<p>Lines are one standard error "
                    "to both sides.%s</p>\n",
                    trials ? " A search chooses the trial with the best score, so this score is "
                             "too high by chance: report the score on held-out examples."
                           : "");
        for (size_t i = 0; i < all.count; i++)
            if (!all.items[i].shown)
                add_task(page, &all, i);
        mc_text_add(page, "</section>\n");
    }
    mc_free(all.items);
    return status;
}
