/* A command as the objective: it gets the folder of a merged model and prints a number. */
#ifndef MC_SEARCH_COMMAND_H
#define MC_SEARCH_COMMAND_H

#include <mergecraft/search.h>

/* MC_USAGE unless the command has a {}. */
mc_status mc_command_check(const char *command, mc_error *error);

/*
 * Writes the plan's merge to a temporary folder, runs the command on it, removes the folder. The
 * environment has MERGECRAFT_TRIAL, the number, and MERGECRAFT_PARAMETERS, the values as JSON.
 *
 * Errors: MC_FORMAT       the command failed, took too long, or printed no number
 *         MC_INTERRUPTED  cancel
 *         and those of mc_plan_run
 */
mc_status mc_command_score(const mc_search_input *input, const mc_search_options *options,
                           const mc_plan *plan, size_t trial, const char *parameters, double *score,
                           mc_error *error);

#endif
