/* Settings of transplant, decompress and lora; printing and running the plan of the first two. */
#ifndef CLI_PLAN_RUN_H
#define CLI_PLAN_RUN_H

#include "options.h"

#include <mergecraft/merge.h>

/* Begins with common_options, like all settings. */
typedef struct plan_settings {
    common_options common;
    const char *output;
    int64_t memory, shard_size;
    uint64_t threads;
    bool strict, dry_run, overwrite, no_sync;
} plan_settings;

/* Option rows of a subcommand whose settings begin with plan_settings. */
/* clang-format 14 breaks lists of initialisers in macros. */
/* clang-format off */
#define PLAN_AT(field_) offsetof(plan_settings, field_)
#define PLAN_OUTPUT_OPTION                                                                         \
    {"output", 'o', OPTION_TEXT, PLAN_AT(output), "DIR", "output folder",                          \
     .details = "Required unless --dry-run is given."}
#define PLAN_RUN_OPTIONS(memory_)                                                                  \
    {"shard-size", '\0', OPTION_SHARD_SIZE, PLAN_AT(shard_size), "SIZE",                           \
     "largest size of a weights file", "5GB", .details = "0 means no limit."},                     \
    {"strict", '\0', OPTION_FLAG, PLAN_AT(strict), NULL, "treat warnings as errors"},              \
    {"dry-run", '\0', OPTION_FLAG, PLAN_AT(dry_run), NULL, "print the plan and write nothing"},    \
    {"overwrite", '\0', OPTION_FLAG, PLAN_AT(overwrite), NULL,                                     \
     "replace an existing output folder"},                                                         \
    {"no-sync", '\0', OPTION_FLAG, PLAN_AT(no_sync), NULL, "do not flush the result to disk"},     \
    {"memory", '\0', OPTION_SIZE, PLAN_AT(memory), "SIZE", "memory for tiles", "64MiB",            \
     .details = memory_ "The result does not depend on it."},                                      \
    {"threads", '\0', OPTION_NUMBER, PLAN_AT(threads), "N", "worker threads", "all CPUs", 1, 1024, \
     .details = "The result does not depend on it."}
/* clang-format on */

/* MC_USAGE unless there is an output folder or --dry-run. */
mc_status check_plan_output(const plan_settings *settings, mc_error *error);

/* The options of mc_plan_run that the settings hold. */
mc_run_options plan_run_options(const plan_settings *settings);

/* Prints the warnings, then the plan (--dry-run), or runs it and prints what was written. */
mc_status run_plan(const plan_settings *settings, const mc_plan *plan, mc_error *error);

#endif
