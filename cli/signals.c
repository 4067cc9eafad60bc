#include "signals.h"

#include <signal.h>
#include <stddef.h>

/*
 * The type is that of mc_run_options.cancel. Stores and loads of an int are atomic on every CPU
 * that is supported.
 */
static volatile int cancelled;

static void on_signal(int number)
{
    (void)number;
    /* A handler may do hardly anything else; the workers poll the value. */
    cancelled = 1;
}

static const volatile int *catch_with(int flags)
{
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        /* SA_RESETHAND: the second signal has its default action and kills. */
        struct sigaction before,
            after = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | flags};
        /* nohup and shells ignore signals for background jobs; that stays. */
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &after, NULL);
    }
    return &cancelled;
}

const volatile int *catch_signals(void)
{
    return catch_with(SA_RESTART);
}

const volatile int *catch_signals_in_reads(void)
{
    return catch_with(0);
}
