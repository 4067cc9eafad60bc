/* The command line as a whole: finds the subcommand and runs it. */
#ifndef CLI_COMMAND_LINE_H
#define CLI_COMMAND_LINE_H

#include <mergecraft/comm.h>

/* Returns the exit status. */
int run_command_line(int argc, char **argv);

/* The processes that run this command line together; NULL: this one is alone. Set it before. */
extern const mc_comm *command_comm;

#endif
