/* What is shown while files come from the Hub: on a terminal a bar for all and a line for each file, below each other. */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "options.h"

#include <mergecraft/hub.h>

typedef struct fetch_display {
    bool bar, lines; /* at most one of them */
    bool quiet;
    size_t drawn;   /* lines of the bar that stand on the terminal */
    int64_t tenths; /* printed so far */
    bool begun;
    double
        first_seconds; /* when the first bytes were there, and how many: what was there before is no rate */
    int64_t first_bytes;
} fetch_display;

fetch_display fetch_begin(const common_options *common);
/* For the library; the display must stay where it is. Ctrl-C stops it. */
mc_hub_options fetch_options(fetch_display *display);
/* Takes the bar away; call it before anything else is printed. */
void fetch_end(fetch_display *display);

#endif
