#include "report/search_part.h"

#include "base/memory.h"
#include "report/chart.h"
#include "report/html.h"
#include "report/importance.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Limits that keep the page below two megabytes whatever the search; what is left out is stated.
 * SCATTERS: parameters with a chart. POINTS: dots in one chart. ROWS: trials in the table.
 */
enum { SCATTERS = 12, POINTS = 600, ROWS = 1000 };

/* Charts have all trials, or every second, third, … */
static size_t stride_of(const mc_trials *t)
{
    return (t->count + POINTS - 1) / POINTS;
}

static bool is_drawn(const mc_trials *t, size_t index)
{
    return index % stride_of(t) == 0 || index == t->best;
}

static void add_value(mc_text *page, const mc_dimension *dimension, double value)
{
    const json_t *const choice = dimension->choices && value >= 0
                                     ? json_array_get(dimension->choices, (size_t)value)
                                     : NULL;
    if (json_is_string(choice))
        mc_html_name(page, json_string_value(choice));
    else if (choice)
        mc_html_number(page, json_number_value(choice), 4);
    else
        mc_html_number(page, value, 4);
}

/* The axis of all scores that count. */
static mc_axis score_axis(const mc_trials *t)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < t->count; i++)
        if (mc_trial_counts(&t->items[i])) {
            low = fmin(low, t->items[i].score);
            high = fmax(high, t->items[i].score);
        }
    return isfinite(low) ? mc_axis_of(low, high, false) : mc_axis_of(0, 1, false);
}

/* ---- best so far ----------------------------------------------------------------------------- */

static void add_steps(mc_text *page, const mc_trials *t, const mc_chart *chart)
{
    double best = NAN;
    mc_text_add(page, "<path class=\"best\" d=\"");
    for (size_t i = 0; i < t->count; i++) {
        const double score = t->items[i].score;
        const bool better = mc_trial_counts(&t->items[i]) &&
                            (isnan(best) || mc_trials_better(t, score, best));
        if (!better && !(i + 1 == t->count && isfinite(best)))
            continue;
        mc_text_add(page, "%s", isnan(best) ? "M" : "H");
        mc_html_coordinate(page, mc_axis_at(&chart->x, (double)i + 1));
        if (better) {
            mc_text_add(page, "%s", isnan(best) ? " " : "V");
            mc_html_coordinate(page, mc_axis_at(&chart->y, score));
            best = score;
        }
    }
    mc_text_add(page, "\"/>\n");
}

static void add_curve(mc_text *page, const mc_trials *t)
{
    mc_chart chart = {.x = mc_axis_of(1, (double)t->count, false), .y = score_axis(t)};
    chart.x.title = "trial";
    mc_text_add(page,
                "<figure><figcaption><h3>Best score so far</h3><p>The line is the best score "
                "up to a trial, dots are trials%s.</p></figcaption>",
                t->minimize ? ". Smaller is better" : "");
    mc_chart_begin(page, &chart, 660, 260, "curve", "Best score so far, by trial");
    add_steps(page, t, &chart);
    for (size_t i = 0; i < t->count; i++) {
        const mc_trial *const trial = &t->items[i];
        if (!is_drawn(t, i) || !isfinite(trial->score))
            continue;
        mc_chart_point(page, &chart, (double)i + 1, trial->score, i == t->best ? 5.5 : 2.6,
                       i == t->best     ? "top"
                       : trial->stopped ? "stopped"
                                        : "point");
        mc_text_add(page, "trial %" PRId64 ": ", trial->number);
        mc_html_number(page, trial->score, 5);
        mc_text_add(page, "%s", trial->stopped ? ", stopped early" : "");
        mc_chart_point_end(page);
    }
    mc_chart_end(page);
    mc_text_add(page, "</figure>\n");
}

/* ---- parameters ------------------------------------------------------------------------------ */

typedef struct weighed {
    size_t dimension;
    double share; /* NaN: not known */
} weighed;

static int compare_weighed(const void *a, const void *b)
{
    const weighed *const x = a, *const y = b;
    const double left = isnan(x->share) ? -1 : x->share, right = isnan(y->share) ? -1 : y->share;
    if (left != right)
        return left < right ? 1 : -1;
    return (x->dimension > y->dimension) - (x->dimension < y->dimension);
}

