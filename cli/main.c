/* The command: finds the subcommand and runs it. */
#include "output.h"

#include <mergecraft/text.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const subcommand subcommand_help;
static const subcommand *const subcommands[] = {
    &subcommand_merge,   &subcommand_eval,     &subcommand_classify, &subcommand_methods,
    &subcommand_inspect, &subcommand_download, &subcommand_help};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

static void print_subcommands(FILE *out)
{
    fprintf(out, "\n%ssubcommands%s (mergecraft SUBCOMMAND --help tells more)\n", bold(out),
            plain(out));
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        fprintf(out, "  %-10s %s\n", subcommands[i]->name, subcommands[i]->help);
}

static const option main_options[] = {
    {"help", 'h', OPTION_FLAG, offsetof(common_options, help), NULL, "print this text"},
    {"version", '\0', OPTION_FLAG, offsetof(common_options, version), NULL, "print the version"},
    {NULL}};

/* The command without a subcommand. */
static const subcommand main_command = {
    .arguments = "SUBCOMMAND ...",
    .help = "Merge fine-tuned checkpoints into one.",
    .example = "  mergecraft merge median examples/models/rte-1 examples/models/rte-2 -o merged\n",
    .options = main_options,
    .more_help = print_subcommands};

static const subcommand *find_subcommand(const char *name, mc_error *error)
{
    const char *names[SUBCOMMANDS];
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        if (strcmp(subcommands[i]->name, name) == 0)
            return subcommands[i];
        names[i] = subcommands[i]->name;
    }
    const char *const near = mc_suggest(name, names, SUBCOMMANDS);
    if (near)
        mc_fail(error, MC_USAGE, "unknown subcommand '%s'; did you mean '%s'?", name, near);
    else
        mc_fail(error, MC_USAGE, "unknown subcommand '%s'", name);
    return NULL;
}

/* ---- help ------------------------------------------------------------------------------------ */

typedef struct help_settings {
    common_options common;
    bool options;
} help_settings;

static const option help_options[] = {{"options", '\0', OPTION_FLAG,
                                       offsetof(help_settings, options), NULL,
                                       "list the options, one a line, for completion"},
                                      COMMON_OPTIONS,
                                      {NULL}};

static mc_status help(const help_settings *settings, const text_list *operands, mc_error *error)
{
    const subcommand *about = &main_command;
    if (operands->count > 1)
        return mc_fail(error, MC_USAGE, "expected at most one subcommand, found %zu",
                       operands->count);
    if (operands->count == 1)
        about = find_subcommand(operands->items[0], error);
    if (!about)
        return MC_USAGE;
    if (settings->options)
        print_option_list(about, stdout);
    else
        print_help(about, stdout);
    return MC_OK;
}

static int run_help(const subcommand *self, const char *const *arguments)
{
    help_settings settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status) &&
        help(&settings, &operands, &error) != MC_OK)
        status = report_failure(&main_command, &settings.common, &error);
    free_options(self, &settings, &operands);
    return status;
}

static const subcommand subcommand_help = {.name = "help",
                                           .arguments = "[SUBCOMMAND] [options]",
                                           .help = "Explain the command or a subcommand.",
                                           .example = "  mergecraft help merge\n",
                                           .options = help_options,
                                           .run = run_help};

/* ---- the command ----------------------------------------------------------------------------- */

/*
 * A file that is opened while descriptor 0, 1 or 2 is free would get its number, and messages would go into it. A
 * stand-in that cannot be written keeps the error that a closed standard output is.
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
    /* What follows an option that is not known is the subcommand's. */
    const char *const first[] = {arguments[0], NULL};
    if (parse_options(&main_command, first, &settings, &operands, &status)) {
        mc_fail(&error, MC_USAGE, "expected a subcommand, found '%s'", arguments[0]);
        status = report_failure(&main_command, &settings, &error);
    }
    free_options(&main_command, &settings, &operands);
    return status;
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
    if (found)
        return found->run(found, arguments + 1);
    const common_options common = {.json = wants_json(arguments)};
    return report_failure(&main_command, &common, &error);
}

int main(int argc, char **argv)
{
    occupy_standard_streams();
    /* Whoever closes the pipe has read enough, whatever our parent thinks of the signal. */
    signal(SIGPIPE, SIG_DFL);
    /* A file that may not grow any more is an error that can be told. */
    signal(SIGXFSZ, SIG_IGN);
    const int status = run_command((const char *const *)argv + (argc > 0));
    const bool written = finish_output();
    return status != EXIT_DONE || written ? status : EXIT_FAILED;
}
