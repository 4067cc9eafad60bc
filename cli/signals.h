/* Interrupting long work. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

/*
 * From now on the first SIGINT or SIGTERM sets the value behind the result, which the library's functions take as `cancel`; the
 * second one kills. Signals that are ignored stay so.
 */
const volatile int *catch_signals(void);

/* The same, and a read that waits, as for a terminal, fails with EINTR instead of going on. */
const volatile int *catch_signals_in_reads(void);

#endif
