/* The command line as a whole: finds the subcommand and runs it. */
#ifndef CLI_COMMAND_LINE_H
#define CLI_COMMAND_LINE_H

#include <mergecraft/comm.h>

/* Returns the exit status. */
int run_command_line(int argc, char **argv);

/* The processes that run this command line together; NULL: only this one. Set it first. */
extern const mc_comm *command_comm;

#endif
