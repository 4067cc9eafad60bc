#include "command_line.h"

#include "output.h"
#include "signals.h"
#include "subcommands.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/*
 * A file that is opened while descriptor 0, 1 or 2 is closed would get its number, and messages
 * would be written into it. The placeholder is read-only: writing to a closed standard output
 * remains an error.
 */
static void occupy_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* Options without a subcommand. */
static int run_main_options(const char *const *arguments)
{
    common_options settings = {0};
    text_list operands = {0};
    mc_error error = MC_ERROR_NONE;
    int status = EXIT_USAGE;
    /* Only the first argument: the others may belong to a subcommand. */
    const char *const first[] = {arguments[0], NULL};
    if (parse_options(&main_command, first, &settings, &operands, &status)) {
        mc_fail(&error, MC_USAGE, "expected a subcommand, found '%s'", arguments[0]);
        status = report_failure(&main_command, &settings, &error);
    }
    free_options(&main_command, &settings, &operands);
    return status;
}

/* Subcommands that several processes run together, or that only print. */
static bool is_shared(const char *name)
{
    static const char *const names[] = {"merge", "search", "check", "methods", "inspect", "help"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int run_command(const char *const *arguments)
{
    mc_error error = MC_ERROR_NONE;
    if (!arguments[0]) {
        print_help(&main_command, stderr);
        return EXIT_USAGE;
    }
    if (arguments[0][0] == '-')
        return run_main_options(arguments);
    const subcommand *const found = find_subcommand(arguments[0], &error);
    if (found && (!command_comm || is_shared(found->name)))
        return found->run(found, arguments + 1);
    if (found)
        mc_fail(&error, MC_USAGE, "%s does not run on several processes; merge and search do",
                found->name);
    const common_options common = {.json = wants_json(arguments)};
    return report_failure(&main_command, &common, &error);
}

/* A link called mergekit-yaml is this subcommand. */
static const subcommand *named_by_link(const char *path)
{
    mc_error ignored = MC_ERROR_NONE;
    const char *const slash = strrchr(path, '/'), *const name = slash ? slash + 1 : path;
    return strncmp(name, "mergekit-", 9) == 0 ? find_subcommand(name, &ignored) : NULL;
}

const mc_comm *command_comm;

int run_command_line(int argc, char **argv)
{
    occupy_standard_streams();
    /* A reader that closes the pipe ends the command, even if the parent ignores the signal. */
    signal(SIGPIPE, SIG_DFL);
    /* A file that reaches the size limit is reported as an error. */
    signal(SIGXFSZ, SIG_IGN);
    const char *const *const arguments = (const char *const *)argv + (argc > 0);
    signals_report_json(wants_json(arguments));
    const subcommand *const linked = argc > 0 ? named_by_link(argv[0]) : NULL;
    const int status = linked ? linked->run(linked, arguments) : run_command(arguments);
    const bool written = finish_output();
    /* A full disk or a closed output is a failure, but does not hide an earlier one. */
    return status != EXIT_DONE || written ? status : EXIT_FAILED;
}
