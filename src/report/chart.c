#include "report/chart.h"

#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Room around the plot for ticks and titles. */
enum { LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 42 };

/* ---- axes ------------------------------------------------------------------------------------ */

mc_axis mc_axis_of(double low, double high, bool log)
{
    mc_axis axis = {.log = log && low > 0};
    if (axis.log) {
        const double margin = high > low ? 0.04 * (log10(high) - log10(low)) : 0.5;
        axis.low = pow(10, log10(low) - margin);
        axis.high = pow(10, log10(high) + margin);
        return axis;
    }
    /* Half of the range: the range of two values near the largest double is infinite. */
    const double half = high / 2 - low / 2;
    const double margin = half > 0 ? 0.1 * half : 0.05 * fabs(low) + 1e-6;
    axis.low = low - margin;
    axis.high = high + margin;
    return axis;
}

double mc_axis_at(const mc_axis *axis, double value)
{
    const double low = axis->log ? log10(axis->low) : axis->low;
    const double high = axis->log ? log10(axis->high) : axis->high;
    const double at = axis->log ? log10(value) : value;
    const double range = high / 2 - low / 2;
    const double share = range > 0 ? (at / 2 - low / 2) / range : 0.5;
    return axis->from + (axis->to - axis->from) * fmin(fmax(share, 0), 1);
}

/* 1, 2 or 5 times a power of ten, whichever is nearest as a ratio. */
static double round_step(double step)
{
    const double power = pow(10, floor(log10(step)));
    const double digit = step / power;
    return power * (digit < 1.41 ? 1 : digit < 3.16 ? 2 : digit < 7.07 ? 5 : 10);
}

static size_t log_ticks(const mc_axis *axis, double ticks[MC_AXIS_TICKS])
{
    static const double digits[] = {1, 2, 5};
    const double first = floor(log10(axis->low)), last = ceil(log10(axis->high));
    /* Margins around values near the ends of double are 0 or infinite, and have no last decade. */
    if (!isfinite(first) || !isfinite(last))
        return 0;
    /* Decades only, and of many decades each second, third, …; else a range has too many. */
    const double stride = fmax(1, ceil((last - first) / 8));
    const size_t per_decade = last - first > 3 ? 1 : 3;
    size_t count = 0;
    for (double decade = first; decade <= last; decade += stride)
        for (size_t i = 0; i < per_decade; i++) {
            const double tick = digits[i] * pow(10, decade);
            if (tick >= axis->low && tick <= axis->high && count < MC_AXIS_TICKS)
                ticks[count++] = tick;
        }
    return count;
}

static size_t choice_ticks(const mc_axis *axis, double ticks[MC_AXIS_TICKS])
{
    const size_t choices = json_array_size(axis->choices);
    const size_t stride = (choices + MC_AXIS_TICKS - 1) / MC_AXIS_TICKS;
    size_t count = 0;
    for (size_t i = 0; i < choices; i += stride)
        ticks[count++] = (double)i;
    return count;
}

size_t mc_axis_ticks(const mc_axis *axis, int wanted, double ticks[MC_AXIS_TICKS])
{
    if (axis->choices)
        return choice_ticks(axis, ticks);
    if (axis->log)
        return log_ticks(axis, ticks);
    const double step = round_step(2 * ((axis->high / 2 - axis->low / 2) / wanted));
    size_t count = 0;
    if (!isfinite(step) || step <= 0)
        return 0;
    const double first = ceil(axis->low / step);
    for (double i = 0; count < MC_AXIS_TICKS && (first + i) * step <= axis->high; i++)
        ticks[count++] = (first + i) * step + 0.0; /* no −0 */
    return count;
}

/* ---- the frame ------------------------------------------------------------------------------- */

static void add_coordinates(mc_text *page, const char *const names[4], const double values[4])
{
    for (size_t i = 0; i < 4; i++) {
        mc_text_add(page, " %s=\"", names[i]);
        mc_html_coordinate(page, values[i]);
        mc_text_add(page, "\"");
    }
}

