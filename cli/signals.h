/* Cancelling long work by Ctrl-C. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdbool.h>

/*
 * From now on the first SIGINT or SIGTERM sets the value behind the result, which library functions
 * take as `cancel`. If the command has not ended 0.6 s later, the process exits with the report of
 * an interruption. The second signal kills at once. Ignored signals stay ignored.
 */
const volatile int *catch_signals(void);

/* The same, and a blocking read, as from a terminal, fails with EINTR instead of restarting. */
const volatile int *catch_signals_in_reads(void);

/* For that report: the folder that the command writes, and whether the report is JSON. */
void signals_report_folder(const char *writes); /* borrowed */
void signals_report_json(bool json);

#endif
