/* How far a work is, on standard error: a bar on a terminal, a line every tenth with --verbose elsewhere. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "options.h"

#include <mergecraft/merge.h>

typedef struct progress_display {
    bool bar, lines;  /* at most one of them */
    const char *unit; /* what mc_progress counts, "examples"; NULL: bytes */
    bool begun;
    mc_progress first; /* what was there when this run began does not count for its rate */
    int64_t tenths;    /* printed so far */
} progress_display;

progress_display progress_begin(const common_options *common);
/* For mc_run_options.progress; `user` is the display. */
void progress_update(const mc_progress *progress, void *user);
/* Takes the bar away; call it before anything else is printed. */
void progress_end(progress_display *display);

/* For mc_pipeline_run.progress; `user` is the display. */
void progress_tokens(size_t done, size_t total, void *user);

/* Columns of the terminal that standard error is. */
size_t terminal_width(void);

/* The bar as one line of less than `width` columns. `rate` is in units a second, not above 0 if it is not known. */
void progress_line(const mc_progress *progress, const char *unit, double rate, size_t width,
                   char *out, size_t size);

#endif
