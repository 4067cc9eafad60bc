/* The table of subcommands. A new one is a file cli/NAME.c and a name in this list. */
#ifndef CLI_SUBCOMMANDS_H
#define CLI_SUBCOMMANDS_H

#include "options.h"

/* clang-format is not stable for this list. */
/* clang-format off */
#define SUBCOMMANDS(X)                                                                             \
    X(merge) X(decompress) X(lora) X(transplant) X(check) X(mergekit_yaml) X(mergekit_multi)       \
    X(mergekit_pytorch) X(search) X(bench) X(eval) X(observe) X(classify) X(methods)               \
    X(inspect) X(compare) X(report) X(verify) X(download) X(upload) X(clean) X(help)
/* clang-format on */

#define X(name_) extern const subcommand subcommand_##name_;
SUBCOMMANDS(X)
#undef X

/* In the order of --help; ends with NULL. */
extern const subcommand *const subcommands[];

/* The command without a subcommand. */
extern const subcommand main_command;

/* NULL and an error, with the nearest name as a hint, if there is none. */
const subcommand *find_subcommand(const char *name, mc_error *error);

/*
 * Runs most subcommands: parses the arguments into `settings`, which are zero and begin with
 * common_options, calls `work` with them, reports its error, and frees what was parsed. Returns the
 * exit status.
 */
int run_subcommand(const subcommand *self, const char *const *arguments, void *settings,
                   mc_status (*work)(const void *settings, const text_list *operands,
                                     mc_error *error));

#endif
