/* Drawings of a report: SVG with two axes. Lengths are pixels at the drawing's natural size. */
#ifndef MC_REPORT_CHART_H
#define MC_REPORT_CHART_H

#include "base/text.h"

#include <jansson.h>

enum { MC_AXIS_TICKS = 12 };

/* Maps values from low to high onto from to to. */
typedef struct mc_axis {
    double low, high;
    double from, to;
    bool log;
    const json_t *choices; /* values are indices into it; NULL: numbers */
    const char *title;     /* NULL: none */
} mc_axis;

/* The plot: x from left to right, y from bottom to top; drawings are a bit larger. */
typedef struct mc_chart {
    mc_axis x, y;
    double width, height; /* of the drawing */
} mc_chart;

/*
 * An axis that has a margin around its values. A log axis whose lower end is not positive becomes
 * linear.
 */
mc_axis mc_axis_of(double low, double high, bool log);
double mc_axis_at(const mc_axis *axis, double value);
/* Round values in the range, evenly spaced; returns how many. */
size_t mc_axis_ticks(const mc_axis *axis, int wanted, double ticks[MC_AXIS_TICKS]);

/*
 * Begins a drawing with grid, ticks and titles. `label` describes it to screen readers; `kind` is
 * its class in the style sheet.
 */
void mc_chart_begin(mc_text *page, mc_chart *chart, double width, double height, const char *kind,
                    const char *label);
void mc_chart_end(mc_text *page);

/* Opens a point of a class: add a text that is shown on hover, then close it. */
void mc_chart_point(mc_text *page, const mc_chart *chart, double x, double y, double radius,
                    const char *kind);
void mc_chart_point_end(mc_text *page);

#endif
