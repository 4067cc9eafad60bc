#include "signals.h"

#include <signal.h>
#include <stddef.h>

/* An int, as in mc_run_options: it is stored atomically on every CPU. */
static volatile int cancelled;

static void on_signal(int number)
{
    (void)number;
    cancelled = 1;
}

static const volatile int *catch_with(int flags)
{
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction before,
            after = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | flags};
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
