/*
 * What processes of one search do together (mergecraft/comm.h). All of them run the same strategy
 * and keep the same lines; process 0 alone has the journal's file. Everything is collective. With a
 * NULL comm, a process is alone and nothing is sent.
 */
#ifndef MC_SEARCH_TOGETHER_H
#define MC_SEARCH_TOGETHER_H

#include "base/comm.h"
#include "search/journal.h"

/*
 * Gives every process the lines that process 0 has found in the journal. `status` is how opening it
 * ended, on process 0; the others have opened one without a file.
 *
 * Errors: MC_MISMATCH  this process has a different header: its models, data or library differ
 */
mc_status mc_search_share_journal(const mc_comm *comm, mc_status status, mc_search_journal *journal,
                                  mc_error *error);

/*
 * Gives every process a line that process `owner` has made. *line is that of the owner, and
 * receives a new reference elsewhere. `status` is how making it ended: all fail if the owner did.
 */
mc_status mc_search_share_line(const mc_comm *comm, int owner, mc_status status, json_t **line,
                               mc_error *error);

#endif
