/*
 * Progress on standard error: a bar on a terminal; elsewhere, with --verbose, a line per tenth of
 * the work.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "options.h"

#include <mergecraft/merge.h>

typedef struct progress_display {
    bool bar, lines;  /* at most one of them */
    const char *unit; /* of mc_progress, such as "examples"; NULL: bytes */
    bool begun;
    /*
     * The rate is measured from marks[0], the first report or one 5 to 10 seconds ago: work of an
     * earlier run does not count, and the estimate follows a disk that becomes slower.
     */
    mc_progress marks[2];
    int64_t tenths; /* number of lines printed */
} progress_display;

progress_display progress_begin(const common_options *common);
/* For mc_run_options.progress; `user` is the display. */
void progress_update(const mc_progress *progress, void *user);
/* Erases the bar; call it before printing anything else. */
void progress_end(progress_display *display);

/* For mc_pipeline_run.progress; `user` is the display. */
void progress_tokens(size_t done, size_t total, void *user);

/* Number of columns of the terminal on standard error. */
size_t terminal_width(void);

/* Seconds that evenly distributed work takes at `rate` units per second; negative: not known. */
double progress_left(const mc_progress *progress, double rate);

/* Formats one line of less than `width` columns. `rate` is in units per second; 0: unknown. */
void progress_line(const mc_progress *progress, const char *unit, double rate, size_t width,
                   char *out, size_t size);

#endif