static mc_status weigh(const mc_trials *t, size_t dimension, double *values, double *scores,
                       double *share, mc_error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < t->count; i++) {
        const mc_trial *const trial = &t->items[i];
        if (!mc_trial_counts(trial) || trial->same_as || isnan(trial->values[dimension]))
            continue;
        values[count] = trial->values[dimension];
        scores[count++] = trial->score;
    }
    return mc_importance(values, scores, count, share, error);
}

/* The dimensions, the most important first. */
static mc_status weigh_all(const mc_trials *t, weighed *out, mc_error *error)
{
    double *const values = mc_alloc(t->count * sizeof *values);
    double *const scores = mc_alloc(t->count * sizeof *scores);
    mc_status status = values && scores ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < t->dimension_count; i++) {
        out[i].dimension = i;
        status = weigh(t, i, values, scores, &out[i].share, error);
    }
    mc_free(values);
    mc_free(scores);
    if (status == MC_OK)
        qsort(out, t->dimension_count, sizeof *out, compare_weighed);
    return status;
}

static void add_importance(mc_text *page, const mc_trials *t, const weighed *order)
{
    mc_text_add(page,
                "<figure><figcaption><h3>Importance of parameters</h3><p>The share of the variance "
                "of scores between up to eight bins of a parameter's values, corrected for "
                "chance. A parameter that only matters together with another has a small "
                "share.</p></figcaption><div class=\"scroll\" role=\"region\" tabindex=\"0\" "
                "aria-label=\"Importance\"><table class=\"bars\"><thead><tr><th "
                "scope=\"col\">parameter</th><th class=\"n\" scope=\"col\">share</th><th "
                "aria-hidden=\"true\"></th></tr></thead><tbody>\n");
    for (size_t i = 0; i < t->dimension_count; i++) {
        mc_text_add(page, "<tr><th scope=\"row\">");
        mc_html_name(page, t->dimensions[order[i].dimension].name);
        mc_text_add(page, "</th><td class=\"n\">");
        mc_html_fixed(page, 100 * order[i].share, 1);
        mc_text_add(page,
                    "%s</td><td class=\"plot\"><svg viewBox=\"0 0 260 18\" "
                    "preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect y=\"4\" "
                    "height=\"10\" width=\"",
                    isfinite(order[i].share) ? " %" : "");
        mc_html_coordinate(page, isfinite(order[i].share) ? 260 * order[i].share : 0);
        mc_text_add(page, "\"/></svg></td></tr>\n");
    }
    mc_text_add(page, "</tbody></table></div></figure>\n");
}

static void add_scatter(mc_text *page, const mc_trials *t, const weighed *which)
{
    const mc_dimension *const d = &t->dimensions[which->dimension];
    mc_chart chart = {.x = d->choices ? (mc_axis){.low = d->low - 0.5, .high = d->high + 0.5}
                                      : mc_axis_of(d->low, d->high, d->log),
                      .y = score_axis(t)};
    chart.x.choices = d->choices;
    chart.x.title = chart.x.log ? "logarithmic" : NULL;
    mc_text_add(page, "<figure><figcaption><h3>");
    mc_html_name(page, d->name);
    mc_text_add(page, "</h3></figcaption>");
    mc_chart_begin(page, &chart, 340, 210, "scatter", d->name);
    for (size_t i = 0; i < t->count; i++) {
        const mc_trial *const trial = &t->items[i];
        if (!is_drawn(t, i) || !mc_trial_counts(trial) || isnan(trial->values[which->dimension]))
            continue;
        mc_chart_point(page, &chart, trial->values[which->dimension], trial->score,
                       i == t->best ? 5 : 2.4, i == t->best ? "top" : "point");
        mc_text_add(page, "%" PRId64 ": ", trial->number);
        mc_html_number(page, trial->score, 5);
        mc_chart_point_end(page);
    }
    mc_chart_end(page);
    mc_text_add(page, "</figure>\n");
}

