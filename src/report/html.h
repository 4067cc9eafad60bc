/*
 * Text of an HTML page. Names and texts come from files that may hold anything: they are added by
 * these functions only, so that markup in them is shown and not interpreted.
 */
#ifndef MC_REPORT_HTML_H
#define MC_REPORT_HTML_H

#include "base/text.h"

/* Adds a text with markup escaped, valid as content and inside a quoted attribute. */
void mc_html_text(mc_text *page, const char *text);

/* The same as an element of its own: its writing direction does not reach the text around it. */
void mc_html_name(mc_text *page, const char *name);

/* Adds a number with so many decimals or significant digits; a dash if it is not finite. */
void mc_html_fixed(mc_text *page, double value, int decimals);
void mc_html_number(mc_text *page, double value, int digits);

/* Adds a count with groups of three digits: "12,345". */
void mc_html_count(mc_text *page, int64_t count);

/* Adds a coordinate of a drawing: one decimal is a tenth of a pixel. */
void mc_html_coordinate(mc_text *page, double value);

#endif
