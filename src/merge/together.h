/*
 * What the processes of one run do together (mergecraft/comm.h): meet in the output folder, compute
 * statistics that several of them need, and add up what each has found. Everything is collective.
 * With a NULL comm a process is alone, and nothing of it happens.
 */
#ifndef MC_MERGE_TOGETHER_H
#define MC_MERGE_TOGETHER_H

#include <mergecraft/merge.h>

#include "base/comm.h"
#include "merge/folder.h"
#include "merge/found.h"
#include "merge/share.h"

/*
 * Process 0 passes how making the folder ended; the others join it. All fail if one of them does
 * not see the folder. mc_together_join sets *folder as mc_folder_begin does, without the lock.
 *
 * Errors: MC_MISMATCH  the folder is not on a file system that all processes share
 */
mc_status mc_together_share(const mc_comm *comm, mc_status status, const mc_folder *folder,
                            mc_error *error);
mc_status mc_together_join(const mc_comm *comm, const char *target, bool sync, mc_folder *folder,
                           mc_error *error);

/* Gives all processes the spans that process 0 has. */
mc_status mc_together_spans(const mc_comm *comm, mc_spans *spans, mc_error *error);

/* Statistics of tensors that several processes compute parts of. Zero-initialise. */
typedef struct mc_together {
    void **states; /* one per tensor; NULL where they are not known */
    size_t count;
} mc_together;

/*
 * Computes the statistics of whole models, and those of tensors that the shares cut: each process
 * reads a part of the inputs, and all get the results.
 */
mc_status mc_together_statistics(mc_together *out, mc_source *const *tensors, size_t count,
                                 const mc_shares *shares, const mc_run_options *options,
                                 mc_error *error);
void mc_together_free(mc_together *together);

/* Adds up results over all processes. Fills options->processes. */
mc_status mc_together_result(const mc_run_options *options, mc_run_result *result, mc_error *error);
/* Gives all processes what each of them has found. */
mc_status mc_together_found(const mc_comm *comm, mc_found *found, mc_error *error);

/*
 * Checks that all processes run the same build of the library.
 * Errors: MC_MISMATCH  one of them runs another
 */
mc_status mc_together_check_build(const mc_comm *comm, mc_error *error);

/*
 * Checks that what this process has as `what` ("model A") has the same fingerprint everywhere.
 * Errors: MC_MISMATCH  it differs from that of process 0
 */
mc_status mc_together_check(const mc_comm *comm, const char *what, uint64_t fingerprint,
                            mc_error *error);

#endif
