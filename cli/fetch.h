/* Progress of downloads: on a terminal, a bar in total and one line per active file below it. */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "options.h"

#include <mergecraft/hub.h>

typedef struct fetch_display {
    bool bar, lines; /* at most one of them */
    bool quiet;
    size_t drawn;   /* lines on the terminal now */
    int64_t tenths; /* printed so far */
    bool begun;
    /* At the first report. Bytes of an earlier run do not count for the rate. */
    double first_seconds;
    int64_t first_bytes;
} fetch_display;

fetch_display fetch_begin(const common_options *common);
/* Options for the library, which keep a pointer to the display. Ctrl-C cancels the download. */
mc_hub_options fetch_options(fetch_display *display);
/* Erases the bar; call it before printing anything else. */
void fetch_end(fetch_display *display);

#endif
