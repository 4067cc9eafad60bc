#include "signals.h"

#include "output.h"
#include "subcommands.h"

#include <mergecraft/merge.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/*
 * The type is that of mc_run_options.cancel. Stores and loads of an int are atomic on every CPU
 * that is supported.
 */
static volatile int cancelled;

/*
 * Workers poll the value between tiles. A decomposition in LAPACK takes minutes on large matrices
 * and cannot be stopped, and neither can a method of the user's. Therefore a thread waits for the
 * signal, gives the command GRACE to end by itself, and then ends the process. The library could
 * not: it would return while workers still read the caller's memory. For files this is the same as
 * SIGKILL, which every subcommand survives: hidden folders, downloads and journals resume.
 */
static const struct timespec GRACE = {.tv_nsec = 600 * 1000 * 1000};
static sem_t signalled;
static const char *_Atomic folder;
static bool with_json;

void signals_report_json(bool json)
{
    with_json = json;
}

void signals_report_folder(const char *writes)
{
    folder = writes;
}

static void on_signal(int number)
{
    (void)number;
    /* A handler may do hardly anything else. */
    cancelled = 1;
    sem_post(&signalled);
}

static void *end_late_command(void *unused)
{
    (void)unused;
    char path[4096];
    mc_error error = MC_ERROR_NONE;
    const common_options common = {.json = with_json};
    while (sem_wait(&signalled) != 0)
        ;
    nanosleep(&GRACE, NULL);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr); /* a progress bar */
    mc_fail(&error, MC_INTERRUPTED, "interrupted");
    if (folder && mc_unfinished_folder(folder, path, sizeof path, NULL) == MC_OK &&
        access(path, F_OK) == 0) {
        mc_fail(&error, MC_INTERRUPTED, "interrupted; what is done is kept in %s", path);
        error.hint = MC_HINT_RESUME;
    }
    const int status = report_failure(&main_command, &common, &error);
    fflush(stdout);
    /* Not exit: the other threads still use what its handlers would free. */
    _exit(status);
}

/* Without a thread, commands end when they can. */
static void start_watching(void)
{
    pthread_t thread;
    sigset_t all, before;
    sem_init(&signalled, 0, 0);
    /* Signals must reach the main thread: its blocking read ends with EINTR. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, end_late_command, NULL) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static const volatile int *catch_with(int flags)
{
    static const int signals[] = {SIGINT, SIGTERM};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_watching);
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
