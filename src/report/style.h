/* The style sheet and the script of a report. */
#ifndef MC_REPORT_STYLE_H
#define MC_REPORT_STYLE_H

/* Everything up to the title's text; the page's language is English. */
extern const char mc_report_head[];
/* From behind the title's text to the first element of the body. */
extern const char mc_report_style[];
/* The script with its element. */
extern const char mc_report_script[];

#endif
