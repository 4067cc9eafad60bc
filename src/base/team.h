/* Threads: a team whose members compute one thing together, and independent items in parallel. */
#ifndef MC_BASE_TEAM_H
#define MC_BASE_TEAM_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct mc_team mc_team;

/*
 * Starts a team of `threads` members: the thread that runs it, and threads that wait between runs.
 * It has fewer members if the system refuses more threads: mc_team_size. Free with mc_team_free.
 *
 * Errors: MC_NO_MEMORY
 */
mc_status mc_team_new(int threads, mc_team **out, mc_error *error);
void mc_team_free(mc_team *team);      /* accepts NULL; not during a run */
int mc_team_size(const mc_team *team); /* NULL: 1 */

/* The share of member `index`, 0 ≤ index < count = mc_team_size. Member 0 is the calling thread. */
typedef mc_status mc_team_work(void *arg, int index, int count, mc_error *error);

/*
 * Calls `work` on all members at once and waits for all of them. The error is that of the failed
 * member with the lowest index. One run at a time, and not from inside `work`. A NULL team calls
 * work(arg, 0, 1, error).
 */
mc_status mc_team_run(mc_team *team, mc_team_work *work, void *arg, mc_error *error);

/*
 * Blocks until all members have called it, then returns whether all of them passed true. So
 * members that stop after `false` all stop at the same barrier, and none waits for one that has
 * left. What a member wrote before a barrier is visible to all behind it. A NULL team returns `ok`.
 */
bool mc_team_barrier(mc_team *team, bool ok);

/* Computes one item. `worker` < threads; concurrent calls have different ones. */
typedef mc_status mc_parallel_work(void *arg, int worker, size_t item, mc_error *error);

/*
 * Computes items 0 … count − 1 on up to `threads` threads, the calling one included. Items start in
 * order. After a failure no further item starts; the error is that of the failed item with the
 * lowest index.
 */
mc_status mc_parallel(size_t count, int threads, mc_parallel_work *work, void *arg,
                      mc_error *error);

#endif
