/* mergecraft help: the help of the command or of a subcommand. */
#include "output.h"
#include "subcommands.h"

static const option options[] = {COMMON_OPTIONS("Help is printed as text in any case."), {NULL}};

static mc_status help(const text_list *operands, mc_error *error)
{
    if (operands->count > 1)
        return mc_fail(error, MC_USAGE, "expected at most one subcommand, found %zu",
                       operands->count);
    const subcommand *const about = operands->count ? find_subcommand(operands->items[0], error)
                                                    : &main_command;
    if (!about)
        return MC_USAGE;
    print_help(about, stdout);
    return MC_OK;
}

static int run(const subcommand *self, const char *const *arguments)
{
    common_options settings = {0};
    text_list operands = {0};
    int status = EXIT_DONE;
    mc_error error = MC_ERROR_NONE;
    if (parse_options(self, arguments, &settings, &operands, &status) &&
        help(&operands, &error) != MC_OK)
        /* The hint then points to the list of subcommands. */
        status = report_failure(&main_command, &settings, &error);
    free_options(self, &settings, &operands);
    return status;
}

const subcommand subcommand_help = {.name = "help",
                                    .arguments = "[SUBCOMMAND] [options]",
                                    .help = "Print the help of the command or a subcommand.",
                                    .example = "  mergecraft help merge\n",
                                    .options = options,
                                    .run = run};
