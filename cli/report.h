/* HTML reports: of mergecraft report, and of --report of other subcommands. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "options.h"

typedef struct report_job {
    const common_options *common;
    const char *folder, *journal; /* one of them may be NULL */
    const char *output;           /* NULL: standard output */
    bool compare;                 /* compare the models if they are on this machine */
    uint64_t threads;
} report_job;

/*
 * Writes the report. If the models cannot be compared, the page and a note on standard error
 * explain why. Check job->output with written_check before.
 */
mc_status report_write(const report_job *job, mc_error *error);

#endif