static mc_status add_parameters(mc_text *page, const mc_trials *t, mc_error *error)
{
    weighed *const order = mc_alloc_zero(t->dimension_count, sizeof *order);
    const mc_status status = order ? weigh_all(t, order, error) : mc_fail_memory(error);
    if (status == MC_OK && t->dimension_count > 0) {
        add_importance(page, t, order);
        mc_text_add(page, "<h3>Score by parameter</h3>\n");
        if (t->dimension_count > SCATTERS)
            mc_text_add(page, "<p>The %d most important of %zu parameters.</p>\n", SCATTERS,
                        t->dimension_count);
        mc_text_add(page, "<div class=\"scatters\">\n");
        for (size_t i = 0; i < t->dimension_count && i < SCATTERS; i++)
            add_scatter(page, t, &order[i]);
        mc_text_add(page, "</div>\n");
    }
    mc_free(order);
    return status;
}

/* ---- table ----------------------------------------------------------------------------------- */

static void add_remark(mc_text *page, const mc_trials *t, size_t index)
{
    const mc_trial *const trial = &t->items[index];
    if (index == t->best)
        mc_text_add(page, "best ");
    if (trial->stopped)
        mc_text_add(page, "stopped early ");
    if (trial->same_as)
        mc_text_add(page, "same as %" PRId64 " ", trial->same_as);
    if (trial->failure) {
        mc_text_add(page, "failed: ");
        mc_html_name(page, trial->failure);
    }
}

static void add_trial(mc_text *page, const mc_trials *t, size_t index)
{
    const mc_trial *const trial = &t->items[index];
    mc_text_add(page, "<tr%s><th scope=\"row\" class=\"n\">%" PRId64 "</th><td class=\"n\">",
                index == t->best ? " class=\"merge\"" : "", trial->number);
    mc_html_fixed(page, trial->score, 4);
    mc_text_add(page, "</td><td class=\"n\">");
    mc_html_fixed(page, trial->standard_error, 4);
    mc_text_add(page, "</td>");
    for (size_t i = 0; i < t->dimension_count; i++) {
        mc_text_add(page, "<td%s>", t->dimensions[i].choices ? "" : " class=\"n\"");
        add_value(page, &t->dimensions[i], trial->values[i]);
        mc_text_add(page, "</td>");
    }
    mc_text_add(page, "<td class=\"n\">");
    mc_html_fixed(page, trial->seconds, 2);
    mc_text_add(page, "</td><td>");
    add_remark(page, t, index);
    mc_text_add(page, "</td></tr>\n");
}

static void add_title(mc_text *page, const char *title, bool number)
{
    mc_text_add(page, "<th scope=\"col\"%s><button>", number ? " class=\"n\"" : "");
    mc_html_name(page, title);
    mc_text_add(page, "</button></th>");
}

static void add_table(mc_text *page, const mc_trials *t)
{
    mc_text_add(page, "<h3>Trials</h3>\n<p>");
    if (t->count > ROWS)
        mc_text_add(page, "The first %d of %zu trials and the best one; the journal has all. ",
                    ROWS, t->count);
    mc_text_add(page, "Select a column title to sort.</p><div class=\"scroll tall\" "
                      "role=\"region\" tabindex=\"0\" aria-label=\"Trials\"><table "
                      "class=\"trials sortable\"><thead><tr>");
    add_title(page, "trial", true);
    add_title(page, "score", true);
    add_title(page, "standard error", true);
    for (size_t i = 0; i < t->dimension_count; i++)
        add_title(page, t->dimensions[i].name, !t->dimensions[i].choices);
    add_title(page, "seconds", true);
    add_title(page, "remark", false);
    mc_text_add(page, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < t->count; i++)
        if (i < ROWS || i == t->best)
            add_trial(page, t, i);
    mc_text_add(page, "</tbody></table></div>\n");
}

mc_status mc_search_section(mc_text *page, const mc_trials *t, mc_error *error)
{
    mc_text_add(page, "<section id=\"search\"><h2>Search</h2>\n");
    if (t->count == 0)
        mc_text_add(page, "<p>No trial is finished yet.</p>\n");
    if (stride_of(t) > 1)
        mc_text_add(page, "<p>Charts show one in %zu of the %zu trials, and the best.</p>\n",
                    stride_of(t), t->count);
    if (t->count > 0) {
        add_curve(page, t);
        MC_TRY(add_parameters(page, t, error));
        add_table(page, t);
    }
    mc_text_add(page, "</section>\n");
    return MC_OK;
}
