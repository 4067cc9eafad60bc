/* Weight files, of which processes that open the same checkpoint read the headers once. */
#ifndef MC_CHECKPOINT_WEIGHT_FILE_H
#define MC_CHECKPOINT_WEIGHT_FILE_H

#include <mergecraft/comm.h>

#include "base/file.h"

/*
 * Opens a weight file and calls `parse` with it. With a comm this is collective: process 0 opens
 * and parses the file, and sends the bytes it has read to the others, which parse those. They open
 * the file when they read a tensor. *out is set if the file was opened, also if `parse` fails.
 *
 * Errors: MC_MISMATCH  the file differs from that of process 0
 */
mc_status mc_weight_file_open(const mc_comm *comm, const char *path,
                              mc_status (*parse)(mc_file *file, void *user, mc_error *error),
                              void *user, mc_file **out, mc_error *error);

#endif
