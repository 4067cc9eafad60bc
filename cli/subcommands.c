#include "subcommands.h"

#include "output.h"

#include <mergecraft/text.h>

#include <string.h>

const subcommand *const subcommands[] = {
#define X(name_) &subcommand_##name_,
    SUBCOMMANDS(X)
#undef X
        NULL};
/* The list ends with NULL, for the generators of completion files and manual pages. */
enum { SUBCOMMAND_COUNT = sizeof subcommands / sizeof *subcommands - 1 };

static void print_subcommands(FILE *out)
{
    fprintf(out, "\n%ssubcommands%s (see mergecraft SUBCOMMAND --help)\n", bold(out), plain(out));
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
        fprintf(out, "  %-17s %s\n", subcommands[i]->name, subcommands[i]->help);
}

static const option main_options[] = {
    {"help", 'h', OPTION_FLAG, offsetof(common_options, help), NULL, "print this help"},
    {"version", '\0', OPTION_FLAG, offsetof(common_options, version), NULL, "print the version"},
    {NULL}};

const subcommand main_command = {
    .arguments = "SUBCOMMAND ...",
    .help = "Merge fine-tuned checkpoints into one.",
    .example = "  mergecraft merge median examples/models/rte-1 examples/models/rte-2 -o merged\n",
    .options = main_options,
    .more_help = print_subcommands};

const subcommand *find_subcommand(const char *name, mc_error *error)
{
    const char *names[SUBCOMMAND_COUNT];
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++) {
        if (strcmp(subcommands[i]->name, name) == 0)
            return subcommands[i];
        names[i] = subcommands[i]->name;
    }
    const char *const near = mc_suggest(name, names, SUBCOMMAND_COUNT);
    if (near)
        mc_fail(error, MC_USAGE, "unknown subcommand '%s'; did you mean '%s'?", name, near);
    else
        mc_fail(error, MC_USAGE, "unknown subcommand '%s'", name);
    return NULL;
}

int run_subcommand(const subcommand *self, const char *const *arguments, void *settings,
                   mc_status (*work)(const void *settings, const text_list *operands,
                                     mc_error *error))
{
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, settings, &operands, &status) &&
        work(settings, &operands, &error) != MC_OK)
        status = report_failure(self, settings, &error);
    free_options(self, settings, &operands);
    return status;
}
