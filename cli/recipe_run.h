/* Runs the documents of a recipe: what merge and the subcommands of mergekit's names share. */
#ifndef CLI_RECIPE_RUN_H
#define CLI_RECIPE_RUN_H

#include "options.h"

#include <mergecraft/recipe.h>

typedef struct recipe_run {
    const common_options *common;
    mc_recipe *recipe;
    mc_recipe_options options; /* hub, headers_only and stage are set here */
    mc_run_options run;        /* so are progress and cancel */
} recipe_run;

/* Writes a document (mc_recipe_options.stage) to a folder, and prints warnings and a summary. */
mc_status recipe_write(recipe_run *r, size_t stage, const char *output, mc_error *error);

/*
 * Writes the documents that have a name to DIR/NAME, each after those that it reads, and reads them
 * from there from then on. `all`: the last too. `keep`: those that are in DIR already stay.
 */
mc_status recipe_write_stages(recipe_run *r, const char *folder, bool all, bool keep,
                              mc_error *error);

#endif