static void add_line(mc_text *page, const char *kind, double x1, double y1, double x2, double y2)
{
    static const char *const names[] = {"x1", "y1", "x2", "y2"};
    mc_text_add(page, "<line class=\"%s\"", kind);
    add_coordinates(page, names, (const double[]){x1, y1, x2, y2});
    mc_text_add(page, "/>");
}

static void begin_label(mc_text *page, const char *kind, double x, double y)
{
    mc_text_add(page, "<text class=\"%s\" x=\"", kind);
    mc_html_coordinate(page, x);
    mc_text_add(page, "\" y=\"");
    mc_html_coordinate(page, y);
    mc_text_add(page, "\">");
}

/* Choices may have long names: those that do not fit end in a tooltip. */
static void add_choice(mc_text *page, const json_t *choice)
{
    const char *const name = json_string_value(choice);
    if (!name) {
        mc_html_number(page, json_number_value(choice), 4);
    } else if (strlen(name) <= 10) {
        mc_html_text(page, name);
    } else {
        char start[9] = {0};
        memcpy(start, name, 8);
        /* Does not cut a character in two. */
        for (size_t end = 8; end > 0 && ((unsigned char)name[end] & 0xc0) == 0x80; end--)
            start[end - 1] = '\0';
        mc_html_text(page, start);
        mc_text_add(page, "…<title>");
        mc_html_text(page, name);
        mc_text_add(page, "</title>");
    }
}

static void add_tick(mc_text *page, const mc_axis *axis, double tick)
{
    if (axis->choices)
        add_choice(page, json_array_get(axis->choices, (size_t)tick));
    else
        mc_html_number(page, tick, 4);
    mc_text_add(page, "</text>");
}

static void add_grid(mc_text *page, const mc_chart *chart)
{
    double ticks[MC_AXIS_TICKS];
    const mc_axis *const x = &chart->x, *const y = &chart->y;
    const size_t rows = mc_axis_ticks(y, chart->height > 240 ? 5 : 4, ticks);
    for (size_t i = 0; i < rows; i++) {
        const double at = mc_axis_at(y, ticks[i]);
        add_line(page, "grid", x->from, at, x->to, at);
        begin_label(page, "ty", x->from - 7, at + 4);
        add_tick(page, y, ticks[i]);
    }
    const size_t columns = mc_axis_ticks(x, chart->width > 480 ? 8 : 4, ticks);
    for (size_t i = 0; i < columns; i++) {
        const double at = mc_axis_at(x, ticks[i]);
        add_line(page, "tick", at, y->from, at, y->from + 4);
        begin_label(page, "tx", at, y->from + 17);
        add_tick(page, x, ticks[i]);
    }
    add_line(page, "axis", x->from, y->from, x->to, y->from);
}

void mc_chart_begin(mc_text *page, mc_chart *chart, double width, double height, const char *kind,
                    const char *label)
{
    chart->width = width;
    chart->height = height;
    chart->x.from = LEFT;
    chart->x.to = width - RIGHT;
    chart->y.from = height - BOTTOM; /* upwards */
    chart->y.to = TOP;
    mc_text_add(page, "<svg class=\"%s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", kind,
                (int)width, (int)height);
    mc_html_text(page, label);
    mc_text_add(page, "\">");
    add_grid(page, chart);
    if (chart->x.title) {
        begin_label(page, "tt", (chart->x.from + chart->x.to) / 2, height - 8);
        mc_html_text(page, chart->x.title);
        mc_text_add(page, "</text>");
    }
    mc_text_add(page, "\n");
}

void mc_chart_end(mc_text *page)
{
    mc_text_add(page, "</svg>\n");
}

void mc_chart_point(mc_text *page, const mc_chart *chart, double x, double y, double radius,
                    const char *kind)
{
    mc_text_add(page, "<circle class=\"%s\" cx=\"", kind);
    mc_html_coordinate(page, mc_axis_at(&chart->x, x));
    mc_text_add(page, "\" cy=\"");
    mc_html_coordinate(page, mc_axis_at(&chart->y, y));
    mc_text_add(page, "\" r=\"");
    mc_html_coordinate(page, radius);
    mc_text_add(page, "\"><title>");
}

void mc_chart_point_end(mc_text *page)
{
    mc_text_add(page, "</title></circle>\n");
}
