/* Cancelling long work by Ctrl-C. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

/*
 * From now on the first SIGINT or SIGTERM sets the value behind the result, which library functions
 * take as `cancel`; the second one kills. Ignored signals stay ignored.
 */
const volatile int *catch_signals(void);

/* The same, and a blocking read, as from a terminal, fails with EINTR instead of restarting. */
const volatile int *catch_signals_in_reads(void);

#endif
